//! What operators look at: metrics, probes, the status. Nothing here changes anything.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::IntCounter;
use serde::Serialize;

use super::{AdminView, RingView, keys};
use crate::pipeline::StreamStatus;
use crate::signing::Signer;

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    config_hash: &'a str,
    keys: Vec<KeyStatus<'a>>,
    streams: Vec<StreamStatus>,
}

#[derive(Serialize)]
struct KeyStatus<'a> {
    /// The ring: `(default)`, or the first stream that has it.
    ring: &'a str,
    kid: String,
    state: &'static str,
}

fn shown(ring: &RingView) -> impl Iterator<Item = KeyStatus<'_>> {
    let each = keys(&ring.keys).into_iter();
    each.map(|(kid, state)| KeyStatus {
        ring: &ring.name,
        kid,
        state,
    })
}

pub(super) async fn metrics(State(view): State<Arc<AdminView>>) -> Response {
    signer(&view);
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

/// What the signer counts itself. One at a time: two scrapes at once would add the same signatures twice.
fn signer(view: &AdminView) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let metrics = &view.metrics;
    let seconds = &metrics.sign_cpu_seconds;
    let mut signers: Vec<&Signer> = Vec::new();
    for ring in &view.rings {
        if !signers
            .iter()
            .any(|known| std::ptr::eq(*known, &*ring.signer))
        {
            signers.push(&ring.signer);
        }
    }
    let spent: f64 = signers.iter().map(|signer| signer.cpu_seconds()).sum();
    seconds.inc_by((spent - seconds.get()).max(0.0));
    // One of them at most: that of the keys in files.
    let Some(backend) = signers.iter().find_map(|signer| signer.multi_buffer()) else {
        return;
    };
    let follow =
        |counter: &IntCounter, count: u64| counter.inc_by(count.saturating_sub(counter.get()));
    follow(&metrics.multi_buffer_signed, backend.signed());
    follow(&metrics.multi_buffer_mismatches, backend.mismatches());
    let works = backend.is_on() && backend.crossing().is_some();
    metrics.multi_buffer_on.set(i64::from(works));
}

pub(super) async fn livez(State(view): State<Arc<AdminView>>) -> Response {
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

/// The listeners are up, or nobody could ask; configuration and keys were loaded before them, but for keys that somebody
/// else has to tell.
pub(super) async fn readyz(State(view): State<Arc<AdminView>>) -> Response {
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
    // One ring that is not known yet must not keep receivers from the JWKS of others; its own answers 503 itself.
    if !view.rings.iter().any(|ring| ring.keys.is_known()) {
        let why = "whoever has the signing keys has not told the public ones yet\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    "ok\n".into_response()
}

pub(super) async fn status(State(view): State<Arc<AdminView>>) -> Response {
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
        keys: view.rings.iter().flat_map(shown).collect(),
        streams: streams.collect(),
    };
    axum::Json(status).into_response()
}
