//! The token as it is signed: claims in a fixed order, so that equal claims are equal bytes
//! (DESIGN P4), in the shape that the receiver wants (CONTRACTS §1.7 and §3.5).
//!
//! There is no `exp` and no `sub` here: SSF 1.0 §4.1 forbids both.

use std::fmt;
use std::sync::Arc;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::event::SecurityEvent;
use super::jti::Jti;
use super::subject::Subject;
use super::timestamp::Timestamp;

/// Where a receiver looks for the subject.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Profile {
    /// `subject` inside the event, its members without an outer `format` (CONTRACTS §1.7).
    #[default]
    #[serde(rename = "okta")]
    Okta,
    /// Top-level `sub_id` (SSF 1.0 §4.1), nothing inside the event.
    #[serde(rename = "ssf-1.0")]
    Ssf10,
    /// Both, each as a `complex` subject with its `format`.
    #[serde(rename = "dual")]
    Dual,
}

impl Profile {
    /// Whether a SET has a `txn` even when the mapping gives none: SSF 1.0 wants one, Okta's schema
    /// has none.
    #[must_use]
    pub const fn wants_txn(self) -> bool {
        matches!(self, Profile::Ssf10 | Profile::Dual)
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Okta => "okta",
            Profile::Ssf10 => "ssf-1.0",
            Profile::Dual => "dual",
        }
    }
}

/// A complete Security Event Token, ready to be written and signed.
#[derive(Clone)]
pub struct SecurityEventToken {
    /// Issuer, exactly as registered at the receiver.
    pub iss: Arc<str>,
    /// Audience: one string (CONTRACTS §1.1).
    pub aud: Arc<str>,
    /// Its name.
    pub jti: Jti,
    /// When it was issued, rounded down.
    pub iat: Timestamp,
    /// The transaction that SETs of one cause share (RFC 8417 §2.2).
    pub txn: Option<String>,
    /// Who it is about, in the mapped spelling.
    pub subject: Subject,
    /// What happened.
    pub event: SecurityEvent,
    /// The shape that the receiver wants.
    pub profile: Profile,
}

impl fmt::Debug for SecurityEventToken {
    /// Shows name and type, never who or why (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event.event_type().as_str();
        write!(f, "SecurityEventToken({}, {event})", self.jti)
    }
}

impl SecurityEventToken {
    /// The claims as JSON: what is signed. The same token always gives the same bytes.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "it cannot: all names are strings, no value refuses"
    )]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names are strings and no value refuses to be written")
    }
}

impl Serialize for SecurityEventToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", &*self.iss)?;
        map.serialize_entry("aud", &*self.aud)?;
        map.serialize_entry("jti", self.jti.as_str())?;
        map.serialize_entry("iat", &self.iat)?;
        if let Some(txn) = &self.txn {
            map.serialize_entry("txn", txn)?;
        }
        match self.profile {
            Profile::Okta => {}
            Profile::Ssf10 => map.serialize_entry("sub_id", &self.subject)?,
            Profile::Dual => map.serialize_entry("sub_id", &AsComplex::new(self, true))?,
        }
        map.serialize_entry("events", &Events(self))?;
        map.end()
    }
}

/// The `events` claim: exactly one event, under its URI.
struct Events<'t>(&'t SecurityEventToken);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0.event.event_type().uri(), &EventBody(self.0))?;
        map.end()
    }
}

struct EventBody<'t>(&'t SecurityEventToken);

impl Serialize for EventBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0.profile {
            Profile::Okta => map.serialize_entry("subject", &AsComplex::new(self.0, false))?,
            Profile::Ssf10 => {}
            Profile::Dual => map.serialize_entry("subject", &AsComplex::new(self.0, true))?,
        }
        self.0.event.write(&mut map)?;
        map.end()
    }
}

/// The subject as an object of members, whatever its own format: a subject that is not complex
/// becomes the event's principal (`user`).
struct AsComplex<'t> {
    token: &'t SecurityEventToken,
    with_format: bool,
}

impl<'t> AsComplex<'t> {
    fn new(token: &'t SecurityEventToken, with_format: bool) -> Self {
        Self { token, with_format }
    }
}

impl Serialize for AsComplex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.with_format {
            map.serialize_entry("format", "complex")?;
        }
        match &self.token.subject {
            Subject::Complex(complex) => {
                for (member, subject) in complex.members() {
                    map.serialize_entry(member.as_str(), subject)?;
                }
            }
            other => {
                let principal = self.token.event.event_type().principal();
                map.serialize_entry(principal.as_str(), other)?;
            }
        }
        map.end()
    }
}
