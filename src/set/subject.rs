//! Who a SET is about: the subject identifiers of RFC 9493 §3.2 and SSF 1.0 §3.3, §3.5, and the
//! canonical form that makes two spellings of one subject the same lane, jti and state key.
//!
//! The SET carries the mapped spelling; only hashes of the canonical form are ever stored.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::text::{AcctUri, DidUrl, EmailAddress, IpText, PhoneNumber, Text, UriText};

/// A subject identifier that stands for itself. Members and names: CONTRACTS §3.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimpleSubject {
    /// `account` (RFC 9493 §3.2.1).
    Account(AcctUri),
    /// `email` (§3.2.2).
    Email(EmailAddress),
    /// `iss_sub` (§3.2.3).
    IssSub {
        /// The issuer that `sub` belongs to.
        iss: Text,
        /// The subject at that issuer.
        sub: Text,
    },
    /// `opaque` (§3.2.4).
    Opaque(Text),
    /// `phone_number` (§3.2.5).
    PhoneNumber(PhoneNumber),
    /// `did` (§3.2.6).
    Did(DidUrl),
    /// `uri` (§3.2.7).
    Uri(UriText),
    /// `jwt_id` (SSF §3.5).
    JwtId {
        /// Issuer of the JWT.
        iss: Text,
        /// Its jti.
        jti: Text,
    },
    /// `saml_assertion_id` (SSF §3.5).
    SamlAssertionId {
        /// Issuer of the assertion.
        issuer: Text,
        /// Its ID.
        assertion_id: Text,
    },
    /// `ip-addresses` (SSF §3.5).
    IpAddresses(NonEmpty<IpText>),
}

/// A list with at least one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> NonEmpty<T> {
    /// `None` when the list is empty.
    #[must_use]
    pub fn new(items: Vec<T>) -> Option<Self> {
        (!items.is_empty()).then_some(Self(items))
    }
}

/// The members of a complex subject (SSF §3.3), in the order in which they are written.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ComplexMember {
    /// The user.
    User,
    /// The device.
    Device,
    /// The session.
    Session,
    /// The application.
    Application,
    /// The tenant.
    Tenant,
    /// The organisational unit.
    OrgUnit,
    /// The group.
    Group,
}

impl ComplexMember {
    /// The member's name in the SET.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ComplexMember::User => "user",
            ComplexMember::Device => "device",
            ComplexMember::Session => "session",
            ComplexMember::Application => "application",
            ComplexMember::Tenant => "tenant",
            ComplexMember::OrgUnit => "org_unit",
            ComplexMember::Group => "group",
        }
    }
}

/// Several simple subjects that together say who is meant (SSF §3.3). Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComplexSubject(BTreeMap<ComplexMember, SimpleSubject>);

impl ComplexSubject {
    /// `None` without any member.
    #[must_use]
    pub fn new(members: BTreeMap<ComplexMember, SimpleSubject>) -> Option<Self> {
        (!members.is_empty()).then_some(Self(members))
    }

    /// The members in writing order.
    pub(super) fn members(&self) -> impl Iterator<Item = (ComplexMember, &SimpleSubject)> {
        self.0.iter().map(|(member, subject)| (*member, subject))
    }
}

/// The subject of a SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One identifier.
    Simple(SimpleSubject),
    /// `aliases` (RFC 9493 §3.2.8): several identifiers of one subject; they never nest.
    Aliases(NonEmpty<SimpleSubject>),
    /// `complex` (SSF §3.3).
    Complex(ComplexSubject),
}

impl From<SimpleSubject> for Subject {
    fn from(simple: SimpleSubject) -> Self {
        Subject::Simple(simple)
    }
}

impl Subject {
    /// The one form that all spellings of this subject share: JSON without white space, members
    /// sorted, e-mail addresses in lower case, IP addresses and aliases sorted. A complex subject
    /// with nothing but a `user` is that user.
    #[must_use]
    pub fn canonical(&self) -> CanonicalSubject {
        let text = match self {
            Subject::Simple(simple) => canonical_simple(simple),
            Subject::Aliases(aliases) => {
                let mut forms: Vec<String> = aliases.0.iter().map(canonical_simple).collect();
                forms.sort_unstable();
                forms.dedup();
                format!(
                    r#"{{"format":"aliases","identifiers":[{}]}}"#,
                    forms.join(",")
                )
            }
            Subject::Complex(ComplexSubject(members)) => match members.get(&ComplexMember::User) {
                Some(user) if members.len() == 1 => canonical_simple(user),
                _ => canonical_complex(members),
            },
        };
        CanonicalSubject(text)
    }
}

