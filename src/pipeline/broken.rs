//! A bridge that is broken on purpose, so that the oracle (tests/chaos) can be shown to find what it must find. Only in
//! builds with the cargo feature `chaos-faults`, which no release has: in others nothing here exists.

use std::sync::LazyLock;

/// How `SETBRIDGE_BREAK` wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// `store_early`: the offset of a record is stored when it is received.
    StoreEarly,
    /// `skip_lane`: SETs about one subject do not wait for one another.
    SkipLane,
}

static WANTED: LazyLock<Option<Broken>> =
    LazyLock::new(|| match std::env::var("SETBRIDGE_BREAK").as_deref() {
        Ok("store_early") => Some(Broken::StoreEarly),
        Ok("skip_lane") => Some(Broken::SkipLane),
        _ => None,
    });

/// Whether it is broken in this way.
pub(super) fn is(broken: Broken) -> bool {
    *WANTED == Some(broken)
}
