//! The JSON Schema of the configuration, generated from [`super::raw`], and what it finds.

mod alternatives;
mod tidy;

use std::sync::OnceLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::load::Finding;
use super::mistake::{Mistake, did_you_mean};
use super::pointer;
use super::raw::RawConfig;
use super::tree::Tree;
use alternatives::Meant;
use tidy::tidy;

/// Says how to mend what breaks this part of the schema; our own annotation.
const MEND: &str = "x-mend";

/// The JSON Schema (draft 2020-12) of the configuration file.
pub fn json_schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<RawConfig>().to_value();
        tidy(&mut schema);
        if let Value::Object(schema) = &mut schema {
            schema.insert("title".into(), "setbridge configuration".into());
        }
        schema
    })
}

/// A place in the schema, references followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node(&'static Value);

impl Node {
    pub(super) fn root() -> Self {
        Self(json_schema())
    }

    /// The part of the schema for this part of a configuration.
    pub(super) fn at(pointer: &str) -> Option<Self> {
        pointer::tokens(pointer).try_fold(Self::root(), |node, token| node.child(&token))
    }

    /// One step down: a property, an element, or a key of a free map.
    pub(super) fn child(self, token: &str) -> Option<Self> {
        if let Some(schema) = self.0.pointer(&pointer::child("/properties", token)) {
            return Some(Self(schema).resolved());
        }
        if let Some(items) = self.0.get("items") {
            token.parse::<usize>().ok()?;
            return Some(Self(items).resolved());
        }
        self.free_values()
    }

    fn resolved(self) -> Self {
        match self.0.get("$ref").and_then(Value::as_str) {
            Some(target) => json_schema()
                .pointer(target.trim_start_matches('#'))
                .map_or(self, Self),
            None => self,
        }
    }

    /// The known keys here; [`None`] when this is no section.
    pub(super) fn keys(self) -> Option<Vec<&'static str>> {
        let properties = self.0.get("properties")?.as_object()?;
        Some(properties.keys().map(String::as_str).collect())
    }

    /// The schema of the values of a free map.
    pub(super) fn free_values(self) -> Option<Self> {
        let values = self.0.get("additionalProperties")?;
        values.is_object().then(|| Self(values).resolved())
    }

    /// Whether this section must have the key.
    pub(super) fn requires(self, key: &str) -> bool {
        let required = self.0.get("required").and_then(Value::as_array);
        required.is_some_and(|keys| keys.iter().any(|required| required == key))
    }

    /// The default of a key of this section.
    #[cfg(test)]
    pub(super) fn default_of(self, key: &str) -> Option<&'static Value> {
        self.0.get("properties")?.get(key)?.get("default")
    }

    pub(super) fn is_list(self) -> bool {
        self.0.get("items").is_some()
    }

    /// Whether a text is welcome here.
    pub(super) fn takes_text(self) -> bool {
        match self.0.get("type") {
            Some(Value::String(name)) => name == "string",
            Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
            _ => false,
        }
    }

    fn mend(self) -> Option<&'static str> {
        self.0.get(MEND)?.as_str()
    }
}

/// Everything in which the configuration differs from the schema.
pub(super) fn validate(tree: &Tree) -> Vec<Finding> {
    static VALIDATOR: OnceLock<Option<Validator>> = OnceLock::new();
    let validator = VALIDATOR.get_or_init(|| jsonschema::validator_for(json_schema()).ok());
    let found: Vec<Finding> = validator
        .iter()
        .flat_map(|validator| validator.iter_errors(&tree.value))
        .flat_map(|error| findings(tree, &error))
        .collect();
    let misspelt: Vec<String> = found.iter().filter_map(meant).collect();
    let mut found = found;
    for finding in &mut found {
        // One slip, one mistake: the misspelt key is not missing as well.
        finding.silent = misspelt.contains(&finding.pointer);
    }
    found
}

/// One error of the validator → where it is, and our words.
fn findings(tree: &Tree, error: &ValidationError<'_>) -> Vec<Finding> {
    let at = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|key| unknown_key(tree, at, key, &known_beside(error)))
            .collect(),
        ValidationErrorKind::Required { property } => {
            vec![missing_key(tree, at, property.as_str().unwrap_or_default())]
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            match alternatives::meant(context, error.instance(), at) {
                Meant::One(errors) => errors
                    .iter()
                    .flat_map(|error| findings(tree, error))
                    .collect(),
                Meant::Nobody(message, mend) => vec![Finding {
                    pointer: at.to_owned(),
                    unknown_key: false,
                    silent: false,
                    mistake: Mistake::at(tree.places.value(at), at, message, mend),
                }],
            }
        }
        kind => {
            let (message, default) = words(kind, error.instance(), at);
            let mend = Node::at(at).and_then(Node::mend).map(str::to_owned);
            let mend = mend.unwrap_or(default);
            vec![Finding {
                pointer: at.to_owned(),
                unknown_key: false,
                silent: false,
                mistake: Mistake::at(tree.places.value(at), at, message, mend),
            }]
        }
    }
}

