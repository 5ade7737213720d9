//! `${VAR}` in the file's texts, and the environment that answers it.
//!
//! `${VAR}` is the variable's value and a mistake when it is not set; `${VAR:-text}` is `text` when
//! it is not set or empty; `$${` is a `${` itself. What comes out takes the type that the schema
//! gives the key, so `port: ${PORT}` is a number and `password: ${PASSWORD}` never is. The rules of
//! a mapping are left alone: their texts have a grammar of their own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::load::Finding;
use super::mistake::Mistake;
use super::pointer;
use super::schema::Node;
use super::tree::Tree;
use super::yaml::plain_scalar;

/// Environment variables, as the process found them or as a test sets them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process whose names and values are UTF-8.
    pub fn current() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The variable's value; [`None`] when it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All variables, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pair = |(name, value): (N, V)| (name.into(), value.into());
        Self(variables.into_iter().map(pair).collect())
    }
}

impl std::fmt::Debug for Environment {
    /// Only how many there are: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// Fills in every text of the tree but those of mappings.
pub(super) fn substitute(tree: &mut Tree, environment: &Environment) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut value = std::mem::take(&mut tree.value);
    each_text(&mut value, String::new(), &mut |pointer, value| {
        let Value::String(text) = &*value else { return };
        match fill(text, environment) {
            Ok(None) => {}
            Ok(Some(text)) => *value = typed(text, pointer),
            Err((message, mend)) => {
                let place = tree.places.value(pointer);
                findings.push(Finding {
                    pointer: pointer.to_owned(),
                    unknown_key: false,
                    silent: false,
                    mistake: Mistake::at(place, pointer, message, mend),
                });
            }
        }
    });
    tree.value = value;
    findings
}

fn each_text(value: &mut Value, pointer: String, visit: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::String(_) => visit(&pointer, value),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                each_text(item, pointer::child(&pointer, index), visit);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let at = pointer::child(&pointer, key);
                if !pointer::in_mapping(&at) {
                    each_text(item, at, visit);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text as the schema wants it at this place.
pub(super) fn typed(text: String, pointer: &str) -> Value {
    match Node::at(pointer) {
        Some(node) if !node.takes_text() => plain_scalar(&text).unwrap_or(Value::String(text)),
        _ => Value::String(text),
    }
}

/// [`None`] when there is nothing to fill in; an error is a message and its mend.
fn fill(text: &str, environment: &Environment) -> Result<Option<String>, (String, String)> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        filled.push_str(before);
        let Some((inner, after)) = after.split_once('}') else {
            return Err((
                "`${` without its `}`".into(),
                "close it, or write `$${` for the two characters themselves".into(),
            ));
        };
        filled.push_str(variable(inner, environment)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

fn variable<'a>(inner: &'a str, environment: &'a Environment) -> Result<&'a str, (String, String)> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if !legal {
        return Err((
            format!("`${{{name}}}` names no variable"),
            "write ${NAME} or ${NAME:-default}, or `$${` for the two characters themselves".into(),
        ));
    }
    match (environment.get(name), default) {
        (Some("") | None, Some(default)) => Ok(default),
        (Some(value), _) => Ok(value),
        (None, None) => Err((
            format!("the environment variable {name} is not set"),
            format!("set it, or write ${{{name}:-default}}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_filled_in_with_the_type_of_their_key() {
        let environment: Environment = [("HOST", "k"), ("N", "7"), ("EMPTY", "")]
            .into_iter()
            .collect();
        let text = "kafka: {bootstrap_servers: '${HOST}:${PORT:-9092}', client_id: '${N}'}\n\
                    signing: {threads: '${N}', keys: [{file: '${EMPTY:-x}$${y}${EMPTY}'}]}\n\
                    streams: [{id: '$', mapping: {rules: ['${HOST}']}}]\n";
        let mut tree = yaml::read(text, "f").unwrap();
        assert!(substitute(&mut tree, &environment).is_empty());
        assert_eq!(
            tree.value,
            json!({"kafka": {"bootstrap_servers": "k:9092", "client_id": "7"},
                   "signing": {"threads": 7, "keys": [{"file": "x${y}"}]},
                   "streams": [{"id": "$", "mapping": {"rules": ["${HOST}"]}}]})
        );
    }

    #[test]
    fn what_cannot_be_filled_in_is_a_mistake_each() {
        let text = "group_id: ${NONE}\nlog:\n  level: ${\n  format: ${1A}\n";
        let mut tree = yaml::read(text, "f").unwrap();
        let findings = substitute(&mut tree, &Environment::default());
        let mut shown: Vec<String> = findings
            .iter()
            .map(|finding| &finding.mistake)
            .map(|m| format!("{} {} {}", m.place, m.key, m.message))
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "f:1:11 group_id the environment variable NONE is not set",
                "f:3:10 log.level `${` without its `}`",
                "f:4:11 log.format `${1A}` names no variable",
            ]
        );
    }
}
