//! What a receiver may fetch from us: the JWKS and the SSF metadata, on the public port.
//!
//! | path | what |
//! |---|---|
//! | `/jwks.json` | the public keys of the default ring |
//! | `/streams/ID/jwks.json` | those of a stream with keys of its own |
//! | `/.well-known/ssf-configuration` | the metadata of an issuer without a path |
//! | `/.well-known/ssf-configuration/tenant1` | the metadata of `https://host/tenant1` (SSF §7.2.1) |
//!
//! It must never serve anything but public members of keys, never depend on Kafka or a receiver
//! (a held stream needs its JWKS served, to leave the hold), and never answer from a copy: the JWKS is
//! made from the ring at each request, so a reload is visible at once.
//!
//! Stream management, verification and poll delivery (SSF §8) are to be routes beside these.

pub mod metadata;
pub mod outside;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use headers::{ETag, HeaderMapExt as _, IfNoneMatch};

pub use metadata::{MetadataError, SsfMetadata};
pub use outside::{Fetched, Outside, OutsideError};
pub use serve::serve;
pub use tls::{Identity, TlsError};

use crate::signing::KeyRing;

/// Where the JWKS of the default ring is.
pub const JWKS_PATH: &str = "/jwks.json";

/// Where the JWKS of a stream with keys of its own is. No receiver of another stream looks there, so a key that leaks
/// there proves nothing elsewhere.
#[must_use]
pub fn stream_jwks_path(stream: &str) -> String {
    format!("/streams/{stream}/jwks.json")
}

/// Where the SSF metadata is; an issuer's path comes behind it.
pub const METADATA_PATH: &str = "/.well-known/ssf-configuration";

/// One issuer and where its keys are.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The `iss` of its SETs, exactly.
    pub issuer: String,
    /// Where its JWKS is found; `None` for `/jwks.json` at the issuer's origin.
    pub jwks_uri: Option<String>,
}

/// A JWKS that is served: its path, and the ring whose public keys it is.
pub type ServedRing = (String, Arc<KeyRing>);

/// The public routes. One issuer may be listed many times (many streams), with the same `jwks_uri`; a ring may be served
/// at several distinct paths, and each path serves the keys of one ring and no other. A receiver or a proxy may keep an
/// answer for `max_age`: shorter than the time between publishing a key and using it.
///
/// # Errors
/// [`MetadataError`] about the first publication that cannot be served.
pub fn router(
    rings: Vec<ServedRing>,
    publications: &[Publication],
    max_age: Duration,
) -> Result<Router, MetadataError> {
    let published = Arc::new(Published::new(publications, max_age)?);
    let mut router = Router::new()
        .route(METADATA_PATH, get(metadata))
        .route(&format!("{METADATA_PATH}/{{*issuer}}"), get(metadata));
    for (path, ring) in rings {
        let published = Arc::clone(&published);
        let answer = move |headers: HeaderMap| jwks(ring, published, headers);
        router = router.route(&path, get(answer));
    }
    Ok(router.with_state(published))
}

/// What the routes answer from.
struct Published {
    /// `Cache-Control` of every answer.
    cache: HeaderValue,
    /// Metadata path → issuers with that path; they differ by host.
    issuers: BTreeMap<String, Vec<Issuer>>,
}

struct Issuer {
    metadata: SsfMetadata,
    /// The metadata as JSON; nothing in it changes while the process runs.
    document: Bytes,
}

impl Published {
    fn new(publications: &[Publication], max_age: Duration) -> Result<Self, MetadataError> {
        let mut published = Self {
            cache: HeaderValue::try_from(format!("public, max-age={}", max_age.as_secs()))
                .unwrap_or(HeaderValue::from_static("public")),
            issuers: BTreeMap::new(),
        };
        for publication in publications {
            published.add_issuer(publication)?;
        }
        Ok(published)
    }

    /// One issuer has one place and one JWKS, however many streams use it.
    fn add_issuer(&mut self, publication: &Publication) -> Result<(), MetadataError> {
        let metadata = SsfMetadata::new(&publication.issuer, publication.jwks_uri.as_deref())?;
        let neighbours = self.issuers.entry(metadata.path().to_owned()).or_default();
        let same_place = neighbours
            .iter()
            .map(|issuer| &issuer.metadata)
            .find(|other| other.authority() == metadata.authority());
        match same_place {
            None => {
                let document = json(&metadata);
                neighbours.push(Issuer { metadata, document });
                Ok(())
            }
            Some(other) if *other == metadata => Ok(()),
            Some(other) if other.issuer() == metadata.issuer() => {
                Err(MetadataError::TwoJwksUris(publication.issuer.clone()))
            }
            Some(other) => Err(MetadataError::SamePlace(
                other.issuer().to_owned(),
                publication.issuer.clone(),
            )),
        }
    }

    /// The issuer at `path`; where several hosts share the path, the one that `host` names, else the first.
    fn metadata(&self, path: &str, host: Option<&str>) -> Option<&Issuer> {
        let candidates = self.issuers.get(path)?;
        let named = candidates.iter().find(|issuer| {
            host.is_some_and(|host| issuer.metadata.authority().eq_ignore_ascii_case(host))
        });
        named.or_else(|| candidates.first())
    }
}

/// JSON of a value that always serialises (strings only, no maps with other keys).
fn json<T: serde::Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .unwrap_or_default()
}

impl Published {
    /// The document, or 304 without it for a client that has it already (RFC 9110 §13.1.2).
    fn answer(&self, document: Bytes, request: &HeaderMap) -> Response {
        let tag = strong_tag(&document);
        let known = request.typed_get::<IfNoneMatch>().zip(tag.as_ref());
        let known = known.is_some_and(|(known, tag)| !known.precondition_passes(tag));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            // application/json and not application/jwk-set+json: Okta asks for it (CONTRACTS §2.2).
            ([(header::CONTENT_TYPE, "application/json")], document).into_response()
        };
        let headers = response.headers_mut();
        if let Some(tag) = tag {
            headers.typed_insert(tag);
        }
        headers.insert(header::CACHE_CONTROL, self.cache.clone());
        response
    }
}

/// The same bytes have the same tag in every process and after every restart.
fn strong_tag(document: &[u8]) -> Option<ETag> {
    let digest = digest(&SHA256, document);
    let text = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]);
    format!("\"{text}\"").parse().ok()
}

async fn jwks(
    ring: Arc<KeyRing>,
    published: Arc<Published>,
    headers: HeaderMap,
) -> impl IntoResponse {
    // An empty set would be believed, and cached.
    if !ring.is_known() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    published.answer(json(&*ring.jwks()), &headers)
}

async fn metadata(
    State(published): State<Arc<Published>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    match published.metadata(uri.path(), host) {
        Some(issuer) => published.answer(issuer.document.clone(), &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
