//! The partitions that are ours: which records are unsettled, which offset may be stored next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::events::{NewSeat, Seat, SideTopic};
use crate::kafka::offsets::{NotUnsettled, OffsetTracker, OutOfOrder};
use crate::record::Record;

use super::journey::{Lease, SourcePartition};

/// What is open of one record.
#[derive(Debug)]
struct Tally {
    /// SETs and faults without a final outcome.
    pending: usize,
    /// All detections of the record were taken in.
    expanded: bool,
    bytes: usize,
    received: Instant,
    timestamp_ms: Option<i64>,
}

/// Room that becomes free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) records: usize,
    pub(super) sets: usize,
    pub(super) bytes: usize,
}

/// One assigned partition.
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// It is a partition of a side topic.
    pub(super) side: Option<SideTopic>,
    pub(super) lease: Lease,
    /// The partition shall leave; what is on the wire has until then.
    pub(super) leaving: Option<Instant>,
    /// It leaves because the shared state has another owner for it: the group is asked whose it is.
    pub(super) fenced: bool,
    pub(super) log_end: i64,
    /// Journeys of this seat.
    pub(super) under_way: usize,
    /// What was decided about this seat and waits for the state to be durable.
    pub(super) flushing: usize,
    tracker: OffsetTracker,
    records: HashMap<i64, Tally>,
    /// Next storable offset, if it moved since it was last taken.
    storable: Option<i64>,
    settled_up_to: i64,
    /// The offset behind the last record received.
    read_up_to: i64,
}

impl Place {
    pub(super) fn new(seat: &NewSeat, lease: Lease) -> Self {
        Self {
            topic: Arc::clone(&seat.topic),
            partition: seat.partition,
            side: seat.side.clone(),
            lease,
            leaving: None,
            fenced: false,
            log_end: seat.log_end,
            under_way: 0,
            flushing: 0,
            tracker: OffsetTracker::new(),
            records: HashMap::new(),
            storable: None,
            settled_up_to: seat.start,
            read_up_to: seat.start,
        }
    }

    /// The partition under which the state keeps what is decided here.
    pub(super) fn source_partition(&self) -> SourcePartition {
        let topic = self.side.as_ref().map_or(&self.topic, |side| &side.source);
        (Arc::clone(topic), self.partition)
    }

    /// It is let go because the shared state does not take what is decided about it.
    pub(super) fn leave_fenced(&mut self, until: Instant) {
        (self.leaving, self.fenced) = (Some(until), true);
        self.lease.soft.cancel();
        self.lease.fenced.cancel();
    }

    /// A journey has its outcome; what is left is to make it durable.
    pub(super) fn decided(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.flushing += 1;
    }

    /// What was waited for is durable.
    pub(super) fn flushed(&mut self) {
        self.flushing = self.flushing.saturating_sub(1);
    }

