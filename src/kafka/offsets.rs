//! Which offset of a partition may be stored: one past the last record of the settled contiguous
//! prefix of the records **received** (DESIGN P1). Offsets have gaps (compaction, transaction
//! markers), so a prefix is counted over records, never over numbers.
//!
//! Pure: no clock, no I/O, nothing of rdkafka. It must never name an offset past a received record
//! that is not settled. One [`OffsetTracker`] per assignment of a partition: after a revoke it is
//! thrown away, and the next assignment starts with a new one.

use std::collections::VecDeque;

/// A record came that is not newer than the last one: the consumer was moved back without a new
/// tracker. An invariant is broken; the stream must not go on with this tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} was received after offset {newest}")]
pub struct OutOfOrder {
    /// The record's offset.
    pub offset: i64,
    /// The newest offset that was received before.
    pub newest: i64,
}

/// A record was settled that was never received, or was settled before. An invariant is broken;
/// nothing may be stored any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} was settled but it is not an unsettled received record")]
pub struct NotUnsettled {
    /// The offset that was to be settled.
    pub offset: i64,
}

/// The records of one assigned partition, from receipt to the acknowledged commit. Memory: 16
/// bytes per record since the last acknowledged commit.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    /// From the oldest unsettled record on, in order.
    records: VecDeque<Tracked>,
    /// How many of `records` are not settled.
    unsettled: usize,
    newest: Option<i64>,
    uncommitted: Uncommitted,
}

#[derive(Debug, Clone, Copy)]
struct Tracked {
    offset: i64,
    settled: bool,
}

impl OffsetTracker {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a record; offsets must rise, but may leave gaps.
    ///
    /// # Errors
    /// The offset is not newer than the last one received; nothing is noted then.
    pub fn receive(&mut self, offset: i64) -> Result<(), OutOfOrder> {
        if let Some(newest) = self.newest.filter(|newest| offset <= *newest) {
            return Err(OutOfOrder { offset, newest });
        }
        self.newest = Some(offset);
        self.unsettled += 1;
        self.uncommitted.receive(offset);
        self.records.push_back(Tracked {
            offset,
            settled: false,
        });
        Ok(())
    }

    /// Settles a record, once, when every SET made from it has its final outcome. Returns the
    /// offset to store when the settled prefix grew by it: the offset of the prefix's last record
    /// plus one.
    ///
    /// # Errors
    /// The record was not received, or it was settled before.
    pub fn settle(&mut self, offset: i64) -> Result<Option<i64>, NotUnsettled> {
        let found = self.records.binary_search_by_key(&offset, |r| r.offset);
        let record = found.ok().and_then(|place| self.records.get_mut(place));
        match record {
            Some(record) if !record.settled => record.settled = true,
            _ => return Err(NotUnsettled { offset }),
        }
        self.unsettled -= 1;
        let mut storable = None;
        while let Some(first) = self.records.front().filter(|first| first.settled) {
            storable = Some(first.offset + 1);
            self.records.pop_front();
        }
        Ok(storable)
    }

    /// How many received records are not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// The oldest received record that is not settled: what the prefix waits for.
    pub fn oldest_unsettled(&self) -> Option<i64> {
        self.records.front().map(|record| record.offset)
    }

    /// Notes that the broker acknowledged a commit of `offset` (the next one to read).
    pub fn committed(&mut self, offset: i64) {
        self.uncommitted.committed(offset);
    }

    /// How many received records lie at or past the last acknowledged commit: what a crash now
    /// would bring back. This is what `max_uncommitted` bounds (DESIGN P6).
    pub fn uncommitted(&self) -> usize {
        self.uncommitted.len()
    }
}

/// The records past the last **acknowledged** commit, settled or not.
#[derive(Debug, Default)]
struct Uncommitted {
    offsets: VecDeque<i64>,
}

impl Uncommitted {
    fn receive(&mut self, offset: i64) {
        self.offsets.push_back(offset);
    }

    /// Commits may be acknowledged late or out of order: an older one changes nothing.
    fn committed(&mut self, next: i64) {
        let done = self.offsets.partition_point(|offset| *offset < next);
        self.offsets.drain(..done);
    }

