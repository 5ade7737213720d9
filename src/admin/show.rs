//! What operators look at: metrics, probes, the status. Nothing here changes anything.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::IntCounter;
use serde::Serialize;

use super::{AdminView, keys};
use crate::pipeline::StreamStatus;

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
    seconds.inc_by((view.signer.cpu_seconds() - seconds.get()).max(0.0));
    let Some(backend) = view.signer.multi_buffer() else {
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
    if !view.keys.is_known() {
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
        keys: keys(&view.keys)
            .into_iter()
            .map(|(kid, state)| KeyStatus { kid, state })
            .collect(),
        streams: streams.collect(),
    };
    axum::Json(status).into_response()
}
