//! The operators' port: `/metrics`, `/livez`, `/readyz`, `/status`.
//!
//! Liveness is about our own threads, never about Kafka or a receiver; readiness is about being able to serve the JWKS
//! and to work, and a hold never makes a process unready: the receiver needs the JWKS to leave `invalid_key`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use crate::kafka::membership::Membership;
use crate::metrics::Metrics;
use crate::pipeline::StreamStatus;
use crate::signing::{KeyRing, Signer};

/// One stream, as the operators' port sees it.
#[derive(Debug, Clone)]
pub struct StreamView {
    /// Its poller's heartbeat.
    pub membership: Arc<Membership>,
    /// What its desk shows.
    pub status: Arc<Mutex<StreamStatus>>,
    /// It ended by a fatal error.
    pub dead: Arc<AtomicBool>,
}

/// Everything that the operators' port shows.
pub struct AdminView {
    /// All metrics.
    pub metrics: Metrics,
    /// The streams in the order of the configuration.
    pub streams: Vec<StreamView>,
    /// The keys.
    pub keys: Arc<KeyRing>,
    /// The signer threads, for their CPU time.
    pub signer: Arc<Signer>,
    /// A poller that is silent for longer is stuck.
    pub liveness_threshold: Duration,
    /// First 12 hexadecimal digits of the configuration's SHA-256.
    pub config_hash: String,
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    config_hash: &'a str,
    keys: Vec<KeyStatus>,
    streams: Vec<StreamStatus>,
}

#[derive(Serialize)]
struct KeyStatus {
    kid: String,
    state: &'static str,
}

/// The routes of the operators' port.
pub fn router(view: Arc<AdminView>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(view)
}

async fn metrics(State(view): State<Arc<AdminView>>) -> Response {
    view.metrics.sign_cpu_seconds.set(view.signer.cpu_seconds());
    match view.metrics.render() {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn livez(State(view): State<Arc<AdminView>>) -> Response {
    let silent = view
        .streams
        .iter()
        .find(|stream| stream.membership.silence() > view.liveness_threshold);
    match silent {
        None => "ok\n".into_response(),
        Some(stream) => {
            let status = stream.status.lock().unwrap_or_else(PoisonError::into_inner);
            let text = format!(
                "the poller of stream {} is silent for {:?}\n",
                status.id,
                stream.membership.silence()
            );
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// The listeners are up, or nobody could ask; configuration and keys were loaded before them.
async fn readyz(State(view): State<Arc<AdminView>>) -> Response {
    if view
        .streams
        .iter()
        .any(|stream| stream.dead.load(Ordering::SeqCst))
    {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "a stream ended by a fatal error\n",
        )
            .into_response();
    }
    "ok\n".into_response()
}

async fn status(State(view): State<Arc<AdminView>>) -> Response {
    let streams = view.streams.iter().map(|stream| {
        stream
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    });
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        config_hash: &view.config_hash,
        keys: keys(&view.keys)
            .into_iter()
            .map(|(kid, state)| KeyStatus { kid, state })
            .collect(),
        streams: streams.collect(),
    };
    axum::Json(status).into_response()
}

/// `(kid, state)` of each key of a ring.
#[must_use]
pub fn keys(ring: &KeyRing) -> Vec<(String, &'static str)> {
    let active = ring.active();
    let state = |kid| {
        if kid == active.kid() {
            "active"
        } else {
            "published"
        }
    };
    ring.jwks()
        .keys
        .iter()
        .map(|key| (key.kid().as_str().to_owned(), state(key.kid())))
        .collect()
}
