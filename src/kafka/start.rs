//! Where the reading of an assigned partition starts (DESIGN "the first start, new partitions, lost offsets").
//!
//! Every start is an explicit offset, decided here and nowhere else; `auto.offset.reset` is `error`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;

/// Longest wait for one answer of the broker. Below any sensible liveness threshold.
const ASK: Duration = Duration::from_secs(5);

/// Where a group starts on a topic on which it has no commit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record.
    Earliest,
    /// The next record to come.
    Latest,
    /// The first record at or after this time, in ms since 1970.
    Time(i64),
}

/// The first offset of a partition to read, and what is known beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) offset: i64,
    pub(super) committed: Option<i64>,
    pub(super) log_end: i64,
    /// Records between the committed offset and the first one still in the log.
    pub(super) lost: u64,
}

/// Decides the start of one partition. Pure: `low` and `high` are the log's first and next offset.
pub(super) fn decide(committed: Option<i64>, low: i64, high: i64) -> Start {
    let start = |offset: i64, lost: u64| Start {
        offset,
        committed,
        log_end: high,
        lost,
    };
    match committed {
        // A commit below the log: retention was faster than us.
        Some(at) if at < low => start(low, low.abs_diff(at)),
        // A commit beyond the log: the topic was made anew. Start with what is there.
        Some(at) if at > high => start(low, 0),
        Some(at) => start(at, 0),
        None => start(low, 0),
    }
}

/// Asks the broker and decides the start of each of these partitions. Afterwards the group has a commit on each: so one
/// that is known to us and has none is of another topic with the same name. `new` collects those without a commit, for
/// the case that only a later try succeeds.
pub(super) fn starts(
    consumer: &BaseConsumer<Context>,
    partitions: &[(String, i32)],
    start_at: StartAt,
    new: &mut BTreeSet<(String, i32)>,
) -> KafkaResult<Vec<Start>> {
    let mut assigned: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        assigned.entry(topic).or_default().push(*partition);
    }
    let mut committed_of: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for (topic, numbers) in assigned {
        let before = committed(consumer, topic)?;
        let without = numbers.into_iter().filter(|n| !before.contains_key(n));
        let without: Vec<i32> = without.collect();
        let now = if without.is_empty() {
            before
        } else {
            new.extend(without.iter().map(|number| (topic.to_owned(), *number)));
            begin(consumer, topic, &without, before.is_empty(), start_at)?;
            // What counts is what the group has: another member may have begun as well.
            committed(consumer, topic)?
        };
        if without.iter().any(|number| !now.contains_key(number)) {
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
        }
        committed_of.insert(topic, now);
    }
    let start = |place: &(String, i32)| {
        let (topic, partition) = (place.0.as_str(), place.1);
        let (low, high) = consumer.fetch_watermarks(topic, partition, ASK)?;
        let on_topic = committed_of.get(topic);
        let at = on_topic.and_then(|of| of.get(&partition)).copied();
        Ok(Start {
            committed: at.filter(|_| !new.contains(place)),
            ..decide(at, low, high)
        })
    };
    partitions.iter().map(start).collect()
}

/// The group's commits on all partitions of a topic.
fn committed(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<BTreeMap<i32, i64>> {
    let answer = consumer.committed_offsets(all_partitions(consumer, topic)?, ASK)?;
    Ok(offsets(&answer))
}

/// Commits where the reading starts. `start_at` counts only while the group has no commit at all on the topic, and then
/// for every partition of it, so that a member that joins later, or a partition that appears later, finds it applied.
fn begin(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    without: &[i32],
    first: bool,
    start_at: StartAt,
) -> KafkaResult<()> {
    let applies = first && start_at != StartAt::Earliest;
    let mut by_time = BTreeMap::new();
    let all = all_partitions(consumer, topic)?;
    if let (true, StartAt::Time(ms)) = (applies, start_at) {
        let mut ask = TopicPartitionList::new();
        for element in all.elements() {
            ask.add_partition_offset(topic, element.partition(), Offset::Offset(ms))?;
        }
        by_time = offsets(&consumer.offsets_for_times(ask, ASK)?);
    }
    let mut commit = TopicPartitionList::new();
    for number in all.elements().iter().map(|element| element.partition()) {
        if applies || without.contains(&number) {
            let (low, high) = consumer.fetch_watermarks(topic, number, ASK)?;
            let wanted = by_time.get(&number).copied().unwrap_or(high);
            let offset = Offset::Offset(if applies { wanted } else { low });
            commit.add_partition_offset(topic, number, offset)?;
        }
    }
    // The broker takes requests of one connection in turn, so whoever asks next is told of this.
    consumer.commit(&commit, CommitMode::Async)
}

fn all_partitions(
    consumer: &BaseConsumer<Context>,
    topic: &str,
) -> KafkaResult<TopicPartitionList> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let mut list = TopicPartitionList::new();
    for partition in metadata
        .topics()
        .iter()
        .filter(|t| t.name() == topic)
        .flat_map(|t| t.partitions())
    {
        list.add_partition(topic, partition.id());
    }
    Ok(list)
}

fn offsets(list: &TopicPartitionList) -> BTreeMap<i32, i64> {
    list.elements()
        .iter()
        .filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_a_start() {
        // (committed, low, high) → (offset, lost)
        let cases = [
            ((Some(7), 0, 10), (7, 0), "an ordinary restart"),
            ((Some(10), 0, 10), (10, 0), "nothing new"),
            ((Some(3), 5, 10), (5, 2), "retention was faster"),
            ((Some(12), 0, 10), (0, 0), "the topic was made anew"),
            (
                (None, 4, 10),
                (4, 0),
                "a partition that appeared later starts at its earliest record",
            ),
        ];
        for ((committed, low, high), (offset, lost), what) in cases {
            let start = decide(committed, low, high);
            assert_eq!((start.offset, start.lost), (offset, lost), "{what}");
        }
    }
}
