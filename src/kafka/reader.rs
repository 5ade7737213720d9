//! Reads a topic for somebody who looks: without joining a group, without committing, without a trace at the broker.
//!
//! For commands, and for what the bridge wants to know about records that it does not work on. Every call blocks, so
//! none is made on the async runtime. librdkafka wants a group's name all the same, and asks who coordinates it; give one
//! that the principal may read, as the stream's.

mod fault;
mod listener;
mod reading;
mod turn;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{KafkaClient, Trouble, code_of};
use crate::record::{Origin, Record};
pub use fault::ReadError;
use fault::failed;
use listener::Listener;
pub use turn::Turn;

/// For one answer of the broker, also when it is asked for again.
const ASK: Duration = Duration::from_secs(10);
/// Time between two questions, while a broker is away for a moment or leads a partition no longer.
const AGAIN: Duration = Duration::from_millis(250);
/// So long librdkafka is listened to when something has failed.
const HEAR: Duration = Duration::from_millis(200);

/// Where a partition's log begins, and the offset that its next record gets.
pub type Bounds = Range<i64>;

/// Reads records by where they are.
pub struct Reader {
    consumer: BaseConsumer<Listener>,
    kafka: KafkaClient,
    group: String,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// A reader of this cluster; does not connect yet. `group`: one that the principal may read; it is never joined.
    ///
    /// # Errors
    /// librdkafka does not take the properties.
    pub fn new(kafka: &KafkaClient, group: &str) -> Result<Self, ReadError> {
        let mut config = kafka.config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true");
        let made = config.create_with_context(Listener::new(kafka.token_file()));
        let consumer: BaseConsumer<Listener> =
            made.map_err(|source| failed("the Kafka client cannot be made", None, source))?;
        // Questions come before the first poll, so no callback can bring the token in time.
        kafka
            .authenticate(consumer.client())
            .map_err(|source| failed("there is no OAUTHBEARER token", None, source))?;
        Ok(Self {
            consumer,
            kafka: kafka.clone(),
            group: group.to_owned(),
        })
    }

