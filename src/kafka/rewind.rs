//! An operator wants records read once more: their partition gets a new seat at the wanted offset.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::{ASK, Leaving, Poller};
use super::context::Context;
use super::events::{Notice, Seat};
use super::start::Start;
use crate::ffi;

impl Poller {
    /// Carries out what was ordered.
    pub(super) fn rewind_again(&mut self, consumer: &BaseConsumer<Context>) {
        if self.rewinds.is_empty() || !self.may_seat_again() {
            return;
        }
        for (seat, from) in std::mem::take(&mut self.rewinds) {
            let found = self
                .all_places()
                .find(|(_, _, place)| place.seat == seat && place.leaving == Leaving::No);
            let Some((topic, partition, place)) = found else {
                let why = "the partition left".to_owned();
                self.tell(Notice::NotRewound { seat, why });
                continue;
            };
            let (topic, next) = (topic.to_owned(), place.next);
            match consumer.fetch_watermarks(&topic, partition, ASK) {
                Ok((low, high)) if low <= from && from <= next.min(high) => {
                    self.rewind(consumer, seat, (&topic, partition), (from, high));
                }
                Ok((low, high)) => {
                    let why = format!("the log holds {low}..{high}, read is up to {next}");
                    self.tell(Notice::NotRewound { seat, why });
                }
                Err(error) => {
                    let why = error.to_string();
                    self.tell(Notice::NotRewound { seat, why });
                }
            }
        }
    }

    fn rewind(
        &mut self,
        consumer: &BaseConsumer<Context>,
        seat: Seat,
        (topic, partition): (&str, i32),
        (from, log_end): (i64, i64),
    ) {
        let start = Start::anew(from, log_end);
        self.seat_again(consumer, seat, (topic, partition), start);
        let committed = commit(consumer, topic, partition, from).unwrap_or_else(|error| {
            tracing::warn!(%error, topic, partition, from, "where the rewound partition begins was not committed");
            false
        });
        self.tell(Notice::Rewound { seat, committed });
    }
}

/// Whether the group shows the commit afterwards: the broker takes requests of one connection in turn.
fn commit(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
    from: i64,
) -> KafkaResult<bool> {
    let mut begin = TopicPartitionList::new();
    begin.add_partition_offset(topic, partition, Offset::Offset(from))?;
    ffi::commit(consumer.client(), &begin)?;
    let mut ask = TopicPartitionList::new();
    ask.add_partition(topic, partition);
    let shown = consumer.committed_offsets(ask, ASK)?;
    let shown = shown.find_partition(topic, partition);
    Ok(shown.is_some_and(|shown| shown.offset() == Offset::Offset(from)))
}
