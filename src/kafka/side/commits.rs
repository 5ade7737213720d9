//! How far side topics are settled, and telling the group.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::{KEEP, Side, SidePlace};
use crate::ffi;
use crate::kafka::events::Seat;

/// Time between two commits.
const COMMIT: Duration = Duration::from_secs(1);
/// A commit without an answer is made again after so long.
const COMMIT_AGAIN: Duration = Duration::from_secs(5);

impl SidePlace {
    /// The group has not got what the desk ordered.
    pub(super) fn is_due(&self) -> bool {
        self.ordered && self.committed != Some(self.settled)
    }

    /// Offsets that the desk got past the last acknowledged commit.
    pub(super) fn uncommitted(&self) -> i64 {
        self.handed - self.committed.unwrap_or(self.start).max(self.start)
    }

    fn is_asked(&self) -> bool {
        self.asked
            .is_some_and(|(at, since)| at == self.settled && since.elapsed() < COMMIT_AGAIN)
    }
}

impl Side {
    /// The desk has settled so much.
    pub(in crate::kafka) fn store(&mut self, next_of: &HashMap<Seat, i64>) {
        for place in self.all_mut() {
            if let Some(next) = next_of.get(&place.seat) {
                (place.settled, place.ordered) = (*next, true);
            }
        }
    }

    /// Commits what was ordered since the last time, and now and then what was committed before.
    pub(super) fn commit(&mut self) {
        let now = Instant::now();
        self.commit_at = now + COMMIT;
        let keep = self.keep_at <= now;
        if keep {
            self.keep_at = now + KEEP;
        }
        let mut list = TopicPartitionList::new();
        for (topic, of) in &mut self.places {
            for (partition, place) in of.iter_mut() {
                let is_due = place.is_due() && !place.is_asked();
                let is_kept = keep && place.committed.is_some();
                if !is_due && !is_kept {
                    continue;
                }
                let at = Offset::Offset(place.settled);
                match list.add_partition_offset(topic, *partition, at) {
                    Ok(()) => place.asked = Some((place.settled, now)),
                    Err(error) => {
                        tracing::error!(%error, topic, partition, "no valid offset to commit")
                    }
                }
            }
        }
        let Some(reader) = self.reader.as_ref().filter(|_| list.count() > 0) else {
            return;
        };
        if let Err(error) = ffi::commit(reader.0.client(), &list) {
            tracing::warn!(%error, "how far side topics are settled was not committed; trying again");
        }
    }
}
