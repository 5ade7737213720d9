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
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::KafkaClient;
use crate::record::{Origin, Record};
pub use fault::ReadError;
use fault::failed;
use listener::Listener;
pub use turn::Turn;

/// For one answer of the broker.
const ASK: Duration = Duration::from_secs(10);
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
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ASK)
            .map_err(|source| self.failed(doing(), source))?;
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
        let metadata = self
            .consumer
            .fetch_metadata(None, ASK)
            .map_err(|source| self.failed("the topics cannot be listed".to_owned(), source))?;
        let topics = metadata.topics().iter();
        Ok(topics.map(|topic| topic.name().to_owned()).collect())
    }

    /// Where the log of a partition begins and ends.
    ///
    /// # Errors
    /// [`ReadError::Kafka`].
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<Bounds, ReadError> {
        let doing = || format!("the ends of {topic}:{partition} cannot be looked up");
        let (first, end) = self
            .consumer
            .fetch_watermarks(topic, partition, ASK)
            .map_err(|source| self.failed(doing(), source))?;
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
        let told = self
            .consumer
            .committed_offsets(list, ASK)
            .map_err(|source| self.failed(doing(), source))?;
        let mut committed = BTreeMap::new();
        for element in told.elements() {
            element
                .error()
                .map_err(|source| self.failed(doing(), source))?;
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
        let told = self
            .consumer
            .offsets_for_times(ask, ASK)
            .map_err(|source| self.failed(doing(), source))?;
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