    /// Nothing refers to this seat any more.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.flushing == 0
    }

    /// Whether the partition may be given back. Past the deadline it waits for journeys only, which the hard lease ends: a
    /// state that cannot be written must not keep it from the group. What is not durable then is not stored, so the next
    /// owner sends it again, under the same jti.
    pub(super) fn may_leave(&self, now: Instant) -> bool {
        let overdue = self.leaving.is_some_and(|until| until <= now);
        self.is_idle() || (overdue && self.under_way == 0)
    }

    pub(super) fn receive(&mut self, record: &Record) -> Result<(), OutOfOrder> {
        let offset = record.origin.offset;
        self.tracker.receive(offset)?;
        self.log_end = self.log_end.max(offset + 1);
        self.read_up_to = offset + 1;
        self.records.insert(
            offset,
            Tally {
                pending: 0,
                expanded: false,
                bytes: record.size(),
                received: Instant::now(),
                timestamp_ms: record.timestamp_ms,
            },
        );
        Ok(())
    }

    /// `sets` more outcomes to wait for.
    pub(super) fn expect(&mut self, offset: i64, sets: usize) {
        if let Some(tally) = self.records.get_mut(&offset) {
            tally.pending += sets;
        }
    }

    /// No further SETs come from this record. It was counted as one in the room until now.
    pub(super) fn expanded(&mut self, offset: i64) -> Result<Freed, NotUnsettled> {
        if let Some(tally) = self.records.get_mut(&offset) {
            tally.expanded = true;
        }
        let freed = self.settle_if_done(offset)?;
        Ok(Freed {
            records: 1,
            ..freed
        })
    }

    /// One final outcome, durable.
    pub(super) fn settle(&mut self, offset: i64) -> Result<Freed, NotUnsettled> {
        if let Some(tally) = self.records.get_mut(&offset) {
            tally.pending = tally.pending.saturating_sub(1);
        }
        let freed = self.settle_if_done(offset)?;
        Ok(Freed { sets: 1, ..freed })
    }

    fn settle_if_done(&mut self, offset: i64) -> Result<Freed, NotUnsettled> {
        let done = self
            .records
            .get(&offset)
            .is_some_and(|tally| tally.expanded && tally.pending == 0);
        let Some(tally) = done.then(|| self.records.remove(&offset)).flatten() else {
            return Ok(Freed::default());
        };
        if let Some(next) = self.tracker.settle(offset)? {
            self.storable = Some(next);
            self.settled_up_to = next;
        }
        Ok(Freed {
            bytes: tally.bytes,
            ..Freed::default()
        })
    }

    /// The next storable offset, if it moved since the last call.
    pub(super) fn take_storable(&mut self) -> Option<i64> {
        self.storable.take()
    }

    /// The broker acknowledged a commit; says how many records are no longer past it.
    pub(super) fn committed(&mut self, next: i64) -> usize {
        let before = self.tracker.uncommitted();
        self.tracker.committed(next);
        before - self.tracker.uncommitted()
    }

    /// Everything that this seat still holds of the room: it leaves with the seat.
    pub(super) fn remains(&self) -> (Freed, usize) {
        let freed = self
            .records
            .values()
            .fold(Freed::default(), |sum, tally| Freed {
                records: sum.records + usize::from(!tally.expanded),
                sets: sum.sets + tally.pending,
                bytes: sum.bytes + tally.bytes,
            });
        (freed, self.tracker.uncommitted())
    }

    /// Since when the oldest unsettled record is here, and how old it is by its Kafka timestamp.
    pub(super) fn oldest(&self, now_ms: i64) -> Option<(Duration, Option<Duration>)> {
        let tally = self.records.get(&self.tracker.oldest_unsettled()?)?;
        let age = tally
            .timestamp_ms
            .map(|ms| Duration::from_millis(now_ms.saturating_sub(ms).try_into().unwrap_or(0)));
        Some((tally.received.elapsed(), age))
    }

    /// Whether an operator may have it read once more: it stays, and is no partition of a side topic.
    pub(super) fn may_be_rewound(&self) -> bool {
        self.leaving.is_none() && self.side.is_none()
    }

    /// How far it is settled, and how far read.
    pub(super) fn stands(&self) -> (i64, i64) {
        (self.settled_up_to, self.read_up_to)
    }

    /// Records between the settled prefix and the log's end.
    pub(super) fn lag(&self) -> i64 {
        (self.log_end - self.settled_up_to).max(0)
    }
}

/// The partitions by seat.
pub(super) type Places = HashMap<Seat, Place>;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(side: Option<SideTopic>) -> Place {
        let seat = NewSeat {
            seat: Seat(1),
            topic: "detections".into(),
            partition: 0,
            side,
            committed: None,
            start: 0,
            log_end: 0,
        };
        Place::new(&seat, Lease::default())
    }

    fn leaving(under_way: usize, flushing: usize, deadline: Instant) -> Place {
        let mut place = place(None);
        (place.under_way, place.flushing) = (under_way, flushing);
        place.leaving = Some(deadline);
        place
    }

    #[test]
    fn only_a_source_partition_that_stays_is_rewound() {
        let side = SideTopic {
            source: "detections".into(),
            outcomes: "outcomes".into(),
        };
        assert!(place(None).may_be_rewound());
        assert!(!place(Some(side)).may_be_rewound());
        assert!(!leaving(0, 0, Instant::now()).may_be_rewound());
    }

    #[test]
    fn a_flush_is_waited_for_until_the_deadline_and_a_journey_longer() {
        let now = Instant::now();
        let (later, passed) = (now + Duration::from_secs(1), now);
        for (under_way, flushing, deadline, may) in [
            (0, 0, later, true),
            (0, 1, later, false),
            (1, 0, later, false),
            (0, 1, passed, true),
            (1, 0, passed, false),
            (1, 1, passed, false),
        ] {
            let place = leaving(under_way, flushing, deadline);
            assert_eq!(place.may_leave(now), may, "{under_way} {flushing}");
        }
    }
}
