//! Bytes of a record → detections: a JSON object, a JSON array of objects, or newline-delimited
//! JSON. Anything else is refused with a reason from a closed list.
//!
//! A record can come from anyone who may write to the topic: nothing here panics, recurses
//! without a bound or allocates more than a small multiple of the record. Errors name places and
//! kinds, never contents.

mod elements;
mod error;
mod needs;
mod partial;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

pub use elements::Elements;
pub use error::{DecodeError, JSON_TYPES, json_type};
pub use needs::Needs;

/// What a record may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest record value in bytes.
    pub max_record_bytes: usize,
    /// Most detections in one record (array elements, or lines that are not blank).
    pub max_elements: usize,
}

impl Default for DecodeLimits {
    /// 1 MiB, as Kafka's own `message.max.bytes`, and 10,000 detections.
    fn default() -> Self {
        Self {
            max_record_bytes: 1 << 20,
            max_elements: 10_000,
        }
    }
}

/// Deepest nesting of what is built of a detection (the limit of serde_json, which keeps the stack
/// bounded). What nobody needs is checked without a stack.
pub const MAX_DEPTH: usize = 128;

/// What a record holds.
#[derive(Debug)]
pub enum Decoded {
    /// No value at all: the record only deletes its key from a compacted topic.
    Tombstone,
    /// Detections, made one by one.
    Elements(Elements),
}

/// One detection: a JSON object, with the bytes that it was made from.
#[derive(Clone)]
pub struct Detection {
    /// Its place in the record, from 0.
    pub element: u32,
    /// Its bytes, without the white space around them.
    pub raw: Bytes,
    /// The object, as far as it is needed.
    pub json: Value,
}

impl fmt::Debug for Detection {
    /// Shows place and size, never the contents (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Detection({}, {} bytes)", self.element, self.raw.len())
    }
}

/// Looks at a record's value. A broken array is one error for the record, before any of its
/// elements went anywhere; a broken line is an error of that line only. Of each detection only what
/// `needs` names is built; all of it has to be JSON.
///
/// # Errors
/// [`DecodeError`] for the record as a whole.
pub fn decode(
    value: Option<&Bytes>,
    limits: &DecodeLimits,
    needs: &Arc<Needs>,
) -> Result<Decoded, DecodeError> {
    let Some(value) = value else {
        return Ok(Decoded::Tombstone);
    };
    if value.len() > limits.max_record_bytes {
        return Err(DecodeError::TooLarge {
            bytes: value.len(),
            limit: limits.max_record_bytes,
        });
    }
    Elements::of(value, limits.max_elements, needs).map(Decoded::Elements)
}

#[cfg(test)]
mod tests;
