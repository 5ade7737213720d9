//! Logs that are not what they were: retention overtook the reading, Kafka lost the log's end, or the topic was made anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use crate::clock;
use crate::ffi::{self, TopicId};

use super::consumer::{ASK, Poller};
use super::context::Context;
use super::events::{Notice, Seat};
use super::rebalance::PREPARE_AGAIN;
use super::side::Side;
use super::start::{self, StartAt};

/// Time between two looks at the topics' ids.
const IDENTIFY: Duration = Duration::from_secs(15);
/// Longest wait for the answer; nobody polls meanwhile, and nothing is lost by asking again.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(1);
/// So far back a log that lost its end is read once more. Producers write to the new leader before we see it, at offsets
/// that we have passed. Below any sensible `state.window`, so what was delivered already is known by its jti.
const ONCE_MORE_MS: i64 = 3_600_000;

/// What a position beyond the log's end means.
#[derive(Debug, PartialEq, Eq)]
enum Beyond {
    /// The topic is the same: its end is gone, after an unclean leader election.
    LostEnd,
    /// Nothing that is known holds for this log.
    AnotherLog,
}

/// By the topic's id, as it was and as it is.
fn beyond<Id: PartialEq>(known: Option<Id>, now: Option<Id>) -> Beyond {
    match (known, now) {
        (Some(known), Some(now)) if known == now => Beyond::LostEnd,
        _ => Beyond::AnotherLog,
    }
}

/// Where a partition stood when its log lost its end.
#[derive(Debug, Clone, Copy)]
struct Stood {
    stored: i64,
    next: i64,
}

impl Stood {
    /// Where reading goes on: at the log's end, but not behind what is not settled, nor behind the first of the `recent`
    /// records.
    fn go_on(self, (low, high): (i64, i64), recent: i64) -> i64 {
        high.min(self.stored).min(recent).max(low)
    }

    /// Records that were read, and are gone before they were settled: at most so many.
    fn lost(self, high: i64) -> u64 {
        u64::try_from(self.next.saturating_sub(self.stored.max(high))).unwrap_or(0)
    }
}

impl Poller {
    /// A position outside of the log while reading: retention overtook us, or the topic was made anew. librdkafka has
    /// stopped reading there and does not say where, so each partition is looked at, until the broker has answered for
    /// all.
    pub(super) fn reposition_again(&mut self, consumer: &BaseConsumer<Context>) {
        let due = self.reposition_at.is_some_and(|at| at <= Instant::now());
        if !due || !self.may_seat_again() {
            return;
        }
        self.reposition_at = None;
        let places: Vec<(String, i32, i64)> = self
            .all_places()
            .map(|(topic, n, place)| (topic.to_owned(), n, place.next))
            .collect();
        for (topic, partition, at) in places {
            match consumer.fetch_watermarks(&topic, partition, ASK) {
                Ok((low, high)) => self.reposition(consumer, (topic, partition), at, (low, high)),
                Err(error) => {
                    tracing::warn!(%error, topic, partition, "where the log begins is not known yet; asking again");
                    self.reposition_at = Some(Instant::now() + PREPARE_AGAIN);
                    // The others would wait as long, and nobody polls meanwhile.
                    return;
                }
            }
        }
    }

