//! Where the reading of an assigned partition starts (DESIGN "the first start, new partitions, lost offsets").
//!
//! Every start is an explicit offset, decided here and nowhere else; `auto.offset.reset` is `error`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::ASK;
use super::context::Context;
use crate::ffi;

/// So long another member is waited for that is to begin on a topic.
const OTHERS: Duration = Duration::from_secs(10);
/// So often a commit is made that the group does not show afterwards; then reading starts without it.
const TRIES: u32 = 2;

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

impl Start {
    /// From this offset on, as in a log that nobody has worked on: marks count no longer.
    pub(super) fn anew(offset: i64, log_end: i64) -> Self {
        Self {
            offset,
            committed: None,
            log_end,
            lost: 0,
        }
    }
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

/// What is known of assigned partitions on which the group had no commit, until their reading starts.
#[derive(Debug, Default)]
pub(super) struct Beginnings {
    /// Where each of them begins, as its log was when it was first looked at: a later try must not begin later.
    at: BTreeMap<(String, i32), i64>,
    /// Since when another member is waited for.
    waiting_since: Option<Instant>,
    /// Commits of ours that the group did not show afterwards.
    unseen: u32,
}

/// Asks the broker and decides the start of each of these partitions. [`None`]: ask again soon.
///
/// Afterwards the group has a commit on each, so one that is known to us and has none is of another topic with the same
/// name. Two members may begin at the same moment, and Kafka has no compare-and-set for commits, so who commits what
/// must not be left to chance: a commit at the log's end that comes behind another member's, after records came in,
/// makes whoever goes on from it after a crash skip them. Therefore
///
/// * a partition's owner commits its start, once, and reads from nowhere later than that;
/// * `start_at` counts while the group has no commit at all on the topic, and then for every partition of it, also those
///   that no member has at the moment. Only the owner of the topic's lowest partition commits those. At any time that is
///   one member: the group refuses commits of an older generation (or member epoch), and a partition changes hands only
///   after its owner has given it up, behind its commits. The others wait until they see it;
/// * an owner that waited [`OTHERS`] in vain begins by itself, where its log ended when it first looked. The lowest
///   partition's owner, should it come back to life, looks once more before it commits, finds that commit and leaves all
///   but its own alone. One gap remains: frozen between that look and its commit for longer than [`OTHERS`], and still a
///   member, it commits the others' beginnings behind theirs. Its offsets may be later than theirs, if it looked at the
///   logs' ends after them, or earlier than what they have committed since. An owner that lives commits over it, with its
///   next settled record; one that crashes before that leaves a commit from which its successor skips, or repeats, what
///   lies between.
pub(super) fn starts(
    consumer: &BaseConsumer<Context>,
    partitions: &[(String, i32)],
    start_at: StartAt,
    beginnings: &mut Beginnings,
) -> KafkaResult<Option<Vec<Start>>> {
    let mut assigned: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        assigned.entry(topic).or_default().push(*partition);
    }
    let mut committed_of: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for (topic, numbers) in assigned {
        let Some(now) = beginnings.commit(consumer, topic, &numbers, start_at)? else {
            return Ok(None);
        };
        committed_of.insert(topic, now);
    }
    let start = |place: &(String, i32)| {
        let (topic, partition) = (place.0.as_str(), place.1);
        let (low, high) = consumer.fetch_watermarks(topic, partition, ASK)?;
        let on_topic = committed_of.get(topic);
        let committed = on_topic.and_then(|of| of.get(&partition)).copied();
        Ok(match beginnings.at.get(place) {
            Some(begin) => Start {
                committed: None,
                ..decide(
                    Some(committed.map_or(*begin, |at| at.min(*begin))),
                    low,
                    high,
                )
            },
            None => decide(committed, low, high),
        })
    };
    partitions
        .iter()
        .map(start)
        .collect::<KafkaResult<_>>()
        .map(Some)
}

