//! Which replays the desk gets when: live records go first.
//!
//! A replay is handed over when its source partition has been read to where its log ended after the replay was read. So
//! every live record that could tell that it is stale, or that it must not overtake, is with the desk before it, and the
//! lanes keep that order. What comes in later comes later. The end is one that the broker answered, and where the log
//! ends with what is no record, it was looked: a silence proves nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;

use super::ends::Answers;
use super::{AHEAD, Side, UNCOMMITTED};
use crate::kafka::consumer::Place;
use crate::kafka::context::Context;
use crate::kafka::events::Seated;
use crate::kafka::room::Room;
use crate::kafka::tail::{Rest, Tail};

/// Time between two looks into logs that fail.
const AGAIN: Duration = Duration::from_secs(1);
/// A source partition that was not read any further for so long is looked into: perhaps no record is left. A moment only,
/// because the answer does not depend on it.
const AT_REST: Duration = Duration::from_millis(200);

/// The source partitions that are ours.
type Sources = HashMap<String, BTreeMap<i32, Place>>;

/// A replay that was read.
pub(super) struct Waiting {
    pub(super) seated: Seated,
    /// Its source partition is read up to here first; [`None`]: not known yet.
    pub(super) behind: Option<i64>,
}

impl Waiting {
    pub(super) fn new(seated: Seated) -> Self {
        let behind = None;
        Self { seated, behind }
    }

    #[cfg(test)]
    pub(super) fn behind(seated: Seated, end: i64) -> Self {
        let behind = Some(end);
        Self { seated, behind }
    }
}

/// What is known about the log of a source partition.
pub(super) struct Source {
    pub(super) topic: Arc<str>,
    /// No record lies in here.
    empty: Range<i64>,
    /// Where the reading stands, since when.
    stands: (i64, Instant),
    /// How it answers where its log ends.
    pub(super) answers: Answers,
}

impl Source {
    pub(super) fn new(topic: Arc<str>) -> Self {
        Self {
            topic,
            empty: 0..0,
            stands: (-1, Instant::now()),
            answers: Answers::default(),
        }
    }

    /// Every record before `end` has been read, when `next` is the next offset to read.
    fn is_read(&self, next: i64, end: i64) -> bool {
        next >= end || (self.empty.start <= next && end <= self.empty.end)
    }

    /// The reading stands here; whether it has done so for a while.
    fn is_at_rest(&mut self, next: i64, now: Instant) -> bool {
        if self.stands.0 != next {
            self.stands = (next, now);
        }
        now.duration_since(self.stands.1) >= AT_REST
    }
}

fn next_of(sources: &Sources, topic: &str, partition: i32) -> Option<i64> {
    Some(sources.get(topic)?.get(&partition)?.next)
}

impl Side {
    /// Finds out which replays are behind the live records.
    pub(super) fn let_live_ones_first(
        &mut self,
        consumer: &BaseConsumer<Context>,
        sources: &Sources,
    ) {
        self.ask_for_ends(consumer);
        if let Err(error) = self.look_into_tails(sources) {
            tracing::debug!(%error, "whether records are left in the source topics is not known; looking again");
            self.tail = None;
            self.tails_at = Instant::now() + AGAIN;
        }
    }

    /// Where the reading of a source partition stands before such an end, looks whether a record is left there.
    fn look_into_tails(&mut self, sources: &Sources) -> KafkaResult<()> {
        let now = Instant::now();
        if self.tails_at > now {
            return Ok(());
        }
        for one in &self.waiting {
            let origin = &one.seated.record.origin;
            let of = self.places.get_mut(&*origin.topic);
            let place = of.and_then(|of| of.get_mut(&origin.partition));
            let (Some(place), Some(end)) = (place, one.behind) else {
                continue;
            };
            let source = &mut place.source;
            let Some(next) = next_of(sources, &source.topic, origin.partition) else {
                continue;
            };
            if source.is_read(next, end) || !source.is_at_rest(next, now) {
                continue;
            }
            if self.tail.is_none() {
                self.tail = Some(Tail::new(&self.client, &self.settings.group)?);
            }
            if let Some(tail) = &mut self.tail {
                tail.ask(&source.topic, origin.partition, next..end, now)?;
            }
        }
        self.hear_of_tails(now)
    }

    fn hear_of_tails(&mut self, now: Instant) -> KafkaResult<()> {
        let Some(tail) = &mut self.tail else {
            return Ok(());
        };
        while let Some(answer) = tail.hear(Duration::ZERO)? {
            let places = self.places.values_mut();
            let of_source = places.filter_map(|of| of.get_mut(&answer.partition));
            for place in of_source.filter(|place| *place.source.topic == *answer.topic) {
                match answer.rest {
                    Rest::Nothing => place.source.empty = answer.range.clone(),
                    // It is read soon; until then there is nothing to ask.
                    Rest::From(_) => place.source.stands.1 = now,
                    Rest::Refused(code) => {
                        place.source.stands.1 = now;
                        tracing::debug!(topic = answer.topic, %code, "whether records are left is not told; looking again");
                    }
                }
            }
        }
        let is_overdue = tail.is_overdue(now);
        if is_overdue {
            tracing::debug!(
                "a source partition does not tell whether records are left; looking anew"
            );
        }
        if tail.is_idle() || is_overdue {
            // Its token is as old as it is, and mostly there is nothing to look for.
            self.tail = None;
        }
        Ok(())
    }

