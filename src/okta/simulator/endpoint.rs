//! One request to the SET endpoint: choose the reply, read, verify, take, answer, note.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_LANGUAGE, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::faults::{Faults, Reply};
use super::jwks::{self, JwksSource, KeyCache};
use super::listener::{ResetSwitch, SwitchedListener};
use super::received::{Answered, Received, ReceivedBook, Tally};
use super::token::{self, Registration, SetError};
use super::{SET_PATH, SimulatorSettings};
use crate::clock::epoch_seconds;

/// Largest body that is read; reference receivers cap there (CONTRACTS §1.1).
const MAX_BODY: usize = 1024 * 1024;

/// The state of one simulator.
pub(super) struct Endpoint {
    registration: ArcSwap<Registration>,
    client: Client,
    verify_every: u64,
    faults: Faults,
    received: ReceivedBook,
    closing: CancellationToken,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

/// A request under way.
struct Arrival {
    number: u64,
    at: Instant,
    wall: SystemTime,
    headers: HeaderMap,
    raw: Bytes,
    switch: ResetSwitch,
}

/// What was found out about a SET.
#[derive(Default)]
struct Findings {
    kid: Option<String>,
    claims: Option<Value>,
    valid: Option<bool>,
    taken: bool,
    repeat: bool,
    error: Option<SetError>,
    wrong_media_type: bool,
    scripted: bool,
}

impl Endpoint {
    pub(super) fn new(settings: SimulatorSettings) -> reqwest::Result<Self> {
        let client = jwks::client()?;
        let keys = KeyCache::new(client.clone(), settings.jwks);
        let registration = Registration {
            issuer: settings.issuer,
            audience: settings.audience,
            keys,
        };
        Ok(Self {
            registration: ArcSwap::from_pointee(registration),
            client,
            verify_every: settings.verify_every.max(1),
            faults: Faults::default(),
            received: ReceivedBook::new(settings.keep),
            closing: CancellationToken::new(),
        })
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn received(&self) -> &ReceivedBook {
        &self.received
    }

    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    pub(super) fn register(&self, issuer: &str, audience: &str, jwks: JwksSource) {
        let keys = KeyCache::new(self.client.clone(), jwks);
        let registration = Registration {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys,
        };
        self.registration.store(Arc::new(registration));
    }

    async fn answer(&self, request: Request, switch: ResetSwitch) -> Response {
        let (head, body) = request.into_parts();
        let mut arrival = Arrival {
            number: self.received.begin(),
            at: Instant::now(),
            wall: SystemTime::now(),
            headers: head.headers,
            raw: Bytes::new(),
            switch,
        };
        // Rules look at the claims, so they need the body; the queue does not.
        let early = if self.faults.has_rules() {
            None
        } else {
            Some(self.faults.choose(None))
        };
        if early == Some(Reply::ResetUnread) {
            let findings = Findings {
                scripted: true,
                ..Findings::default()
            };
            return self.end(&arrival, findings, Answered::Reset, None).await;
        }
        arrival.raw = match axum::body::to_bytes(body, MAX_BODY).await {
            Ok(raw) => raw,
            Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        };
        let verify = arrival.number.is_multiple_of(self.verify_every);
        let mut findings = self.look_at(&arrival, verify);
        let mut reply = early.unwrap_or_else(|| self.faults.choose(findings.claims.as_ref()));
        while let Reply::After(delay, then) = reply {
            tokio::time::sleep(delay).await;
            reply = *then;
        }
        findings.scripted = reply != Reply::Judge;
        match reply {
            Reply::Status {
                status,
                headers,
                body,
            } => {
                let response = scripted(status, &headers, body);
                self.end(&arrival, findings, Answered::Status(status), Some(response))
                    .await
            }
            Reply::ResetUnread | Reply::ResetRead => {
                self.end(&arrival, findings, Answered::Reset, None).await
            }
            Reply::Never => self.end(&arrival, findings, Answered::Never, None).await,
            Reply::TakeThenReset => {
                self.judge(&arrival, &mut findings, verify).await;
                self.end(&arrival, findings, Answered::Reset, None).await
            }
            Reply::Judge | Reply::After(..) => {
                let response = self.judge(&arrival, &mut findings, verify).await;
                let status = response.status().as_u16();
                self.end(&arrival, findings, Answered::Status(status), Some(response))
                    .await
            }
        }
    }

    /// Decodes as much as is needed: everything for the log, for rules and for verifying, else the `jti`.
    fn look_at(&self, arrival: &Arrival, verify: bool) -> Findings {
        let mut findings = Findings::default();
        if verify || self.received.keeps() || self.faults.has_rules() {
            match token::take_apart(&arrival.raw) {
                Ok(parts) => {
                    findings.kid = parts.kid().map(str::to_owned);
                    findings.claims = Some(Value::Object(parts.claims));
                }
                Err(error) => findings.error = Some(error),
            }
        }
        findings
    }

    /// Verifies, takes, and makes Okta's answer.
    async fn judge(&self, arrival: &Arrival, findings: &mut Findings, verify: bool) -> Response {
        if verify {
            if !is_secevent(&arrival.headers) {
                findings.wrong_media_type = true;
                findings.valid = Some(false);
                return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
            }
            let outcome = match token::take_apart(&arrival.raw) {
                Ok(parts) => {
                    token::verify(&parts, &self.registration.load_full(), epoch_seconds()).await
                }
                Err(error) => Err(error),
            };
            findings.valid = Some(outcome.is_ok());
            findings.error = outcome.err();
        }
        if let Some(error) = &findings.error {
            return refusal(error);
        }
        let jti = match &findings.claims {
            Some(claims) => claims.get("jti").and_then(Value::as_str).map(str::to_owned),
            None => jti_of(&arrival.raw),
        };
        findings.taken = jti.is_some_and(|jti| self.received.take(&jti));
        findings.repeat = !findings.taken;
        StatusCode::ACCEPTED.into_response()
    }

    /// Notes how it ended, then ends it. `None` = no answer: reset, or silence until the client leaves.
    async fn end(
        &self,
        arrival: &Arrival,
        findings: Findings,
        answered: Answered,
        response: Option<Response>,
    ) -> Response {
        let count = |tally: &mut Tally| {
            tally.taken += u64::from(findings.taken);
            tally.repeats += u64::from(findings.repeat);
            tally.scripted += u64::from(findings.scripted);
            let refused =
                !findings.scripted && (findings.error.is_some() || findings.wrong_media_type);
            tally.refused += u64::from(refused);
            tally.unanswered += u64::from(!matches!(answered, Answered::Status(_)));
        };
        let received = self.received.keeps().then(|| Received {
            number: arrival.number,
            at: arrival.at,
            wall: arrival.wall,
            headers: texts(&arrival.headers),
            raw: arrival.raw.clone(),
            kid: findings.kid.clone(),
            claims: findings.claims.clone(),
            valid: findings.valid,
            taken: findings.taken,
            repeat: findings.repeat,
            answered,
            err: findings
                .error
                .as_ref()
                .filter(|_| !findings.scripted)
                .map(|error| error.err.to_owned()),
        });
        self.received.note(count, received);
        match (answered, response) {
            (Answered::Never, _) => std::future::pending().await,
            (_, Some(response)) => response,
            (_, None) => {
                arrival.switch.pull();
                // Never leaves: the connection refuses every write from here on.
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// Serves until aborted or closed.
pub(super) async fn serve(listener: TcpListener, endpoint: Arc<Endpoint>) {
    let closing = endpoint.closing.clone();
    let listener = SwitchedListener {
        listener,
        closing: closing.clone(),
    };
    let router = Router::new()
        .route(SET_PATH, post(receive))
        .with_state(endpoint);
    let serving = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<ResetSwitch>(),
    );
    // Only ends when told to.
    let _ended = serving
        .with_graceful_shutdown(closing.cancelled_owned())
        .await;
}

async fn receive(
    State(endpoint): State<Arc<Endpoint>>,
    ConnectInfo(switch): ConnectInfo<ResetSwitch>,
    request: Request,
) -> Response {
    endpoint.answer(request, switch).await
}

fn is_secevent(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == "application/secevent+jwt")
}

fn refusal(error: &SetError) -> Response {
    let body = json!({"err": error.err, "description": error.description}).to_string();
    let headers = [(CONTENT_TYPE, "application/json"), (CONTENT_LANGUAGE, "en")];
    (StatusCode::BAD_REQUEST, headers, body).into_response()
}

fn scripted(status: u16, headers: &[(String, String)], body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

/// The `jti` alone, for the bench: no tree is built.
fn jti_of(raw: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct OnlyJti {
        jti: String,
    }
    use base64::Engine as _;
    let payload = raw.split(|b| *b == b'.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .ok()?;
    serde_json::from_slice::<OnlyJti>(&json)
        .ok()
        .map(|claims| claims.jti)
}
