//! Follows what the bridge makes of replays: outcome records, and how far it has settled the side topics.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
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
    for topic in topics {
        for partition in reader.partitions(&topic)? {
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
    fault.map_or(Ok(()), Err)
}

struct Following<'a> {
    stream: &'a str,
    /// Index of the line by the place of its dead letter.
    by_place: HashMap<String, usize>,
    open: usize,
    lines: &'a mut [Line],
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
            self.open -= 1;
        }
    }

    /// What the bridge has committed is settled, and its outcomes are in the topic.
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
            for line in self.lines.iter_mut().filter(|line| line.is_open()) {
                let is_settled = line.replay.as_ref().is_some_and(|(of, partition, offset)| {
                    *of == topic && committed.get(partition).is_some_and(|next| next > offset)
                });
                // Its outcome comes before the commit: it has been heard, or will be with the next records.
                if is_settled && !line.outcomes.is_empty() {
                    line.settled = true;
                    self.open -= 1;
                }
            }
        }
        Ok(())
    }
}
