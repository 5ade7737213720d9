//! The operators' port: `/metrics`, `/livez`, `/readyz`, `/status`, and the acts of [`crate::pipeline::Valve`].
//!
//! Liveness is about our own threads, never about Kafka or a receiver; readiness is about being able to serve the JWKS
//! and to work, and a hold never makes a process unready: the receiver needs the JWKS to leave `invalid_key`.

mod acts;
mod show;
mod token;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::kafka::membership::Membership;
use crate::metrics::Metrics;
use crate::pipeline::{StreamStatus, Valve};
use crate::signing::{KeyRing, KeyState, Signer};

pub use acts::Acts;
pub use token::Token;

/// Longest body of an act, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// One stream, as the operators' port sees it.
#[derive(Clone)]
pub struct StreamView {
    /// Its poller's heartbeat.
    pub membership: Arc<Membership>,
    /// What its desk shows.
    pub status: Arc<Mutex<StreamStatus>>,
    /// It ended by a fatal error.
    pub dead: Arc<AtomicBool>,
    /// What operators may do to it.
    pub valve: Valve,
}

/// One ring of keys, as the operators' port sees it.
pub struct RingView {
    /// As in the metrics.
    pub name: String,
    /// The keys.
    pub keys: Arc<KeyRing>,
    /// The signer threads, for their CPU time; rings may share them.
    pub signer: Arc<Signer>,
}

/// Everything that the operators' port shows.
pub struct AdminView {
    /// All metrics.
    pub metrics: Metrics,
    /// The streams in the order of the configuration.
    pub streams: Vec<StreamView>,
    /// The rings of keys in the order of the configuration.
    pub rings: Vec<RingView>,
    /// A poller that is silent for longer is stuck.
    pub liveness_threshold: Duration,
    /// First 12 hexadecimal digits of the configuration's SHA-256.
    pub config_hash: String,
    /// What an act has to show.
    pub token: Arc<Token>,
    /// Several processes share the state, and with it an operator's hold.
    pub shared_state: bool,
    /// The acts that are under way.
    pub acts: Acts,
}

/// The routes of the operators' port.
pub fn router(view: Arc<AdminView>) -> Router {
    Router::new()
        .route("/metrics", get(show::metrics))
        .route("/livez", get(show::livez))
        .route("/readyz", get(show::readyz))
        .route("/status", get(show::status))
        .route("/streams/{id}/{act}", post(acts::act))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(view)
}

/// `(kid, state)` of each key of a ring.
#[must_use]
pub fn keys(ring: &KeyRing) -> Vec<(String, &'static str)> {
    let keys = ring.keys();
    let there = keys.iter().filter(|(_, _, state)| *state != KeyState::Gone);
    there
        .map(|(key, _, state)| (key.kid().as_str().to_owned(), state.as_str()))
        .collect()
}
