//! Okta's judgement of a SET without its server: for receivers that answer in a way of their own.

use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;

use super::JwksSource;
use super::jwks::{self, KeyCache};
use super::token::{self, Registration};

/// Judges SETs of one provider as the simulated org does: header, signature, envelope, event.
#[derive(Debug)]
pub struct Inspector {
    registration: Registration,
}

/// A SET that Okta would take.
#[derive(Debug)]
pub struct Inspected {
    /// The `kid` of its header.
    pub kid: String,
    /// Its claims.
    pub claims: serde_json::Map<String, Value>,
}

impl Inspector {
    /// For SETs with this `iss` and `aud`, signed by one of these keys.
    ///
    /// # Errors
    /// When no HTTP client can be set up (none is used, as the keys are given).
    pub fn new(issuer: &str, audience: &str, keys: JwkSet) -> reqwest::Result<Self> {
        let source = JwksSource::Given(Box::new(keys));
        Ok(Self {
            registration: Registration {
                issuer: issuer.to_owned(),
                audience: audience.to_owned(),
                keys: KeyCache::new(jwks::client()?, source),
            },
        })
    }

    /// Everything that can be seen from the SET alone; `now` in seconds since 1970.
    ///
    /// # Errors
    /// In Okta's words, why it would be refused.
    pub async fn inspect(&self, raw: &[u8], now: i64) -> Result<Inspected, String> {
        let parts = token::take_apart(raw).map_err(|error| error.description)?;
        token::verify(&parts, &self.registration, now)
            .await
            .map_err(|error| format!("{}: {}", error.err, error.description))?;
        let kid = parts.kid().unwrap_or_default().to_owned();
        Ok(Inspected {
            kid,
            claims: parts.claims,
        })
    }
}
