//! Why a detection cannot be mapped: a reason from a closed list, the place in the mapping and
//! the JSON type that was found there. Never the value (DESIGN P8).

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use crate::detection::json_type;
use crate::set::{FieldFault, TextFault};

/// The closed list of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapReason {
    /// No rule matched, and the mapping says that this is wrong.
    NoRule,
    /// Nobody to report.
    NoSubject,
    /// A subject that is none of its format.
    BadSubject,
    /// An e-mail address that is none.
    BadEmail,
    /// A level outside the list, the table or the bands.
    BadLevel,
    /// A time that cannot be read.
    BadTime,
    /// A time in the far future or past.
    TimeOutOfRange,
    /// Any other value that does not fit its field.
    BadValue,
    /// A required value is missing.
    MissingValue,
    /// The `when` expression failed on this detection.
    Expression,
    /// More SETs from one detection than [`super::MAX_SETS`].
    TooManySets,
}

impl MapReason {
    /// Every reason, for metrics that start at 0.
    pub const ALL: [MapReason; 11] = [
        MapReason::NoRule,
        MapReason::NoSubject,
        MapReason::BadSubject,
        MapReason::BadEmail,
        MapReason::BadLevel,
        MapReason::BadTime,
        MapReason::TimeOutOfRange,
        MapReason::BadValue,
        MapReason::MissingValue,
        MapReason::Expression,
        MapReason::TooManySets,
    ];

    /// The reason as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MapReason::NoRule => "no_rule",
            MapReason::NoSubject => "no_subject",
            MapReason::BadSubject => "bad_subject",
            MapReason::BadEmail => "bad_email",
            MapReason::BadLevel => "bad_level",
            MapReason::BadTime => "bad_time",
            MapReason::TimeOutOfRange => "time_out_of_range",
            MapReason::BadValue => "bad_value",
            MapReason::MissingValue => "missing_value",
            MapReason::Expression => "expression",
            MapReason::TooManySets => "too_many_sets",
        }
    }
}

/// A detection, or one SET of it, that cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rule `{rule}`, {field}: {text}")]
pub struct MapError {
    reason: MapReason,
    rule: Arc<str>,
    field: &'static str,
    text: String,
}

impl MapError {
    pub(super) fn new(rule: &Arc<str>, field: &'static str, fault: Fault) -> Self {
        Self {
            reason: fault.reason,
            rule: rule.clone(),
            field,
            text: fault.text,
        }
    }

    pub(super) fn no_rule(rules: &Arc<str>) -> Self {
        let fault = Fault::new(MapReason::NoRule, "no rule matches the detection");
        Self::new(rules, "when", fault)
    }

    /// The reason as a label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason.as_str()
    }

    /// The rule, the field, the path and the type that was found: no values.
    #[must_use]
    pub fn detail(&self) -> String {
        self.to_string()
    }
}

/// What is wrong with a value, before rule and field are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: MapReason,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(reason: MapReason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }

    pub(super) fn bad_value(text: impl Into<String>) -> Self {
        Self::new(MapReason::BadValue, text)
    }

    /// `found` where something else was wanted.
    pub(super) fn wrong_type(origin: &str, found: &Value, wanted: &str) -> Self {
        Self::bad_value(format!(
            "{origin} is {}, wanted is {wanted}",
            json_type(found)
        ))
    }

    /// The same fault in a field whose faults have a reason of their own.
    pub(super) fn in_field(self, reason: MapReason) -> Self {
        let reason = if self.reason == MapReason::BadValue {
            reason
        } else {
            self.reason
        };
        Self { reason, ..self }
    }

    pub(super) fn of_text(fault: TextFault, origin: &str) -> Self {
        let reason = match fault {
            TextFault::NotEmail => MapReason::BadEmail,
            _ => MapReason::BadSubject,
        };
        Self::new(reason, format!("{origin} {fault}"))
    }

    pub(super) fn of_field(fault: FieldFault, subject_is_email: bool) -> Self {
        let reason = match fault {
            FieldFault::Missing(_) => MapReason::MissingValue,
            FieldFault::SubjectFormat => MapReason::BadSubject,
            FieldFault::NotIdentifier(_) if subject_is_email => MapReason::BadEmail,
            FieldFault::NotIdentifier(_) | FieldFault::Unchanged(_) => MapReason::BadValue,
        };
        Self::new(reason, fault.to_string())
    }
}
