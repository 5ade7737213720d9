//! Which dead letters there are, which are meant, and which were replayed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::{At, Choice};
use crate::kafka::dead_letter::{DeadLetter, Replay, place};
use crate::kafka::reader::{ReadError, Reader};
use crate::record::{Origin, Record};

/// A dead letter without what it carries.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Where it is.
    pub(super) place: Origin,
    /// Since when, in ms since 1970.
    pub(super) at_ms: Option<i64>,
    pub(super) letter: DeadLetter,
    pub(super) bytes: usize,
    pub(super) replayed: bool,
}

/// All that is in the dead-letter topics.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Those that are meant, as many as the limit allows, oldest first by topic and partition.
    pub(super) found: Vec<Found>,
    /// How many are meant beyond the limit.
    pub(super) beyond: usize,
    /// How many were meant but left out, since they were replayed before.
    pub(super) replayed: usize,
    /// Records that are no dead letters, with the first one's place and fault.
    pub(super) foreign: usize,
    pub(super) first_foreign: Option<(Origin, String)>,
    /// Dead letters of other streams in the same topics.
    pub(super) others: usize,
    /// Topics that are there.
    pub(super) topics: usize,
    /// By partition of which a record was read: the offsets that were not replayed, and the offset behind the last
    /// record that was read. Not the log's end: what was not read, for whatever reason, was not replayed.
    pub(super) pending: BTreeMap<(String, i32), (BTreeSet<i64>, i64)>,
}

/// What of the letters that were replayed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Keep,
    LeaveOut,
}

/// What was replayed: below these offsets all, beyond them what the side topics have.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    below: BTreeMap<(String, i32), i64>,
    by_place: HashMap<String, String>,
}

/// What a letter is about and when it failed: another letter at the same place (the topic was made anew) differs in it.
fn identity(letter: &DeadLetter) -> String {
    let element = letter.element.as_ref().map(|(element, _)| element);
    format!(
        "{} {element:?} {:?} {} {:?}",
        letter.origin, letter.jti, letter.reason, letter.attempted_ms
    )
}

impl Replayed {
    fn knows(&self, place_of: &Origin, letter: &DeadLetter) -> bool {
        let partition = (place_of.topic.to_string(), place_of.partition);
        self.below
            .get(&partition)
            .is_some_and(|below| place_of.offset < *below)
            || self
                .by_place
                .get(&place(place_of))
                .is_some_and(|known| *known == identity(letter))
    }
}

impl Choice {
    fn wants(&self, letter: &DeadLetter, at_ms: Option<i64>) -> bool {
        let among = |list: &[String], value: Option<&str>| {
            list.is_empty() || list.iter().any(|one| Some(one.as_str()) == value)
        };
        let topic = self.topic.as_deref();
        among(&self.reasons, Some(&letter.reason))
            && among(&self.jtis, letter.jti.as_deref())
            && topic.is_none_or(|topic| topic == &*letter.origin.topic)
            && self
                .since
                .is_none_or(|since| at_ms.is_some_and(|at| at >= since))
            && self
                .until
                .is_none_or(|until| at_ms.is_some_and(|at| at < until))
    }
}

