//! JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037): a private one read from a file, the public ones that are
//! published, and the RFC 7638 thumbprint.
//!
//! [`PublicJwk`] has no private member, so none can be published.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::error::KeyError;
use super::key::Kid;
use super::pair::Pair;
use super::source::Parsed;
use super::{der, source};

/// A JWK Set (RFC 7517 §5) with the public keys of one or more rings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Jwks {
    /// The keys, the one that signs first.
    pub keys: Vec<PublicJwk>,
}

/// One published key (CONTRACTS §2.2 end). Octets are unpadded base64url; an RSA number has no leading zero octets
/// (RFC 7518 §6.3.1), a coordinate is as long as the curve (§6.2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicJwk {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: Kid,
    #[serde(flatten)]
    members: Public,
}

/// The members of a kind of key. None of them is private, so none can be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Public {
    /// RFC 7518 §6.3.1.
    Rsa { n: String, e: String },
    /// RFC 7518 §6.2.1.
    Ec {
        crv: &'static str,
        x: String,
        y: String,
    },
    /// RFC 8037 §2.
    Okp { crv: &'static str, x: String },
}

impl Public {
    /// `n` and `e` are big-endian, leading zero octets allowed.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Self {
        let (n, e) = (number(n), number(e));
        Self::Rsa { n, e }
    }

    /// The coordinates, 32 octets each.
    pub(super) fn p256(x: &[u8], y: &[u8]) -> Self {
        let [x, y] = [x, y].map(|octets| URL_SAFE_NO_PAD.encode(octets));
        Self::Ec { crv: "P-256", x, y }
    }

    /// The public key of RFC 8032 §5.1.5, 32 octets.
    pub(super) fn ed25519(x: &[u8]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(x);
        Self::Okp { crv: "Ed25519", x }
    }

    fn kty(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::Ec { .. } => "EC",
            Self::Okp { .. } => "OKP",
        }
    }

    /// The JWK thumbprint (RFC 7638 §3, RFC 8037 appendix A.3): unpadded base64url of the SHA-256 of the required
    /// members in the order of the alphabet, 43 characters.
    pub(super) fn thumbprint(&self) -> String {
        let required = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::Ec { crv, x, y } => {
                format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest(&SHA256, required.as_bytes()))
    }
}

impl PublicJwk {
    pub(super) fn new(kid: Kid, algorithm: Algorithm, members: Public) -> Self {
        Self {
            kty: members.kty(),
            usage: "sig",
            alg: algorithm.as_str(),
            kid,
            members,
        }
    }

    /// The `kid` of the entry.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The same public key, be it under another `kid` or for another algorithm.
    #[must_use]
    pub fn is_key_of(&self, other: &Self) -> bool {
        self.members == other.members
    }

    /// The modulus of an RSA key, unpadded base64url.
    #[must_use]
    pub fn n(&self) -> Option<&str> {
        match &self.members {
            Public::Rsa { n, .. } => Some(n),
            _ => None,
        }
    }
}

/// A number as Base64urlUInt (RFC 7518 §2).
fn number(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(der::without_leading_zeros(octets))
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
    crv: Option<String>,
    #[serde(borrow)]
    x: Option<&'a str>,
    #[serde(borrow)]
    y: Option<&'a str>,
}

/// A JWK Set as found in a file: entries stay text until one is chosen.
#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The private key in a JWK or in a JWK Set with exactly one private key, and its own `kid`.
///
/// # Errors
/// A [`KeyError`] about `path`; no value out of the file is in it.
pub(super) fn parse(path: &Path, text: &str) -> Result<Parsed, KeyError> {
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
fn key_pair(path: &Path, jwk: Members<'_>) -> Result<Parsed, KeyError> {
    let at = || path.to_owned();
    if jwk.ciphertext.is_some() {
        return Err(KeyError::Encrypted { path: at() });
    }
    let read = match jwk.kty.as_deref() {
        Some("RSA") => rsa,
        Some("EC") => p256,
        Some("OKP") => ed25519,
        Some("oct") => {
            return Err(KeyError::NotRsa {
                path: at(),
                found: "a symmetric key",
            });
        }
        _ => {
            return Err(bad(
                path,
                "it has no known `kty`; it must be \"RSA\", \"EC\" or \"OKP\"",
            ));
        }
    };
    if jwk.d.is_none() {
        return Err(KeyError::PublicOnly { path: at() });
    }
    if jwk.usage.as_deref().is_some_and(|u| u != "sig") {
        return Err(bad(
            path,
            "its `use` is not \"sig\"; make a key for signatures",
        ));
    }
    let algorithm = match jwk.alg.as_deref() {
        None => None,
        Some(alg) => Some(Algorithm::parse(alg).ok_or_else(|| {
            bad(
                path,
                "its `alg` is not RS256, PS256, ES256 or EdDSA; make a key for one of these",
            )
        })?),
    };
    Ok(Parsed {
        pair: read(path, &jwk)?,
        kid: jwk.kid,
        algorithm,
    })
}

fn rsa(path: &Path, jwk: &Members<'_>) -> Result<Pair, KeyError> {
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
    Ok(Pair::Rsa(pair))
}

/// RFC 7518 §6.2: each number is 32 octets, leading zero octets included.
fn p256(path: &Path, jwk: &Members<'_>) -> Result<Pair, KeyError> {
    if jwk.crv.as_deref() != Some("P-256") {
        return Err(bad(
            path,
            "its `crv` is not \"P-256\"; make a key on that curve",
        ));
    }
    let [x, y, d] = [("x", jwk.x), ("y", jwk.y), ("d", jwk.d)];
    let [x, y, d] = [octets32(path, x)?, octets32(path, y)?, octets32(path, d)?];
    let point = [&[4], &x[..], &y[..]].concat();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &d, &point);
    pair.map(Pair::P256).map_err(|e| source::rejected(path, &e))
}

/// RFC 8037 §2.
fn ed25519(path: &Path, jwk: &Members<'_>) -> Result<Pair, KeyError> {
    if jwk.crv.as_deref() != Some("Ed25519") {
        return Err(bad(
            path,
            "its `crv` is not \"Ed25519\"; make a key on that curve",
        ));
    }
    let (x, d) = (octets32(path, ("x", jwk.x))?, octets32(path, ("d", jwk.d))?);
    let pair = Ed25519KeyPair::from_seed_and_public_key(&d, &x);
    pair.map(Pair::Ed25519)
        .map_err(|e| source::rejected(path, &e))
}

fn octets32(
    path: &Path,
    (name, member): (&str, Option<&str>),
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let octets = unsigned(path, name, member)?;
    match octets.len() {
        32 => Ok(octets),
        _ => Err(bad(path, format!("`{name}` is not 32 octets long"))),
    }
}

/// The octets of a Base64urlUInt member.
fn unsigned(path: &Path, name: &str, member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = member.ok_or_else(|| {
        bad(
            path,
            format!("`{name}` is missing; export the key with all its members"),
        )
    })?;
    let mut octets = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
    let length = URL_SAFE_NO_PAD
        .decode_slice(text, &mut octets)
        .map_err(|_| bad(path, format!("`{name}` is not unpadded base64url")))?;
    octets.truncate(length);
    Ok(octets)
}
