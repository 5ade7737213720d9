//! Is this a SET that Okta would take? Header, signature, envelope; the event itself is `schema`'s.
//!
//! Checked with aws-lc directly, by none of the code that signs: the simulator is the other side.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::jwks::KeyCache;
use super::schema;

/// An RFC 8935 §2.3 error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetError {
    pub(super) err: &'static str,
    pub(super) description: String,
}

impl SetError {
    pub(super) fn request(description: impl Into<String>) -> Self {
        Self {
            err: "invalid_request",
            description: description.into(),
        }
    }
}

/// What the org knows about the provider.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) keys: KeyCache,
}

/// A compact JWS taken apart, nothing verified.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// Header and payload as they were signed.
    message: &'a [u8],
    signature: Vec<u8>,
}

impl Parts<'_> {
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }
}

/// Takes a compact JWS apart.
pub(super) fn take_apart(body: &[u8]) -> Result<Parts<'_>, SetError> {
    let broken =
        |what: &str| SetError::request(format!("Could not parse security event token: {what}"));
    let text = std::str::from_utf8(body).map_err(|_| broken("not UTF-8"))?;
    let mut dots = text.match_indices('.').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(broken("not a compact JWS"));
    };
    let object = |part: &str, what: &str| -> Result<Map<String, Value>, SetError> {
        let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| broken(what))?;
        serde_json::from_slice(&json).map_err(|_| broken(what))
    };
    let signature = URL_SAFE_NO_PAD
        .decode(&text[second + 1..])
        .map_err(|_| broken("signature"))?;
    Ok(Parts {
        header: object(&text[..first], "header")?,
        claims: object(&text[first + 1..second], "payload")?,
        message: &body[..second],
        signature,
    })
}

/// Everything; `now` in epoch seconds.
pub(super) async fn verify(
    parts: &Parts<'_>,
    registration: &Registration,
    now: i64,
) -> Result<(), SetError> {
    let text = |name: &str| parts.header.get(name).and_then(Value::as_str);
    if text("typ") != Some("secevent+jwt") {
        return Err(SetError::request(
            "The token's header 'typ' must be secevent+jwt",
        ));
    }
    if text("alg") != Some("RS256") {
        return Err(SetError::request("The token's header 'alg' must be RS256"));
    }
    let claim = |name: &str| parts.claims.get(name);
    if claim("iss").and_then(Value::as_str) != Some(registration.issuer.as_str()) {
        let description = "The issuer is not registered with this org".to_owned();
        return Err(SetError {
            err: "invalid_issuer",
            description,
        });
    }
    if claim("aud").and_then(Value::as_str) != Some(registration.audience.as_str()) {
        return Err(SetError {
            err: "invalid_audience",
            description: "The audience is not this org".to_owned(),
        });
    }
    verify_signature(parts, &registration.keys).await?;
    verify_envelope(&parts.claims, now)?;
    schema::verify_events(&parts.claims)
}

async fn verify_signature(parts: &Parts<'_>, keys: &KeyCache) -> Result<(), SetError> {
    let kid = parts.kid().unwrap_or_default();
    let Some(key) = keys.find(kid).await else {
        let description = format!("No matching key was found in JWKS uri, kid={kid}");
        return Err(SetError {
            err: "invalid_key",
            description,
        });
    };
    let public = RsaPublicKeyComponents {
        n: &key.n,
        e: &key.e,
    };
    public
        .verify(&RSA_PKCS1_2048_8192_SHA256, parts.message, &parts.signature)
        .map_err(|_| SetError {
            err: "authentication_failed",
            description: format!(
                "Could not verify message signature, Verification failed for kid={kid}"
            ),
        })
}

fn verify_envelope(claims: &Map<String, Value>, now: i64) -> Result<(), SetError> {
    if claims
        .get("jti")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err(schema::blank("jti"));
    }
    let Some(iat) = claims.get("iat").and_then(Value::as_i64) else {
        return Err(schema::blank("iat"));
    };
    if iat > now {
        return Err(SetError::request("The token was issued in the future"));
    }
    for forbidden in ["exp", "sub"] {
        if claims.contains_key(forbidden) {
            return Err(SetError::request(format!(
                "The claim '{forbidden}' must not be present"
            )));
        }
    }
    Ok(())
}
