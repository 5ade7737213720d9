//! Why bytes are no detection: a closed list, and never the bytes themselves.

use serde_json::Value;
use serde_json::error::Category;
use thiserror::Error;

use super::MAX_DEPTH;

/// Why a record, or one element of it, is no detection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The value has no bytes but white space.
    #[error("the value is empty")]
    Empty,
    /// The value is larger than the limit.
    #[error("the value has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the value.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 from byte {at} on")]
    InvalidUtf8 {
        /// First offending byte, from the start of the element.
        at: usize,
    },
    /// Not JSON.
    #[error("not JSON: {what} at line {line}, column {column}")]
    InvalidJson {
        /// What is wrong.
        what: &'static str,
        /// Line in the element, from 1.
        line: usize,
        /// Column in that line, from 1.
        column: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`], in a part that is needed.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// JSON, but not an object.
    #[error("a detection is a JSON object, this is {found}")]
    NotAnObject {
        /// The JSON type that was found.
        found: &'static str,
    },
    /// More detections in one record than the limit.
    #[error("more than {limit} detections in one record")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
}

impl DecodeError {
    /// Every reason, for metrics that start at 0.
    pub const REASONS: [&'static str; 7] = [
        "empty_value",
        "too_large",
        "invalid_utf8",
        "invalid_json",
        "too_deep",
        "not_an_object",
        "too_many_elements",
    ];

    /// The reason as a label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            DecodeError::Empty => "empty_value",
            DecodeError::TooLarge { .. } => "too_large",
            DecodeError::InvalidUtf8 { .. } => "invalid_utf8",
            DecodeError::InvalidJson { .. } => "invalid_json",
            DecodeError::TooDeep => "too_deep",
            DecodeError::NotAnObject { .. } => "not_an_object",
            DecodeError::TooManyElements { .. } => "too_many_elements",
        }
    }

    /// Says why serde_json refused a text. Its own message is not kept: ours is from a closed
    /// list, so it cannot repeat what the record says.
    pub(super) fn of(error: &serde_json::Error) -> Self {
        let message = error.to_string();
        if message.starts_with("recursion limit exceeded") {
            return DecodeError::TooDeep;
        }
        let what = match error.classify() {
            Category::Eof => "it ends too early",
            _ if message.starts_with("trailing characters") => "something follows the value",
            _ if message.starts_with("number out of range") => "a number is out of range",
            _ => "a character does not belong there",
        };
        DecodeError::InvalidJson {
            what,
            line: error.line(),
            column: error.column(),
        }
    }
}

/// All answers of [`json_type`].
pub const JSON_TYPES: [&str; 6] = [
    "null",
    "a boolean",
    "a number",
    "a string",
    "an array",
    "an object",
];

/// The JSON type of a value, for messages that must not show it.
#[must_use]
pub const fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => JSON_TYPES[0],
        Value::Bool(_) => JSON_TYPES[1],
        Value::Number(_) => JSON_TYPES[2],
        Value::String(_) => JSON_TYPES[3],
        Value::Array(_) => JSON_TYPES[4],
        Value::Object(_) => JSON_TYPES[5],
    }
}
