//! RISC `identifier-changed` (CONTRACTS §1.2, §1.7, schema RiscIdentifierChangedEvent).
//!
//! The subject is the *old* e-mail address or phone number; `new-value` (with a hyphen) is the
//! new one, in the same format. There are no reasons.

use serde::ser::SerializeMap;

use super::fields::{Field, FieldFault, FieldKind, FieldValues};
use crate::set::subject::{SimpleSubject, Subject};
use crate::set::text::{EmailAddress, PhoneNumber};
use crate::set::timestamp::Timestamp;

pub(super) const URI: &str =
    "https://schemas.openid.net/secevent/risc/event-type/identifier-changed";

const NEW_VALUE: &str = "new-value";

pub(super) const FIELDS: &[Field] = &[Field {
    name: NEW_VALUE,
    kind: FieldKind::Identifier,
    required: false,
}];

/// A user's e-mail address or phone number changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifierChanged {
    /// When it changed. RISC has no such member, Okta requires it.
    pub event_timestamp: Timestamp,
    /// The new identifier, in the format of the subject; private so that it stays so.
    pub(super) new_value: Option<SimpleSubject>,
}

impl IdentifierChanged {
    pub(super) fn build(
        subject: &Subject,
        event_timestamp: Timestamp,
        mut values: FieldValues,
    ) -> Result<Self, FieldFault> {
        let fault = FieldFault::NotIdentifier(NEW_VALUE);
        let new = values.identifier(NEW_VALUE);
        let new_value = match subject {
            Subject::Simple(SimpleSubject::Email(_)) => new
                .map(|text| EmailAddress::parse(&text).map(SimpleSubject::Email))
                .transpose(),
            Subject::Simple(SimpleSubject::PhoneNumber(_)) => new
                .map(|text| PhoneNumber::parse(&text).map(SimpleSubject::PhoneNumber))
                .transpose(),
            _ => return Err(FieldFault::SubjectFormat),
        }
        .map_err(|_| fault)?;
        match (subject, &new_value) {
            (Subject::Simple(old), Some(new)) if old == new => {
                Err(FieldFault::Unchanged(NEW_VALUE))
            }
            _ => Ok(Self {
                event_timestamp,
                new_value,
            }),
        }
    }

    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match &self.new_value {
            Some(SimpleSubject::Email(email)) => map.serialize_entry(NEW_VALUE, email)?,
            Some(SimpleSubject::PhoneNumber(number)) => map.serialize_entry(NEW_VALUE, number)?,
            // `build` makes no other format.
            _ => {}
        }
        map.serialize_entry("event_timestamp", &self.event_timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::event::FieldValue;
    use crate::set::text::Text;

    fn build(subject: SimpleSubject, new: &str) -> Result<IdentifierChanged, FieldFault> {
        let mut values = FieldValues::default();
        values.push(NEW_VALUE, FieldValue::Identifier(new.to_owned()));
        IdentifierChanged::build(&subject.into(), Timestamp::from_secs(1), values)
    }

    #[test]
    fn the_new_value_has_the_format_of_the_subject() {
        let email =
            || SimpleSubject::Email(EmailAddress::parse("old@example.com").expect("e-mail"));
        let phone =
            || SimpleSubject::PhoneNumber(PhoneNumber::parse("+12065550100").expect("phone"));
        assert!(build(email(), "new@example.com").is_ok());
        assert!(
            build(email(), "OLD@example.com").is_ok(),
            "a new spelling is a change"
        );
        assert!(build(phone(), "+12065550101").is_ok());
        assert_eq!(
            build(email(), "+12065550101"),
            Err(FieldFault::NotIdentifier(NEW_VALUE))
        );
        assert_eq!(
            build(phone(), "new@example.com"),
            Err(FieldFault::NotIdentifier(NEW_VALUE))
        );
        assert_eq!(
            build(email(), " old@example.com"),
            Err(FieldFault::Unchanged(NEW_VALUE))
        );
        let opaque = SimpleSubject::Opaque(Text::parse("x").expect("text"));
        assert_eq!(
            build(opaque, "new@example.com"),
            Err(FieldFault::SubjectFormat)
        );
    }
}
