//! Partitions of side topics that go, with their source partitions or by themselves.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use super::{Side, SidePlace};
use crate::kafka::consumer::{Leaving, Poller};
use crate::kafka::events::Seat;

/// A partition that leaves waits so long for the answer to its last commit. Without it the next owner reads some replays
/// once more, and finds them delivered.
const LAST_COMMIT: Duration = Duration::from_secs(1);
/// The same when the process ends.
const END: Duration = Duration::from_secs(2);

impl Side {
    /// The group wants these source partitions back, so their side partitions leave as well: which seats are that.
    pub(in crate::kafka) fn revoke(&mut self, partitions: &[(String, i32)]) -> Vec<Seat> {
        let mut list = TopicPartitionList::new();
        let mut seats = Vec::new();
        for (source, partition) in partitions {
            let Some(names) = (self.settings.names)(source) else {
                continue;
            };
            if let Some(place) = self.get_mut(&names.side, *partition) {
                place.leaving = Leaving::Asked;
                seats.push(place.seat);
                list.add_partition(&names.side, *partition);
            }
        }
        self.waiting.retain(|one| !seats.contains(&one.seated.seat));
        if let Some(reader) = &self.reader
            && !seats.is_empty()
        {
            // What comes all the same is not taken.
            let _ = reader.0.pause(&list);
        }
        seats
    }

    /// The desk is done with these seats.
    pub(in crate::kafka) fn released(&mut self, seats: &[Seat]) {
        for place in self.all_mut() {
            if seats.contains(&place.seat) {
                place.leaving = Leaving::Released;
            }
        }
    }

    /// Whether what leaves may go now: the desk is done with it, and the last commit is answered or overdue. `sure`: the
    /// partitions are still ours, so it may be committed.
    pub(in crate::kafka) fn may_go(&mut self, sure: bool) -> bool {
        if self.any(|place| place.leaving == Leaving::Asked) {
            return false;
        }
        let is_due = |place: &SidePlace| place.leaving == Leaving::Released && place.is_due();
        if !sure || !self.any(is_due) {
            return true;
        }
        self.commit();
        let now = Instant::now();
        now >= *self.go_at.get_or_insert(now + LAST_COMMIT)
    }

    /// Forgets what has been released.
    pub(in crate::kafka) fn go(&mut self) {
        self.go_at = None;
        let gone = self.seats(|place| place.leaving == Leaving::Released);
        self.forget(&gone);
    }

    /// The client is gone: all seats that it had.
    pub(in crate::kafka) fn clear(&mut self) -> Vec<Seat> {
        let seats = self.seats(|_| true);
        self.places = HashMap::new();
        self.ids.clear();
        self.waiting.clear();
        self.go_at = None;
        (self.reader, self.tail) = (None, None);
        seats
    }

    /// These seats are no longer ours.
    pub(in crate::kafka) fn forget(&mut self, seats: &[Seat]) {
        let mut list = TopicPartitionList::new();
        for (topic, of) in &mut self.places {
            of.retain(|partition, place| {
                let gone = seats.contains(&place.seat);
                if gone {
                    list.add_partition(topic, *partition);
                    if let Some(tail) = &mut self.tail {
                        tail.forget(&place.source.topic, *partition);
                    }
                }
                !gone
            });
        }
        self.places
            .retain(|_, of: &mut BTreeMap<_, _>| !of.is_empty());
        self.waiting.retain(|one| !seats.contains(&one.seated.seat));
        if let Some(reader) = &self.reader
            && list.count() > 0
            && let Err(error) = reader.0.incremental_unassign(&list)
        {
            tracing::warn!(%error, "partitions of side topics are still read; what comes of them is not taken");
        }
    }

    /// Those of these seats that are read here.
    pub(in crate::kafka) fn among(&self, seats: &[Seat]) -> Vec<Seat> {
        self.seats(|place| seats.contains(&place.seat))
    }

    fn any(&self, is: impl Fn(&SidePlace) -> bool) -> bool {
        self.all().any(|(_, _, place)| is(place))
    }

    pub(super) fn seats(&self, which: impl Fn(&SidePlace) -> bool) -> Vec<Seat> {
        let places = self.all().filter(|(_, _, place)| which(place));
        places.map(|(_, _, place)| place.seat).collect()
    }
}

impl Poller {
    /// These seats of side topics are lost by themselves; their source partitions stay.
    pub(in crate::kafka) fn lose_sides(&mut self, seats: Vec<Seat>) {
        if seats.is_empty() {
            return;
        }
        if let Some(side) = &mut self.side {
            side.forget(&seats);
        }
        self.lose(seats);
    }

    /// A seat of a source partition is lost though the partition stays: with it goes the seat of its side partition, for what
    /// a replay is compared with is another thing from now on.
    pub(in crate::kafka) fn lose_with_its_side(
        &mut self,
        seat: Seat,
        (topic, partition): (&str, i32),
    ) {
        let mut seats = vec![seat];
        if let Some(side) = &mut self.side {
            seats.extend(side.revoke(&[(topic.to_owned(), partition)]));
            side.forget(&seats);
        }
        self.lose(seats);
        self.look_for_sides_soon();
    }

    /// Everything that was ordered is committed, if the broker answers soon.
    pub(in crate::kafka) fn end_sides(&mut self) {
        let sure = self.is_sure();
        let Some(side) = &mut self.side else { return };
        let until = Instant::now() + END;
        while sure && side.any(SidePlace::is_due) && Instant::now() < until {
            side.commit();
            let Some(reader) = &side.reader else { return };
            // Records that come are not taken; the answer to the commit comes the same way.
            drop(reader.0.poll(Duration::from_millis(50)));
            if side.hear().is_err() {
                return;
            }
        }
    }
}
