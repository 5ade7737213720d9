//! What went wrong, in the words of [`StateError`]: by who must act.

use std::{io, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::state::StateError;

/// The server's own words are part of the source; they name commands and users, never a value.
pub(super) fn of(error: RedisError, at: &Arc<str>) -> StateError {
    let at = Arc::clone(at);
    let kind = error.kind();
    let refused = matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        || matches!(
            kind,
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm)
        );
    let unwritable = matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS"))
        || kind == ErrorKind::Server(ServerErrorKind::ReadOnly);
    let source = Arc::new(error);
    if refused {
        StateError::RemoteRefused { at, source }
    } else if unwritable {
        StateError::RemoteUnwritable { at, source }
    } else {
        StateError::RemoteUnreachable { at, source }
    }
}

pub(super) fn silent(limit: Duration, at: &Arc<str>) -> StateError {
    let source = io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"));
    of(source.into(), at)
}

/// An answer that no server of ours gives.
pub(super) fn strange(at: &Arc<str>) -> StateError {
    of(io::Error::other("an answer of an unknown form").into(), at)
}

/// The server does not know a script any more: it was restarted, or another one took its place.
pub(super) fn is_no_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