fn canonical_complex(members: &BTreeMap<ComplexMember, SimpleSubject>) -> String {
    let mut forms: Vec<(&str, String)> = members
        .iter()
        .map(|(member, subject)| (member.as_str(), canonical_simple(subject)))
        .collect();
    forms.push(("format", r#""complex""#.to_owned()));
    forms.sort_unstable();
    let members: Vec<String> = forms
        .iter()
        .map(|(name, form)| format!(r#""{name}":{form}"#))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn canonical_simple(subject: &SimpleSubject) -> String {
    match subject {
        SimpleSubject::Account(uri) => sorted(&[("format", "account"), ("uri", uri.as_str())]),
        SimpleSubject::Email(email) => sorted(&[
            ("email", &email.as_str().to_lowercase()),
            ("format", "email"),
        ]),
        SimpleSubject::IssSub { iss, sub } => sorted(&[
            ("format", "iss_sub"),
            ("iss", iss.as_str()),
            ("sub", sub.as_str()),
        ]),
        SimpleSubject::Opaque(id) => sorted(&[("format", "opaque"), ("id", id.as_str())]),
        SimpleSubject::PhoneNumber(number) => sorted(&[
            ("format", "phone_number"),
            ("phone_number", number.as_str()),
        ]),
        SimpleSubject::Did(url) => sorted(&[("format", "did"), ("url", url.as_str())]),
        SimpleSubject::Uri(uri) => sorted(&[("format", "uri"), ("uri", uri.as_str())]),
        SimpleSubject::JwtId { iss, jti } => sorted(&[
            ("format", "jwt_id"),
            ("iss", iss.as_str()),
            ("jti", jti.as_str()),
        ]),
        SimpleSubject::SamlAssertionId {
            issuer,
            assertion_id,
        } => sorted(&[
            ("assertion_id", assertion_id.as_str()),
            ("format", "saml_assertion_id"),
            ("issuer", issuer.as_str()),
        ]),
        SimpleSubject::IpAddresses(addresses) => {
            let mut forms: Vec<String> = addresses.0.iter().map(IpText::canonical).collect();
            forms.sort_unstable();
            forms.dedup();
            format!(
                r#"{{"format":"ip-addresses","ip-addresses":["{}"]}}"#,
                forms.join(r#"",""#)
            )
        }
    }
}

/// A JSON object of strings; the caller gives the members in sorted order.
fn sorted(members: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(96);
    for (at, (name, value)) in members.iter().enumerate() {
        out.push_str(if at == 0 { "{\"" } else { ",\"" });
        out.push_str(name);
        out.push_str("\":");
        push_json_text(&mut out, value);
    }
    out.push('}');
    out
}

/// A text as JSON. Nearly all need no escape.
fn push_json_text(out: &mut String, text: &str) {
    if text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.push_str(&serde_json::Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

impl Serialize for SimpleSubject {
    /// `format` first, then its members in the order of the RFC's examples.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            SimpleSubject::Account(uri) => {
                map.serialize_entry("format", "account")?;
                map.serialize_entry("uri", uri)?;
            }
            SimpleSubject::Email(email) => {
                map.serialize_entry("format", "email")?;
                map.serialize_entry("email", email)?;
            }
            SimpleSubject::IssSub { iss, sub } => {
                map.serialize_entry("format", "iss_sub")?;
                map.serialize_entry("iss", iss)?;
                map.serialize_entry("sub", sub)?;
            }
            SimpleSubject::Opaque(id) => {
                map.serialize_entry("format", "opaque")?;
                map.serialize_entry("id", id)?;
            }
            SimpleSubject::PhoneNumber(number) => {
                map.serialize_entry("format", "phone_number")?;
                map.serialize_entry("phone_number", number)?;
            }
            SimpleSubject::Did(url) => {
                map.serialize_entry("format", "did")?;
                map.serialize_entry("url", url)?;
            }
            SimpleSubject::Uri(uri) => {
                map.serialize_entry("format", "uri")?;
                map.serialize_entry("uri", uri)?;
            }
            SimpleSubject::JwtId { iss, jti } => {
                map.serialize_entry("format", "jwt_id")?;
                map.serialize_entry("iss", iss)?;
                map.serialize_entry("jti", jti)?;
            }
            SimpleSubject::SamlAssertionId {
                issuer,
                assertion_id,
            } => {
                map.serialize_entry("format", "saml_assertion_id")?;
                map.serialize_entry("issuer", issuer)?;
                map.serialize_entry("assertion_id", assertion_id)?;
            }
            SimpleSubject::IpAddresses(addresses) => {
                map.serialize_entry("format", "ip-addresses")?;
                map.serialize_entry("ip-addresses", addresses)?;
            }
        }
        map.end()
    }
}

impl<T: Serialize> Serialize for NonEmpty<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for item in &self.0 {
            seq.serialize_element(item)?;
        }
        seq.end()
    }
}

impl Serialize for Subject {
    /// As RFC 9493 and SSF write it: every object has its `format`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Subject::Simple(simple) => simple.serialize(serializer),
            Subject::Aliases(aliases) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("format", "aliases")?;
                map.serialize_entry("identifiers", aliases)?;
                map.end()
            }
            Subject::Complex(complex) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("format", "complex")?;
                for (member, subject) in complex.members() {
                    map.serialize_entry(member.as_str(), subject)?;
                }
                map.end()
            }
        }
    }
}

/// The canonical form of a [`Subject`]. It holds the identifier in clear: hash it before it
/// leaves the memory, never log it.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalSubject(String);

impl CanonicalSubject {
    /// The canonical JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of its lane and state: the first 16 bytes of SHA-256 of the text.
    #[must_use]
    pub fn key(&self) -> SubjectKey {
        let hash = digest(&SHA256, self.0.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_ref()[..16]);
        SubjectKey(key)
    }
}

impl fmt::Debug for CanonicalSubject {
    /// Shows the key only (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CanonicalSubject({:?})", self.key())
    }
}

/// 128 bits of the hash of a canonical subject: lane and state key. 2^64 subjects would be needed
/// for a likely collision, which would cost order and a level, never a SET.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey([u8; 16]);

impl SubjectKey {
    /// From stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for storing.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;
