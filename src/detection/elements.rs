//! The detections of one record, made one by one, as room allows.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{DecodeError, json_type};
use super::{Detection, Needs, partial};

/// UTF-8's byte order mark: RFC 8259 §8.1 lets a reader skip it.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The detections of one record. Owns the bytes; elements are parsed when they are asked for.
pub struct Elements {
    value: Bytes,
    needs: Arc<Needs>,
    next: u32,
    /// Where the element lies that was given out last.
    last: Range<usize>,
    form: Form,
}

enum Form {
    /// One object, parsed already; `None` once it was given out.
    One(Option<(Range<usize>, Value)>),
    /// An array, checked as a whole: where its elements are.
    Array(std::vec::IntoIter<Range<usize>>),
    /// Newline-delimited JSON: where the next line begins.
    Lines(usize),
}

impl fmt::Debug for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Elements(next {}, {} bytes)",
            self.next,
            self.value.len()
        )
    }
}

impl Elements {
    pub(super) fn of(
        value: &Bytes,
        max_elements: usize,
        needs: &Arc<Needs>,
    ) -> Result<Self, DecodeError> {
        let start = if value.starts_with(BOM) { BOM.len() } else { 0 };
        let whole = trimmed(value, start..value.len());
        let bytes = &value[whole.clone()];
        let form = match bytes.first() {
            None => return Err(DecodeError::Empty),
            Some(b'[') => Form::Array(ranges_of_array(value, whole, max_elements)?.into_iter()),
            Some(_) => match object(bytes, needs) {
                Ok(object) => Form::One(Some((whole, object))),
                Err(not @ DecodeError::NotAnObject { .. }) => return Err(not),
                Err(_) if is_lines(bytes) => {
                    Form::Lines(count_lines(bytes, max_elements, whole.start)?)
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Self {
            value: value.clone(),
            needs: Arc::clone(needs),
            next: 0,
            last: 0..0,
            form,
        })
    }

    /// Whether the record is a batch (an array or lines) rather than one object.
    #[must_use]
    pub const fn is_many(&self) -> bool {
        !matches!(self.form, Form::One(_))
    }

    /// The bytes of the element that was given out last, also when it is no detection.
    #[must_use]
    pub fn last_bytes(&self) -> &[u8] {
        &self.value[self.last.clone()]
    }

    /// The bytes of the record, for a dead letter.
    #[must_use]
    pub const fn value(&self) -> &Bytes {
        &self.value
    }
}

impl Iterator for Elements {
    /// Place in the record from 0, and what is there.
    type Item = (u32, Result<Detection, DecodeError>);

    /// The next detection with its place in the record, or why this element is none.
    /// An empty array has no elements at all.
    fn next(&mut self) -> Option<Self::Item> {
        let (range, json) = match &mut self.form {
            Form::One(one) => one.take().map(|(range, json)| (range, Ok(json)))?,
            Form::Array(ranges) => {
                let range = ranges.next()?;
                let json = object(&self.value[range.clone()], &self.needs);
                (range, json)
            }
            Form::Lines(at) => {
                let range = next_line(&self.value, at)?;
                let json = object(&self.value[range.clone()], &self.needs);
                (range, json)
            }
        };
        let element = self.next;
        self.next += 1;
        self.last = range.clone();
        let raw = self.value.slice(range);
        Some((element, json.map(|json| Detection { element, raw, json })))
    }
}

/// One element: an object, of which only the needed part is built, or a reason.
fn object(bytes: &[u8], needs: &Needs) -> Result<Value, DecodeError> {
    match partial::read(utf8(bytes)?, needs) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(other) => Err(DecodeError::NotAnObject {
            found: json_type(&other),
        }),
        Err(error) => Err(DecodeError::of(&error)),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|error| DecodeError::InvalidUtf8 {
        at: error.valid_up_to(),
    })
}

/// The range without JSON white space at its ends.
fn trimmed(value: &[u8], range: Range<usize>) -> Range<usize> {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let bytes = &value[range.clone()];
    let Some(first) = bytes.iter().position(|b| !is_space(b)) else {
        return range.end..range.end;
    };
    let last = bytes.iter().rposition(|b| !is_space(b)).unwrap_or(first);
    range.start + first..range.start + last + 1
}

/// The next line from `at` on that is not blank.
fn next_line(value: &[u8], at: &mut usize) -> Option<Range<usize>> {
    while *at < value.len() {
        let end = value[*at..]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(value.len(), |n| *at + n);
        let line = trimmed(value, *at..end);
        *at = end + 1;
        if !line.is_empty() {
            return Some(line);
        }
    }
    None
}

/// Whether bytes that are no single JSON value are lines of JSON: more than one line, and one of
/// the first two is an object by itself. (One object spread over lines that has a mistake is not:
/// its first lines are fragments.)
fn is_lines(bytes: &[u8]) -> bool {
    let mut at = 0;
    let first = next_line(bytes, &mut at);
    let second = next_line(bytes, &mut at);
    let (Some(first), Some(second)) = (first, second) else {
        return false;
    };
    [first, second]
        .into_iter()
        .any(|line| object(&bytes[line], &Needs::default()).is_ok())
}

/// Counts the lines against the limit; gives back where they start.
fn count_lines(bytes: &[u8], max_elements: usize, start: usize) -> Result<usize, DecodeError> {
    let mut at = 0;
    let mut lines = 0;
    while next_line(bytes, &mut at).is_some() {
        lines += 1;
        if lines > max_elements {
            return Err(DecodeError::TooManyElements {
                limit: max_elements,
            });
        }
    }
    Ok(start)
}

/// Where the elements of an array are. The whole array is checked; nothing is built.
fn ranges_of_array(
    value: &Bytes,
    whole: Range<usize>,
    max_elements: usize,
) -> Result<Vec<Range<usize>>, DecodeError> {
    let bytes = &value[whole.clone()];
    let text = utf8(bytes)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let elements = Capped {
        limit: max_elements,
    }
    .deserialize(&mut json)
    .and_then(|elements| json.end().map(|()| elements))
    .map_err(|error| DecodeError::of(&error))?;
    if elements.len() > max_elements {
        return Err(DecodeError::TooManyElements {
            limit: max_elements,
        });
    }
    Ok(elements
        .iter()
        .map(|element| {
            // RawValue borrows from `text`, so the distance is its place in the record.
            let start = whole.start + (element.get().as_ptr() as usize - text.as_ptr() as usize);
            start..start + element.get().len()
        })
        .collect())
}

/// Reads an array to its end, but keeps one element more than the limit at most.
struct Capped {
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Capped {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Capped {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() <= self.limit {
            match seq.next_element::<&'de RawValue>()? {
                Some(element) => elements.push(element),
                None => return Ok(elements),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(elements)
    }
}
