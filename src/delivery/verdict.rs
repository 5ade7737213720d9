//! What a receiver's answer means: `judge` turns status, content type and body into a [`Verdict`].
//!
//! The table is DESIGN §5; the error codes are RFC 8935 §2.4 and CONTRACTS §1.5. Pure: no I/O, no clock.
//! It must never read a field name out of a `description`, and never keep one: receivers put people's
//! names and internal names there (CONTRACTS §1.5).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

/// How much of a response body is looked at, in bytes. A body that is longer is cut here, and a JSON
/// document that was cut is unreadable.
pub const MAX_BODY: usize = 64 * 1024;

/// Longest unknown `err` that is kept, in bytes. Registered codes have at most 21.
const MAX_ERR: usize = 64;

/// An RFC 8935 `err` code. Unknown ones are kept as text only when they look like a code, because the
/// text ends up in dead-letter headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ErrCode {
    /// The request body is no SET that the receiver can use (RFC 8935 §2.4).
    InvalidRequest,
    /// The key is unknown or unfit (RFC 8935 §2.4).
    InvalidKey,
    /// The issuer is unknown (RFC 8935 §2.4).
    InvalidIssuer,
    /// The audience is not the receiver (RFC 8935 §2.4).
    InvalidAudience,
    /// The signature or the transmitter could not be authenticated (RFC 8935 §2.4).
    AuthenticationFailed,
    /// The transmitter may not send this (RFC 8935 §2.4).
    AccessDenied,
    /// The stream's `state` does not fit (SSF 1.0 §8.1.4).
    InvalidState,
    /// Any other code, at most 64 characters of `[A-Za-z0-9_.:-]`; text of another shape is `unknown`.
    Other(Arc<str>),
}

impl ErrCode {
    /// Reads the text of an `err` member.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "invalid_request" => Self::InvalidRequest,
            "invalid_key" => Self::InvalidKey,
            "invalid_issuer" => Self::InvalidIssuer,
            "invalid_audience" => Self::InvalidAudience,
            "authentication_failed" => Self::AuthenticationFailed,
            "access_denied" => Self::AccessDenied,
            "invalid_state" => Self::InvalidState,
            other if looks_like_a_code(other) => Self::Other(other.into()),
            _ => Self::Other("unknown".into()),
        }
    }

    /// The code as it was on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AccessDenied => "access_denied",
            Self::InvalidState => "invalid_state",
            Self::Other(text) => text,
        }
    }
}

impl fmt::Display for ErrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn looks_like_a_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ERR
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
}

/// What one attempt came to (DESIGN P5: the fault goes to whoever must act).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Any 2xx: the receiver has it.
    Accepted,
    /// The record's fault; the refusal guard has a say.
    Refused(Refusal),
    /// The set-up's fault: the stream is held.
    SetUp(SetUpFault),
    /// The moment's fault: try again later.
    Moment(MomentFault),
}

/// Why a receiver refused this very SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 400 with `err` = `invalid_request`.
    InvalidRequest,
    /// 400 with an `err` that no standard knows.
    UnknownErr,
    /// 400 without a readable body; the guard treats it as suspect set-up.
    Unreadable400,
    /// 413.
    TooLarge413,
    /// A 4xx that has no row of its own.
    OtherClientError(u16),
}

impl Refusal {
    /// Every label, so that metrics can start each at 0.
    pub const LABELS: [&'static str; 5] = [
        "invalid_request",
        "unknown_err",
        "unreadable_400",
        "too_large_413",
        "client_error",
    ];

    /// Label for metrics and dead-letter headers; a closed list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnknownErr => "unknown_err",
            Self::Unreadable400 => "unreadable_400",
            Self::TooLarge413 => "too_large_413",
            Self::OtherClientError(_) => "client_error",
        }
    }

    /// True for a 400 whose body could not be read: suspect set-up (DESIGN "many refusals in a row").
    #[must_use]
    pub fn is_unreadable(self) -> bool {
        self == Self::Unreadable400
    }
}

/// Why the stream's set-up is at fault. Each is a hold reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetUpFault {
    /// 400 `invalid_key`.
    InvalidKey,
    /// 400 `invalid_issuer`.
    InvalidIssuer,
    /// 400 `invalid_audience`.
    InvalidAudience,
    /// 400 `authentication_failed`.
    AuthenticationFailed,
    /// 400 `access_denied`.
    AccessDenied,
    /// 400 `invalid_state`.
    InvalidState,
    /// 401, after a fresh credential was tried once.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 410.
    Gone,
    /// 415.
    UnsupportedMediaType,
    /// Any 3xx; redirects are never followed.
    Redirect,
    /// The authorization server refused our client (its 4xx or 3xx), or what it gave is no bearer token.
    TokenRefused,
}

impl SetUpFault {
    /// Every fault, so that metrics can start each label at 0.
    pub const ALL: [Self; 14] = [
        Self::InvalidKey,
        Self::InvalidIssuer,
        Self::InvalidAudience,
        Self::AuthenticationFailed,
        Self::AccessDenied,
        Self::InvalidState,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Gone,
        Self::UnsupportedMediaType,
        Self::Redirect,
        Self::TokenRefused,
    ];

    /// The hold reason; a closed list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AccessDenied => "access_denied",
            Self::InvalidState => "invalid_state",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Gone => "gone",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Redirect => "redirect",
            Self::TokenRefused => "token_refused",
        }
    }

    /// True when the receiver named the fault by an `err` code: then an `invalid_request` later proves
    /// that the set-up was mended (DESIGN "the probed head is itself bad").
    #[must_use]
    pub fn is_named_err(self) -> bool {
        matches!(
            self,
            Self::InvalidKey
                | Self::InvalidIssuer
                | Self::InvalidAudience
                | Self::AuthenticationFailed
                | Self::AccessDenied
                | Self::InvalidState
        )
    }
}