    /// What the desk may have now: as many as pace and room let through, of partitions whose live records are with it.
    pub(super) fn hand_over(&mut self, room: &Room, sources: &Sources) -> Vec<Seated> {
        let mut batch = Vec::new();
        while room.has_space_for_a_replay()
            && self.ahead() < AHEAD
            && let Some(at) = self.first_ready(sources)
            && !self.waits_for_commits(room.limits().max_uncommitted)
            && self.pace.take(Instant::now()).is_ok()
        {
            let Some(Waiting { seated, .. }) = self.waiting.remove(at) else {
                break;
            };
            let origin = &seated.record.origin;
            let (topic, partition) = (Arc::clone(&origin.topic), origin.partition);
            if let Some(place) = self.get_mut(&topic, partition) {
                place.handed = seated.record.origin.offset + 1;
                let (count, bytes) = &mut place.waiting;
                *count = count.saturating_sub(1);
                *bytes = bytes.saturating_sub(seated.record.size());
            }
            room.enter(seated.record.size());
            batch.push(seated);
        }
        batch
    }

    /// The oldest replay that is behind the live records. Those of one partition stay in order: what one waits for, all
    /// behind it do.
    fn first_ready(&self, sources: &Sources) -> Option<usize> {
        let is_ready = |one: &Waiting| {
            let origin = &one.seated.record.origin;
            let place = self.places.get(&*origin.topic)?.get(&origin.partition)?;
            let next = next_of(sources, &place.source.topic, origin.partition)?;
            Some(place.source.is_read(next, one.behind?))
        };
        first(&self.waiting, |one| is_ready(one) == Some(true))
    }

    /// Offsets between what the desk got and what is settled. Gaps count too: they are rare, and only make it wary.
    fn ahead(&self) -> i64 {
        self.all().map(|(_, _, p)| p.handed - p.settled).sum()
    }

    /// Replays past the last commit take a quarter of the room for such at most: a group that may not commit must not stop
    /// the live records.
    fn waits_for_commits(&mut self, max_uncommitted: usize) -> bool {
        let limit = i64::try_from(max_uncommitted / 4).unwrap_or(i64::MAX);
        let uncommitted: i64 = self.all().map(|(_, _, p)| p.uncommitted()).sum();
        let waits = uncommitted >= limit.max(1);
        if waits && self.told.insert(UNCOMMITTED.to_owned()) {
            tracing::warn!(
                uncommitted,
                group = self.settings.group,
                "{UNCOMMITTED}; live records go on. This principal needs Read on the group and on the side topics"
            );
        }
        waits
    }
}

/// The first that is ready; one that is not keeps those behind it of the same partition.
fn first(waiting: &VecDeque<Waiting>, is_ready: impl Fn(&Waiting) -> bool) -> Option<usize> {
    let mut kept = HashSet::new();
    waiting.iter().position(|one| {
        let seat = one.seated.seat;
        if kept.contains(&seat) {
            return false;
        }
        let ready = is_ready(one);
        if !ready {
            kept.insert(seat);
        }
        ready
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::consumer::Leaving;
    use crate::kafka::events::Seat;
    use crate::kafka::room::RoomLimits;
    use crate::kafka::side::tests::{place, settings, waiting};

    fn source_at(next: i64) -> Sources {
        let place = Place {
            seat: Seat(9),
            topic: "detections".into(),
            leaving: Leaving::No,
            next,
            stored: 0,
        };
        HashMap::from([("detections".to_owned(), BTreeMap::from([(0, place)]))])
    }

    #[test]
    fn a_replay_waits_for_the_live_records_that_were_there_before_it() {
        let settings = settings();
        let mut side = Side::new(settings.side.clone().expect("a side"), &settings);
        let places = BTreeMap::from([(0, place())]);
        side.places.insert("side".to_owned(), places);
        let room = Room::new(RoomLimits {
            max_unsettled: 100,
            max_unsettled_bytes: 1 << 20,
            max_uncommitted: 100,
        });
        side.waiting
            .extend((0..3).map(|n| Waiting::new(waiting(n))));
        let got = |side: &mut Side, next| side.hand_over(&room, &source_at(next)).len();
        assert_eq!(got(&mut side, 1000), 0, "where the log ends is not known");
        side.waiting[0].behind = Some(10);
        side.waiting[1].behind = Some(12);
        side.waiting[2].behind = Some(12);
        assert_eq!(got(&mut side, 9), 0, "a live record is left");
        assert_eq!(got(&mut side, 10), 1, "the others came later");
        assert_eq!(got(&mut side, 11), 0);
        // The last two offsets are markers of transactions.
        let source = &mut side.get_mut("side", 0).expect("a place").source;
        source.empty = 11..12;
        assert_eq!(got(&mut side, 10), 0, "there is a record before them");
        assert_eq!(got(&mut side, 11), 2);
    }

    #[test]
    fn what_waits_keeps_its_partition_and_no_other() {
        let of = |seat: u64, offset| {
            let mut seated = waiting(offset);
            seated.seat = Seat(seat);
            Waiting::new(seated)
        };
        let waiting: VecDeque<Waiting> = [of(1, 5), of(2, 7), of(1, 6)].into();
        let ready = |numbers: &'static [i64]| {
            let offset = |one: &Waiting| one.seated.record.origin.offset;
            move |one: &Waiting| numbers.contains(&offset(one))
        };
        assert_eq!(first(&waiting, ready(&[5, 6, 7])), Some(0));
        assert_eq!(first(&waiting, ready(&[6, 7])), Some(1));
        assert_eq!(first(&waiting, ready(&[6])), None, "5 is before it");
    }
}
