//! JSON Web Keys (RFC 7517, RFC 7518 §6.3): a private one read from a file, the public ones that are
//! published, and the RFC 7638 thumbprint.
//!
//! [`PublicJwk`] has no private member, so none can be published.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::KeyError;
use super::key::Kid;
use super::{der, source};

/// A JWK Set (RFC 7517 §5) with the public keys of one or more rings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Jwks {
    /// The keys, the one that signs first.
    pub keys: Vec<PublicJwk>,
}

/// One published RSA key: `{"kty","use","alg","kid","n","e"}` (CONTRACTS §2.2 end). `n` and `e` are
/// unpadded base64url of the big-endian number without leading zero octets (RFC 7518 §6.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicJwk {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: Kid,
    n: String,
    e: String,
}

impl PublicJwk {
    /// The entry for an RS256 key. `n` and `e` are big-endian, leading zero octets allowed.
    pub(super) fn rs256(kid: Kid, n: &[u8], e: &[u8]) -> Self {
        Self {
            kty: "RSA",
            usage: "sig",
            alg: "RS256",
            kid,
            n: number(n),
            e: number(e),
        }
    }

    /// The `kid` of the entry.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The modulus, unpadded base64url.
    #[must_use]
    pub fn n(&self) -> &str {
        &self.n
    }

    /// The public exponent, unpadded base64url.
    #[must_use]
    pub fn e(&self) -> &str {
        &self.e
    }
}

/// A number as Base64urlUInt (RFC 7518 §2).
fn number(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(der::without_leading_zeros(octets))
}

/// The JWK thumbprint of an RSA key (RFC 7638 §3): unpadded base64url of the SHA-256 of
/// `{"e":…,"kty":"RSA","n":…}`, 43 characters.
#[must_use]
pub fn thumbprint(n: &[u8], e: &[u8]) -> String {
    let required = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, number(e), number(n));
    URL_SAFE_NO_PAD.encode(digest(&SHA256, required.as_bytes()))
}

/// The members that decide about a private key file. Private members are borrowed from the file's
/// (zeroised) bytes: base64url never needs an escape, so an escaped one is refused instead of copied.
#[derive(Deserialize)]
struct Members<'a> {
    keys: Option<IgnoredAny>,
    ciphertext: Option<IgnoredAny>,
    kty: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    oth: Option<IgnoredAny>,
    #[serde(borrow)]
    n: Option<&'a str>,
    #[serde(borrow)]
    e: Option<&'a str>,
    #[serde(borrow)]
    d: Option<&'a str>,
    #[serde(borrow)]
    p: Option<&'a str>,
    #[serde(borrow)]
    q: Option<&'a str>,
    #[serde(borrow)]
    dp: Option<&'a str>,
    #[serde(borrow)]
    dq: Option<&'a str>,
    #[serde(borrow)]
    qi: Option<&'a str>,
}

/// A JWK Set as found in a file: entries stay text until one is chosen.
#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The private RSA key in a JWK or in a JWK Set with exactly one private key, and its own `kid`.
///
/// # Errors
/// A [`KeyError`] about `path`; no value out of the file is in it.
pub(super) fn parse(path: &Path, text: &str) -> Result<(KeyPair, Option<String>), KeyError> {
    let members = members(path, text)?;
    if members.keys.is_none() {
        return key_pair(path, members);
    }
    let set: Set<'_> = serde_json::from_str(text).map_err(|e| bad_json(path, &e))?;
    let mut private = Vec::new();
    for entry in set.keys {
        let entry = self::members(path, entry.get())?;
        if entry.d.is_some() {
            private.push(entry);
        }
    }
    match (private.len(), private.pop()) {
        (1, Some(entry)) => key_pair(path, entry),
        (0, _) => Err(KeyError::PublicOnly {
            path: path.to_owned(),
        }),
        (count, _) => Err(KeyError::Several {
            path: path.to_owned(),
            count,
        }),
    }
}

fn members<'a>(path: &Path, text: &'a str) -> Result<Members<'a>, KeyError> {
    serde_json::from_str(text).map_err(|e| bad_json(path, &e))
}

/// serde_json's own message may quote a value of the file, which may be `d`: only the place is told.
fn bad_json(path: &Path, error: &serde_json::Error) -> KeyError {
    let fault = if error.is_data() {
        "a member is repeated or is not a plain string"
    } else {
        "it is not valid JSON"
    };
    bad(
        path,
        format!("{fault} (line {}, column {})", error.line(), error.column()),
    )
}

fn bad(path: &Path, what: impl Into<String>) -> KeyError {
    KeyError::BadJwk {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// Judges one JWK by its members, then hands it to aws-lc, which checks that they belong together.
fn key_pair(path: &Path, jwk: Members<'_>) -> Result<(KeyPair, Option<String>), KeyError> {
    let at = || path.to_owned();
    if jwk.ciphertext.is_some() {
        return Err(KeyError::Encrypted { path: at() });
    }
    match jwk.kty.as_deref() {
        Some("RSA") => {}
        Some("EC") => {
            return Err(KeyError::NotRsa {
                path: at(),
                found: "an EC key",
            });
        }
        Some("OKP") => {
            return Err(KeyError::NotRsa {
                path: at(),
                found: "an Edwards-curve key",
            });
        }
        Some("oct") => {
            return Err(KeyError::NotRsa {
                path: at(),
                found: "a symmetric key",
            });
        }
        _ => return Err(bad(path, "it has no known `kty`; it must be \"RSA\"")),
    }
    if jwk.d.is_none() {
        return Err(KeyError::PublicOnly { path: at() });
    }
    if jwk.usage.as_deref().is_some_and(|u| u != "sig") {
        return Err(bad(
            path,
            "its `use` is not \"sig\"; make a key for signatures",
        ));
    }
    if jwk.alg.as_deref().is_some_and(|a| a != "RS256") {
        return Err(bad(
            path,
            "its `alg` is not \"RS256\"; make a key for RS256",
        ));
    }
    if jwk.oth.is_some() {
        return Err(bad(
            path,
            "it has more than two primes (`oth`), which RS256 here does not support",
        ));
    }
    let n = unsigned(path, "n", jwk.n)?;
    let n = der::without_leading_zeros(&n);
    source::check_bits(path, der::bits(n))?;
    let e = unsigned(path, "e", jwk.e)?;
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n,
            e: der::without_leading_zeros(&e),
        },
        d: &unsigned(path, "d", jwk.d)?[..],
        p: &unsigned(path, "p", jwk.p)?[..],
        q: &unsigned(path, "q", jwk.q)?[..],
        dP: &unsigned(path, "dp", jwk.dp)?[..],
        dQ: &unsigned(path, "dq", jwk.dq)?[..],
        qInv: &unsigned(path, "qi", jwk.qi)?[..],
    };
    let pair = KeyPair::from_components(&components).map_err(|e| source::rejected(path, &e))?;
    Ok((pair, jwk.kid))
}

/// The octets of a Base64urlUInt member.
fn unsigned(path: &Path, name: &str, member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = member.ok_or_else(|| {
        bad(
            path,
            format!("`{name}` is missing; export the key with n, e, d, p, q, dp, dq and qi"),
        )
    })?;
    let mut octets = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
    let length = URL_SAFE_NO_PAD
        .decode_slice(text, &mut octets)
        .map_err(|_| bad(path, format!("`{name}` is not unpadded base64url")))?;
    octets.truncate(length);
    Ok(octets)
}