    fn reposition(
        &mut self,
        consumer: &BaseConsumer<Context>,
        (topic, partition): (String, i32),
        at: i64,
        (low, high): (i64, i64),
    ) {
        let place = self
            .places
            .get_mut(&topic)
            .and_then(|of| of.get_mut(&partition));
        let Some(place) = place else { return };
        if at <= high {
            // The seat stays: what was read before is still settled under it, also when it is gone from the log.
            place.next = at.max(low);
            let (name, next) = (Arc::clone(&place.topic), place.next);
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition);
            self.unassign(consumer, &list);
            if at < low {
                self.tell(Notice::RecordsLost {
                    topic: name,
                    partition,
                    records: low.abs_diff(at),
                });
            }
            self.read_from(consumer, &[(&topic, partition, next)]);
            return;
        }
        let stood = Stood {
            stored: place.stored,
            next: at,
        };
        let known = self.topic_ids.get(&topic).copied();
        // An id that was never known tells nothing now.
        let now = known.map_or(Ok(None), |_| {
            let ids = ffi::topic_ids(consumer.client(), &[&topic], IDENTIFY_WITHIN)?;
            Ok(ids.into_iter().next().flatten())
        });
        let result = now.and_then(|now| match beyond(known, now) {
            Beyond::LostEnd => self.lost_end(consumer, (&topic, partition), stood, (low, high)),
            Beyond::AnotherLog => {
                // Its other partitions may be longer already than what was read of them.
                self.identify_at = Instant::now();
                self.another_log(consumer, (topic.clone(), partition), low);
                Ok(())
            }
        });
        if let Err(error) = result {
            tracing::warn!(%error, topic, partition, "whether the log is still the same is not known yet; asking again");
            self.reposition_at = Some(Instant::now() + PREPARE_AGAIN);
        }
    }

    /// The log ends before our position: what was behind is gone, and its offsets are given to other records. So the marks
    /// of this partition go (else records that were never read would count as decided), and the seat, for a seat's
    /// offsets only grow. Levels and delivered jtis stay.
    fn lost_end(
        &mut self,
        consumer: &BaseConsumer<Context>,
        (topic, partition): (&str, i32),
        stood: Stood,
        (low, high): (i64, i64),
    ) -> KafkaResult<()> {
        let since = StartAt::Time(clock::epoch_ms().saturating_sub(ONCE_MORE_MS));
        let recent = start::begin(consumer, topic, &[partition], since)?;
        let recent = recent.get(&partition).copied().unwrap_or(high);
        let from = stood.go_on((low, high), recent);
        tracing::warn!(
            topic,
            partition,
            records = stood.next.saturating_sub(high),
            from,
            "the log lost its last records, at least so many, although the topic is the same (an unclean leader election?); reading goes on before its end"
        );
        self.seat_anew(
            consumer,
            (topic.to_owned(), partition),
            (from, high),
            stood.lost(high),
        );
        Ok(())
    }

    /// Nothing that is known about the old log holds for this one. What was read from the old one and is not settled goes
    /// with it, and counts as lost: at most so many, for behind the settled prefix some may be settled as well.
    fn another_log(
        &mut self,
        consumer: &BaseConsumer<Context>,
        (topic, partition): (String, i32),
        low: i64,
    ) {
        let place = self.places.get(&topic).and_then(|of| of.get(&partition));
        let Some(place) = place else { return };
        let unsettled = u64::try_from(place.next.saturating_sub(place.stored)).unwrap_or(0);
        tracing::warn!(
            topic,
            partition,
            "the topic was made anew; it is read from its first record"
        );
        self.seat_anew(consumer, (topic, partition), (low, 0), unsettled);
    }

    /// A partition is read from here on under a new seat, and the state drops the marks of it.
    fn seat_anew(
        &mut self,
        consumer: &BaseConsumer<Context>,
        (topic, partition): (String, i32),
        (from, log_end): (i64, i64),
        records: u64,
    ) {
        let place = self.places.get(&topic).and_then(|of| of.get(&partition));
        let Some(place) = place else { return };
        let (seat, name) = (place.seat, Arc::clone(&place.topic));
        if records > 0 {
            self.tell(Notice::RecordsLost {
                topic: name,
                partition,
                records,
            });
        }
        let start = start::Start::anew(from, log_end);
        self.seat_again(consumer, seat, (&topic, partition), start);
        // What was committed last is a place in the log as it was, and may be one in the log as it is.
        let mut begin = TopicPartitionList::new();
        let result = begin
            .add_partition_offset(&topic, partition, Offset::Offset(from))
            .and_then(|()| ffi::commit(consumer.client(), &begin));
        if let Err(error) = result {
            tracing::warn!(%error, topic, partition, "where reading of the changed log begins was not committed");
        }
    }

    /// Gives the partition a new seat, which begins like this.
    pub(super) fn seat_again(
        &mut self,
        consumer: &BaseConsumer<Context>,
        seat: Seat,
        (topic, partition): (&str, i32),
        start: start::Start,
    ) {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        self.unassign(consumer, &list);
        self.lose_with_its_side(seat, (topic, partition));
        self.forget(&list);
        self.seat_partitions(consumer, &[(topic.to_owned(), partition)], &[start]);
    }

    /// Compares the topics' ids with those that they had when we last had partitions of them. A log that was made anew and is
    /// longer already than we have read of the old one shows in nothing else: librdkafka reads on at the old offset.
    pub(super) fn identify(&mut self, consumer: &BaseConsumer<Context>) {
        if self.identify_at > Instant::now() || self.places.is_empty() || !self.may_seat_again() {
            return;
        }
        self.identify_at = Instant::now() + IDENTIFY;
        let mut topics: Vec<String> = self.places.keys().cloned().collect();
        let sources = topics.len();
        topics.extend(self.side.iter().flat_map(Side::topics));
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let ids = match ffi::topic_ids(consumer.client(), &names, IDENTIFY_WITHIN) {
            Ok(ids) => ids,
            Err(error) => {
                tracing::debug!(%error, "the topics' ids are not known; asking again");
                return;
            }
        };
        for (number, (topic, id)) in topics.into_iter().zip(ids).enumerate() {
            let Some(id) = id else { continue };
            if number >= sources {
                let side = self.side.as_mut();
                let gone = side.map_or_else(Vec::new, |side| side.identified(&topic, id));
                self.lose_sides(gone);
                continue;
            }
            match self.topic_ids.get(&topic) {
                None => drop(self.topic_ids.insert(topic, id)),
                Some(before) if *before == id => {}
                Some(_) => self.made_anew(consumer, topic, id),
            }
        }
    }

    fn made_anew(&mut self, consumer: &BaseConsumer<Context>, topic: String, id: TopicId) {
        let numbers: Vec<i32> = self
            .places
            .get(&topic)
            .map_or_else(Vec::new, |of| of.keys().copied().collect());
        let mut lows = Vec::with_capacity(numbers.len());
        for number in numbers {
            match consumer.fetch_watermarks(&topic, number, ASK) {
                Ok((low, _)) => lows.push((number, low)),
                // The id stays as it was, so all of them are looked at once more.
                Err(error) => {
                    tracing::warn!(%error, topic, number, "where the new log begins is not known yet; asking again");
                    return;
                }
            }
        }
        for (number, low) in lows {
            self.another_log(consumer, (topic.clone(), number), low);
        }
        self.topic_ids.insert(topic, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topic_with_the_known_id_lost_its_end() {
        let cases = [
            (Some(1), Some(1), Beyond::LostEnd),
            (Some(1), Some(2), Beyond::AnotherLog),
            (Some(1), None, Beyond::AnotherLog),
            (None, Some(1), Beyond::AnotherLog),
            (None, None, Beyond::AnotherLog),
        ];
        for (known, now, wanted) in cases {
            assert_eq!(beyond(known, now), wanted, "{known:?} {now:?}");
        }
    }

    #[test]
    fn a_log_without_its_end_is_read_on_before_what_was_not_read() {
        // (stored, next, low, high, recent) → (from, lost)
        let cases = [
            ((100, 100, 0, 90, 90), (90, 0), "all was settled"),
            ((100, 100, 0, 90, 70), (70, 0), "recent records once more"),
            ((60, 100, 0, 90, 90), (60, 10), "what is not settled stays"),
            ((95, 100, 0, 90, 90), (90, 5), "what is not settled went"),
            ((100, 100, 80, 90, 80), (80, 0), "all of it is recent"),
            (
                (60, 100, 80, 90, 85),
                (80, 10),
                "retention overtook it as well",
            ),
            ((100, 100, 0, 0, 0), (0, 0), "nothing is left"),
        ];
        for ((stored, next, low, high, recent), wanted, what) in cases {
            let stood = Stood { stored, next };
            let got = (stood.go_on((low, high), recent), stood.lost(high));
            assert_eq!(got, wanted, "{what}");
        }
    }
}
