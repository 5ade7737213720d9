//! Where the reading of an assigned partition starts (DESIGN "the first start, new partitions, lost offsets").
//!
//! Every start is an explicit offset, decided here and nowhere else; `auto.offset.reset` is `error`.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
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

/// Decides the start of one partition. Pure: `low` and `high` are the log's first and next offset, `first` is where
/// `start_at` points and is given only while the group has no commit on the topic.
pub(super) fn decide(committed: Option<i64>, low: i64, high: i64, first: Option<i64>) -> Start {
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
        None => start(first.map_or(low, |offset| offset.clamp(low, high)), 0),
    }
}

/// Asks the broker and decides the start of each of these partitions.
pub(super) fn starts(
    consumer: &BaseConsumer<Context>,
    partitions: &[(String, i32)],
    start_at: StartAt,
) -> KafkaResult<Vec<Start>> {
    let mut first_of: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    let mut committed_of: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for (topic, _) in partitions {
        if committed_of.contains_key(topic.as_str()) {
            continue;
        }
        let committed = committed(consumer, topic)?;
        if committed.is_empty() && start_at != StartAt::Earliest {
            first_of.insert(topic, begin(consumer, topic, start_at)?);
        }
        committed_of.insert(topic, committed);
    }
    partitions
        .iter()
        .map(|(topic, partition)| {
            let (low, high) = consumer.fetch_watermarks(topic, *partition, ASK)?;
            let committed = committed_of
                .get(topic.as_str())
                .and_then(|of| of.get(partition))
                .copied();
            let first = first_of
                .get(topic.as_str())
                .and_then(|of| of.get(partition))
                .copied();
            Ok(decide(committed, low, high, first))
        })
        .collect()
}

/// The group's commits on all partitions of a topic.
fn committed(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<BTreeMap<i32, i64>> {
    let answer = consumer.committed_offsets(all_partitions(consumer, topic)?, ASK)?;
    Ok(offsets(&answer))
}

/// Where `start_at` points on every partition of a topic; committed at once, for all members to find. So it is
/// applied exactly once: a member that joins later, or a partition that appears later, meets a group with commits.
fn begin(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    start_at: StartAt,
) -> KafkaResult<BTreeMap<i32, i64>> {
    let all = all_partitions(consumer, topic)?;
    let mut first = BTreeMap::new();
    let mut by_time = BTreeMap::new();
    if let StartAt::Time(ms) = start_at {
        let mut ask = TopicPartitionList::new();
        for element in all.elements() {
            ask.add_partition_offset(topic, element.partition(), Offset::Offset(ms))?;
        }
        by_time = offsets(&consumer.offsets_for_times(ask, ASK)?);
    }
    let mut commit = TopicPartitionList::new();
    for element in all.elements() {
        let (_, high) = consumer.fetch_watermarks(topic, element.partition(), ASK)?;
        let offset = by_time.get(&element.partition()).copied().unwrap_or(high);
        first.insert(element.partition(), offset);
        commit.add_partition_offset(topic, element.partition(), Offset::Offset(offset))?;
    }
    consumer.commit(&commit, CommitMode::Async)?;
    Ok(first)
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
        // (committed, low, high, first) → (offset, lost)
        let cases = [
            ((Some(7), 0, 10, None), (7, 0), "an ordinary restart"),
            ((Some(10), 0, 10, None), (10, 0), "nothing new"),
            ((Some(3), 5, 10, None), (5, 2), "retention was faster"),
            ((Some(12), 0, 10, None), (0, 0), "the topic was made anew"),
            (
                (None, 4, 10, None),
                (4, 0),
                "a partition that appeared later starts at its earliest record",
            ),
            (
                (None, 4, 10, Some(10)),
                (10, 0),
                "start_at: latest, on the first start",
            ),
            (
                (None, 4, 10, Some(2)),
                (4, 0),
                "start_at: a time before the log",
            ),
        ];
        for ((committed, low, high, first), (offset, lost), what) in cases {
            let start = decide(committed, low, high, first);
            assert_eq!((start.offset, start.lost), (offset, lost), "{what}");
        }
    }
}
