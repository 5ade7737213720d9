//! YAML 1.2 (core schema) → JSON, with the line and column of every key and value.
//!
//! Read from the parser's events rather than from a finished tree: so nesting, aliases and size
//! are bounded while reading, and every duplicate key is reported, not only the first.

use std::collections::BTreeMap;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};

use super::mistake::{Mistake, Place};
use super::pointer;
use super::tree::{Places, Tree};

/// A configuration of 200 streams has about 200 KiB.
const MAX_BYTES: usize = 4 << 20;
/// The schema nests 8 deep, a mapping's expressions a little deeper.
const MAX_DEPTH: usize = 64;
/// Nodes in all, those that aliases repeat included.
const MAX_NODES: usize = 200_000;

/// Reads one document.
///
/// # Errors
/// All mistakes of the YAML itself: up to the first place where it cannot be read on.
pub(super) fn read(text: &str, file: &str) -> Result<Tree, Vec<Mistake>> {
    let mut reader = Reader::new(file);
    if text.len() > MAX_BYTES {
        reader.mistake(
            Marker::new(0, 1, 0),
            "the file is larger than 4 MiB",
            "split it",
        );
        return Err(reader.mistakes);
    }
    for event in Parser::new(StrInput::new(text)) {
        match event {
            Ok((event, span)) => {
                if reader.event(event, span.start).is_none() {
                    return Err(reader.mistakes);
                }
            }
            Err(error) => {
                reader.mistake(
                    *error.marker(),
                    format!("not YAML: {}", error.info()),
                    SYNTAX,
                );
                return Err(reader.mistakes);
            }
        }
    }
    reader.finish()
}

const SYNTAX: &str = "check the indentation, the colons and the quotes at and above this place";

#[derive(Clone, Debug)]
struct Node {
    at: Marker,
    kind: Kind,
    /// Nodes in all, this one included.
    size: usize,
    /// Levels, this one included.
    depth: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    at: Marker,
    value: Node,
}

/// A list or map that is still open.
struct Open {
    at: Marker,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Marker)>,
    },
}