impl Beginnings {
    /// Sees to it that the group has a commit on these partitions of a topic, and returns the commits that it has on
    /// the topic. [`None`]: another member is to begin.
    fn commit(
        &mut self,
        consumer: &BaseConsumer<Context>,
        topic: &str,
        numbers: &[i32],
        start_at: StartAt,
    ) -> KafkaResult<Option<BTreeMap<i32, i64>>> {
        let all = numbers_of(consumer, topic)?;
        let before = committed(consumer, topic, &all)?;
        let applies = before.is_empty() && start_at != StartAt::Earliest;
        let unseen = |number: &&i32| {
            !before.contains_key(*number) && !self.at.contains_key(&(topic.to_owned(), **number))
        };
        let unseen: Vec<i32> = numbers.iter().filter(unseen).copied().collect();
        let rule = if applies { start_at } else { StartAt::Earliest };
        for (number, offset) in begin(consumer, topic, &unseen, rule)? {
            self.at.insert((topic.to_owned(), number), offset);
        }
        let mut commits = self.missing(topic, numbers, &before);
        if commits.is_empty() {
            return Ok(Some(before));
        }
        if applies {
            match beginner(numbers, &all) {
                Beginner::Us(others) => {
                    let others = begin(consumer, topic, &others, start_at)?;
                    // Looking at all of them took a while; somebody may have lost patience.
                    if committed(consumer, topic, &all)?.is_empty() {
                        commits.extend(others);
                    }
                }
                Beginner::Another => {
                    let since = *self.waiting_since.get_or_insert_with(Instant::now);
                    if since.elapsed() < OTHERS {
                        return Ok(None);
                    }
                }
            }
        }
        let mut list = TopicPartitionList::new();
        for (number, offset) in &commits {
            list.add_partition_offset(topic, *number, Offset::Offset(*offset))?;
        }
        // The broker takes requests of one connection in turn, so whoever asks next is told of this.
        ffi::commit(consumer.client(), &list)?;
        let now = committed(consumer, topic, &all)?;
        if !self.missing(topic, numbers, &now).is_empty() {
            self.unseen += 1;
            if self.unseen < TRIES {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
            }
            tracing::warn!(
                topic,
                "the group does not take the commit of where reading starts; reading starts all the same. After a crash before the first commit that it takes, `start_at` is applied again"
            );
        }
        Ok(Some(now))
    }

    /// What is still to be committed of these partitions: nothing was, or something later than where we begin.
    fn missing(
        &self,
        topic: &str,
        numbers: &[i32],
        committed: &BTreeMap<i32, i64>,
    ) -> BTreeMap<i32, i64> {
        let missing = |number: &i32| {
            let begin = *self.at.get(&(topic.to_owned(), *number))?;
            let is_missing = committed.get(number).is_none_or(|at| *at > begin);
            is_missing.then_some((*number, begin))
        };
        numbers.iter().filter_map(missing).collect()
    }
}

/// Who begins on a topic on which the group has no commit at all.
#[derive(Debug, PartialEq, Eq)]
enum Beginner {
    /// We do, also for these partitions, which are not ours.
    Us(Vec<i32>),
    Another,
}

fn beginner(ours: &[i32], all: &[i32]) -> Beginner {
    match all.iter().min() {
        Some(lowest) if !ours.contains(lowest) => Beginner::Another,
        _ => Beginner::Us(all.iter().filter(|n| !ours.contains(n)).copied().collect()),
    }
}

/// The group's commits on these partitions of a topic.
fn committed(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    numbers: &[i32],
) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::new();
    for number in numbers {
        list.add_partition(topic, *number);
    }
    Ok(offsets(&consumer.committed_offsets(list, ASK)?))
}

/// Where the reading of these partitions begins by this rule.
pub(super) fn begin(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    numbers: &[i32],
    rule: StartAt,
) -> KafkaResult<BTreeMap<i32, i64>> {
    // The logs' ends are asked for first: a record that comes in meanwhile is found by its time, or lies behind that end.
    let mut begin = BTreeMap::new();
    for number in numbers {
        let (low, high) = consumer.fetch_watermarks(topic, *number, ASK)?;
        let offset = match rule {
            StartAt::Earliest => low,
            // No record is as young as that: the next one to come.
            StartAt::Latest | StartAt::Time(_) => high,
        };
        begin.insert(*number, offset);
    }
    if let (StartAt::Time(ms), false) = (rule, numbers.is_empty()) {
        let mut ask = TopicPartitionList::new();
        for number in numbers {
            ask.add_partition_offset(topic, *number, Offset::Offset(ms))?;
        }
        begin.extend(offsets(&consumer.offsets_for_times(ask, ASK)?));
    }
    Ok(begin)
}

fn numbers_of(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let topics = metadata.topics().iter().filter(|t| t.name() == topic);
    Ok(topics
        .flat_map(|t| t.partitions())
        .map(|partition| partition.id())
        .collect())
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

    #[test]
    fn the_owner_of_the_lowest_partition_begins() {
        assert_eq!(beginner(&[0, 3], &[0, 1, 2, 3]), Beginner::Us(vec![1, 2]));
        assert_eq!(beginner(&[0, 1], &[0, 1]), Beginner::Us(vec![]));
        assert_eq!(beginner(&[1, 2, 3], &[0, 1, 2, 3]), Beginner::Another);
        // The metadata does not tell yet; there is nobody to wait for.
        assert_eq!(beginner(&[5], &[]), Beginner::Us(vec![]));
    }

    #[test]
    fn a_commit_behind_ours_stays_and_one_beyond_it_is_moved_back() {
        let place = |number| ("detections".to_owned(), number);
        let beginnings = Beginnings {
            at: BTreeMap::from([(place(0), 10), (place(1), 10), (place(2), 10)]),
            ..Beginnings::default()
        };
        // Partition 3 had a commit when it was assigned.
        let committed = BTreeMap::from([(0, 9), (1, 11), (3, 99)]);
        let missing = beginnings.missing("detections", &[0, 1, 2, 3], &committed);
        assert_eq!(missing, BTreeMap::from([(1, 10), (2, 10)]));
    }
}
