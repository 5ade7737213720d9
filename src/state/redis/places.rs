//! The partitions that this process was assigned, and the epochs that it writes in. Pure.

use std::{collections::HashMap, sync::Arc};

use super::text;
use crate::state::{Handover, tenure::Tenure};

/// A topic and a partition of it, as they are spelled in Redis.
pub(super) type Place = Arc<str>;

/// What a process knows about a partition of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Writes of another epoch are not ours to make.
    pub(super) marks_epoch: i64,
    /// The same for levels.
    pub(super) levels_epoch: i64,
    /// The progress that the server acknowledged since the assignment.
    pub(super) settled: Option<i64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Place, Held>);

impl Places {
    /// What an assignment means, from the tenure as it is spelled in Redis, and the tenure to be.
    /// What cannot be read counts as never seen.
    pub(super) fn assigned(
        found: &str,
        committed: Option<i64>,
        log_end: i64,
    ) -> (Handover, Tenure) {
        if let Some(mut tenure) = text::read_tenure(found) {
            return (tenure.assigned(committed, log_end), tenure);
        }
        let tenure = Tenure {
            next_offset: committed,
            ..Tenure::default()
        };
        (Handover::First, tenure)
    }

    /// The same tenure in a new epoch of levels, to which none of those there belongs.
    pub(super) fn without_levels(found: &str) -> ((), Tenure) {
        let mut tenure = text::read_tenure(found).unwrap_or_default();
        tenure.levels_epoch += 1;
        ((), tenure)
    }

    /// The partition is ours, in the epochs of this tenure.
    pub(super) fn begin(&mut self, place: &Place, tenure: &Tenure) {
        let held = Held {
            marks_epoch: tenure.marks_epoch,
            levels_epoch: tenure.levels_epoch,
            settled: None,
        };
        self.0.insert(Arc::clone(place), held);
    }

    /// The partition is not ours any more.
    pub(super) fn end(&mut self, place: &str) {
        self.0.remove(place);
    }

    pub(super) fn get(&self, place: &str) -> Option<&Held> {
        self.0.get(place)
    }

    /// The server acknowledged our progress.
    pub(super) fn settled(&mut self, place: &str, next_offset: i64) {
        if let Some(held) = self.0.get_mut(place) {
            held.settled = held.settled.max(Some(next_offset));
        }
    }

    /// The server has lost writes about the partition, so new epochs were begun for us.
    pub(super) fn lost_writes(&mut self, place: &str) {
        if let Some(held) = self.0.get_mut(place) {
            held.marks_epoch += 1;
            held.levels_epoch += 1;
        }
    }

    pub(super) fn held(&self) -> Vec<(Place, Held)> {
        let each = self.0.iter();
        each.map(|(place, held)| (Arc::clone(place), *held))
            .collect()
    }
}
