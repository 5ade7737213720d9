//! The six events that Okta takes, as its published schema has them (CONTRACTS §1.2). Table-driven.

use serde_json::{Map, Value};

use super::token::SetError;

const OKTA: &str = "https://schemas.okta.com/secevent/okta/event-type/";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

const LEVELS: &[&str] = &["low", "medium", "high", "secure", "none"];
const STATUSES: &[&str] = &["compliant", "not-compliant"];
const ENTITIES: &[&str] = &["admin", "user", "policy", "system"];

/// What a member must be.
enum Kind {
    OneOf(&'static [&'static str]),
    Text,
}

/// One member: its name, the camelCase name that Okta's texts use, and what it must be.
struct Member {
    name: &'static str,
    internal: &'static str,
    kind: Kind,
}

/// One event type.
struct Event {
    base: &'static str,
    name: &'static str,
    internal: &'static str,
    required: &'static [Member],
    /// Either `reason_admin` or `reason_user` must be there.
    wants_reason: bool,
    optional: &'static [Member],
}

const fn member(name: &'static str, internal: &'static str, kind: Kind) -> Member {
    Member {
        name,
        internal,
        kind,
    }
}

const RISK: &[Member] = &[
    member("current_level", "currentRiskLevel", Kind::OneOf(LEVELS)),
    member("previous_level", "previousRiskLevel", Kind::OneOf(LEVELS)),
];

const SESSION: &[Member] = &[
    member("current_ip", "currentIp", Kind::Text),
    member("current_user_agent", "currentUserAgent", Kind::Text),
    member("last_known_ip", "lastKnownIp", Kind::Text),
    member("last_known_user_agent", "lastKnownUserAgent", Kind::Text),
];

const EVENTS: &[Event] = &[
    Event {
        base: OKTA,
        name: "user-risk-change",
        internal: "mediationUserRiskChangeEvent",
        required: RISK,
        wants_reason: true,
        optional: &[],
    },
    Event {
        base: OKTA,
        name: "device-risk-change",
        internal: "mediationDeviceRiskChangeEvent",
        required: RISK,
        wants_reason: true,
        optional: &[],
    },
    Event {
        base: OKTA,
        name: "ip-change",
        internal: "mediationIpChangeEvent",
        required: &[
            member("current_ip_address", "currentIpAddress", Kind::Text),
            member("previous_ip_address", "previousIpAddress", Kind::Text),
        ],
        wants_reason: true,
        optional: &[],
    },
    Event {
        base: CAEP,
        name: "device-compliance-change",
        internal: "mediationDeviceComplianceChangeEvent",
        required: &[
            member("current_status", "currentStatus", Kind::OneOf(STATUSES)),
            member("previous_status", "previousStatus", Kind::OneOf(STATUSES)),
        ],
        wants_reason: true,
        optional: &[],
    },
    Event {
        base: CAEP,
        name: "session-revoked",
        internal: "caepSessionRevokedEvent",
        required: &[],
        wants_reason: true,
        optional: SESSION,
    },
    Event {
        base: RISC,
        name: "identifier-changed",
        internal: "riscIdentifierChangedEvent",
        required: &[],
        wants_reason: false,
        optional: &[member("new-value", "newValue", Kind::Text)],
    },
];

/// Okta's text for a missing or empty member (CONTRACTS §1.5).
pub(super) fn blank(path: &str) -> SetError {
    failed(path, "The field cannot be left blank")
}

fn failed(path: &str, what: &str) -> SetError {
    SetError::request(format!(
        "Failed claim validation in security event token. '{path}': {what}"
    ))
}

/// Exactly one event, of a known type, with the members that its schema wants.
pub(super) fn verify_events(claims: &Map<String, Value>) -> Result<(), SetError> {
    let events = claims
        .get("events")
        .and_then(Value::as_object)
        .ok_or_else(|| blank("events"))?;
    let mut all = events.iter();
    let (Some((uri, event)), None) = (all.next(), all.next()) else {
        return Err(failed("events", "expected size is 1"));
    };
    let known = EVENTS
        .iter()
        .find(|e| uri.strip_prefix(e.base) == Some(e.name));
    let known = known.ok_or_else(|| failed("events", "the event type is not supported"))?;
    let event = event
        .as_object()
        .ok_or_else(|| failed("events", "the event must be an object"))?;
    known.verify(event)
}

