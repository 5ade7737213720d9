//! Our own public addresses, seen from outside: what a receiver finds there. For keys that must be known before they sign,
//! and for `setbridge keys verify`.

use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use serde_json::Value;
use thiserror::Error;
use url::Url;

use crate::signing::PublicJwk;

/// A receiver gives up at some time, too.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A JWKS of a hundred keys is 60 KB.
const MAX_BODY: usize = 1024 * 1024;

/// Why there is no document.
#[derive(Debug, Error)]
pub enum OutsideError {
    /// No client could be made: the system's certificates, for example.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
    /// No answer.
    #[error("{url} cannot be fetched: {why}")]
    Unreachable {
        /// Where.
        url: Url,
        /// What failed.
        why: String,
    },
    /// Another answer than 200. Redirects are not followed, as receivers need not.
    #[error("{url} answers {status}")]
    Status {
        /// Where.
        url: Url,
        /// With what.
        status: u16,
    },
    /// A body that is no JSON, or an endless one.
    #[error("{url} answers with no JSON document: {why}")]
    NotJson {
        /// Where.
        url: Url,
        /// What is wrong with it.
        why: String,
    },
}

/// A document as it was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The whole of it.
    pub document: Value,
    /// `Content-Type`, or nothing.
    pub content_type: String,
    /// Seconds of `Cache-Control: max-age`.
    pub max_age: Option<u64>,
}

/// A client like a receiver's: it trusts the system's certificates, follows no redirect, sends no credentials.
#[derive(Debug, Clone)]
pub struct Outside {
    client: reqwest::Client,
}

impl Outside {
    /// # Errors
    /// [`OutsideError::Client`].
    pub fn new() -> Result<Self, OutsideError> {
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("setbridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| OutsideError::Client(reason(&error)))?;
        Ok(Self { client })
    }

    /// The document at `url`.
    ///
    /// # Errors
    /// [`OutsideError`].
    pub async fn fetch(&self, url: &Url) -> Result<Fetched, OutsideError> {
        let unreachable = |error: reqwest::Error| OutsideError::Unreachable {
            url: url.clone(),
            why: reason(&error.without_url()),
        };
        let not_json = |why: String| OutsideError::NotJson {
            url: url.clone(),
            why,
        };
        let mut answer = self
            .client
            .get(url.clone())
            .send()
            .await
            .map_err(unreachable)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(OutsideError::Status {
                url: url.clone(),
                status: answer.status().as_u16(),
            });
        }
        let text = |name| text(answer.headers(), name);
        let (content_type, cache) = (text(CONTENT_TYPE), text(CACHE_CONTROL));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(not_json(format!("it is longer than {MAX_BODY} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let document =
            serde_json::from_slice(&body).map_err(|error| not_json(error.to_string()))?;
        let max_age = cache.split(',').find_map(|directive| {
            let (name, value) = directive.trim().split_once('=')?;
            name.eq_ignore_ascii_case("max-age")
                .then(|| value.trim_matches('"').parse().ok())?
        });
        Ok(Fetched {
            document,
            content_type,
            max_age,
        })
    }
}

impl Fetched {
    /// Whether this JWKS has `key`: the same key under the same `kid`. Members that need not be there are not looked at.
    #[must_use]
    pub fn publishes(&self, key: &PublicJwk) -> bool {
        let Ok(Value::Object(ours)) = serde_json::to_value(key) else {
            return false;
        };
        let material = |name: &str| !matches!(name, "use" | "alg");
        let theirs = self.document["keys"].as_array().into_iter().flatten();
        let mut theirs = theirs.filter(|entry| entry["kid"] == key.kid().as_str());
        theirs.any(|entry| {
            let mut members = ours.iter().filter(|(name, _)| material(name));
            members.all(|(name, value)| entry.get(name) == Some(value))
        })
    }
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// The innermost cause: what a person can act on.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