/// [`None`] instead of [`ReadError::NoTopic`].
pub(super) fn if_there<T>(result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(ReadError::NoTopic(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads every record that is in a topic now; says whether there is such a topic.
fn read_all(reader: &Reader, topic: &str, mut see: impl FnMut(Record)) -> Result<bool, ReadError> {
    let Some(partitions) = if_there(reader.partitions(topic))? else {
        return Ok(false);
    };
    let ranges = partitions
        .into_iter()
        .map(|partition| (partition, 0..i64::MAX));
    reader.each(topic, ranges.collect(), |record| {
        see(record);
        ControlFlow::Continue(())
    })?;
    Ok(true)
}

/// What was replayed until now.
pub(super) fn replayed(at: &At<'_>) -> Result<Replayed, ReadError> {
    let mut replayed = Replayed::default();
    let memory = super::kafka::reader(at.config, &at.group())?;
    for topic in at.letter_topics() {
        let Some(partitions) = if_there(at.reader.partitions(&topic))? else {
            continue;
        };
        for (partition, next) in memory.committed(&topic, &partitions)? {
            // Beyond the end: the topic was made anew.
            if next <= at.reader.bounds(&topic, partition)?.end {
                replayed.below.insert((topic.clone(), partition), next);
            }
        }
    }
    for source in &at.sources {
        let Some(topics) = at.stream.replay_topics(source) else {
            continue;
        };
        read_all(&at.reader, topics.side.as_str(), |record| {
            let read = (
                Replay::parse(&record.headers),
                DeadLetter::parse(&record.headers),
            );
            if let (Ok(replay), Ok(letter)) = read {
                let place = place(&replay.of);
                replayed.by_place.insert(place, identity(&letter));
            }
        })?;
    }
    Ok(replayed)
}

/// Looks through all dead letters of the stream.
pub(super) fn scan(
    at: &At<'_>,
    replayed: &Replayed,
    before: Before,
    limit: usize,
) -> Result<Scan, ReadError> {
    let mut scan = Scan::default();
    for topic in at.letter_topics() {
        let there = read_all(&at.reader, &topic, |record| {
            scan.see(at, replayed, before, &record);
        })?;
        scan.topics += usize::from(there);
    }
    scan.found.sort_by(|a, b| order(a).cmp(&order(b)));
    scan.beyond = scan.found.len().saturating_sub(limit);
    scan.found.truncate(limit);
    Ok(scan)
}

/// The order in which they are listed and replayed: that of the source records.
fn order(found: &Found) -> impl Ord {
    let (letter, origin) = (&found.letter, &found.letter.origin);
    let element = letter.element.as_ref().map(|(element, _)| *element);
    (
        origin.topic.clone(),
        origin.partition,
        origin.offset,
        element,
        found.place.offset,
    )
}

impl Scan {
    fn see(&mut self, at: &At<'_>, replayed: &Replayed, before: Before, record: &Record) {
        let place = &record.origin;
        self.was_read(place);
        let letter = match DeadLetter::parse(&record.headers) {
            Ok(letter) => letter,
            Err(fault) => {
                self.foreign += 1;
                self.first_foreign
                    .get_or_insert_with(|| (place.clone(), fault.to_string()));
                return;
            }
        };
        if letter.stream != at.stream.id.as_str() {
            self.others += 1;
            return;
        }
        let is_replayed = replayed.knows(place, &letter);
        let partition = (place.topic.to_string(), place.partition);
        if let Some((pending, _)) = self.pending.get_mut(&partition)
            && !is_replayed
        {
            pending.insert(place.offset);
        }
        if !at.choice.wants(&letter, record.timestamp_ms) {
            return;
        }
        if is_replayed && before == Before::LeaveOut {
            self.replayed += 1;
            return;
        }
        self.found.push(Found {
            place: place.clone(),
            at_ms: record.timestamp_ms,
            letter,
            bytes: record.size(),
            replayed: is_replayed,
        });
    }

    fn was_read(&mut self, place: &Origin) {
        let partition = (place.topic.to_string(), place.partition);
        let (_, end) = self.pending.entry(partition).or_default();
        *end = place.offset.saturating_add(1);
    }

    /// These were replayed now.
    pub(super) fn done(&mut self, place: &Origin) {
        let partition = (place.topic.to_string(), place.partition);
        if let Some((pending, _)) = self.pending.get_mut(&partition) {
            pending.remove(&place.offset);
        }
    }

    /// By partition, the offset below which everything was read and replayed.
    pub(super) fn prefix(&self) -> BTreeMap<(String, i32), i64> {
        let first =
            |(pending, end): &(BTreeSet<i64>, i64)| pending.first().copied().unwrap_or(*end);
        self.pending
            .iter()
            .map(|(partition, of)| (partition.clone(), first(of)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
