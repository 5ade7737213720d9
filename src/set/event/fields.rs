//! What the mapping and an event tell each other: which fields there are, and their values.

use thiserror::Error;

use crate::set::words::{InitiatingEntity, Level, Reason};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A [`Level`].
    Level,
    /// An [`InitiatingEntity`].
    InitiatingEntity,
    /// A [`Reason`].
    Reason,
    /// An identifier in the format of the subject; the event checks it.
    Identifier,
}

/// A field of an event, as a mapping names it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the SET.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether a mapping has to give it.
    pub required: bool,
}

/// The value of a field. No `Debug`: it would show an identifier (DESIGN P8).
#[derive(Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// For [`FieldKind::Level`].
    Level(Level),
    /// For [`FieldKind::InitiatingEntity`].
    InitiatingEntity(InitiatingEntity),
    /// For [`FieldKind::Reason`].
    Reason(Reason),
    /// For [`FieldKind::Identifier`].
    Identifier(String),
}

/// Why an event cannot be built. It never repeats a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldFault {
    /// A required field has no value.
    #[error("`{0}` has no value")]
    Missing(&'static str),
    /// The subject has the wrong format for this event.
    #[error("the subject of this event is the old e-mail address or phone number")]
    SubjectFormat,
    /// The new identifier is none of the subject's format.
    #[error("`{0}` is not an identifier of the subject's format")]
    NotIdentifier(&'static str),
    /// The new identifier is the old one.
    #[error("`{0}` equals the subject")]
    Unchanged(&'static str),
}

/// The values of one event's fields. Few enough for a linear search.
#[derive(Clone, Default)]
pub struct FieldValues(Vec<(&'static str, FieldValue)>);

impl FieldValues {
    /// Adds a value.
    pub fn push(&mut self, name: &'static str, value: FieldValue) {
        self.0.push((name, value));
    }

    /// Adds a value, unless the field has one.
    pub fn push_default(&mut self, name: &'static str, value: FieldValue) {
        if self.0.iter().all(|(n, _)| *n != name) {
            self.push(name, value);
        }
    }

    /// Bytes of their texts. Words of a closed list count nothing.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let bytes = |(_, value): &(_, FieldValue)| match value {
            FieldValue::Reason(reason) => reason.text_bytes(),
            FieldValue::Identifier(text) => text.len(),
            FieldValue::Level(_) | FieldValue::InitiatingEntity(_) => 0,
        };
        self.0.iter().map(bytes).sum()
    }

    fn take(&mut self, name: &str) -> Option<FieldValue> {
        let at = self.0.iter().position(|(n, _)| *n == name)?;
        Some(self.0.swap_remove(at).1)
    }

    pub(super) fn level(&mut self, name: &'static str) -> Option<Level> {
        match self.take(name)? {
            FieldValue::Level(level) => Some(level),
            _ => None,
        }
    }

    pub(super) fn initiating_entity(&mut self, name: &'static str) -> Option<InitiatingEntity> {
        match self.take(name)? {
            FieldValue::InitiatingEntity(entity) => Some(entity),
            _ => None,
        }
    }

    pub(super) fn reason(&mut self, name: &'static str) -> Option<Reason> {
        match self.take(name)? {
            FieldValue::Reason(reason) => Some(reason),
            _ => None,
        }
    }

    pub(super) fn identifier(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            FieldValue::Identifier(text) => Some(text),
            _ => None,
        }
    }
}
