//! The texts that a subject is made of, each checked once, when it is parsed.
//!
//! All of them are trimmed: white space around an identifier is never part of it, and a receiver
//! silently drops an e-mail address that it does not know (CONTRACTS §1.6).

use std::fmt;
use std::net::IpAddr;

use email_address::Options;
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Why a text is refused. It never repeats the text (DESIGN P8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextFault {
    /// Nothing but white space: callers treat it as a value that is missing.
    #[error("is empty")]
    Empty,
    /// Not an addr-spec of RFC 5322 (display names and domain literals are refused too).
    #[error("is not an e-mail address")]
    NotEmail,
    /// Not `+` and 2 to 15 digits (E.164, as RFC 9493 §3.2.5 demands).
    #[error("is not a phone number in E.164 form")]
    NotPhone,
    /// Not a URI of the scheme that the format demands.
    #[error("is not a URI of the scheme that the format demands")]
    NotUri,
    /// Neither an IPv4 nor an IPv6 address.
    #[error("is not an IP address")]
    NotIp,
    /// Longer than [`MAX_IDENTIFIER_BYTES`].
    #[error("is longer than {MAX_IDENTIFIER_BYTES} bytes")]
    TooLong,
}

/// Longest identifier, in bytes. E-mail addresses have at most 254 (RFC 5321 §4.5.3.1) and an OpenID `sub` 255, but URIs
/// and SAML's identifiers have no bound of their own; an identifier that is longer names nobody.
pub const MAX_IDENTIFIER_BYTES: usize = 4 << 10;

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl fmt::Debug for $name {
            /// Shows the kind of text, never the text (DESIGN P8).
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl $name {
            /// Trims and checks the text.
            ///
            /// # Errors
            /// [`TextFault::Empty`] for blank text, [`TextFault::TooLong`], else the fault of this kind of text.
            pub fn parse(text: &str) -> Result<Self, TextFault> {
                let text = text.trim();
                if text.is_empty() {
                    return Err(TextFault::Empty);
                }
                if text.len() > MAX_IDENTIFIER_BYTES {
                    return Err(TextFault::TooLong);
                }
                $check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The text as it goes into the SET.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// An e-mail address in the spelling of its source (RFC 5322 addr-spec).
    EmailAddress,
    check_email
);
checked_text!(
    /// A phone number in E.164 form, e.g. `+12065550100` (RFC 9493 §3.2.5).
    PhoneNumber,
    check_phone
);
checked_text!(
    /// Any text that is not blank: `iss`, `sub`, `id`, `jti`, …
    Text,
    check_nothing
);
checked_text!(
    /// An `acct:` URI (RFC 7565), for the format `account`.
    AcctUri,
    check_acct
);
checked_text!(
    /// A DID URL, e.g. `did:example:123#key` (format `did`).
    DidUrl,
    check_did
);
checked_text!(
    /// An absolute URI (RFC 3986), for the format `uri`.
    UriText,
    check_uri
);
checked_text!(
    /// An IPv4 or IPv6 address in the spelling of its source.
    IpText,
    check_ip
);

impl IpText {
    /// The one spelling that all spellings of an address share (RFC 5952 for IPv6).
    pub(super) fn canonical(&self) -> String {
        self.0
            .parse::<IpAddr>()
            .map_or_else(|_| self.0.clone(), |ip| ip.to_string())
    }
}

fn check_nothing(_: &str) -> Result<(), TextFault> {
    Ok(())
}

fn check_email(text: &str) -> Result<(), TextFault> {
    let options = Options::default()
        .without_display_text()
        .without_domain_literal();
    email_address::EmailAddress::parse_with_options(text, options)
        .map(drop)
        .map_err(|_| TextFault::NotEmail)
}

fn check_phone(text: &str) -> Result<(), TextFault> {
    let digits = text.strip_prefix('+').ok_or(TextFault::NotPhone)?;
    let well_formed = (2..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    well_formed.then_some(()).ok_or(TextFault::NotPhone)
}

fn check_acct(text: &str) -> Result<(), TextFault> {
    let rest = scheme_specific(text, "acct").ok_or(TextFault::NotUri)?;
    let (user, host) = rest.rsplit_once('@').ok_or(TextFault::NotUri)?;
    (!user.is_empty() && !host.is_empty())
        .then_some(())
        .ok_or(TextFault::NotUri)
}

fn check_did(text: &str) -> Result<(), TextFault> {
    let rest = scheme_specific(text, "did").ok_or(TextFault::NotUri)?;
    let (method, id) = rest.split_once(':').ok_or(TextFault::NotUri)?;
    (!method.is_empty() && !id.is_empty())
        .then_some(())
        .ok_or(TextFault::NotUri)
}

fn check_uri(text: &str) -> Result<(), TextFault> {
    let (scheme, rest) = text.split_once(':').ok_or(TextFault::NotUri)?;
    let mut bytes = scheme.bytes();
    let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !rest.is_empty()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    well_formed.then_some(()).ok_or(TextFault::NotUri)
}

fn check_ip(text: &str) -> Result<(), TextFault> {
    text.parse::<IpAddr>()
        .map(drop)
        .map_err(|_| TextFault::NotIp)
}

/// What follows `scheme:`, when the text is a URI of that scheme.
fn scheme_specific<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    check_uri(text).ok()?;
    let (scheme, rest) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case(wanted).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_addresses() {
        for good in [
            "a@b.example",
            " Ann.O'Neil+x@EXAMPLE.com\n",
            "user@localhost",
            "ü@exämple.de",
        ] {
            assert!(EmailAddress::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "ann",
            "a@b@c",
            "Ann <a@b.example>",
            "<a@b.example>",
            "a@[127.0.0.1]",
            "a b@c.de",
            "@c.de",
        ] {
            assert_eq!(EmailAddress::parse(bad), Err(TextFault::NotEmail), "{bad}");
        }
        assert_eq!(EmailAddress::parse("  "), Err(TextFault::Empty));
        assert_eq!(
            EmailAddress::parse(" A@B.example ").map(|e| e.0),
            Ok("A@B.example".into())
        );
    }

    #[test]
    fn phone_numbers() {
        assert!(PhoneNumber::parse("+12065550100").is_ok());
        for bad in [
            "12065550100",
            "+1 206 555",
            "+0123",
            "+1234567890123456",
            "+",
            "+1a",
        ] {
            assert_eq!(PhoneNumber::parse(bad), Err(TextFault::NotPhone), "{bad}");
        }
    }

    #[test]
    fn uris() {
        assert!(AcctUri::parse("acct:ann@example.com").is_ok());
        assert!(AcctUri::parse("mailto:ann@example.com").is_err());
        assert!(DidUrl::parse("did:example:123456").is_ok());
        assert!(DidUrl::parse("did:example").is_err());
        assert!(UriText::parse("urn:uuid:4e851e98").is_ok());
        for bad in ["example.com/x", ":x", "1a:x", "urn:", "urn:a b"] {
            assert_eq!(UriText::parse(bad), Err(TextFault::NotUri), "{bad}");
        }
    }

    #[test]
    fn ip_addresses_have_one_canonical_spelling() {
        let long = IpText::parse("2001:0DB8:0:0:0:0:0:1").expect("an address");
        assert_eq!(long.canonical(), "2001:db8::1");
        assert_eq!(IpText::parse("10.0.0"), Err(TextFault::NotIp));
    }
}