/// Why this moment was a bad one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MomentFault {
    /// No answer within the total time-out; the SET may have arrived (RFC 8935 §2: sending again is safe).
    Timeout,
    /// No connection: refused, unreachable, name not found, proxy refused.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection broke before the answer was whole.
    Reset,
    /// What came back is no HTTP response, or a 1xx, or a status that does not exist.
    Unparsable,
    /// 408.
    RequestTimeout,
    /// 425.
    TooEarly,
    /// 429.
    TooManyRequests,
    /// 5xx, with its status. The only one that `receiver_error` counts.
    Server(u16),
    /// The authorization server could not be reached or asked us to wait; the receiver was never asked.
    TokenEndpoint,
}

impl MomentFault {
    /// Every label, so that metrics can start each at 0.
    pub const LABELS: [&'static str; 10] = [
        "timeout",
        "connect",
        "tls",
        "reset",
        "unparsable",
        "request_timeout",
        "too_early",
        "too_many_requests",
        "server_error",
        "token_endpoint",
    ];

    /// Label for metrics; a closed list.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Unparsable => "unparsable",
            Self::RequestTimeout => "request_timeout",
            Self::TooEarly => "too_early",
            Self::TooManyRequests => "too_many_requests",
            Self::Server(_) => "server_error",
            Self::TokenEndpoint => "token_endpoint",
        }
    }
}

/// A [`Verdict`] with the `err` code that led to it, if the receiver gave one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What the answer means.
    pub verdict: Verdict,
    /// The `err` of a 400, for dead-letter headers and logs.
    pub err: Option<ErrCode>,
}

/// Judges one response by DESIGN §5. `content_type` is the header's value, if there was one; `body` is
/// read up to [`MAX_BODY`] and only for a 400.
#[must_use]
pub fn judge(status: u16, content_type: Option<&str>, body: &[u8]) -> Judgement {
    let verdict = match status {
        200..=299 => Verdict::Accepted,
        300..=399 => Verdict::SetUp(SetUpFault::Redirect),
        400 => return judge_400(content_type, body),
        401 => Verdict::SetUp(SetUpFault::Unauthorized),
        403 => Verdict::SetUp(SetUpFault::Forbidden),
        404 => Verdict::SetUp(SetUpFault::NotFound),
        405 => Verdict::SetUp(SetUpFault::MethodNotAllowed),
        408 => Verdict::Moment(MomentFault::RequestTimeout),
        410 => Verdict::SetUp(SetUpFault::Gone),
        413 => Verdict::Refused(Refusal::TooLarge413),
        415 => Verdict::SetUp(SetUpFault::UnsupportedMediaType),
        425 => Verdict::Moment(MomentFault::TooEarly),
        429 => Verdict::Moment(MomentFault::TooManyRequests),
        402..=499 => Verdict::Refused(Refusal::OtherClientError(status)),
        500..=599 => Verdict::Moment(MomentFault::Server(status)),
        _ => Verdict::Moment(MomentFault::Unparsable),
    };
    Judgement { verdict, err: None }
}

fn judge_400(content_type: Option<&str>, body: &[u8]) -> Judgement {
    let err = read_err(content_type, body);
    let verdict = match &err {
        None => Verdict::Refused(Refusal::Unreadable400),
        Some(ErrCode::InvalidRequest) => Verdict::Refused(Refusal::InvalidRequest),
        Some(ErrCode::Other(_)) => Verdict::Refused(Refusal::UnknownErr),
        Some(ErrCode::InvalidKey) => Verdict::SetUp(SetUpFault::InvalidKey),
        Some(ErrCode::InvalidIssuer) => Verdict::SetUp(SetUpFault::InvalidIssuer),
        Some(ErrCode::InvalidAudience) => Verdict::SetUp(SetUpFault::InvalidAudience),
        Some(ErrCode::AuthenticationFailed) => Verdict::SetUp(SetUpFault::AuthenticationFailed),
        Some(ErrCode::AccessDenied) => Verdict::SetUp(SetUpFault::AccessDenied),
        Some(ErrCode::InvalidState) => Verdict::SetUp(SetUpFault::InvalidState),
    };
    Judgement { verdict, err }
}

/// The `err` member of an RFC 8935 §2.3 body. `None` when: the media type is another one (a proxy's HTML
/// page), the body is empty, longer than [`MAX_BODY`], no JSON object, or has no `err` that is a string.
/// Other members are skipped, however deep (serde_json skips without recursion).
#[must_use]
pub fn read_err(content_type: Option<&str>, body: &[u8]) -> Option<ErrCode> {
    #[derive(Deserialize)]
    struct ErrorBody<'a> {
        #[serde(borrow)]
        err: Cow<'a, str>,
    }
    if body.len() > MAX_BODY || !content_type.is_none_or(is_error_media_type) {
        return None;
    }
    // Structs also deserialize from JSON arrays; RFC 8935 §2.3 says object.
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    let parsed: ErrorBody<'_> = serde_json::from_slice(body).ok()?;
    Some(ErrCode::parse(&parsed.err))
}

/// RFC 8935 §2.3 says `application/json`; some receivers send `application/problem+json` (CONTRACTS §3.2).
fn is_error_media_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.is_empty()
        || essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("application/problem+json")
}

#[cfg(test)]
mod tests;
