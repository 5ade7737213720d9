//! The machine's clock, read in one place. It may jump, so waits never use it; the pure core gets it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::set::Timestamp;

/// Milliseconds since 1970; 0 before that.
pub(crate) fn epoch_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since 1970, rounded down: an `iat` is never ahead of the machine's clock.
pub(crate) fn epoch_seconds() -> i64 {
    epoch_ms() / 1000
}

/// The same as a time of a SET.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(epoch_seconds())
}