    fn len(&self) -> usize {
        self.offsets.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn received(offsets: &[i64]) -> OffsetTracker {
        let mut tracker = OffsetTracker::new();
        for &offset in offsets {
            tracker.receive(offset).expect("rising");
        }
        tracker
    }

    #[test]
    fn stores_over_gaps_but_never_past_an_unsettled_record() {
        let mut tracker = received(&[3, 7, 20]);
        assert_eq!(tracker.settle(20), Ok(None));
        assert_eq!(tracker.oldest_unsettled(), Some(3));
        assert_eq!(tracker.settle(3), Ok(Some(4)), "not 7: 7 is unsettled");
        assert_eq!(tracker.settle(7), Ok(Some(21)));
        assert_eq!((tracker.unsettled(), tracker.oldest_unsettled()), (0, None));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let mut tracker = received(&[3, 7]);
        let refused = |offset| Err(NotUnsettled { offset });
        assert_eq!(tracker.settle(5), refused(5), "a gap");
        assert_eq!(tracker.settle(8), refused(8), "not received");
        assert_eq!(tracker.settle(7), Ok(None));
        assert_eq!(tracker.settle(7), refused(7), "twice, behind the prefix");
        assert_eq!(tracker.settle(3), Ok(Some(8)));
        assert_eq!(tracker.settle(3), refused(3), "twice, in the prefix");
    }

    #[test]
    fn refuses_to_go_back() {
        let mut tracker = received(&[7]);
        let error = OutOfOrder {
            offset: 7,
            newest: 7,
        };
        assert_eq!(tracker.receive(7), Err(error));
        tracker.settle(7).expect("received");
        assert!(tracker.receive(6).is_err(), "settled ones count too");
        assert!(tracker.receive(8).is_ok());
    }

    #[test]
    fn uncommitted_falls_only_with_an_acknowledged_commit() {
        let mut tracker = received(&[1, 2, 5, 9]);
        tracker.settle(1).expect("received");
        tracker.settle(2).expect("received");
        assert_eq!(tracker.uncommitted(), 4);
        tracker.committed(3);
        assert_eq!(tracker.uncommitted(), 2);
        tracker.committed(2);
        assert_eq!(tracker.uncommitted(), 2, "a late acknowledgement");
    }

    /// Offsets with gaps, and the order in which they are settled.
    fn partition() -> impl Strategy<Value = (Vec<i64>, Vec<i64>)> {
        prop::collection::btree_set(0..400i64, 1..80)
            .prop_map(|offsets| offsets.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|offsets| (Just(offsets.clone()), Just(offsets).prop_shuffle()))
    }

    /// One past the settled contiguous prefix of the records received, looked up the slow way.
    fn naive_prefix(received: &[i64], settled: &[i64]) -> Option<i64> {
        let prefix = received
            .iter()
            .take_while(|offset| settled.contains(offset));
        prefix.last().map(|offset| offset + 1)
    }

    proptest! {
        /// Records come in order and are settled in any order, interleaved in any way.
        #[test]
        fn storable_is_the_end_of_the_settled_prefix(
            (offsets, order) in partition(),
            ahead in prop::collection::vec(0..6usize, 80),
            commit_every in 1..10usize,
        ) {
            let mut tracker = OffsetTracker::new();
            let (mut seen, mut settled) = (Vec::new(), Vec::new());
            let (mut storable, mut acknowledged) = (None, i64::MIN);
            let mut coming = offsets.iter().copied();
            for (turn, &offset) in order.iter().enumerate() {
                while !seen.contains(&offset) || seen.len() < settled.len() + ahead[turn] {
                    let Some(next) = coming.next() else { break };
                    tracker.receive(next).expect("rising");
                    seen.push(next);
                }
                let before = storable;
                settled.push(offset);
                if let Some(next) = tracker.settle(offset).expect("unsettled") {
                    storable = Some(next);
                    prop_assert!(storable > before, "told only when it grew");
                }
                prop_assert_eq!(storable, naive_prefix(&seen, &settled));
                let open = seen.iter().copied().filter(|o| !settled.contains(o));
                prop_assert_eq!(tracker.oldest_unsettled(), open.clone().next());
                prop_assert_eq!(tracker.unsettled(), open.count());
                if let Some(next) = storable.filter(|_| turn % commit_every == 0) {
                    tracker.committed(next);
                    acknowledged = next;
                }
                let past = seen.iter().filter(|o| **o >= acknowledged).count();
                prop_assert_eq!(tracker.uncommitted(), past);
            }
            prop_assert_eq!(tracker.unsettled(), offsets.len() - seen.len());
            prop_assert_eq!(storable, offsets.last().map(|o| o + 1));
        }
    }
}
