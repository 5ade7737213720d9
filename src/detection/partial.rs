//! Reads JSON and builds the part of it that is needed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::Needs;

/// Reads one JSON value from its first to its last byte.
///
/// # Errors
/// When `text` is no JSON, or nested deeper than serde_json's limit where it is needed.
pub(super) fn read(text: &str, needs: &Needs) -> serde_json::Result<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Part(needs).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

static WHOLE: Needs = Needs::everything();

/// Builds a value, as far as it is needed. Never by serde_json's own `Value`: with its feature `raw_value` that takes a
/// member of a certain name for a text that holds JSON, and reads that text with a depth of its own.
struct Part<'n>(&'n Needs);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        if self.0.is_whole() {
            while let Some(name) = map.next_key::<String>()? {
                members.insert(name, map.next_value_seed(Part(&WHOLE))?);
            }
            return Ok(Value::Object(members));
        }
        while let Some(needed) = map.next_key_seed(Name(self.0))? {
            match needed {
                Some((name, needs)) => {
                    members.insert(name.to_owned(), map.next_value_seed(Part(needs))?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Part(&WHOLE))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// The name of a member: looked up, never copied.
struct Name<'n>(&'n Needs);

impl<'de, 'n> DeserializeSeed<'de> for Name<'n> {
    type Value = Option<(&'n str, &'n Needs)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<(&'n str, &'n Needs)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c \\\"]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec(("[a-d]", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn needs(of: &[&[&str]]) -> Needs {
        let mut needs = Needs::default();
        of.iter().for_each(|names| needs.add(names.iter().copied()));
        needs
    }

    /// What `read` promises, by the whole value.
    fn pruned(value: &Value, needs: &Needs) -> Value {
        match value {
            Value::Object(members) if !needs.is_whole() => members
                .iter()
                .filter_map(|(name, value)| {
                    let (_, needs) = needs.member(name)?;
                    Some((name.clone(), pruned(value, needs)))
                })
                .collect(),
            other => other.clone(),
        }
    }

    #[test]
    fn only_what_is_needed_is_built() {
        let text = r#"{"a": {"b": 1, "c": [1.5, {"d": null}]}, "a2": "x", "a": {"b": 2, "b": -3, "z": true}, "e": ["y"]}"#;
        assert_eq!(
            read(text, &needs(&[&["a", "b"], &["e", "f"]])).expect("JSON"),
            json!({"a": {"b": -3}, "e": ["y"]}),
            "the last of two members with one name counts, and what is no object is kept"
        );
        assert_eq!(read(text, &Needs::default()).expect("JSON"), json!({}));
        let whole = serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(read(text, &Needs::everything()).expect("JSON"), whole);
    }

    #[test]
    fn what_is_not_needed_has_to_be_json_all_the_same() {
        for bad in [
            r#"{"a": 1, "b": tru}"#,
            r#"{"a": 1, "b": [1, 2}"#,
            r#"{"a": 1, "b": "\x"}"#,
            r#"{"a": 1, "b": 01}"#,
            r#"{"a": 1, "b": 1} {}"#,
            r#"{"a": 1, "b": {"c" 1}}"#,
            "{\"a\": 1, \"b\": \"\n\"}",
        ] {
            assert!(read(bad, &needs(&[&["a"]])).is_err(), "{bad}");
        }
    }

    /// serde_json's own `Value` takes a member of this name for a text that holds JSON, which begins at depth 0 again.
    #[test]
    fn no_name_of_a_member_is_magic() {
        const NAME: &str = "$serde_json::private::RawValue";
        let text = json!({"a": {NAME: "[1]"}}).to_string();
        for needs in [
            Needs::everything(),
            needs(&[&["a"]]),
            needs(&[&["a", NAME]]),
        ] {
            let read = read(&text, &needs).expect("JSON");
            assert_eq!(read["a"][NAME], "[1]");
        }
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(120), "]".repeat(120));
        let nested = (0..15).fold(deep("1"), |inner, _| {
            deep(&format!("{{\"{NAME}\":{}}}", Value::from(inner)))
        });
        let read = read(&format!("{{\"a\":{nested}}}"), &Needs::everything());
        assert!(read.is_ok(), "a text has no depth");
    }

    proptest! {
        #[test]
        fn a_part_is_the_whole_pruned(
            json in any_json(),
            of in prop::collection::vec(prop::collection::vec("[a-c]", 0..4), 0..4),
        ) {
            let mut needs = Needs::default();
            of.iter().for_each(|names| needs.add(names.iter().map(String::as_str)));
            let part = read(&json.to_string(), &needs).expect("JSON");
            prop_assert_eq!(part, pruned(&json, &needs));
        }
    }
}
