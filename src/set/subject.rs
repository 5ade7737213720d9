//! Who a SET is about: the subject identifiers of RFC 9493 §3.2 and SSF 1.0 §3.3, §3.5, as a SET carries them: in the
//! mapped spelling.

use std::collections::BTreeMap;

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
pub struct NonEmpty<T>(pub(super) Vec<T>);

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

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;