/// Message and mend. The value is shown only where it can be no secret: those have neither a
/// pattern, nor bounds, nor a list of words.
fn words(kind: &ValidationErrorKind, found: &Value, at: &str) -> (String, String) {
    match kind {
        ValidationErrorKind::Enum { options } => {
            let known = options.as_array().into_iter().flatten();
            let known: Vec<&str> = known.filter_map(Value::as_str).collect();
            let meant = did_you_mean(found.as_str().unwrap_or_default(), known.iter().copied());
            let mend = match meant {
                Some(meant) => format!("did you mean `{meant}`? Known: {}", known.join(", ")),
                None => format!("use one of: {}", known.join(", ")),
            };
            (format!("{found} is not known here"), mend)
        }
        ValidationErrorKind::Type { .. } => {
            let wanted = Node::at(at).map_or("something else", wanted);
            let found = kind_of(found);
            (
                format!("this is {found}, wanted is {wanted}"),
                format!("write {wanted}"),
            )
        }
        ValidationErrorKind::Pattern { .. } => (
            format!("{found} has not the right form"),
            "see this key in config/setbridge.yaml".into(),
        ),
        ValidationErrorKind::Minimum { limit } => (
            format!("{found} is too small"),
            format!("use {limit} or more"),
        ),
        ValidationErrorKind::Maximum { limit } => (
            format!("{found} is too large"),
            format!("use {limit} or less"),
        ),
        ValidationErrorKind::ExclusiveMinimum { limit } => (
            format!("{found} is too small"),
            format!("use more than {limit}"),
        ),
        ValidationErrorKind::MinLength { .. } => ("this is empty".into(), "write a value".into()),
        ValidationErrorKind::MinItems { .. } => {
            ("the list is empty".into(), "add an element".into())
        }
        other => (
            format!("breaks the rule `{}` of the schema", other.keyword()),
            "see `setbridge schema`".into(),
        ),
    }
}

fn missing_key(tree: &Tree, parent: &str, key: &str) -> Finding {
    let at = pointer::child(parent, key);
    let mend = match Node::at(&at).and_then(Node::mend) {
        Some(mend) => format!("add it: {mend}"),
        None => format!("add `{key}`"),
    };
    // A key without a value has a line; else the section has.
    let place = match tree.places.keys.get(&at) {
        Some(place) => place.clone(),
        None => tree.places.key(parent),
    };
    Finding {
        mistake: Mistake::at(place, &at, "this key is missing", mend),
        pointer: at,
        unknown_key: false,
        silent: false,
    }
}

/// Where an unknown key would stand if it were spelt right.
fn meant(finding: &Finding) -> Option<String> {
    let parent = pointer::parent(&finding.pointer).filter(|_| finding.unknown_key)?;
    let key = pointer::tokens(&finding.pointer).last()?;
    let meant = did_you_mean(&key, Node::at(parent)?.keys()?)?;
    Some(pointer::child(parent, meant))
}

/// The keys of the section whose `additionalProperties` an error is about.
fn known_beside(error: &ValidationError<'_>) -> Vec<&'static str> {
    let section = pointer::parent(error.schema_path().as_str());
    let section = section.and_then(|section| json_schema().pointer(section));
    let properties = section.and_then(|section| section["properties"].as_object());
    properties
        .into_iter()
        .flat_map(|map| map.keys().map(String::as_str))
        .collect()
}

fn unknown_key(tree: &Tree, parent: &str, key: &str, known: &[&'static str]) -> Finding {
    let at = pointer::child(parent, key);
    let mend = if key == "<<" {
        "YAML 1.2 has no merge keys; write the keys out".to_owned()
    } else if let Some(meant) = did_you_mean(key, known.iter().copied()) {
        format!("did you mean `{meant}`?")
    } else if let Some(section) = section_with(key) {
        format!("`{key}` belongs under {section}")
    } else {
        format!("remove it; known here: {}", known.join(", "))
    };
    Finding {
        mistake: Mistake::at(tree.places.key(&at), &at, "unknown key", mend),
        pointer: at,
        unknown_key: true,
        silent: false,
    }
}

/// The section, named for people, that knows this key.
fn section_with(key: &str) -> Option<String> {
    sections()
        .into_iter()
        .find(|(_, keys)| keys.contains(&key))
        .map(|(path, _)| match path.as_str() {
            "" => "no section: it stands at the top".to_owned(),
            path => format!("`{path}`"),
        })
}

/// Every section with its path (`streams[].receiver`) and its keys.
pub(super) fn sections() -> Vec<(String, Vec<&'static str>)> {
    let mut found = Vec::new();
    let mut waiting = vec![(String::new(), Node::root())];
    while let Some((path, node)) = waiting.pop() {
        let keys = node.keys().unwrap_or_default();
        for key in &keys {
            let Some(child) = node.child(key) else {
                continue;
            };
            let dot = if path.is_empty() { "" } else { "." };
            if child.keys().is_some() {
                waiting.push((format!("{path}{dot}{key}"), child));
            } else if let Some(element) = child.child("0").filter(|_| child.is_list())
                && element.keys().is_some()
            {
                waiting.push((format!("{path}{dot}{key}[]"), element));
            }
        }
        found.push((path, keys));
    }
    found
}

/// What the schema wants, for people.
fn wanted(node: Node) -> &'static str {
    match node.0.get("type").and_then(Value::as_str) {
        Some("string") => "a text",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        Some("object") => "a section with keys",
        _ => "a text, a number or a truth value",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section with keys",
    }
}

#[cfg(test)]
mod tests;