impl Event {
    fn verify(&self, event: &Map<String, Value>) -> Result<(), SetError> {
        let path = |member: &str| format!("events.{}.{member}", self.internal);
        for member in self.required {
            let value = event.get(member.name).filter(|value| !value.is_null());
            let value = value.ok_or_else(|| blank(&path(member.internal)))?;
            member.verify(value, &path(member.internal))?;
        }
        for member in self.optional {
            if let Some(value) = event.get(member.name) {
                member.verify(value, &path(member.internal))?;
            }
        }
        let timestamp = event
            .get("event_timestamp")
            .ok_or_else(|| blank(&path("eventTimestamp")))?;
        match timestamp.as_i64() {
            // 10 digits from 2001 to 2286; 13 digits are milliseconds (CONTRACTS §1.3).
            Some(0..=9_999_999_999) => {}
            Some(_) => return Err(failed(&path("eventTimestamp"), "must be in seconds")),
            None => return Err(failed(&path("eventTimestamp"), "must be an integer")),
        }
        verify_subject(event.get("subject"), &path("subject"))?;
        if let Some(entity) = event.get("initiating_entity") {
            member("", "", Kind::OneOf(ENTITIES)).verify(entity, &path("initiatingEntity"))?;
        }
        self.verify_reasons(event)
    }

    fn verify_reasons(&self, event: &Map<String, Value>) -> Result<(), SetError> {
        let mut found = false;
        for (name, internal) in [
            ("reason_admin", "reasonAdmin"),
            ("reason_user", "reasonUser"),
        ] {
            let path = format!("events.{}.{internal}", self.internal);
            let Some(reason) = event.get(name) else {
                continue;
            };
            let reason = reason
                .as_object()
                .ok_or_else(|| failed(&path, "must be an object"))?;
            if !reason.values().all(Value::is_string) {
                return Err(failed(&path, "must hold texts by language"));
            }
            if reason
                .get("en")
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                return Err(blank(&format!("{path}.en")));
            }
            found = true;
        }
        if self.wants_reason && !found {
            let path = format!("events.{}", self.internal);
            return Err(failed(
                &path,
                "Either reason_admin or reason_user is required",
            ));
        }
        Ok(())
    }
}

impl Member {
    fn verify(&self, value: &Value, path: &str) -> Result<(), SetError> {
        let text = value
            .as_str()
            .ok_or_else(|| failed(path, "must be a string"))?;
        match self.kind {
            Kind::Text if text.is_empty() => Err(blank(path)),
            Kind::OneOf(allowed) if !allowed.contains(&text) => Err(failed(
                path,
                &format!("must be one of {}", allowed.join(", ")),
            )),
            Kind::Text | Kind::OneOf(_) => Ok(()),
        }
    }
}

/// `{"user": {…}}`, `{"device": {…}}` or both; each a simple RFC 9493 subject. A `format` of `complex`
/// beside them is let pass (profile `dual`).
fn verify_subject(subject: Option<&Value>, path: &str) -> Result<(), SetError> {
    let subject = subject.ok_or_else(|| blank(path))?;
    let subject = subject
        .as_object()
        .ok_or_else(|| failed(path, "must be an object"))?;
    let mut found = false;
    for name in ["user", "device"] {
        let Some(simple) = subject.get(name) else {
            continue;
        };
        let path = format!("{path}.{name}");
        let simple = simple
            .as_object()
            .ok_or_else(|| failed(&path, "must be an object"))?;
        let text = |member: &str| {
            simple
                .get(member)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let wanted: &[&str] = match text("format") {
            Some("email") => &["email"],
            Some("opaque") => &["id"],
            Some("iss_sub") => &["iss", "sub"],
            Some("phone_number") => &["phone_number"],
            Some("account") => &["uri"],
            Some("did" | "uri" | "aliases" | "jwt_id" | "saml_assertion_id" | "ip-addresses") => {
                &[]
            }
            Some(_) => return Err(failed(&format!("{path}.format"), "is not a subject format")),
            None => return Err(blank(&format!("{path}.format"))),
        };
        for member in wanted {
            text(member).ok_or_else(|| blank(&format!("{path}.{member}")))?;
        }
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(blank(&format!("{path}.user")))
    }
}
