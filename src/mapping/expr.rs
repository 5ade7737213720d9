//! Value expressions, compiled: from a detection (and its record) to a JSON value.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::MAX_SETS;
use super::error::Fault;
use super::path::Path;
use super::spec::RecordPart;
use super::template::Template;
use crate::record::Record;

/// What values are taken from.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// `$`.
    pub(super) detection: &'a Value,
    /// `@`: the node of `each`, else the detection.
    pub(super) node: &'a Value,
    /// Key, headers and topic; tests of paths alone have none.
    pub(super) record: Option<&'a Record>,
}

impl<'a> Scope<'a> {
    #[cfg(test)]
    pub(super) fn of_detection(detection: &'a Value) -> Self {
        Self {
            detection,
            node: detection,
            record: None,
        }
    }

    fn root(&self, path: &Path) -> &'a Value {
        if path.begins_at_node() {
            self.node
        } else {
            self.detection
        }
    }

    /// The value at a path; null and blank text count as missing.
    pub(super) fn one(&self, path: &Path) -> Result<Option<&'a Value>, Fault> {
        Ok(path.one(self.root(path))?.filter(|value| is_present(value)))
    }

    /// All values at a path, lists taken apart, without those that are missing.
    pub(super) fn all(&self, path: &Path) -> Result<Vec<&'a Value>, Fault> {
        let mut values = Vec::new();
        for node in path.all(self.root(path))? {
            let items = match node {
                Value::Array(items) => items.as_slice(),
                other => std::slice::from_ref(other),
            };
            values.extend(items.iter().filter(|value| is_present(value)));
            if values.len() > MAX_SETS {
                return Err(path.too_many());
            }
        }
        Ok(values)
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    }
}

/// A text, a number or a boolean as text.
pub(super) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A compiled value expression.
#[derive(Debug)]
pub(super) enum Expr {
    Path(Path),
    Const(Value),
    Template(Template),
    Lookup(Box<Lookup>),
    Bands(Box<Bands>),
    FirstOf(Vec<Expr>),
    Header(String),
    Record(RecordPart),
    Languages(BTreeMap<String, Expr>),
}

/// Words to words.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) of: Expr,
    pub(super) table: HashMap<String, Value>,
    pub(super) default: Option<Value>,
    pub(super) ignore_case: bool,
}

/// A score to a word.
#[derive(Debug)]
pub(super) struct Bands {
    pub(super) of: Expr,
    pub(super) ranges: Vec<Band>,
    pub(super) default: Option<Value>,
}

/// `from ≤ score < below`.
#[derive(Debug)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) below: f64,
    pub(super) value: Value,
}

type One<'a> = Result<Option<Cow<'a, Value>>, Fault>;

impl Expr {
    /// The value, or `None` when it is missing.
    pub(super) fn one<'a>(&'a self, scope: &Scope<'a>) -> One<'a> {
        match self {
            Expr::Path(path) => Ok(scope.one(path)?.map(Cow::Borrowed)),
            Expr::Const(value) => Ok(Some(Cow::Borrowed(value))),
            Expr::Template(template) => {
                Ok(template.render(scope)?.map(|text| Cow::Owned(text.into())))
            }
            Expr::Lookup(lookup) => lookup.one(scope),
            Expr::Bands(bands) => bands.one(scope),
            Expr::FirstOf(exprs) => first_of(exprs, |expr| expr.one(scope)),
            Expr::Header(name) => {
                let bytes = scope.record.and_then(|record| record.header(name));
                text_bytes(bytes.map(AsRef::as_ref), "the header")
            }
            Expr::Record(RecordPart::Key) => {
                let bytes = scope.record.and_then(|record| record.key.as_deref());
                text_bytes(bytes, "the record key")
            }
            Expr::Record(RecordPart::Topic) => Ok(scope
                .record
                .map(|record| Cow::Owned(record.origin.topic.as_ref().into()))),
            Expr::Languages(texts) => languages(texts, scope),
        }
    }

