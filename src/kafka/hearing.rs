//! What librdkafka says between two polls: rebalances, answers to commits, errors, and whether all is well again.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::{Trouble, code_of};
use super::consumer::Poller;
use super::context::{Context, Said};
use super::events::{Notice, Seat};

/// After so long without misfortune Kafka is asked whether all is well.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

impl Poller {
    pub(super) fn misfortune(
        &mut self,
        consumer: &BaseConsumer<Context>,
        error: &KafkaError,
    ) -> Option<String> {
        if let Some((code, reason)) = consumer.client().fatal_error() {
            return Some(format!("{code}: {reason}"));
        }
        match code_of(error) {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.reposition_at = Some(Instant::now());
            }
            Some(Code::PollExceeded) => tracing::error!(
                "max.poll.interval.ms passed between two polls; the group dropped us"
            ),
            Some(code) => self.trouble(Trouble::of(code), error.to_string()),
            None => tracing::warn!(%error, "Kafka"),
        }
        None
    }

    /// Everything that librdkafka said during the last poll.
    pub(super) fn hear(&mut self, consumer: &BaseConsumer<Context>) -> Option<String> {
        while let Some(said) = consumer.context().next() {
            match said {
                Said::Assign(partitions) => {
                    self.unprepared.get_or_insert_default().extend(partitions);
                    self.prepare_at = Instant::now();
                    self.prepare_again(consumer);
                }
                Said::Revoke(partitions) => self.revoke(consumer, &partitions),
                Said::Committed { list, asked } => {
                    self.told_by_the_group(asked);
                    self.committed(list);
                }
                Said::CommitFailed(error) => self.commit_failed(&error),
                Said::HighWatermark(topic, partition, log_end) => {
                    if let Some(seat) = self.seat(&topic, partition) {
                        self.tell(Notice::Lag { seat, log_end });
                    }
                }
                Said::Global(trouble, text) => self.trouble(trouble, text),
                Said::Fatal(text) => return Some(text),
            }
        }
        None
    }

    /// The group took a commit, which asked it for this time if it did. The answer for an older time may be from before a
    /// long silence.
    pub(super) fn told_by_the_group(&mut self, asked: Option<u64>) {
        if asked == Some(self.times_asked) {
            self.asked_group = None;
        }
    }

    fn committed(&self, list: Vec<(String, i32, i64)>) {
        let seats: Vec<_> = list
            .iter()
            .filter_map(|(topic, n, next)| Some((self.seat(topic, *n)?, *next)))
            .collect();
        if !seats.is_empty() {
            self.tell(Notice::Committed(seats));
        }
    }

    fn commit_failed(&mut self, error: &KafkaError) {
        self.tell(Notice::CommitFailed(error.to_string()));
        // While the group was being asked, a refusal means that the partitions are gone: the loss follows as a
        // revoke, and until then no tick says that we may send. But one for want of rights is told to members, too, and
        // before the group is looked at: then it cannot be asked at all, and to wait for it would be to stop for ever.
        let code = code_of(error);
        let may_not = matches!(
            code,
            Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed)
        );
        if may_not && self.asked_group.take().is_some() {
            tracing::warn!(%error, "the group cannot be asked whether the partitions are still ours; going on");
        }
    }

    fn seat(&self, topic: &str, partition: i32) -> Option<Seat> {
        Some(self.places.get(topic)?.get(&partition)?.seat)
    }

    pub(super) fn trouble(&mut self, trouble: Trouble, text: String) {
        self.trouble_at = Some(Instant::now());
        self.tell(Notice::Trouble(trouble, text));
    }

    pub(super) fn look(&self, consumer: &BaseConsumer<Context>) -> KafkaResult<()> {
        let seated = self.places.keys();
        let waiting = self.unprepared.iter().flatten().map(|(topic, _)| topic);
        let assigned = seated.chain(waiting).map(String::as_str);
        self.settings.look(consumer, assigned)
    }

    /// After some time without misfortune, asks whether all is well. librdkafka tells of a lasting refusal only once.
    pub(super) fn look_again(&mut self, consumer: &BaseConsumer<Context>) {
        if self.trouble_at.is_none_or(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        match self.look(consumer) {
            Ok(()) => {
                self.trouble_at = None;
                self.tell(Notice::Recovered);
            }
            Err(error) => {
                let trouble = code_of(&error).map_or(Trouble::Other, Trouble::of);
                self.trouble(trouble, error.to_string());
            }
        }
    }
}