    /// The partitions of a topic.
    ///
    /// # Errors
    /// [`ReadError::NoTopic`], [`ReadError::Kafka`].
    pub fn partitions(&self, topic: &str) -> Result<Vec<i32>, ReadError> {
        let doing = || format!("topic {topic} cannot be looked at");
        let metadata = self.ask(doing, |left| {
            self.consumer.fetch_metadata(Some(topic), left)
        })?;
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        let Some(found) = found else {
            return Err(ReadError::NoTopic(topic.to_owned()));
        };
        match found.error() {
            None => Ok(found.partitions().iter().map(|p| p.id()).collect()),
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            ) => Err(ReadError::NoTopic(topic.to_owned())),
            Some(error) => Err(self.failed(doing(), KafkaError::MetadataFetch(error.into()))),
        }
    }

    /// Every topic that this principal may see.
    ///
    /// # Errors
    /// [`ReadError::Kafka`].
    pub fn topics(&self) -> Result<Vec<String>, ReadError> {
        let doing = || "the topics cannot be listed".to_owned();
        let metadata = self.ask(doing, |left| self.consumer.fetch_metadata(None, left))?;
        let topics = metadata.topics().iter();
        Ok(topics.map(|topic| topic.name().to_owned()).collect())
    }

    /// Where the log of a partition begins and ends.
    ///
    /// # Errors
    /// [`ReadError::Kafka`].
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<Bounds, ReadError> {
        let doing = || format!("the ends of {topic}:{partition} cannot be looked up");
        let ask = |left| self.consumer.fetch_watermarks(topic, partition, left);
        let (first, end) = self.ask(doing, ask)?;
        Ok(first..end)
    }

    /// What the reader's group has committed on these partitions; those without a commit are left out.
    ///
    /// # Errors
    /// [`ReadError::Kafka`].
    pub fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, ReadError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let doing = || format!("the commits of the group on {topic} cannot be read");
        let told = self.ask(doing, |left| {
            every_one(self.consumer.committed_offsets(list.clone(), left)?)
        })?;
        let mut committed = BTreeMap::new();
        for element in told.elements() {
            if let Offset::Offset(next) = element.offset() {
                committed.insert(element.partition(), next);
            }
        }
        Ok(committed)
    }

    /// The first offset at or behind a time (ms since 1970) on each of these partitions; its log's end when no record is
    /// as young.
    ///
    /// # Errors
    /// [`ReadError::Kafka`].
    pub fn since(
        &self,
        topic: &str,
        partitions: &[i32],
        ms: i64,
    ) -> Result<BTreeMap<i32, i64>, ReadError> {
        let mut found = BTreeMap::new();
        let mut ask = TopicPartitionList::new();
        for partition in partitions {
            found.insert(*partition, self.bounds(topic, *partition)?.end);
            ask.add_partition_offset(topic, *partition, Offset::Offset(ms))
                .map_err(|source| self.failed("the time is none".to_owned(), source))?;
        }
        let doing = || format!("topic {topic} cannot be searched by time");
        let told = self.ask(doing, |left| {
            every_one(self.consumer.offsets_for_times(ask.clone(), left)?)
        })?;
        for element in told.elements() {
            if let Offset::Offset(offset) = element.offset() {
                found.insert(element.partition(), offset);
            }
        }
        Ok(found)
    }

    /// The record at exactly this place.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn one(&self, origin: &Origin) -> Result<Record, ReadError> {
        let partitions = self.partitions(&origin.topic)?;
        if !partitions.contains(&origin.partition) {
            return Err(ReadError::NoPartition {
                topic: origin.topic.to_string(),
                partition: origin.partition,
                count: partitions.len(),
            });
        }
        let Range { start, end } = self.bounds(&origin.topic, origin.partition)?;
        if origin.offset < start {
            let origin = origin.clone();
            return Err(ReadError::Gone {
                origin,
                first: start,
            });
        }
        if origin.offset >= end {
            let origin = origin.clone();
            return Err(ReadError::NotYet { origin, end });
        }
        let range = origin.offset..origin.offset.saturating_add(1);
        let mut found = None;
        let ranges = BTreeMap::from([(origin.partition, range)]);
        self.each(&origin.topic, ranges, |record| {
            found = Some(record);
            ControlFlow::Break(())
        })?;
        found.ok_or_else(|| ReadError::Hole(origin.clone()))
    }

    /// The last `count` records of a topic by Kafka's timestamp, oldest first. Holds `count` records of each partition
    /// at most.
    ///
    /// # Errors
    /// [`ReadError::NoTopic`], [`ReadError::Kafka`].
    pub fn last(&self, topic: &str, count: usize) -> Result<Vec<Record>, ReadError> {
        let mut last = Vec::new();
        for partition in self.partitions(topic)? {
            last.extend(self.last_of(topic, partition, count)?);
        }
        last.sort_by_key(|record| {
            Reverse((
                record.timestamp_ms,
                record.origin.partition,
                record.origin.offset,
            ))
        });
        last.truncate(count);
        last.reverse();
        Ok(last)
    }

    /// Offsets have gaps, so a span of as many offsets may hold fewer records: it is doubled until it does not.
    fn last_of(&self, topic: &str, partition: i32, count: usize) -> Result<Vec<Record>, ReadError> {
        let Range { start, end } = self.bounds(topic, partition)?;
        let mut span = i64::try_from(count).unwrap_or(i64::MAX);
        loop {
            let from = end.saturating_sub(span).max(start);
            let mut records = std::collections::VecDeque::new();
            self.each(topic, BTreeMap::from([(partition, from..end)]), |record| {
                records.push_back(record);
                if records.len() > count {
                    records.pop_front();
                }
                ControlFlow::Continue(())
            })?;
            if records.len() >= count || from == start {
                return Ok(records.into());
            }
            span = span.saturating_mul(2);
        }
    }

    /// Asks until there is an answer, or one that will not change by asking again, or [`ASK`] is over.
    fn ask<T>(
        &self,
        doing: impl Fn() -> String,
        ask: impl Fn(Duration) -> KafkaResult<T>,
    ) -> Result<T, ReadError> {
        let until = Instant::now() + ASK;
        asked(until, AGAIN, ask).map_err(|source| self.failed(doing(), source))
    }

    fn failed(&self, doing: String, source: KafkaError) -> ReadError {
        // What librdkafka said is told by polls only, and a question polls nothing. Nobody wants records any more.
        // Errors end a poll, log lines do not.
        let until = Instant::now() + HEAR;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let _ = self.consumer.poll(left);
        }
        failed(&doing, self.consumer.context().said(), source)
    }
}

/// The answer about all partitions; the first error of one, if there is one.
fn every_one(told: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    told.elements()
        .iter()
        .try_for_each(|element| element.error())?;
    Ok(told)
}

/// Asks with the time that is left, again after so long while the fault is the moment's.
fn asked<T>(
    until: Instant,
    again: Duration,
    ask: impl Fn(Duration) -> KafkaResult<T>,
) -> KafkaResult<T> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match ask(left) {
            Err(error) if is_of_the_moment(&error) && Instant::now() + again < until => {
                std::thread::park_timeout(again);
            }
            answer => return answer,
        }
    }
}

fn is_of_the_moment(error: &KafkaError) -> bool {
    code_of(error).is_some_and(|code| Trouble::of(code) == Trouble::Unreachable)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    #[test]
    fn a_leader_that_has_just_changed_is_asked_for_again() {
        let cases = [
            (Code::NotLeaderForPartition, true),
            (Code::LeaderNotAvailable, true),
            (Code::NotCoordinator, true),
            (Code::TopicAuthorizationFailed, false),
            (Code::UnknownTopicOrPartition, false),
        ];
        for (code, again) in cases {
            let times = Cell::new(0);
            let answer = |_| {
                times.set(times.get() + 1);
                match times.get() {
                    1 => Err(KafkaError::MetadataFetch(code)),
                    _ => Ok(7),
                }
            };
            let until = Instant::now() + Duration::from_secs(60);
            let told = asked(until, Duration::ZERO, answer).ok();
            assert_eq!(told, again.then_some(7), "{code:?}");
            let never = |_| Err::<(), _>(KafkaError::MetadataFetch(code));
            asked(Instant::now(), Duration::ZERO, never).expect_err("the time is over");
        }
    }
}
