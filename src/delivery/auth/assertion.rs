//! The client assertion of `private_key_jwt` (RFC 7523 §3; what Okta wants of it: CONTRACTS §2.4).
//!
//! Signed with aws-lc directly: the key is parsed once, and no process-wide provider is involved.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::signing::{KeyError, KeySource};

/// How long an assertion is valid, in seconds; Okta refuses more than an hour.
const LIFETIME: i64 = 300;

/// `iat` lies this far back, in seconds: it must be before the receipt, by the other side's clock.
const BACKDATED: i64 = 10;

/// An RSA key that signs client assertions with RS256.
#[derive(Clone)]
pub struct AssertionKey {
    pair: Arc<RsaKeyPair>,
    kid: Option<String>,
}

/// The system has no random numbers, or the key cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AssertionFault;

impl AssertionKey {
    /// Reads a key file in any of the forms of [`KeySource`]. The `kid`, given or the file's own, goes into the header.
    /// Blocking.
    ///
    /// # Errors
    /// As for a signing key.
    pub fn load(source: &KeySource) -> Result<Self, KeyError> {
        let (pair, kid) = source.load_pair()?;
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

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// A fresh 2048-bit key.
    pub(in super::super) fn key(kid: Option<&str>) -> AssertionKey {
        AssertionKey {
            pair: Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
            kid: kid.map(str::to_owned),
        }
    }

    #[test]
    fn an_assertion_says_what_okta_wants() {
        let key = key(Some("k1"));
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
    fn a_key_file_is_read_as_a_signing_key_is() {
        let load = |name: &str, kid: Option<&str>| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/");
            let mut source = KeySource::new(format!("{folder}{name}"));
            source.kid = kid.map(str::to_owned);
            AssertionKey::load(&source)
        };
        let pkcs1 = load("rsa-2048.pkcs1.pem", None).expect("PKCS#1");
        assert_eq!(pkcs1.kid, None);
        let own = load("rfc7515-a2.jwk.json", None).map(|key| key.kid);
        let given = load("rsa-2048.jwk.json", Some("given")).map(|key| key.kid);
        assert_eq!(own.expect("a JWK"), None);
        assert_eq!(given.expect("a JWK").as_deref(), Some("given"));
        let refused = |name: &str| load(name, None).expect_err("refused").to_string();
        assert!(refused("rsa-2048.pkcs8.encrypted.pem").contains("openssl pkey"));
        assert!(refused("rsa-1024.pkcs8.pem").contains("1024 bits"));
        assert!(refused("ec-p256.pkcs8.pem").contains("an EC key"));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = key(None);
        assert_eq!(
            format!("{key:?}"),
            "AssertionKey { kid: None, bits: 2048, .. }"
        );
    }
}
