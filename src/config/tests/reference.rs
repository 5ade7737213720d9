//! config/setbridge.yaml is the documentation: it must know every key, and every default.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::schema::{Node, sections};
use super::super::yaml;
use super::*;

/// The file with its `#key: value` lines made lines of its own (prose has a blank behind `#`).
fn uncommented() -> String {
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        match line[indent..].strip_prefix('#') {
            Some(rest)
                if rest
                    .trim_start_matches("- ")
                    .starts_with(|c: char| c.is_ascii_lowercase())
                    && !rest.starts_with(' ') =>
            {
                format!("{}{rest}\n", &line[..indent])
            }
            _ => format!("{line}\n"),
        }
    };
    REFERENCE.lines().map(line).collect()
}

/// Every key in the tree as `section.key`, list indices as `[]`.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                keys(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn both_files_load() {
    let config = good(REFERENCE);
    assert_eq!(config.streams.len(), 1);
    good(DEMO);
}

#[test]
fn the_schema_accepts_both_files() {
    let validator = jsonschema::validator_for(json_schema()).unwrap();
    for text in [uncommented().as_str(), DEMO] {
        let tree = yaml::read(text, "f").unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&tree.value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new());
    }
}

#[test]
fn every_key_of_the_schema_is_documented() {
    let mut documented = BTreeSet::new();
    keys(
        &yaml::read(&uncommented(), "f").unwrap().value,
        "",
        &mut documented,
    );
    let known = sections().into_iter().flat_map(|(path, keys)| {
        let dot = if path.is_empty() { "" } else { "." };
        keys.into_iter()
            .map(move |key| format!("{dot}{path}.{key}"))
    });
    let missing: Vec<String> = known.filter(|key| !documented.contains(key)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_documented_default_is_the_default() {
    let tree = yaml::read(&uncommented(), "f").unwrap();
    let mut wrong = Vec::new();
    for (path, keys) in sections() {
        // Section `streams[].receiver` is at /streams/0/receiver.
        let parts = path.split('.').filter(|part| !part.is_empty());
        let at: String = parts
            .map(|part| format!("/{}", part.replace("[]", "/0")))
            .collect();
        for key in keys {
            let pointer = format!("{at}/{key}");
            let Some(default) = Node::at(&at).and_then(|section| section.default_of(key)) else {
                continue;
            };
            let written = tree.value.pointer(&pointer);
            let is_empty = default.as_object().is_some_and(|map| map.is_empty())
                || default.as_array().is_some_and(|items| items.is_empty());
            let same_number = || written?.as_f64()?.eq(&default.as_f64()?).then_some(());
            if written != Some(default) && !is_empty && same_number().is_none() {
                wrong.push(format!(
                    "{pointer}: documented {written:?}, default {default}"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