    /// All values: more than one only from a path.
    pub(super) fn all<'a>(&'a self, scope: &Scope<'a>) -> Result<Vec<Cow<'a, Value>>, Fault> {
        match self {
            Expr::Path(path) => Ok(scope.all(path)?.into_iter().map(Cow::Borrowed).collect()),
            Expr::FirstOf(exprs) => {
                let found = first_of(exprs, |expr| {
                    expr.all(scope)
                        .map(|values| (!values.is_empty()).then_some(values))
                })?;
                Ok(found.unwrap_or_default())
            }
            other => Ok(other.one(scope)?.into_iter().collect()),
        }
    }

    /// Where the value comes from, for messages.
    pub(super) fn origin(&self) -> &str {
        match self {
            Expr::Path(path) => path.text(),
            Expr::Const(_) => "the constant",
            Expr::Template(_) => "the template",
            Expr::Lookup(lookup) => lookup.of.origin(),
            Expr::Bands(bands) => bands.of.origin(),
            Expr::FirstOf(_) => "the first value found",
            Expr::Header(_) => "the header",
            Expr::Record(RecordPart::Key) => "the record key",
            Expr::Record(RecordPart::Topic) => "the topic",
            Expr::Languages(_) => "the text",
        }
    }
}

/// The first expression that has a value. One that fails is passed over; when none has a value,
/// the last failure is the answer.
fn first_of<'e, T>(
    exprs: &'e [Expr],
    mut value: impl FnMut(&'e Expr) -> Result<Option<T>, Fault>,
) -> Result<Option<T>, Fault> {
    let mut last = Ok(None);
    for expr in exprs {
        match value(expr) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(fault) => last = Err(fault),
        }
    }
    last
}

fn text_bytes<'a>(bytes: Option<&[u8]>, origin: &str) -> One<'a> {
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Fault::bad_value(format!("{origin} is not UTF-8")))?;
    Ok((!text.trim().is_empty()).then(|| Cow::Owned(text.into())))
}

/// An object of the texts that have a value; missing when the English one is.
fn languages<'a>(texts: &'a BTreeMap<String, Expr>, scope: &Scope<'a>) -> One<'a> {
    let mut object = serde_json::Map::new();
    for (tag, expr) in texts {
        if let Some(value) = expr.one(scope)? {
            object.insert(tag.clone(), value.into_owned());
        }
    }
    Ok(object
        .contains_key("en")
        .then_some(Cow::Owned(Value::Object(object))))
}

impl Lookup {
    fn one<'a>(&'a self, scope: &Scope<'a>) -> One<'a> {
        let Some(value) = self.of.one(scope)? else {
            return Ok(None);
        };
        let origin = self.of.origin();
        let word = text_of(&value)
            .ok_or_else(|| Fault::wrong_type(origin, &value, "a text, a number or a boolean"))?;
        let word = word.trim();
        let found = if self.ignore_case {
            self.table.get(&word.to_lowercase())
        } else {
            self.table.get(word)
        };
        found
            .or(self.default.as_ref())
            .map(|value| Some(Cow::Borrowed(value)))
            .ok_or_else(|| {
                Fault::bad_value(format!(
                    "{origin} is not in the table, and there is no default"
                ))
            })
    }
}

impl Bands {
    fn one<'a>(&'a self, scope: &Scope<'a>) -> One<'a> {
        let Some(value) = self.of.one(scope)? else {
            return Ok(None);
        };
        let origin = self.of.origin();
        let score = match value.as_ref() {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|score: &f64| score.is_finite()),
            _ => None,
        };
        let score = score.ok_or_else(|| Fault::wrong_type(origin, &value, "a number"))?;
        self.ranges
            .iter()
            .find(|band| band.from <= score && score < band.below)
            .map(|band| &band.value)
            .or(self.default.as_ref())
            .map(|value| Some(Cow::Borrowed(value)))
            .ok_or_else(|| {
                Fault::bad_value(format!("{origin} is in no band, and there is no default"))
            })
    }
}
