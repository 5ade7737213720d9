//! `POST /streams/{id}/{act}`: what an operator may do, behind the token. JSON in, JSON out; each act is logged and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest as _, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::AdminView;
use super::token::Denied;
use crate::pipeline::{Act, ActError, Blocking, RewindTo, SkipEnd, Valve};

/// Longest reason of a hold, in characters.
const MAX_REASON: usize = 200;
/// So long a body may take to come.
const BODY: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Hold {
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Resume {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Skip {
    jti: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rewind {
    to: Option<Place>,
    since_ms: Option<i64>,
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

/// An answer that is not 200.
struct Refused(StatusCode, String);

/// One that is 200, or 202 when it is only asked for.
struct Done(StatusCode, Value);

type Answer = Result<Done, Refused>;

pub(super) async fn act(
    State(view): State<Arc<AdminView>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path((id, act)): Path<(String, String)>,
    request: Request,
) -> Response {
    // Nothing of a body is read for somebody who may not act.
    if let Err(denied) = view.token.check(request.headers()) {
        tracing::warn!(%remote, ?denied, "an operator's act was denied");
        return deny(denied);
    }
    let Some(act) = Act::ALL.into_iter().find(|known| known.as_str() == act) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no act {act:?}"));
    };
    let valve = view.streams.iter().map(|stream| &stream.valve);
    let Some(valve) = valve.into_iter().find(|valve| valve.stream() == id) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no stream {id:?}"));
    };
    let body = match body_of(request, BODY).await {
        Ok(body) => body,
        Err(Refused(status, why)) => {
            tracing::warn!(%remote, stream = id, act = act.as_str(), why, "an operator's act was not done");
            return refuse(status, why);
        }
    };
    match carry_out(act, valve, &body).await {
        Ok(Done(status, mut answer)) => {
            if answer["dry_run"] != json!(true) {
                valve.count(act);
            }
            tracing::warn!(%remote, stream = id, act = act.as_str(), %answer, "an operator acted");
            answer["stream"] = json!(id);
            answer["held"] = json!(valve.held());
            answer["shared_state"] = json!(view.shared_state);
            (status, Json(answer)).into_response()
        }
        Err(Refused(status, why)) => {
            tracing::warn!(%remote, stream = id, act = act.as_str(), why, "an operator's act was not done");
            refuse(status, why)
        }
    }
}

async fn carry_out(act: Act, valve: &Valve, body: &[u8]) -> Answer {
    match act {
        Act::Hold => {
            let Hold { reason } = read(body)?;
            let reason = reason.as_deref().unwrap_or("an operator said so");
            if reason.chars().count() > MAX_REASON || reason.contains(char::is_control) {
                let why = format!("a reason is one line of at most {MAX_REASON} characters");
                return Err(Refused(StatusCode::BAD_REQUEST, why));
            }
            valve.hold(reason).await?;
            Ok(Done(StatusCode::OK, json!({})))
        }
        Act::Resume => {
            let Resume {} = read(body)?;
            valve.resume().await?;
            Ok(Done(StatusCode::OK, json!({})))
        }
        Act::Skip => {
            let Skip { jti } = read(body)?;
            let (set, end) = valve.skip(jti).await?;
            skipped(&set, end)
        }
        Act::Rewind => {
            let wanted: Rewind = read(body)?;
            let dry_run = wanted.dry_run;
            let to = match (wanted.to, wanted.since_ms) {
                (
                    Some(Place {
                        topic,
                        partition,
                        offset,
                    }),
                    None,
                ) => RewindTo::Place {
                    topic,
                    partition,
                    offset,
                },
                (None, Some(ms)) => RewindTo::Since(ms),
                _ => {
                    let why = "give either `to` or `since_ms`".to_owned();
                    return Err(Refused(StatusCode::BAD_REQUEST, why));
                }
            };
            let rewound = valve.rewind(to, dry_run).await?;
            Ok(Done(
                StatusCode::OK,
                json!({"dry_run": dry_run, "rewound": rewound}),
            ))
        }
    }
}

impl From<ActError> for Refused {
    fn from(error: ActError) -> Self {
        let status = match error {
            ActError::NotDurable(_)
            | ActError::Ending
            | ActError::Kafka(_)
            | ActError::State(_)
            | ActError::NotCommitted => StatusCode::SERVICE_UNAVAILABLE,
            ActError::NothingWaits | ActError::UnknownJti(_) | ActError::NotHere => {
                StatusCode::NOT_FOUND
            }
            ActError::NotHeld | ActError::NotRewound(_) => StatusCode::CONFLICT,
            ActError::NothingBefore(_) | ActError::TooMuch => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self(status, error.to_string())
    }
}

fn skipped(set: &Blocking, end: SkipEnd) -> Answer {
    let mut answer = json!({"set": set});
    match end {
        SkipEnd::Outcome(outcome, reason) => {
            answer["outcome"] = json!(outcome);
            answer["reason"] = json!(reason);
            Ok(Done(StatusCode::OK, answer))
        }
        SkipEnd::NotYet => Ok(Done(StatusCode::ACCEPTED, answer)),
        SkipEnd::Left => {
            let why =
                "its partition left before it was skipped: nothing was decided; ask its next owner";
            Err(Refused(StatusCode::CONFLICT, why.to_owned()))
        }
    }
}

/// The whole body, within [`super::MAX_BODY`] and this time.
async fn body_of(request: Request, within: Duration) -> Result<Bytes, Refused> {
    match tokio::time::timeout(within, Bytes::from_request(request, &())).await {
        Ok(body) => body.map_err(|error| Refused(error.status(), error.body_text())),
        Err(_) => {
            let why = format!("the body did not come within {within:?}");
            Err(Refused(StatusCode::REQUEST_TIMEOUT, why))
        }
    }
}

/// What the operator asked for; nothing is the same as `{}`.
fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Refused(StatusCode::BAD_REQUEST, format!("the body: {error}")))
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({"error": why.into()}))).into_response()
}

fn deny(denied: Denied) -> Response {
    let (status, why) = match denied {
        Denied::NoToken => (
            StatusCode::FORBIDDEN,
            "nobody may act: `admin.token` is not configured",
        ),
        Denied::NotShown => (
            StatusCode::UNAUTHORIZED,
            "show the token: `Authorization: Bearer …`",
        ),
        Denied::Wrong => (
            StatusCode::UNAUTHORIZED,
            "this is not the token of `admin.token`",
        ),
    };
    let mut answer = refuse(status, why);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = header::HeaderValue::from_static("Bearer");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, bearer);
    }
    answer
}

#[cfg(test)]
mod tests;
