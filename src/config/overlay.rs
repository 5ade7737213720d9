//! What overrides the file: `SETBRIDGE_…` variables and, above them, flags.
//!
//! `SETBRIDGE_KAFKA__BOOTSTRAP_SERVERS` is `kafka.bootstrap_servers`: two underscores go one level
//! down, a number names an element of a list (`SETBRIDGE_STREAMS__0__RECEIVER__URL`), and in
//! `kafka.properties` one underscore is a dot (`SETBRIDGE_KAFKA__PROPERTIES__SASL_PASSWORD`). A list
//! of texts is written with commas. An empty variable counts as not set. One that names no key is a
//! mistake, but for those that Kubernetes adds for a Service named `setbridge`.

use serde_json::{Map, Value};

use super::mistake::{Mistake, Place, did_you_mean};
use super::pointer;
use super::schema::Node;
use super::tree::Tree;
use super::variables::{Environment, typed};
use super::yaml;

const PREFIX: &str = "SETBRIDGE_";

/// Variables with our prefix that are no keys: the configuration file's path (`-c`), and the
/// switches of the test suite and the benches.
const NO_KEYS: &[&str] = &[
    "SETBRIDGE_CONFIG",
    "SETBRIDGE_BIN",
    #[cfg(feature = "chaos-faults")]
    "SETBRIDGE_BREAK",
    "SETBRIDGE_REQUIRE_KAFKA",
    "SETBRIDGE_KAFKA_LIBS",
    "SETBRIDGE_TEST_REPORT",
    "SETBRIDGE_BENCH_JSON",
];

/// One value given by a flag.
#[derive(Clone)]
pub struct Override {
    /// The flag as the user knows it, for messages: `--bootstrap-servers`, `--set`.
    pub flag: String,
    /// The key as a dotted path: `kafka.bootstrap_servers`, `streams.0.receiver.url`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

impl Override {
    /// A value for a key, given by the flag of this name.
    pub fn new(flag: &str, key: &str, value: impl Into<String>) -> Self {
        Self {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value: value.into(),
        }
    }
}

impl std::fmt::Debug for Override {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Override({} {})", self.flag, self.key)
    }
}

/// Lays the environment over the file, and the flags over both.
pub(super) fn overlay(
    tree: &mut Tree,
    environment: &Environment,
    overrides: &[Override],
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (name, value) in environment.iter().filter(|(_, value)| !value.is_empty()) {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NO_KEYS.contains(&name) || is_service_link(path) {
            continue;
        }
        let segments: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        let source = Source {
            place: Place::Environment(name.to_owned()),
            join: "_",
            in_free_map: |key| key.replace('_', "."),
            spell: |key| format!("{PREFIX}{}", key.replace('.', "__").to_uppercase()),
        };
        mistakes.extend(source.put(tree, &segments, value).err());
    }
    for given in overrides {
        let key = given.key.replace('[', ".").replace(']', "");
        let segments: Vec<String> = key.split('.').map(str::to_owned).collect();
        let source = Source {
            place: Place::Flag(given.flag.clone()),
            join: ".",
            in_free_map: str::to_owned,
            spell: str::to_owned,
        };
        mistakes.extend(source.put(tree, &segments, &given.value).err());
    }
    mistakes
}

/// Kubernetes tells every container of the Services of its namespace, in Docker's manner: a Service
/// `setbridge` gives `SETBRIDGE_SERVICE_HOST`, `SETBRIDGE_PORT`, `SETBRIDGE_PORT_80_TCP_ADDR`, …
fn is_service_link(path: &str) -> bool {
    if path.contains("__") {
        return false;
    }
    let path = format!("_{path}");
    if path.ends_with("_SERVICE_HOST") || path.contains("_SERVICE_PORT") || path.ends_with("_PORT")
    {
        return true;
    }
    path.match_indices("_PORT_").any(|(at, marker)| {
        let mut parts = path[at + marker.len()..].split('_');
        let port = parts.next().unwrap_or_default();
        let protocol = parts.next().unwrap_or_default();
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(protocol, "TCP" | "UDP" | "SCTP")
    })
}

/// How one kind of override writes its keys.
struct Source {
    place: Place,
    /// What joins the rest of a path into the key of a free map.
    join: &'static str,
    /// The key of a free map.
    in_free_map: fn(&str) -> String,
    /// A dotted key, as one writes it here.
    spell: fn(&str) -> String,
}

