//! Logs that are not what they were: retention overtook the reading, or the topic was made anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::ffi::{self, TopicId};

use super::consumer::{ASK, Poller};
use super::context::Context;
use super::events::Notice;
use super::rebalance::PREPARE_AGAIN;
use super::start;

/// Time between two looks at the topics' ids.
const IDENTIFY: Duration = Duration::from_secs(15);
/// Longest wait for the answer; nobody polls meanwhile, and nothing is lost by asking again.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(1);

impl Poller {
    /// A position outside of the log while reading: retention overtook us, or the topic was made anew. librdkafka has
    /// stopped reading there and does not say where, so each partition is looked at, until the broker has answered for
    /// all. Not during a rebalance: librdkafka would take our word for its answer.
    pub(super) fn reposition_again(&mut self, consumer: &BaseConsumer<Context>) {
        let due = self.reposition_at.is_some_and(|at| at <= Instant::now());
        if !due || self.rebalances() {
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
        // Its other partitions may be longer already than what was read of them.
        self.identify_at = Instant::now();
        self.another_log(consumer, (topic, partition), low);
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
        let (seat, name) = (place.seat, Arc::clone(&place.topic));
        let unsettled = place.next.saturating_sub(place.stored);
        tracing::warn!(
            topic,
            partition,
            "the topic was made anew; it is read from its first record"
        );
        if let Ok(records @ 1..) = u64::try_from(unsettled) {
            self.tell(Notice::RecordsLost {
                topic: name,
                partition,
                records,
            });
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        self.unassign(consumer, &list);
        self.lose(vec![seat]);
        self.forget(&list);
        let start = start::Start {
            offset: low,
            committed: None,
            log_end: 0,
            lost: 0,
        };
        self.seat_partitions(consumer, &[(topic.clone(), partition)], &[start]);
        // What was committed last is a place in the old log, and may be one in this log as well.
        let mut begin = TopicPartitionList::new();
        let result = begin
            .add_partition_offset(&topic, partition, Offset::Offset(low))
            .and_then(|()| consumer.commit(&begin, CommitMode::Async));
        if let Err(error) = result {
            tracing::warn!(%error, topic, partition, "where the new log begins was not committed");
        }
    }

    /// Compares the topics' ids with those that they had when we last had partitions of them. A log that was made anew and is
    /// longer already than we have read of the old one shows in nothing else: librdkafka reads on at the old offset.
    pub(super) fn identify(&mut self, consumer: &BaseConsumer<Context>) {
        if self.identify_at > Instant::now() || self.places.is_empty() || self.rebalances() {
            return;
        }
        self.identify_at = Instant::now() + IDENTIFY;
        let topics: Vec<String> = self.places.keys().cloned().collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let ids = match ffi::topic_ids(consumer.client(), &names, IDENTIFY_WITHIN) {
            Ok(ids) => ids,
            Err(error) => {
                tracing::debug!(%error, "the topics' ids are not known; asking again");
                return;
            }
        };
        for (topic, id) in topics.into_iter().zip(ids) {
            let Some(id) = id else { continue };
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
