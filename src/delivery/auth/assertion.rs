//! The client assertion of `private_key_jwt` (RFC 7523 §3; what Okta wants of it: CONTRACTS §2.4).
//!
//! Signed with aws-lc directly: the key is parsed once, and no process-wide provider is involved.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use thiserror::Error;
use zeroize::Zeroizing;

/// How long an assertion is valid, in seconds; Okta refuses more than an hour.
const LIFETIME: i64 = 300;

/// `iat` lies this far back, in seconds: it must be before the receipt, by the other side's clock.
const BACKDATED: i64 = 10;

/// Least modulus, in bytes (2048 bits).
const MIN_MODULUS: usize = 256;

/// An RSA key that signs client assertions with RS256.
#[derive(Clone)]
pub struct AssertionKey {
    pair: Arc<RsaKeyPair>,
    kid: Option<String>,
}

/// A key that cannot sign assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AssertionKeyError {
    /// No PEM block of a private key.
    #[error(
        "no PEM private key (`-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE KEY-----`)"
    )]
    NotPem,
    /// Encrypted.
    #[error("the private key is encrypted; decrypt it with `openssl pkey`")]
    Encrypted,
    /// Not an RSA key, or broken.
    #[error("not a valid RSA private key")]
    NotRsa,
    /// Under 2048 bits.
    #[error("the RSA key has fewer than 2048 bits")]
    TooShort,
}

/// The system has no random numbers, or the key cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AssertionFault;

impl AssertionKey {
    /// Reads a PKCS#8 or PKCS#1 PEM. `kid` goes into the header when given.
    ///
    /// # Errors
    /// See [`AssertionKeyError`].
    pub fn from_pem(pem: &str, kid: Option<String>) -> Result<Self, AssertionKeyError> {
        if pem.contains("ENCRYPTED") {
            return Err(AssertionKeyError::Encrypted);
        }
        let pair = if let Some(der) = pem_block(pem, "PRIVATE KEY") {
            RsaKeyPair::from_pkcs8(&der)
        } else if let Some(der) = pem_block(pem, "RSA PRIVATE KEY") {
            RsaKeyPair::from_der(&der)
        } else {
            return Err(AssertionKeyError::NotPem);
        };
        let pair = pair.map_err(|_| AssertionKeyError::NotRsa)?;
        if pair.public_modulus_len() < MIN_MODULUS {
            return Err(AssertionKeyError::TooShort);
        }
        Ok(Self {
            pair: Arc::new(pair),
            kid,
        })
    }

    /// An assertion for `client_id` towards `audience`; `now` in epoch seconds. Each has a fresh `jti`,
    /// because an assertion with a `jti` is single use.
    pub(super) fn sign(
        &self,
        client_id: &str,
        audience: &str,
        now: i64,
    ) -> Result<String, AssertionFault> {
        let random = SystemRandom::new();
        let mut jti = [0u8; 16];
        aws_lc_rs::rand::fill(&mut jti).map_err(|_| AssertionFault)?;
        let mut header = json!({"typ": "JWT", "alg": "RS256"});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience,
            "iat": now - BACKDATED, "exp": now + LIFETIME, "jti": URL_SAFE_NO_PAD.encode(jti),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &random,
                message.as_bytes(),
                &mut signature,
            )
            .map_err(|_| AssertionFault)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.pair.public_modulus_len() * 8;
        f.debug_struct("AssertionKey")
            .field("kid", &self.kid)
            .field("bits", &bits)
            .finish_non_exhaustive()
    }
}

/// The bytes of the first block with this label.
fn pem_block(pem: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let (_, rest) = pem.split_once(&begin)?;
    let (body, _) = rest.split_once(&end)?;
    let compact: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    STANDARD.decode(compact.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// A fresh 2048-bit key as PKCS#8 PEM.
    pub(in super::super) fn pem() -> String {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("PKCS#8");
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        )
    }

    #[test]
    fn an_assertion_says_what_okta_wants() {
        let key = AssertionKey::from_pem(&pem(), Some("k1".into())).expect("valid");
        let now = 1_750_000_000;
        let token = key
            .sign("client", "https://h.example/token", now)
            .expect("signed");
        let parts: Vec<&str> = token.split('.').collect();
        let read = |part: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
        };
        assert_eq!(
            read(parts[0]),
            json!({"typ": "JWT", "alg": "RS256", "kid": "k1"})
        );
        let claims = read(parts[1]);
        assert_eq!(claims["iss"], "client");
        assert_eq!(claims["sub"], "client");
        assert_eq!(claims["aud"], "https://h.example/token");
        let exp = claims["exp"].as_i64().expect("seconds");
        assert!(exp > now && exp <= now + 3600);
        assert!(claims["iat"].as_i64().expect("seconds") < now);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.pair.public_key());
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64url");
        public
            .verify(format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature)
            .expect("verifies");
        let again = key
            .sign("client", "https://h.example/token", now)
            .expect("signed");
        assert_ne!(
            read(again.split('.').nth(1).expect("claims"))["jti"],
            claims["jti"]
        );
    }

    #[test]
    fn keys_that_cannot_be_used_are_named() {
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        let rows = [
            ("", AssertionKeyError::NotPem),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
                AssertionKeyError::NotPem,
            ),
            (encrypted, AssertionKeyError::Encrypted),
            (garbage, AssertionKeyError::NotRsa),
        ];
        for (pem, error) in rows {
            assert_eq!(AssertionKey::from_pem(pem, None).err(), Some(error));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let key = AssertionKey::from_pem(&pem(), None).expect("valid");
        assert_eq!(
            format!("{key:?}"),
            "AssertionKey { kid: None, bits: 2048, .. }"
        );
    }
}
