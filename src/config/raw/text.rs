//! Texts with a grammar: durations, sizes, paths, secrets. The schema knows their shape.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A duration: a number and a unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    extend("pattern" = r"^[0-9]{1,9}(ms|s|m|h|d)$"),
    extend("x-mend" = "write a number and a unit: 500ms, 30s, 5m, 24h, 7d")
)]
pub(crate) struct DurationText(String);

impl DurationText {
    /// The duration; [`None`] when the text is none, which the schema refuses.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let (number, unit) = split(&self.0);
        let number: u64 = number.parse().ok()?;
        Some(match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            "h" => Duration::from_secs(number * 3_600),
            "d" => Duration::from_secs(number * 86_400),
            _ => return None,
        })
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number of bytes with its unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    extend("pattern" = r"^[0-9]{1,9}(B|KiB|MiB|GiB)$"),
    extend("x-mend" = "write a number and a unit: 512KiB, 64MiB, 1GiB")
)]
pub(crate) struct SizeText(String);

impl SizeText {
    /// The bytes; [`None`] when the text is no size, which the schema refuses.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let (number, unit) = split(&self.0);
        let number: u64 = number.parse().ok()?;
        Some(match unit {
            "B" => number,
            "KiB" => number << 10,
            "MiB" => number << 20,
            "GiB" => number << 30,
            _ => return None,
        })
    }
}

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn split(text: &str) -> (&str, &str) {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (&text[..text.len() - unit.len()], unit)
}

/// A path; a relative one starts at the working directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minLength" = 1, "x-mend" = "write the path of a file"))]
pub(crate) struct PathText(pub(crate) String);

/// A secret, or `file:/path` for the file that holds it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    extend("minLength" = 1),
    extend("x-mend" = "write ${VARIABLE} or file:/path (quote a number)")
)]
pub(crate) struct RawSecret(pub(crate) String);

impl fmt::Debug for RawSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawSecret(hidden)")
    }
}

/// The value of a librdkafka property. Any may be a secret.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum RawProperty {
    Flag(bool),
    Number(i64),
    Text(String),
}

impl JsonSchema for RawProperty {
    fn schema_name() -> Cow<'static, str> {
        "RawProperty".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer", "boolean"],
            "description": "A librdkafka property, or `file:/path` for the file that holds it.",
            "x-mend": "write a text, a whole number, true or false",
        })
    }
}

impl RawProperty {
    /// The text that librdkafka wants.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Flag(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

impl fmt::Debug for RawProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawProperty(hidden)")
    }
}

/// For the hash of the configuration: all names, and the values of those that hold no secret.
pub(super) fn public_properties<S: Serializer>(
    properties: &BTreeMap<String, RawProperty>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    const SECRET: [&str; 7] = [
        "password", "secret", "key", "pem", "jaas", "token", "config",
    ];
    serializer.collect_map(properties.iter().map(|(name, value)| {
        let hidden = SECRET.iter().any(|part| name.contains(part));
        (name, if hidden { String::new() } else { value.text() })
    }))
}

macro_rules! from_text {
    ($($name:ident),*) => {
        $(impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        })*
    };
}
from_text!(DurationText, SizeText, PathText);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        for (text, seconds) in [
            ("500ms", 0.5),
            ("30s", 30.0),
            ("5m", 300.0),
            ("2h", 7_200.0),
            ("7d", 604_800.0),
            ("999999999d", 86_399_999_913_600.0),
        ] {
            let duration = DurationText::from(text).duration().unwrap();
            assert_eq!(duration.as_secs_f64(), seconds, "{text}");
        }
        assert_eq!(DurationText::from("5").duration(), None);
        assert_eq!(SizeText::from("7B").bytes(), Some(7));
        assert_eq!(SizeText::from("64MiB").bytes(), Some(64 << 20));
        assert_eq!(
            SizeText::from("999999999GiB").bytes(),
            Some(999_999_999 << 30)
        );
        assert_eq!(SizeText::from("64MB").bytes(), None);
    }
}