struct Reader<'a> {
    file: &'a str,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    document: Option<Node>,
    nodes: usize,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            document: None,
            nodes: 0,
            mistakes: Vec::new(),
        }
    }

    fn place(&self, at: Marker) -> Place {
        Place::File {
            file: self.file.to_owned(),
            line: at.line(),
            column: at.col() + 1,
        }
    }

    fn mistake(&mut self, at: Marker, message: impl Into<String>, mend: &str) {
        let place = self.place(at);
        let key = self.open_pointer();
        self.mistakes.push(Mistake::at(place, &key, message, mend));
    }

    /// Where in the document the reader stands.
    fn open_pointer(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.content {
                Content::List(items) => path = pointer::child(&path, items.len()),
                Content::Map { key: Some(key), .. } => path = pointer::child(&path, &key.0),
                Content::Map { key: None, .. } => {}
            }
        }
        path
    }

    /// Takes the next event; [`None`] when it makes no sense to read on.
    fn event(&mut self, event: Event<'_>, at: Marker) -> Option<()> {
        match event {
            Event::DocumentStart(_) if self.document.is_some() => {
                self.mistake(
                    at,
                    "a second document begins here",
                    "keep one document in a file; remove this `---` and what follows",
                );
                None
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", at);
                self.begin(anchor, Content::List(Vec::new()), at)
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", at);
                let content = Content::Map {
                    entries: Vec::new(),
                    key: None,
                };
                self.begin(anchor, content, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), at);
                let node = Node {
                    at,
                    kind: Kind::Scalar(value),
                    size: 1,
                    depth: 1,
                };
                self.put(node, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    self.mistake(at, "an alias inside its own anchor", "write the value out");
                    return None;
                };
                if self.nodes + node.size > MAX_NODES {
                    self.mistake(at, "aliases repeat too much", "write the values out");
                    return None;
                }
                let node = Node { at, ..node.clone() };
                self.put(node, 0)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Some(()),
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, at: Marker) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            self.mistake(at, format!("the tag {tag} means nothing here"), "remove it");
        }
    }

    fn begin(&mut self, anchor: usize, content: Content, at: Marker) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            self.mistake(at, "nested deeper than 64 levels", "flatten it");
            return None;
        }
        self.open.push(Open {
            at,
            anchor,
            content,
        });
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        let open = self.open.pop()?;
        let node = match open.content {
            Content::List(items) => Node {
                at: open.at,
                size: 1 + items.iter().map(|node| node.size).sum::<usize>(),
                depth: 1 + items.iter().map(|node| node.depth).max().unwrap_or(0),
                kind: Kind::List(items),
            },
            Content::Map { entries, .. } => Node {
                at: open.at,
                size: 1 + entries.iter().map(|entry| entry.value.size).sum::<usize>(),
                depth: 1 + entries.iter().map(|e| e.value.depth).max().unwrap_or(0),
                kind: Kind::Map(entries),
            },
        };
        // Its parts were counted when they were put in place.
        self.nodes -= node.size - 1;
        self.put(node, open.anchor)
    }

    /// Puts a finished node where it belongs: as a key, a value, an element, or the document.
    fn put(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += node.size;
        if self.nodes > MAX_NODES || self.open.len() + node.depth > MAX_DEPTH + 1 {
            self.mistake(
                node.at,
                "too many or too deeply nested values",
                "cut it down",
            );
            return None;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.document = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                Some((key, at)) => entries.push(Entry {
                    key,
                    at,
                    value: node,
                }),
                None => return self.put_key(node),
            },
        }
        Some(())
    }

    fn put_key(&mut self, node: Node) -> Option<()> {
        let at = node.at;
        let name = match node.kind {
            Kind::Scalar(Value::String(name)) => name,
            Kind::Scalar(Value::Number(number)) if number.is_i64() => number.to_string(),
            Kind::Scalar(Value::Bool(value)) => value.to_string(),
            Kind::Scalar(_) | Kind::List(_) | Kind::Map(_) => {
                self.mistake(at, "a key has to be a text", "put the key in quotes");
                return None;
            }
        };
        let Some(Content::Map { entries, key }) = self.open.last_mut().map(|o| &mut o.content)
        else {
            return None;
        };
        let first = entries.iter().find(|entry| entry.key == name).map(|e| e.at);
        *key = Some((name, at));
        if let Some(first) = first {
            let mend = format!("keep one of them; the first is on line {}", first.line());
            self.mistake(at, "this key is there twice", &mend);
        }
        Some(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Marker) -> Value {
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema()
        {
            self.mistake(at, format!("the tag {tag} means nothing here"), "remove it");
            return Value::Null;
        }
        let tag = tag.map(std::borrow::Cow::Borrowed);
        match Scalar::parse_from_cow_and_metadata(text.into(), style, tag.as_ref()) {
            Some(scalar) => json_scalar(scalar).unwrap_or_else(|| {
                self.mistake(
                    at,
                    "not a finite number",
                    "write a number, or quote the text",
                );
                Value::Null
            }),
            None => {
                self.mistake(at, "the value does not fit its tag", "remove the tag");
                Value::Null
            }
        }
    }

    fn finish(self) -> Result<Tree, Vec<Mistake>> {
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        let mut places = Places::default();
        let value = match &self.document {
            Some(node) => self.convert(node, String::new(), &mut places),
            None => Value::Null,
        };
        places
            .values
            .entry(String::new())
            .or_insert_with(|| self.place(Marker::new(0, 1, 0)));
        Ok(Tree { value, places })
    }

    /// Recursion is bounded by [`MAX_DEPTH`].
    fn convert(&self, node: &Node, pointer: String, places: &mut Places) -> Value {
        let value = match &node.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.convert(item, pointer::child(&pointer, index), places))
                .collect(),
            Kind::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for entry in entries {
                    let at = pointer::child(&pointer, &entry.key);
                    places.keys.insert(at.clone(), self.place(entry.at));
                    let value = self.convert(&entry.value, at, places);
                    map.insert(entry.key.clone(), value);
                }
                Value::Object(map)
            }
        };
        places.values.insert(pointer, self.place(node.at));
        value
    }
}

/// A plain scalar by the core schema; [`None`] when JSON has no such number.
pub(super) fn plain_scalar(text: &str) -> Option<Value> {
    json_scalar(Scalar::parse_from_cow(text.into()))
}

fn json_scalar(scalar: Scalar<'_>) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Bool(value),
        Scalar::Integer(value) => value.into(),
        Scalar::FloatingPoint(value) => {
            // 1e3 and 5.0 are integers to JSON Schema; below 2^53 the cast is exact.
            if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
                (*value as i64).into()
            } else {
                Value::Number(Number::from_f64(*value)?)
            }
        }
        Scalar::String(text) => Value::String(text.into_owned()),
    })
}

#[cfg(test)]
mod tests;
