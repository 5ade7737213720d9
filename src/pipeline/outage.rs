//! Something of ours that fails for every SET alike (the state store, the writes of dead letters): each SET waits for it
//! by itself, but the log tells it once, not once a SET and try. The end is told by the hold's.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::delivery::hold::HoldReason;
use crate::telemetry::chain;

use super::passage::{Holding, Passage};

/// What may fail, and how many wait for it now.
#[derive(Debug)]
pub(super) struct Outage {
    reason: HoldReason,
    /// For the log.
    what: &'static str,
    waiting: AtomicUsize,
}

/// One that waits until it works again. The stream is held as long as any does.
#[must_use = "the hold ends when this is dropped"]
pub(super) struct Waiting<'a> {
    outage: &'a Outage,
    _holding: Holding<'a>,
}

impl Outage {
    pub(super) fn new(reason: HoldReason, what: &'static str) -> Self {
        Self {
            reason,
            what,
            waiting: AtomicUsize::new(0),
        }
    }

    /// A try failed; `before` is what the failed try before it returned.
    pub(super) fn failed<'a>(
        &'a self,
        stream: &str,
        passage: &'a Passage,
        before: Option<Waiting<'a>>,
        error: &(dyn Error + 'static),
    ) -> Waiting<'a> {
        let error = chain(error);
        if before.is_none() && self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            tracing::error!(stream, error, "{}", self.what);
        } else {
            tracing::debug!(stream, error, "{}", self.what);
        }
        before.unwrap_or_else(|| Waiting {
            outage: self,
            _holding: passage.holding(self.reason),
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.outage.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
