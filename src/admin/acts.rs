//! `POST /streams/{id}/{act}`: what an operator may do, behind the token. JSON in, JSON out; each act is logged and counted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest as _, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::AdminView;
use super::token::Denied;
use crate::pipeline::{Act, ActError, Blocking, RewindTo, SkipEnd, Valve};

/// Longest reason of a hold, in characters.
const MAX_REASON: usize = 200;
/// So long a body may take to come.
const BODY: Duration = Duration::from_secs(10);
/// So many acts may be under way at once.
const MAX_ACTS: usize = 64;

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
    let asked = match Asked::read(act, &body) {
        Ok(asked) => asked,
        Err(Refused(status, why)) => {
            // What somebody typed by mistake is not for the log.
            tracing::warn!(%remote, stream = id, act = act.as_str(), "an operator's act was not understood");
            return refuse(status, why);
        }
    };
    let doing = finish(asked, valve.clone(), remote);
    match view.acts.carry(doing).await {
        Some(Ok(Done(status, mut answer))) => {
            answer["stream"] = json!(id);
            answer["held"] = json!(valve.held());
            answer["shared_state"] = json!(view.shared_state);
            (status, Json(answer)).into_response()
        }
        Some(Err(Refused(status, why))) => refuse(status, why),
        None => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many acts are under way, or the process ends",
        ),
    }
}

/// The acts that are under way. None ends because whoever asked for it has hung up.
#[derive(Debug, Default)]
pub struct Acts(Mutex<JoinSet<()>>);

impl Acts {
    /// Carries an act out, whether or not somebody waits for its answer. [`None`]: [`MAX_ACTS`] are under way, or the
    /// process ends.
    async fn carry<T: Send + 'static>(
        &self,
        act: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        {
            let mut acts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            while acts.try_join_next().is_some() {}
            if acts.len() >= MAX_ACTS {
                return None;
            }
            acts.spawn(async move {
                // Who asked may have gone.
                let _ = tell.send(act.await);
            });
        }
        told.await.ok()
    }
}

/// One act, from its first log line to its last.
async fn finish(asked: Asked, valve: Valve, remote: SocketAddr) -> Answer {
    let (act, stream) = (asked.act(), valve.stream().to_owned());
    let name = act.as_str();
    tracing::warn!(%remote, stream, act = name, "an operator asks for an act");
    match asked.carry_out(&valve).await {
        Ok(Ok(Done(status, answer))) => {
            if answer["dry_run"] != json!(true) {
                valve.count(act);
            }
            tracing::warn!(%remote, stream, act = name, %answer, "an operator acted");
            Ok(Done(status, answer))
        }
        Ok(Err(Refused(status, why))) => {
            tracing::warn!(%remote, stream, act = name, why, "an operator's act was not done");
            Err(Refused(status, why))
        }
        Err(error) if error.is_in_force() => {
            valve.count(act);
            let why = error.to_string();
            tracing::warn!(%remote, stream, act = name, why, "an operator acted, but it may not last");
            Err(error.into())
        }
        Err(error) => {
            let why = error.to_string();
            tracing::warn!(%remote, stream, act = name, why, "an operator's act was not done");
            Err(error.into())
        }
    }
}

/// What an operator asks for.
enum Asked {
    /// For this reason.
    Hold(String),
    Resume,
    /// That with this jti.
    Skip(Option<String>),
    Rewind {
        to: RewindTo,
        dry_run: bool,
    },
}

impl Asked {
    fn read(act: Act, body: &[u8]) -> Result<Self, Refused> {
        match act {
            Act::Hold => {
                let Hold { reason } = read(body)?;
                let reason = reason.unwrap_or_else(|| "an operator said so".to_owned());
                if reason.chars().count() > MAX_REASON || reason.contains(char::is_control) {
                    let why = format!("a reason is one line of at most {MAX_REASON} characters");
                    return Err(Refused(StatusCode::BAD_REQUEST, why));
                }
                Ok(Self::Hold(reason))
            }
            Act::Resume => read(body).map(|Resume {}| Self::Resume),
            Act::Skip => read(body).map(|Skip { jti }| Self::Skip(jti)),
            Act::Rewind => {
                let wanted: Rewind = read(body)?;
                let dry_run = wanted.dry_run;
                let to = match (wanted.to, wanted.since_ms) {
                    (Some(place), None) => RewindTo::Place {
                        topic: place.topic,
                        partition: place.partition,
                        offset: place.offset,
                    },
                    (None, Some(ms)) => RewindTo::Since(ms),
                    _ => {
                        let why = "give either `to` or `since_ms`".to_owned();
                        return Err(Refused(StatusCode::BAD_REQUEST, why));
                    }
                };
                Ok(Self::Rewind { to, dry_run })
            }
        }
    }

    fn act(&self) -> Act {
        match self {
            Self::Hold(_) => Act::Hold,
            Self::Resume => Act::Resume,
            Self::Skip(_) => Act::Skip,
            Self::Rewind { .. } => Act::Rewind,
        }
    }

    async fn carry_out(self, valve: &Valve) -> Result<Answer, ActError> {
        let answer = match self {
            Self::Hold(reason) => {
                valve.hold(&reason).await?;
                json!({})
            }
            Self::Resume => {
                valve.resume().await?;
                json!({})
            }
            Self::Skip(jti) => {
                let (set, end) = valve.skip(jti).await?;
                return Ok(skipped(&set, end));
            }
            Self::Rewind { to, dry_run } => {
                let rewound = valve.rewind(to, dry_run).await?;
                json!({"dry_run": dry_run, "rewound": rewound})
            }
        };
        Ok(Ok(Done(StatusCode::OK, answer)))
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
            ActError::NothingWaits | ActError::UnknownJti | ActError::NotHere => {
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
