//! Whether records lie between an offset and a log's end.
//!
//! A log may end with what is no record: markers of transactions, records that were aborted or compacted away. Who reads
//! it comes to its end without a word. That nothing came for a while proves nothing, and librdkafka's end of a partition
//! is that of one answer: a leader that was just elected may tell an older one. So the offsets are compared here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, KafkaClient, Trouble};
use crate::ffi::{self, Met};

/// A question without an answer for so long is given up with all that the consumer has: its token may have expired.
const PATIENCE: Duration = Duration::from_secs(60);

/// What lies in a range of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Records; the first is here.
    From(i64),
    /// No record.
    Nothing,
    /// Kafka says no.
    Refused(Code),
}

/// An answer to [`Tail::ask`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) range: Range<i64>,
    pub(super) rest: Rest,
}

/// What was met tells about a range; [`None`]: nothing yet.
fn tells(range: &Range<i64>, met: Met) -> Option<Rest> {
    match met {
        Met::Record(at) if at < range.start => None,
        Met::Record(at) if at < range.end => Some(Rest::From(at)),
        Met::End(at) if at < range.end => None,
        Met::Record(_) | Met::End(_) => Some(Rest::Nothing),
        // A broker that is gone for a moment comes back.
        Met::Error(code) if Trouble::of(code) == Trouble::Unreachable => None,
        Met::Error(code) => Some(Rest::Refused(code)),
    }
}

/// Only writes what librdkafka logs. Nobody polls for events.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }
}

impl ConsumerContext for Quiet {}

/// A consumer that looks. It joins no group and commits nothing.
pub(super) struct Tail {
    consumer: BaseConsumer<Quiet>,
    /// Since when.
    asked: BTreeMap<(String, i32), (Range<i64>, Instant)>,
}

impl Tail {
    /// Does not connect yet. `group`: one that the principal may read.
    ///
    /// # Errors
    /// librdkafka does not take the properties, or there is no token.
    pub(super) fn new(kafka: &KafkaClient, group: &str) -> KafkaResult<Self> {
        let mut config = kafka.config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "0")
            // One record is enough.
            .set("queued.min.messages", "1");
        for name in ["group.instance.id", "group.remote.assignor"] {
            config.remove(name);
        }
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
        kafka.authenticate(consumer.client())?;
        Ok(Self {
            consumer,
            asked: BTreeMap::new(),
        })
    }

    /// Looks into this range, unless the partition is being looked at.
    ///
    /// # Errors
    /// librdkafka's.
    pub(super) fn ask(
        &mut self,
        topic: &str,
        partition: i32,
        range: Range<i64>,
        now: Instant,
    ) -> KafkaResult<()> {
        let place = (topic.to_owned(), partition);
        if self.asked.contains_key(&place) {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(range.start))?;
        self.consumer.incremental_assign(&list)?;
        self.asked.insert(place, (range, now));
        Ok(())
    }

    /// The next answer, if there is one within so long.
    ///
    /// # Errors
    /// A fatal one: the consumer is of no use any more.
    pub(super) fn hear(&mut self, timeout: Duration) -> KafkaResult<Option<Answer>> {
        if let Some((code, _)) = self.consumer.client().fatal_error() {
            return Err(KafkaError::Global(code));
        }
        let Some((topic, partition, met)) = ffi::meet(self.consumer.client(), timeout) else {
            return Ok(None);
        };
        let place = (topic, partition);
        let Some(rest) = self
            .asked
            .get(&place)
            .and_then(|(range, _)| tells(range, met))
        else {
            return Ok(None);
        };
        let mut list = TopicPartitionList::new();
        list.add_partition(&place.0, partition);
        self.consumer.incremental_unassign(&list)?;
        let Some((range, _)) = self.asked.remove(&place) else {
            return Ok(None);
        };
        let (topic, partition) = place;
        Ok(Some(Answer {
            topic,
            partition,
            range,
            rest,
        }))
    }

    /// Nobody wants to know any more what lies there.
    pub(super) fn forget(&mut self, topic: &str, partition: i32) {
        if self.asked.remove(&(topic.to_owned(), partition)).is_none() {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(%error, topic, partition, "it is still looked into; what comes of it is not heard");
        }
    }

    /// A question has no answer for too long: this consumer is of no use any more.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let mut since = self.asked.values().map(|(_, since)| since);
        since.any(|since| now.duration_since(*since) >= PATIENCE)
    }

    /// Everything that was asked is answered.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_an_answer_is_given_up() {
        let kafka = KafkaClient::new("127.0.0.1:1", "test", []);
        let mut tail = Tail::new(&kafka, "g").expect("a consumer");
        let now = Instant::now();
        tail.ask("detections", 0, 5..10, now).expect("an ask");
        tail.ask("detections", 1, 5..10, now + PATIENCE / 2)
            .expect("an ask");
        // Asked once more, it is not younger.
        tail.ask("detections", 0, 5..10, now + PATIENCE / 2)
            .expect("an ask");
        assert_eq!(tail.hear(Duration::ZERO).expect("no fatal error"), None);
        assert!(!tail.is_overdue(now + PATIENCE - Duration::from_millis(1)));
        assert!(tail.is_overdue(now + PATIENCE));
        tail.forget("detections", 0);
        assert!(!tail.is_overdue(now + PATIENCE) && !tail.is_idle());
        tail.forget("detections", 1);
        assert!(tail.is_idle());
        tail.ask("detections", 0, 7..10, now).expect("asked anew");
        assert!(!tail.is_idle());
    }

    #[test]
    fn only_the_end_that_was_asked_about_ends_a_log() {
        let cases = [
            (Met::Record(7), Some(Rest::From(7)), "a record"),
            (Met::Record(9), Some(Rest::From(9)), "the last one"),
            (Met::Record(10), Some(Rest::Nothing), "the first behind it"),
            (Met::Record(4), None, "before it: not asked for"),
            (Met::End(5), None, "the end as another broker knew it"),
            (Met::End(9), None, "one short"),
            (Met::End(10), Some(Rest::Nothing), "that end"),
            (
                Met::End(12),
                Some(Rest::Nothing),
                "a later end, no record before",
            ),
            (Met::Error(Code::BrokerTransportFailure), None, "no broker"),
            (Met::Error(Code::AllBrokersDown), None, "no broker at all"),
            (
                Met::Error(Code::TopicAuthorizationFailed),
                Some(Rest::Refused(Code::TopicAuthorizationFailed)),
                "no answer will come",
            ),
        ];
        for (met, wanted, what) in cases {
            assert_eq!(tells(&(5..10), met), wanted, "{what}");
        }
    }
}
