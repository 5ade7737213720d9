//! Follows what the bridge makes of replays: outcome records, and how far it has settled the side topics.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Deserialize;

use super::report::{Line, Told};
use crate::config::StreamConfig;
use crate::kafka::dead_letter::read_place;
use crate::kafka::reader::{ReadError, Reader};
use crate::record::Record;

/// Time between two looks at the commits.
const LOOK: Duration = Duration::from_secs(1);

/// A topic that was just made is known to every broker after so long, at most.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// What is read of an outcome record.
#[derive(Deserialize)]
struct Announced {
    stream: String,
    outcome: String,
    reason: Option<String>,
    jti: Option<String>,
    replay_of: Option<String>,
}

/// Where the outcomes of replays will be told: the ends of the topics for outcomes now.
pub(super) fn ends(
    reader: &Reader,
    topics: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<(String, i32), i64>, ReadError> {
    let mut ends = BTreeMap::new();
    let until = Instant::now() + KNOWN_WITHIN;
    for topic in topics {
        let partitions = loop {
            match reader.partitions(&topic) {
                Err(ReadError::NoTopic(_)) if Instant::now() < until => {
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                told => break told?,
            }
        };
        for partition in partitions {
            let end = reader.bounds(&topic, partition)?.end;
            ends.insert((topic.clone(), partition), end);
        }
    }
    Ok(ends)
}

/// Follows until all are settled or the time is over. `commits` reads what the bridge's group has committed.
pub(super) fn follow(
    stream: &StreamConfig,
    (reader, commits): (&Reader, &Reader),
    from: &BTreeMap<(String, i32), i64>,
    lines: &mut [Line],
    until: Instant,
    bar: &ProgressBar,
) -> Result<(), ReadError> {
    let mut following = Following {
        stream: stream.id.as_str(),
        by_place: HashMap::new(),
        open: 0,
        lines,
        committed: BTreeSet::new(),
        heard: from.clone(),
    };
    following.begin();
    let mut look_at = Instant::now() + LOOK;
    let mut fault = None;
    reader.follow(from, |record| {
        match record {
            Some(record) => following.heard(&record),
            None if look_at <= Instant::now() => {
                look_at = Instant::now() + LOOK;
                match following.look(commits) {
                    Ok(()) => {}
                    // The next look may do better.
                    Err(error) if !error.trouble().is_some_and(|t| t.is_set_up()) => {}
                    Err(error) => fault = Some(error),
                }
            }
            None => {}
        }
        bar.set_position((following.lines.len() - following.open) as u64);
        if following.open == 0 || Instant::now() >= until || fault.is_some() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    following.hear_the_rest(reader)?;
    fault.map_or(Ok(()), Err)
}

struct Following<'a> {
    stream: &'a str,
    /// Index of the line by the place of its dead letter.
    by_place: HashMap<String, usize>,
    /// Neither settled, nor known to be committed.
    open: usize,
    lines: &'a mut [Line],
    /// Lines that the bridge has committed, and of which more may have been told than was heard.
    committed: BTreeSet<usize>,
    /// Where the hearing stands.
    heard: BTreeMap<(String, i32), i64>,
}

impl Following<'_> {
    fn begin(&mut self) {
        for (index, line) in self.lines.iter().enumerate() {
            if line.is_open() {
                self.by_place.insert(line.place.clone(), index);
                self.open += 1;
            }
        }
    }

    /// An outcome record. One that names a SET's dead letter is all there will be about it.
    fn heard(&mut self, record: &Record) {
        let origin = &record.origin;
        let place = (origin.topic.to_string(), origin.partition);
        self.heard.insert(place, origin.offset.saturating_add(1));
        let value = record.value.as_deref().unwrap_or_default();
        let Ok(announced) = serde_json::from_slice::<Announced>(value) else {
            return;
        };
        let of = announced.replay_of.as_deref().and_then(read_place);
        let Some(of) = of.filter(|_| announced.stream == self.stream) else {
            return;
        };
        let index = self.by_place.get(&of.to_string()).copied();
        let Some(line) = index.and_then(|index| self.lines.get_mut(index)) else {
            return;
        };
        line.outcomes.push(Told {
            outcome: announced.outcome,
            reason: announced.reason,
            jti: announced.jti,
        });
        if line.jti.is_some() && !line.settled {
            line.settled = true;
            if index.is_some_and(|index| !self.committed.remove(&index)) {
                self.open -= 1;
            }
        }
    }

    /// What the bridge has committed is settled, and all its outcomes are in the topic, heard or not.
    fn look(&mut self, commits: &Reader) -> Result<(), ReadError> {
        let mut waiting: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (topic, partition, _) in self
            .lines
            .iter()
            .filter(|l| l.is_open())
            .filter_map(|l| l.replay.as_ref())
        {
            let partitions = waiting.entry(topic.clone()).or_default();
            if !partitions.contains(partition) {
                partitions.push(*partition);
            }
        }
        for (topic, partitions) in waiting {
            let committed = commits.committed(&topic, &partitions)?;
            for (index, line) in self.lines.iter().enumerate().filter(|(_, l)| l.is_open()) {
                let is_committed = line.replay.as_ref().is_some_and(|(of, partition, offset)| {
                    *of == topic && committed.get(partition).is_some_and(|next| next > offset)
                });
                if is_committed && self.committed.insert(index) {
                    self.open -= 1;
                }
            }
        }
        Ok(())
    }

    /// A letter without a jti may have made several SETs, so its first outcome need not be the last. All of them were
    /// acknowledged before the commit that was seen: they are before the ends of the logs now.
    fn hear_the_rest(&mut self, reader: &Reader) -> Result<(), ReadError> {
        if self.committed.is_empty() {
            return Ok(());
        }
        let mut ranges: BTreeMap<String, BTreeMap<i32, Range<i64>>> = BTreeMap::new();
        for ((topic, partition), next) in &self.heard {
            let end = reader.bounds(topic, *partition)?.end;
            let of = ranges.entry(topic.clone()).or_default();
            of.insert(*partition, *next..end);
        }
        for (topic, ranges) in ranges {
            reader.each(&topic, ranges, |record| {
                self.heard(&record);
                ControlFlow::Continue(())
            })?;
        }
        for index in std::mem::take(&mut self.committed) {
            if let Some(line) = self.lines.get_mut(index) {
                line.settled = true;
                if line.outcomes.is_empty() {
                    line.outcomes.push(Told::nothing());
                }
            }
        }
        Ok(())
    }
}
