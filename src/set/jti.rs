//! The name of a SET, a pure function of what it says about whom (DESIGN P3).
//!
//! The clock, previous_level and our state must never get in: a retry, a redelivery, a hand-over
//! and a replay all have to find the same jti. The vectors in `tests/fixtures/golden/jti.json`
//! come from an independent script and are frozen: if one of them breaks, receivers would take a
//! redelivered detection for a new one.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::canonical::CanonicalSubject;
use super::event::EventType;

/// First part of every hash. A new scheme gets a new name and lives beside this one.
const SCHEME: &str = "setbridge-jti-1";

/// What a jti is made of.
#[derive(Clone, Copy, Debug)]
pub struct JtiParts<'a> {
    /// `iss` of the SET.
    pub issuer: &'a str,
    /// Id of the stream.
    pub stream: &'a str,
    /// The detection key: the JSON texts of the values that the mapping names, or the SHA-256 of
    /// the element's bytes as the only part.
    pub detection_key: &'a [Vec<u8>],
    /// Type of the event.
    pub event_type: EventType,
    /// Who it is about.
    pub subject: &'a CanonicalSubject,
}

/// The unique name of a SET: SHA-256 as 43 characters of base64url (RFC 4648 §5, no padding).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Jti {
    digest: [u8; 32],
    text: Arc<str>,
}

impl Jti {
    /// SHA-256 over scheme, issuer, stream, the number of key parts, the key parts, event URI and
    /// canonical subject. Each part follows its length in bytes, the count and the lengths as
    /// 8 bytes big-endian, so that no two lists of parts share one byte string.
    #[must_use]
    pub fn derive(parts: &JtiParts<'_>) -> Jti {
        JtiPrefix::new(parts.issuer, parts.stream, parts.detection_key)
            .jti(parts.event_type, parts.subject)
    }

    /// The text in the SET.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The 32 bytes behind the text, for storing.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Display for Jti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Jti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jti({})", self.text)
    }
}

/// The part of the hash that all SETs of one detection share.
#[derive(Clone)]
pub struct JtiPrefix(Arc<[u8]>);

impl JtiPrefix {
    /// Scheme, issuer, stream and detection key.
    #[must_use]
    pub fn new(issuer: &str, stream: &str, detection_key: &[Vec<u8>]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        append(&mut bytes, SCHEME.as_bytes());
        append(&mut bytes, issuer.as_bytes());
        append(&mut bytes, stream.as_bytes());
        bytes.extend_from_slice(&(detection_key.len() as u64).to_be_bytes());
        for part in detection_key {
            append(&mut bytes, part);
        }
        Self(bytes.into())
    }

    /// Its length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The jti of the SET of this type about this subject.
    #[must_use]
    pub fn jti(&self, event_type: EventType, subject: &CanonicalSubject) -> Jti {
        let mut bytes = Vec::with_capacity(self.0.len() + 512);
        bytes.extend_from_slice(&self.0);
        append(&mut bytes, event_type.uri().as_bytes());
        append(&mut bytes, subject.as_str().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        Jti {
            digest: hash,
            text: URL_SAFE_NO_PAD.encode(hash).into(),
        }
    }

    /// A `txn` that all SETs of this detection share (RFC 8417 §2.2, SSF 1.0): 22 characters.
    #[must_use]
    pub fn txn(&self) -> String {
        URL_SAFE_NO_PAD.encode(&digest(&SHA256, &self.0).as_ref()[..16])
    }
}

impl fmt::Debug for JtiPrefix {
    /// Shows the size only: the detection key is made of mapping values (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JtiPrefix({} bytes)", self.0.len())
    }
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::set::{EmailAddress, SimpleSubject, Subject, Text};

    fn opaque(id: &str) -> CanonicalSubject {
        Subject::from(SimpleSubject::Opaque(Text::parse(id).expect("not blank"))).canonical()
    }

    #[test]
    fn golden_vectors_made_by_another_program() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/fixtures/golden/jti.json"))
                .expect("json");
        assert!(vectors.len() >= 6);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().expect("a string").to_owned();
            let subject = match vector["format"].as_str() {
                Some("email") => {
                    SimpleSubject::Email(EmailAddress::parse(&text("spelling")).expect("e-mail"))
                }
                _ => SimpleSubject::Opaque(Text::parse(&text("spelling")).expect("text")),
            };
            let canonical = Subject::from(subject).canonical();
            assert_eq!(canonical.as_str(), text("canonical"));
            assert_eq!(format!("{:?}", canonical.key()), text("subject_key"));
            let key: Vec<Vec<u8>> = vector["detection_key"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|part| part.as_str().expect("a string").as_bytes().to_vec())
                .collect();
            let event_type = EventType::parse(&text("event")).expect("an event");
            let (issuer, stream) = (text("issuer"), text("stream"));
            let jti = Jti::derive(&JtiParts {
                issuer: &issuer,
                stream: &stream,
                detection_key: &key,
                event_type,
                subject: &canonical,
            });
            assert_eq!(jti.as_str(), text("jti"));
            assert_eq!(JtiPrefix::new(&issuer, &stream, &key).txn(), text("txn"));
        }
    }

    proptest! {
        /// Moving bytes between parts, or parts between lists, always changes the name.
        #[test]
        fn no_two_lists_of_parts_share_a_jti(
            a in (".{0,6}", ".{0,6}", prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4), "[a-c]{1,3}"),
            b in (".{0,6}", ".{0,6}", prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4), "[a-c]{1,3}"),
        ) {
            let jti = |(issuer, stream, key, id): &(String, String, Vec<Vec<u8>>, String)| Jti::derive(&JtiParts {
                issuer, stream, detection_key: key, event_type: EventType::UserRiskChange, subject: &opaque(id),
            });
            prop_assert_eq!(jti(&a) == jti(&b), a == b);
            prop_assert_eq!(jti(&a), jti(&a));
            prop_assert_eq!(jti(&a).as_str().len(), 43);
        }
    }
}