impl Source {
    fn put(&self, tree: &mut Tree, segments: &[String], text: &str) -> Result<(), Mistake> {
        let tokens = self.tokens(tree, segments)?;
        let at = tokens
            .iter()
            .fold(String::new(), |at, token| pointer::child(&at, token));
        let value = self.value(&at, text)?;
        let mut target = &mut tree.value;
        let mut here = String::new();
        for token in &tokens {
            here = pointer::child(&here, token);
            let place = || self.place.clone();
            tree.places.keys.entry(here.clone()).or_insert_with(place);
            tree.places.values.entry(here.clone()).or_insert_with(place);
            target = step(target, token);
        }
        *target = value;
        tree.places.keys.insert(at.clone(), self.place.clone());
        tree.places.values.retain(|known, _| !is_below(known, &at));
        tree.places.values.insert(at, self.place.clone());
        Ok(())
    }

    /// The segments as keys that the schema knows.
    fn tokens(&self, tree: &Tree, segments: &[String]) -> Result<Vec<String>, Mistake> {
        let mut tokens = Vec::new();
        let mut node = Node::root();
        let mut here = String::new();
        for (index, segment) in segments.iter().enumerate() {
            let token = if node.keys().is_some() || node.is_list() {
                segment.clone()
            } else {
                let rest = segments[index..].join(self.join);
                (self.in_free_map)(&rest)
            };
            let Some(child) = node.child(&token) else {
                return Err(self.unknown(&here, node, &token));
            };
            if node.is_list() {
                let length = tree.value.pointer(&here).and_then(Value::as_array);
                let length = length.map_or(0, Vec::len);
                if token.parse::<usize>().is_ok_and(|index| index > length) {
                    return Err(self.mistake(
                        &here,
                        format!("there are {length} elements, so {token} cannot be set"),
                        format!("use an index up to {length}; {length} adds an element"),
                    ));
                }
            }
            here = pointer::child(&here, &token);
            tokens.push(token);
            if node.free_values().is_some() {
                break;
            }
            node = child;
        }
        Ok(tokens)
    }

    fn value(&self, at: &str, text: &str) -> Result<Value, Mistake> {
        let Some(node) = Node::at(at) else {
            return Ok(Value::String(text.to_owned()));
        };
        let texts = node.child("0").is_some_and(Node::takes_text);
        if node.is_list() && texts && !text.trim_start().starts_with('[') {
            return Ok(text.split(',').map(str::trim).collect());
        }
        if node.is_list() || node.keys().is_some() || pointer::in_mapping(at) {
            return yaml::read(text, "").map(|tree| tree.value).map_err(|_| {
                let mend = "write it on one line: [a, b] or {key: value}";
                self.mistake(at, "not YAML", mend)
            });
        }
        Ok(typed(text.to_owned(), at))
    }

    fn unknown(&self, here: &str, node: Node, token: &str) -> Mistake {
        let at = pointer::child(here, token);
        let keys = node.keys().unwrap_or_default();
        let in_section = |key: &str| (self.spell)(&pointer::dotted(&pointer::child(here, key)));
        let mend = match did_you_mean(token, keys.iter().copied()) {
            Some(meant) => format!("did you mean {}…?", in_section(meant)),
            None if node.is_list() => "name an element by its number, from 0".to_owned(),
            None if keys.is_empty() => "set what is above it as a whole".to_owned(),
            None => format!("remove it; known there: {}", keys.join(", ")),
        };
        self.mistake(&at, "no such key in the configuration", mend)
    }

    fn mistake(&self, at: &str, message: impl Into<String>, mend: impl Into<String>) -> Mistake {
        Mistake::at(self.place.clone(), at, message, mend)
    }
}

fn is_below(pointer: &str, parent: &str) -> bool {
    pointer
        .strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// One step down, making the way where there is none.
fn step<'a>(value: &'a mut Value, token: &str) -> &'a mut Value {
    match (token.parse::<usize>(), value) {
        (Ok(index), Value::Array(items)) => {
            if index == items.len() {
                items.push(Value::Null);
            }
            // `tokens` has checked the index against the length.
            let last = items.len() - 1;
            &mut items[index.min(last)]
        }
        (Ok(_), value @ Value::Null) => {
            *value = Value::Array(vec![Value::Null]);
            &mut value[0]
        }
        (_, value) => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            &mut value[token]
        }
    }
}

#[cfg(test)]
mod tests;
