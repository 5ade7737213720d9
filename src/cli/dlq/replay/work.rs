//! Producing the replays that were chosen, and following them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Runtime;

use super::Stop;
use crate::bridge::assembly;
use crate::cli::dlq::letters::{Found, Scan};
use crate::cli::dlq::report::Line;
use crate::cli::dlq::{At, ReplayArgs, follow, kafka};
use crate::config::ReplayTopics;
use crate::kafka::client::{KafkaClient, Trouble};
use crate::kafka::dead_letter::Replay;
use crate::kafka::producer::{AckedProducer, Outgoing, WriteError};
use crate::kafka::reader::{ReadError, Turn};
use crate::kafka::topics;
use crate::pipeline::now_ms;
use crate::record::{Origin, Record};

/// Dead letters that are read at once at most, in count and bytes.
const AT_ONCE: (usize, usize) = (500, 16 << 20);
/// A record whose write failed for the moment is written again for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Whether the turn is still ours is looked at before each batch, and again after so long.
const LOOK: Duration = Duration::from_millis(500);

/// The replay of what was chosen.
pub(super) struct Work<'a> {
    at: &'a At<'a>,
    force: bool,
    client: KafkaClient,
    producer: AckedProducer,
    runtime: Runtime,
    /// Side topics that are ready, by source topic, and the partitions of each.
    ready: BTreeMap<String, (ReplayTopics, i32)>,
    /// Where the outcomes will be told.
    from: BTreeMap<(String, i32), i64>,
    pub(super) lines: Vec<Line>,
}

impl<'a> Work<'a> {
    pub(super) fn new(at: &'a At<'a>, args: &ReplayArgs) -> io::Result<Self> {
        let client = assembly::client(at.config);
        Ok(Self {
            at,
            force: args.force,
            producer: AckedProducer::new(client.clone()),
            client,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
            ready: BTreeMap::new(),
            from: BTreeMap::new(),
            lines: Vec::new(),
        })
    }

