//! Reading ranges of a log to their ends, and following one.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::{ReadError, Reader};
use crate::kafka::client::{Trouble, code_of};
use crate::kafka::consumer::record_of;
use crate::kafka::tail::{Rest, Tail};
use crate::record::Record;

/// So long nothing at all may come in while records are missing.
const SILENCE: Duration = Duration::from_secs(20);

impl Reader {
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
        let mut left = BTreeMap::new();
        let mut list = TopicPartitionList::new();
        for (partition, wanted) in ranges {
            let there = self.bounds(topic, partition)?;
            let range = wanted.start.max(there.start)..wanted.end.min(there.end);
            if range.is_empty() {
                continue;
            }
            list.add_partition_offset(topic, partition, Offset::Offset(range.start))
                .map_err(|source| self.failed("the offset is none".to_owned(), source))?;
            left.insert(partition, range);
        }
        let doing = || format!("topic {topic} cannot be read");
        self.consumer
            .assign(&list)
            .map_err(|source| self.failed(doing(), source))?;
        let read = self.read(topic, left, &mut take);
        // An assignment that is empty cannot be refused.
        let _ = self.consumer.assign(&TopicPartitionList::new());
        read
    }

    /// Polls until nothing is left of these ranges.
    fn read(
        &self,
        topic: &str,
        mut left: BTreeMap<i32, Range<i64>>,
        take: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let name: Arc<str> = Arc::from(topic);
        let doing = || format!("topic {topic} cannot be read");
        let mut heard = Instant::now();
        while !left.is_empty() {
            match self.consumer.poll(Duration::from_millis(100)) {
                None if heard.elapsed() < SILENCE => {}
                None => return Err(self.failed(doing(), silence())),
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(range) = left.get_mut(&partition) else {
                        continue;
                    };
                    if offset < range.end && take(record_of(&message, Arc::clone(&name))).is_break()
                    {
                        return Ok(());
                    }
                    range.start = offset.saturating_add(1);
                    if range.is_empty() {
                        left.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    // Which end that was is not told: a leader that was just elected may have named an older one.
                    let range = left.get(&partition).cloned();
                    if let Some(range) = range
                        && self.rest(topic, partition, range)? == Rest::Nothing
                    {
                        left.remove(&partition);
                    }
                    heard = Instant::now();
                }
                Some(Err(error)) => match code_of(&error) {
                    // We want nothing of the group. A broker that is gone for a moment comes back, or we fall silent.
                    Some(Code::GroupAuthorizationFailed) => {}
                    Some(code) if Trouble::of(code) == Trouble::Unreachable => {}
                    _ => return Err(self.failed(doing(), error)),
                },
            }
        }
        Ok(())
    }

    /// What lies in this range; waits for the answer.
    fn rest(&self, topic: &str, partition: i32, range: Range<i64>) -> Result<Rest, ReadError> {
        let doing = || format!("the end of {topic}:{partition} cannot be read");
        let failed = |source| self.failed(doing(), source);
        let mut tail = Tail::new(&self.kafka, &self.group).map_err(failed)?;
        tail.ask(topic, partition, range, Instant::now())
            .map_err(failed)?;
        let until = Instant::now() + SILENCE;
        while Instant::now() < until {
            let answer = tail.hear(Duration::from_millis(100)).map_err(failed)?;
            match answer.map(|answer| answer.rest) {
                None => {}
                Some(Rest::Refused(code)) => {
                    return Err(failed(KafkaError::MessageConsumption(code)));
                }
                Some(rest) => return Ok(rest),
            }
        }
        Err(failed(silence()))
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
}

fn silence() -> KafkaError {
    KafkaError::MessageConsumption(Code::OperationTimedOut)
}
