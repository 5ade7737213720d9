//! Claims: all that a detection says about a SET. What is missing for a token comes from the
//! state (previous level), the clock (`iat`) and the stream (the envelope).

use std::fmt;
use std::sync::Arc;

use crate::set::{
    Jti, JtiPrefix, Level, Profile, SecurityEvent, SecurityEventToken, Subject, SubjectKey,
    Timestamp,
};

/// One SET to be.
#[derive(Clone)]
pub struct Claims {
    /// Its name.
    pub jti: Jti,
    /// The rule that made it.
    pub rule: Arc<str>,
    /// What happened; its previous level is there only when the mapping gave one.
    pub event: SecurityEvent,
    /// Who it is about, in the mapped spelling.
    pub subject: Subject,
    /// Its lane and state key.
    pub subject_key: SubjectKey,
    /// For identifier-changed: the lane of the new identifier, when it is another one.
    pub other_lane: Option<SubjectKey>,
    /// Its transaction, when the mapping gives one.
    pub txn: Option<String>,
    /// What it shares with the other SETs of its detection; a `txn` can be derived from it.
    pub(super) prefix: JtiPrefix,
    /// See [`Claims::text_bytes`].
    pub(super) text_bytes: usize,
}

impl fmt::Debug for Claims {
    /// Shows name, rule and type, never who or why (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event.event_type().as_str();
        write!(f, "Claims({}, rule `{}`, {event})", self.jti, self.rule)
    }
}

/// What all SETs of a stream share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `iss`.
    pub issuer: Arc<str>,
    /// `aud`.
    pub audience: Arc<str>,
    /// The shape that the receiver wants.
    pub profile: Profile,
}

impl Claims {
    /// What its texts cost to keep, in bytes: subject, reasons, `txn`, detection key. A detection's text can be in each of
    /// its SETs, so the record's size says nothing about it.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// When it happened.
    #[must_use]
    pub const fn event_time(&self) -> Timestamp {
        self.event.event_timestamp()
    }

    /// The complete token. `previous` is the last accepted level of the subject; one that the
    /// mapping gave counts more. `iat` is the clock, rounded down.
    #[must_use]
    pub fn complete(
        &self,
        previous: Option<Level>,
        iat: Timestamp,
        envelope: &Envelope,
    ) -> SecurityEventToken {
        SecurityEventToken {
            iss: envelope.issuer.clone(),
            aud: envelope.audience.clone(),
            jti: self.jti.clone(),
            iat,
            txn: self.txn(envelope.profile),
            subject: self.subject.clone(),
            event: self.event.clone().with_previous_level(previous),
            profile: envelope.profile,
        }
    }
    /// The mapped transaction, else one derived from the detection key where the profile wants it.
    fn txn(&self, profile: Profile) -> Option<String> {
        self.txn
            .clone()
            .or_else(|| profile.wants_txn().then(|| self.prefix.txn()))
    }
}
