//! The catalogue of events, one file an event (CONTRACTS §1.2 and §3.8).
//!
//! A new event is a file here (its struct, its fields, its way to be written) and a line in each
//! `match` below; the mapping learns its fields from [`EventType::fields`].

mod fields;
mod identifier_changed;
mod user_risk_change;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};

pub use fields::{Field, FieldFault, FieldKind, FieldValue, FieldValues};
pub use identifier_changed::IdentifierChanged;
pub use user_risk_change::UserRiskChange;

use super::subject::{ComplexMember, Subject};
use super::timestamp::Timestamp;
use super::words::Level;

/// The type of an event.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventType {
    /// Okta `user-risk-change`.
    UserRiskChange,
    /// RISC `identifier-changed`.
    IdentifierChanged,
}

impl EventType {
    /// Every type.
    pub const ALL: [EventType; 2] = [EventType::UserRiskChange, EventType::IdentifierChanged];

    /// The URI that names the event in `events`.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            EventType::UserRiskChange => user_risk_change::URI,
            EventType::IdentifierChanged => identifier_changed::URI,
        }
    }

    /// The short name: metric label, and `event:` in a mapping.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::UserRiskChange => "user-risk-change",
            EventType::IdentifierChanged => "identifier-changed",
        }
    }

    /// The type with that short name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|event_type| event_type.as_str() == name)
    }

    /// The fields that a mapping gives, besides the time and the subject.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            EventType::UserRiskChange => user_risk_change::FIELDS,
            EventType::IdentifierChanged => identifier_changed::FIELDS,
        }
    }

    /// Whether the subject has to be an e-mail address or a phone number
    /// (RISC identifier-changed: the subject is the old value).
    #[must_use]
    pub const fn demands_identifier_subject(self) -> bool {
        matches!(self, EventType::IdentifierChanged)
    }

    /// The member that a simple subject becomes where the receiver wants a complex one.
    #[must_use]
    pub(super) const fn principal(self) -> ComplexMember {
        match self {
            EventType::UserRiskChange | EventType::IdentifierChanged => ComplexMember::User,
        }
    }
}

/// An event with its members. Everything in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityEvent {
    /// The risk of a user changed.
    UserRiskChange(UserRiskChange),
    /// A user's e-mail address or phone number changed.
    IdentifierChanged(IdentifierChanged),
}

impl SecurityEvent {
    /// Builds the event of a type from the values of its fields.
    ///
    /// # Errors
    /// [`FieldFault`] when a required field has no value, or a rule between fields is broken.
    pub fn build(
        event_type: EventType,
        subject: &Subject,
        event_timestamp: Timestamp,
        values: FieldValues,
    ) -> Result<Self, FieldFault> {
        match event_type {
            EventType::UserRiskChange => {
                UserRiskChange::build(event_timestamp, values).map(Self::UserRiskChange)
            }
            EventType::IdentifierChanged => {
                IdentifierChanged::build(subject, event_timestamp, values)
                    .map(Self::IdentifierChanged)
            }
        }
    }

    /// Its type.
    #[must_use]
    pub const fn event_type(&self) -> EventType {
        match self {
            SecurityEvent::UserRiskChange(_) => EventType::UserRiskChange,
            SecurityEvent::IdentifierChanged(_) => EventType::IdentifierChanged,
        }
    }

    /// When it happened: never the clock of setbridge.
    #[must_use]
    pub const fn event_timestamp(&self) -> Timestamp {
        match self {
            SecurityEvent::UserRiskChange(event) => event.event_timestamp,
            SecurityEvent::IdentifierChanged(event) => event.event_timestamp,
        }
    }

    /// The level that the event sets, where it sets one.
    #[must_use]
    pub const fn level(&self) -> Option<Level> {
        match self {
            SecurityEvent::UserRiskChange(event) => Some(event.current_level),
            SecurityEvent::IdentifierChanged(_) => None,
        }
    }

    /// Whether the event has a `previous_level` that the mapping did not give: then the state is
    /// asked for the last accepted one.
    #[must_use]
    pub const fn wants_previous_level(&self) -> bool {
        match self {
            SecurityEvent::UserRiskChange(event) => event.previous_level.is_none(),
            SecurityEvent::IdentifierChanged(_) => false,
        }
    }

    /// Puts the last accepted level in, unless the mapping gave one or the event has none.
    #[must_use]
    pub fn with_previous_level(mut self, previous: Option<Level>) -> Self {
        if let SecurityEvent::UserRiskChange(event) = &mut self {
            event.previous_level = event.previous_level.or(previous);
        }
        self
    }

    /// The subject that takes over the levels of this one, when the event renames it.
    #[must_use]
    pub fn new_subject(&self) -> Option<Subject> {
        match self {
            SecurityEvent::UserRiskChange(_) => None,
            SecurityEvent::IdentifierChanged(event) => event.new_value.clone().map(Subject::Simple),
        }
    }

    /// Writes its members, but for the subject, in their fixed order.
    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            SecurityEvent::UserRiskChange(event) => event.write(map),
            SecurityEvent::IdentifierChanged(event) => event.write(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_uris_are_those_of_the_contracts() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::parse(event_type.as_str()), Some(event_type));
            assert!(
                event_type
                    .uri()
                    .ends_with(&format!("/event-type/{}", event_type.as_str()))
            );
            let word = serde_json::to_string(&event_type).expect("json");
            assert_eq!(word, format!("\"{}\"", event_type.as_str()));
        }
        assert_eq!(EventType::parse("credential-change"), None);
    }
}
