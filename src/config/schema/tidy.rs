//! The schema as `schemars` generates it → the schema that we mean.

use serde_json::{Map, Value};

/// Makes the generated schema say what we mean: a key without a value is absent (so `null` is no
/// value of its own), a closed list of words is an `enum`, names are those of the domain.
pub(super) fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (name, part) in map.iter_mut() {
                match part {
                    // Names of properties, among which a `default` is no keyword.
                    Value::Object(properties) if name == "properties" => {
                        properties.values_mut().for_each(tidy);
                    }
                    _ => tidy(part),
                }
            }
            drop_null(map);
            words_to_enum(map);
            if map
                .get("default")
                .is_some_and(|d| d.is_null() || is_section(d))
            {
                map.remove("default");
            }
            if let Some(Value::Object(definitions)) = map.get_mut("$defs") {
                *definitions = std::mem::take(definitions)
                    .into_iter()
                    .map(|(name, schema)| (name.trim_start_matches("Raw").to_owned(), schema))
                    .collect();
            }
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replace("#/$defs/Raw", "#/$defs/");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_section(default: &Value) -> bool {
    default.as_object().is_some_and(|map| !map.is_empty())
}

fn drop_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(options)) = map.get_mut("anyOf") {
        options.retain(|option| option.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            map.remove("anyOf");
            map.extend(only);
        }
    }
}

fn words_to_enum(map: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = map.get("oneOf") else {
        return;
    };
    let words: Option<Vec<Value>> = options
        .iter()
        .map(|option| option.get("const").cloned())
        .collect();
    if let Some(words) = words {
        map.remove("oneOf");
        map.insert("type".into(), "string".into());
        map.insert("enum".into(), words.into());
    }
}
