//! An error of the HTTP client → [`MomentFault`]. All are the moment's; the difference is for metrics and
//! for people. Only kinds and fixed texts are looked at; an error's own text may hold a URL.

use std::error::Error;
use std::io;

use super::super::verdict::MomentFault;

pub(super) fn classify(error: &reqwest::Error) -> MomentFault {
    let causes = io_causes(error);
    if causes.iter().any(|cause| is_tls(cause)) {
        return MomentFault::Tls;
    }
    if error.is_connect() {
        return MomentFault::Connect;
    }
    if error.is_timeout() {
        return MomentFault::Timeout;
    }
    if causes.iter().any(|cause| is_reset(cause.kind())) || closed_early(error) {
        return MomentFault::Reset;
    }
    MomentFault::Unparsable
}

/// Every `io::Error` in the chain, also those that another `io::Error` wraps (`source()` skips these).
fn io_causes(error: &reqwest::Error) -> Vec<&io::Error> {
    let mut found = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        next = cause.source();
        let mut wrapped = cause.downcast_ref::<io::Error>();
        while let Some(io_error) = wrapped {
            found.push(io_error);
            let inner = io_error.get_ref();
            next = inner.map(|inner| inner as &(dyn Error + 'static)).or(next);
            wrapped = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
        }
    }
    found
}

/// rustls wraps its error, or says that the handshake ended early. (`InvalidData` alone is a broken chunk as well.)
fn is_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
        || error.to_string().contains("tls handshake")
}

fn is_reset(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
    )
}

/// hyper's own words for a connection that ended within a message.
fn closed_early(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if text.contains("connection closed before message completed")
            || text.contains("end of file before")
        {
            return true;
        }
        next = cause.source();
    }
    false
}