    pub(super) fn produce(
        &mut self,
        chosen: &[Found],
        scan: &mut Scan,
        turn: &Turn,
    ) -> Result<(), Stop> {
        let sources: BTreeSet<&str> = chosen.iter().map(|f| &*f.letter.origin.topic).collect();
        for source in sources {
            self.prepare(source)?;
        }
        let outcomes: BTreeSet<String> = self
            .ready
            .values()
            .map(|(topics, _)| topics.outcomes.as_str().to_owned())
            .collect();
        self.from = follow::ends(&self.at.reader, outcomes)?;
        let bar = progress(chosen.len(), "replayed");
        let mut rest = chosen;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(at_once(rest));
            let mut records = self.fetch(now)?;
            let mut looked_at = None;
            for found in now {
                if looked_at.is_none_or(|at: Instant| at.elapsed() >= LOOK) {
                    if !turn.is_ours() {
                        bar.finish_and_clear();
                        let replays = self.lines.iter().filter(|line| line.replay.is_some());
                        let produced = replays.count();
                        return Err(Stop::TurnLost { produced });
                    }
                    looked_at = Some(Instant::now());
                }
                let line = self.one(found, records.remove(&Place::of(&found.place)))?;
                if line.replay.is_some() {
                    scan.done(&found.place);
                }
                self.lines.push(line);
                bar.inc(1);
            }
            rest = later;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Makes the side topic of a source topic ready, with the partitions of the source, and the topic for outcomes.
    fn prepare(&mut self, source: &str) -> Result<(), Stop> {
        let there = match self.at.reader.partitions(source) {
            Ok(partitions) => partitions.len(),
            // Its letters are skipped, with the reason.
            Err(ReadError::NoTopic(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let count = i32::try_from(there).unwrap_or(i32::MAX);
        let topics = self.at.stream.replay_topics(source);
        let Some(topics) = topics.filter(|_| kafka::reads(self.at.stream, source)) else {
            return Ok(());
        };
        let replication = self.at.stream.dead_letter.replication_factor;
        let replication = replication.and_then(|n| i32::try_from(n.get()).ok());
        // A replay that waits is kept as long as the letter: it expires only when that does.
        let letters = self.at.stream.dead_letter.topic.name_for(source).ok();
        let letters = letters.map(|name| name.as_str().to_owned());
        let ensure = |name: &str, count: i32, kept_like: Option<String>| {
            let client = self.client.clone();
            let ensured = topics::ensure_partitions(client, name, count, replication, kept_like);
            self.runtime.block_on(ensured).map_err(Stop::Topic)
        };
        ensure(topics.outcomes.as_str(), 1, None)?;
        ensure(topics.side.as_str(), count, letters)?;
        self.ready.insert(source.to_owned(), (topics, count));
        Ok(())
    }

    /// The records of these letters.
    fn fetch(&self, letters: &[Found]) -> Result<BTreeMap<Place, Record>, ReadError> {
        let mut wanted: BTreeMap<&str, BTreeMap<i32, Range<i64>>> = BTreeMap::new();
        for Found { place, .. } in letters {
            let ranges = wanted.entry(&place.topic).or_default();
            let range = ranges
                .entry(place.partition)
                .or_insert(place.offset..place.offset + 1);
            *range = range.start.min(place.offset)..range.end.max(place.offset + 1);
        }
        let places: BTreeSet<Place> = letters
            .iter()
            .map(|found| Place::of(&found.place))
            .collect();
        let mut records = BTreeMap::new();
        for (topic, ranges) in wanted {
            self.at.reader.each(topic, ranges, |record| {
                let place = Place::of(&record.origin);
                if places.contains(&place) {
                    records.insert(place, record);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(records)
    }

    /// Replays one letter, or says why not.
    fn one(&self, found: &Found, record: Option<Record>) -> Result<Line, Stop> {
        let mut line = Line::new(found);
        let mut skip = |why: String| {
            line.skipped = Some(why);
            Ok(line.clone())
        };
        let Some(record) = record else {
            return skip("it is no longer in the dead-letter topic".to_owned());
        };
        let origin = &found.letter.origin;
        let Some((topics, partitions)) = self.ready.get(&*origin.topic) else {
            let why = "its source topic is gone, or the stream does not read it any more";
            return skip(why.to_owned());
        };
        if origin.partition >= *partitions {
            return skip("its source topic has no such partition any more".to_owned());
        }
        let whole = match &found.letter.omitted {
            None => record,
            Some(_) => match self.at.reader.one(origin) {
                Ok(source) => match found.letter.complete(&record, &source) {
                    Ok(whole) => whole,
                    Err(other) => return skip(format!("its value was left out, and {other}")),
                },
                Err(error @ ReadError::Kafka { .. }) => return Err(error.into()),
                Err(gone) => return skip(format!("its value was left out, and {gone}")),
            },
        };
        let replay = Replay {
            of: found.place.clone(),
            force: self.force,
            at_ms: now_ms(),
        };
        let side = topics.side.as_str();
        match self.write(side, origin.partition, &whole, &replay) {
            Ok(offset) => {
                line.replay = Some((side.to_owned(), origin.partition, offset));
                Ok(line)
            }
            Err(WriteError::TooLarge { .. }) => skip(format!(
                "it is too large for topic {side}: raise its max.message.bytes"
            )),
            Err(error) => Err(Stop::Write(error)),
        }
    }

    /// Writes the replay and waits for its acknowledgement. What may have been written all the same is not written
    /// again by this call: an idempotent producer has tried all that can be.
    fn write(
        &self,
        side: &str,
        partition: i32,
        letter: &Record,
        replay: &Replay,
    ) -> Result<i64, WriteError> {
        self.runtime.block_on(async {
            let write = self.producer.write_to(
                partition,
                Outgoing {
                    topic: side,
                    key: letter.key.as_deref(),
                    value: letter.value.as_deref(),
                    headers: replay.headers(letter),
                },
            );
            match tokio::time::timeout(PATIENCE, write).await {
                Ok(written) => written,
                Err(_) => Err(WriteError::Failed {
                    topic: side.to_owned(),
                    trouble: Trouble::Unreachable,
                    source: rdkafka::error::KafkaError::MessageProduction(
                        rdkafka::error::RDKafkaErrorCode::MessageTimedOut,
                    ),
                }),
            }
        })
    }

    /// Follows the outcomes.
    pub(super) fn follow(&mut self, wait: Duration) -> Result<(), ReadError> {
        if wait.is_zero() || !self.lines.iter().any(Line::is_open) {
            return Ok(());
        }
        let commits = kafka::reader(self.at.config, &self.at.stream.replay_group_id())?;
        let bar = progress(self.lines.len(), "settled");
        let until = Instant::now() + wait;
        let readers = (&self.at.reader, &commits);
        let followed = follow::follow(
            self.at.stream,
            readers,
            &self.from,
            &mut self.lines,
            until,
            &bar,
        );
        bar.finish_and_clear();
        followed
    }
}

/// A place that has an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place(String, i32, i64);

impl Place {
    fn of(origin: &Origin) -> Self {
        Self(origin.topic.to_string(), origin.partition, origin.offset)
    }
}

/// How many of these are read at once: one at least.
fn at_once(letters: &[Found]) -> usize {
    let mut bytes = 0;
    let fits = letters.iter().take_while(|found| {
        bytes += found.bytes;
        bytes <= AT_ONCE.1
    });
    fits.count().clamp(1, AT_ONCE.0)
}

/// A bar on a terminal, nothing elsewhere.
fn progress(count: usize, what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(Some(count as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
