//! The canonical form that makes two spellings of one subject the same lane, jti and state key. Only its hashes are ever
//! stored.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::subject::{ComplexMember, ComplexSubject, SimpleSubject, Subject};
use super::text::IpText;

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
            Subject::Complex(complex) => {
                let mut members = complex.members();
                match (members.next(), members.next()) {
                    (Some((ComplexMember::User, user)), None) => canonical_simple(user),
                    _ => canonical_complex(complex),
                }
            }
        };
        CanonicalSubject(text)
    }
}

fn canonical_complex(complex: &ComplexSubject) -> String {
    let mut forms: Vec<(&str, String)> = complex
        .members()
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
