//! Reads a topic for somebody who looks: without joining a group, without committing, without a trace at the broker.
//!
//! For commands, and for what the bridge wants to know about records that it does not work on. Every call blocks, so
//! none is made on the async runtime. librdkafka wants a group's name all the same, and asks who coordinates it; give one
//! that the principal may read, as the stream's.

mod fault;
mod listener;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{KafkaClient, Trouble, code_of};
use super::consumer::record_of;
use crate::record::{Origin, Record};
pub use fault::ReadError;
use fault::failed;
use listener::Listener;

/// For one answer of the broker.
const ASK: Duration = Duration::from_secs(10);
/// So long nothing at all may come in while records are missing.
const SILENCE: Duration = Duration::from_secs(20);
/// So long librdkafka is listened to when something has failed.
const HEAR: Duration = Duration::from_millis(200);

/// Where a partition's log begins, and the offset that its next record gets.
pub type Bounds = Range<i64>;

/// Reads records by where they are.
pub struct Reader {
    consumer: BaseConsumer<Listener>,
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
        Ok(Self { consumer })
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

    /// Hands each record of these ranges of offsets to `take`, in the order of each partition, partitions in any order,
    /// until `take` breaks. What lies outside of a log is left out; offsets without a record are no fault.
    ///
    /// # Errors
    /// [`ReadError::Kafka`], also when nothing comes in for 20 s.
    pub fn each(
        &self,
        topic: &str,
        ranges: BTreeMap<i32, Range<i64>>,
        mut take: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut ends = BTreeMap::new();
        let mut list = TopicPartitionList::new();
        for (partition, wanted) in ranges {
            let there = self.bounds(topic, partition)?;
            let range = wanted.start.max(there.start)..wanted.end.min(there.end);
            if range.is_empty() {
                continue;
            }
            ends.insert(partition, range.end);
            list.add_partition_offset(topic, partition, Offset::Offset(range.start))
                .map_err(|source| self.failed("the offset is none".to_owned(), source))?;
        }
        let doing = || format!("topic {topic} cannot be read");
        self.consumer
            .assign(&list)
            .map_err(|source| self.failed(doing(), source))?;
        let read = self.read(topic, ends, &mut take);
        // An assignment that is empty cannot be refused.
        let _ = self.consumer.assign(&TopicPartitionList::new());
        read
    }

    /// Polls until every partition is at its end.
    fn read(
        &self,
        topic: &str,
        mut ends: BTreeMap<i32, i64>,
        take: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let name: Arc<str> = Arc::from(topic);
        let mut heard = Instant::now();
        while !ends.is_empty() {
            match self.consumer.poll(Duration::from_millis(100)) {
                None if heard.elapsed() < SILENCE => {}
                None => {
                    let silence = KafkaError::MessageConsumption(Code::OperationTimedOut);
                    return Err(self.failed(format!("topic {topic} cannot be read"), silence));
                }
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(end) = ends.get(&partition).copied() else {
                        continue;
                    };
                    if offset < end && take(record_of(&message, Arc::clone(&name))).is_break() {
                        return Ok(());
                    }
                    if offset.saturating_add(1) >= end {
                        ends.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    ends.remove(&partition);
                }
                Some(Err(error)) => match code_of(&error) {
                    // We want nothing of the group. A broker that is gone for a moment comes back, or we fall silent.
                    Some(Code::GroupAuthorizationFailed) => {}
                    Some(code) if Trouble::of(code) == Trouble::Unreachable => {}
                    _ => return Err(self.failed(format!("topic {topic} cannot be read"), error)),
                },
            }
        }
        Ok(())
    }

    /// Follows partitions of any topics from these offsets on. `take` gets each record, and [`None`] whenever nothing came
    /// for 100 ms, until it breaks. A broker that is gone for a while is waited for.
    ///
    /// # Errors
    /// [`ReadError::Kafka`], when it is nothing of the moment.
    pub fn follow(
        &self,
        from: &BTreeMap<(String, i32), i64>,
        mut take: impl FnMut(Option<Record>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let doing = || "the topics cannot be followed".to_owned();
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in from {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(|source| self.failed(doing(), source))?;
        }
        self.consumer
            .assign(&list)
            .map_err(|source| self.failed(doing(), source))?;
        let followed = loop {
            let record = match self.consumer.poll(Duration::from_millis(100)) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => None,
                Some(Ok(message)) => Some(record_of(&message, Arc::from(message.topic()))),
                Some(Err(error)) => match code_of(&error) {
                    Some(Code::GroupAuthorizationFailed) => None,
                    Some(code) if Trouble::of(code) == Trouble::Unreachable => None,
                    _ => break Err(self.failed(doing(), error)),
                },
            };
            if take(record).is_break() {
                break Ok(());
            }
        };
        // An assignment that is empty cannot be refused.
        let _ = self.consumer.assign(&TopicPartitionList::new());
        followed
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

/// Commits these offsets for a group that nobody joins: what a command remembers from one run to the next. Blocks.
///
/// # Errors
/// [`ReadError::Kafka`].
pub fn remember(
    kafka: &KafkaClient,
    group: &str,
    offsets: &BTreeMap<(String, i32), i64>,
) -> Result<(), ReadError> {
    let Reader { consumer } = Reader::new(kafka, group)?;
    let doing = || format!("offsets of group {group} cannot be committed");
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(|source| failed(&doing(), None, source))?;
    }
    consumer
        .commit(&list, CommitMode::Sync)
        .map_err(|source| failed(&doing(), None, source))
}
