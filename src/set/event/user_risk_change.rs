//! Okta `user-risk-change` (CONTRACTS §1.2, schema OktaUserRiskChangeEvent).

use serde::ser::SerializeMap;

use super::fields::{Field, FieldFault, FieldKind, FieldValues};
use crate::set::timestamp::Timestamp;
use crate::set::words::{InitiatingEntity, Level, Reason};

pub(super) const URI: &str = "https://schemas.okta.com/secevent/okta/event-type/user-risk-change";

pub(super) const FIELDS: &[Field] = &[
    Field {
        name: "current_level",
        kind: FieldKind::Level,
        required: true,
    },
    Field {
        name: "previous_level",
        kind: FieldKind::Level,
        required: false,
    },
    Field {
        name: "initiating_entity",
        kind: FieldKind::InitiatingEntity,
        required: false,
    },
    // Okta wants one of the two reasons; the mapping writes reason_admin when nobody gave one.
    Field {
        name: "reason_admin",
        kind: FieldKind::Reason,
        required: false,
    },
    Field {
        name: "reason_user",
        kind: FieldKind::Reason,
        required: false,
    },
];

/// The risk level of a user changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRiskChange {
    /// When the level changed.
    pub event_timestamp: Timestamp,
    /// Who caused it.
    pub initiating_entity: Option<InitiatingEntity>,
    /// The level now.
    pub current_level: Level,
    /// The level before; unknown is written as `none`, because Okta requires the member.
    pub previous_level: Option<Level>,
    /// Why, for administrators. Not optional: Okta wants a reason (CONTRACTS §1.2, either-or).
    pub reason_admin: Reason,
    /// Why, for the user.
    pub reason_user: Option<Reason>,
}

impl UserRiskChange {
    pub(super) fn build(
        event_timestamp: Timestamp,
        mut values: FieldValues,
    ) -> Result<Self, FieldFault> {
        Ok(Self {
            event_timestamp,
            initiating_entity: values.initiating_entity("initiating_entity"),
            current_level: values
                .level("current_level")
                .ok_or(FieldFault::Missing("current_level"))?,
            previous_level: values.level("previous_level"),
            reason_admin: values
                .reason("reason_admin")
                .ok_or(FieldFault::Missing("reason_admin"))?,
            reason_user: values.reason("reason_user"),
        })
    }

    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("event_timestamp", &self.event_timestamp)?;
        if let Some(entity) = self.initiating_entity {
            map.serialize_entry("initiating_entity", &entity)?;
        }
        map.serialize_entry("current_level", &self.current_level)?;
        map.serialize_entry(
            "previous_level",
            &self.previous_level.unwrap_or(Level::None),
        )?;
        map.serialize_entry("reason_admin", &self.reason_admin)?;
        if let Some(reason) = &self.reason_user {
            map.serialize_entry("reason_user", reason)?;
        }
        Ok(())
    }
}
