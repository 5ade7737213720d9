//! What the rules have made of a detection so far, and whether that is enough.

use super::claims::Claims;
use super::error::{Fault, MapError, MapReason};
use super::limits::{MAX_SETS, MAX_SETS_BYTES};

/// SETs and refusals, in the order of rules and subjects.
#[derive(Default)]
pub(super) struct Made {
    results: Vec<Result<Claims, MapError>>,
    /// Of all claims together, see [`Claims::text_bytes`].
    bytes: usize,
}

/// How much there was, to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    results: usize,
    bytes: usize,
}

impl Made {
    pub(super) fn push(&mut self, result: Result<Claims, MapError>) {
        self.bytes += result.as_ref().map_or(0, Claims::text_bytes);
        self.results.push(result);
    }

    pub(super) fn len(&self) -> usize {
        self.results.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    pub(super) const fn mark(&self) -> Mark {
        Mark {
            results: self.results.len(),
            bytes: self.bytes,
        }
    }

    /// Takes back everything since then.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.results.truncate(mark.results);
        self.bytes = mark.bytes;
    }

    /// Why no more may come of this detection.
    pub(super) fn excess(&self) -> Option<Fault> {
        let text = if self.results.len() > MAX_SETS {
            format!("more than {MAX_SETS} SETs from one detection")
        } else if self.bytes > MAX_SETS_BYTES {
            format!("more than {MAX_SETS_BYTES} bytes in the SETs of one detection")
        } else {
            return None;
        };
        Some(Fault::new(MapReason::TooManySets, text))
    }

    pub(super) fn into_results(self) -> Vec<Result<Claims, MapError>> {
        self.results
    }
}
