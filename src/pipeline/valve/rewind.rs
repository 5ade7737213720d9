//! What a rewind would send once more, and doing it: the records are read and mapped by the rules of now, because the
//! state knows jtis and marks by hashes and cannot tell whose they are.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{ActError, Standing, Valve, Wish};
use crate::clock::now;
use crate::kafka::client::KafkaClient;
use crate::kafka::reader::{ReadError, Reader};
use crate::pipeline::preview::{Preview, Terms};
use crate::pipeline::{Admission, admit};
use crate::record::Record;
use crate::state::{JtiKey, Position, Question};

/// So many different SETs can be rewound at once: about 50 MB while it is counted.
const MAX_SETS: usize = 1_000_000;
/// Questions to the state that are under way at once.
const BATCH: usize = 256;
/// Longest time for the reading. The operators' port cuts a connection off after 5 minutes.
const READ_WITHIN: Duration = Duration::from_secs(240);

/// How records are read once more: the cluster, and a group that the principal may read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) client: KafkaClient,
    pub(crate) group: String,
    /// So many records behind the last settled one may have been delivered by a process before this one, which committed
    /// nothing of them: `limits.max_uncommitted` (DESIGN P6). This process may not have read so far.
    pub(crate) max_uncommitted: usize,
}

/// From where on.
#[derive(Debug, Clone)]
pub enum RewindTo {
    /// This record of one partition.
    Place {
        /// Topic name.
        topic: String,
        /// Number.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// The first records at or behind this time by their Kafka timestamps, on every partition; in ms since 1970.
    Since(i64),
}

/// What a rewind sends once more, or would.
#[derive(Debug, Default, Serialize)]
pub struct Rewound {
    /// SETs that have an outcome and go out again.
    pub again: usize,
    /// Those among them that the receiver is not known to have: dead letters, mostly.
    pub not_delivered: usize,
    /// Those among them that are too old by `max_event_age`: they become dead letters.
    pub too_old: usize,
    /// SETs that this process has read and that wait for their first outcome: they go out in any case.
    pub waiting: usize,
    /// Where each partition of this process begins anew.
    pub partitions: Vec<Begins>,
    /// Partitions of these topics that this process does not have.
    pub elsewhere: Vec<(String, i32)>,
}

/// One partition that is rewound.
#[derive(Debug, Clone, Serialize)]
pub struct Begins {
    /// Topic name.
    pub topic: String,
    /// Number.
    pub partition: i32,
    /// The first offset to be read again.
    pub from: i64,
    /// Where it stood: the next offset to be settled.
    pub settled: i64,
}

/// One partition, with what is to be forgotten of it.
struct Range {
    standing: Standing,
    from: i64,
    jtis: HashSet<JtiKey>,
}

/// Where each partition that is meant begins.
fn froms(
    reader: &Reader,
    to: &RewindTo,
    standings: &[Standing],
) -> Result<BTreeMap<(String, i32), i64>, ActError> {
    let mut froms: BTreeMap<(String, i32), i64> = BTreeMap::new();
    match to {
        RewindTo::Place {
            topic,
            partition,
            offset,
        } => {
            let ours = |s: &Standing| *s.topic == **topic && s.partition == *partition;
            if !standings.iter().any(ours) {
                return Err(ActError::NotHere);
            }
            let first = reader.bounds(topic, *partition)?.start;
            froms.insert((topic.clone(), *partition), (*offset).max(first));
        }
        RewindTo::Since(ms) => {
            let topics: HashSet<Arc<str>> =
                standings.iter().map(|s| Arc::clone(&s.topic)).collect();
            for topic in topics {
                let partitions = reader.partitions(&topic)?;
                let found = reader.since(&topic, &partitions, *ms)?;
                froms.extend(
                    found
                        .into_iter()
                        .map(|(n, at)| ((topic.to_string(), n), at)),
                );
            }
        }
    }
    Ok(froms)
}

impl Valve {
    /// Counts what would go out again, and unless it is a `dry_run`, forgets its jtis and marks and moves the
    /// partitions of this process there. Only while an operator holds the stream.
    ///
    /// # Errors
    /// [`ActError::NotHeld`], [`ActError::NotHere`], [`ActError::NothingBefore`], [`ActError::TooMuch`],
    /// [`ActError::Kafka`], [`ActError::NotRewound`], [`ActError::NotCommitted`], [`ActError::NotDurable`],
    /// [`ActError::Ending`]. Partitions before the one that failed are rewound.
    pub async fn rewind(&self, to: RewindTo, dry_run: bool) -> Result<Rewound, ActError> {
        if self.stream.operator.reason().is_none() {
            return Err(ActError::NotHeld);
        }
        let (tell, told) = oneshot::channel();
        self.wish(Wish::Stand(tell)).await?;
        let standings = told.await.map_err(|_| ActError::Ending)?;
        let (valve, runtime) = (self.clone(), Handle::current());
        let look = move || valve.look(&to, standings, &runtime);
        let looked = tokio::task::spawn_blocking(look).await;
        let (rewound, ranges) = looked.map_err(|_| ActError::Ending)??;
        if dry_run {
            return Ok(rewound);
        }
        for Range {
            standing,
            from,
            jtis,
        } in ranges
        {
            let (tell, told) = oneshot::channel();
            let jtis = jtis.into_iter().collect();
            let seat = standing.seat;
            self.wish(Wish::Rewind {
                seat,
                from,
                jtis,
                tell,
            })
            .await?;
            told.await.map_err(|_| ActError::Ending)??;
        }
        Ok(rewound)
    }

    /// Blocks: it reads Kafka.
    fn look(
        &self,
        to: &RewindTo,
        standings: Vec<Standing>,
        runtime: &Handle,
    ) -> Result<(Rewound, Vec<Range>), ActError> {
        let reader = Reader::new(&self.source.client, &self.source.group)?;
        let mut rewound = Rewound::default();
        let mut ranges = self.ranges(&reader, to, standings, &mut rewound)?;
        let end = Instant::now() + READ_WITHIN;
        let (mut again, mut all) = (HashSet::new(), 0);
        for range in &mut ranges {
            let mut counting = Counting {
                valve: self,
                runtime,
                range,
                again: &mut again,
                rewound: &mut rewound,
                batch: Vec::new(),
                unsettled: 0,
                failed: None,
            };
            let topic = counting.range.standing.topic.to_string();
            let offsets = counting.range.from..i64::MAX;
            let partition = counting.range.standing.partition;
            reader.each(&topic, BTreeMap::from([(partition, offsets)]), |record| {
                if counting.is_beyond(&record) {
                    return ControlFlow::Break(());
                }
                counting.take(&record);
                let enough = all + counting.range.jtis.len() > MAX_SETS || Instant::now() > end;
                if enough {
                    counting.failed.get_or_insert(ActError::TooMuch);
                }
                match counting.failed {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                }
            })?;
            counting.ask();
            if let Some(failed) = counting.failed.take() {
                return Err(failed);
            }
            all += range.jtis.len();
        }
        rewound.again = again.len();
        Ok((rewound, ranges))
    }

    fn ranges(
        &self,
        reader: &Reader,
        to: &RewindTo,
        standings: Vec<Standing>,
        rewound: &mut Rewound,
    ) -> Result<Vec<Range>, ActError> {
        let froms = froms(reader, to, &standings)?;
        let mut ranges = Vec::new();
        for ((topic, partition), from) in froms {
            let is_it = |s: &&Standing| *s.topic == *topic && s.partition == partition;
            let Some(standing) = standings.iter().find(is_it) else {
                rewound.elsewhere.push((topic, partition));
                continue;
            };
            if from >= standing.settled {
                if matches!(to, RewindTo::Place { .. }) {
                    return Err(ActError::NothingBefore(standing.settled));
                }
                continue;
            }
            rewound.partitions.push(Begins {
                topic,
                partition,
                from,
                settled: standing.settled,
            });
            ranges.push(Range {
                standing: standing.clone(),
                from,
                jtis: HashSet::new(),
            });
        }
        Ok(ranges)
    }
}

/// Counts the SETs of one partition.
struct Counting<'a> {
    valve: &'a Valve,
    runtime: &'a Handle,
    range: &'a mut Range,
    /// Of all partitions, each once: a jti that comes again is a duplicate.
    again: &'a mut HashSet<JtiKey>,
    rewound: &'a mut Rewound,
    /// SETs to ask the state about, with their places and whether they are too old.
    batch: Vec<(Question, Position, bool)>,
    /// Records behind the last settled one.
    unsettled: usize,
    failed: Option<ActError>,
}

impl Counting<'_> {
    /// Nobody can have delivered this record or one behind it.
    fn is_beyond(&mut self, record: &Record) -> bool {
        let (offset, standing) = (record.origin.offset, &self.range.standing);
        self.unsettled += usize::from(offset >= standing.settled);
        offset >= standing.read && self.unsettled > self.valve.source.max_uncommitted
    }

    fn take(&mut self, record: &Record) {
        let parts = &self.valve.stream.parts;
        let terms = Terms {
            mapping: &parts.mapping,
            limits: parts.decode_limits,
            issuer: &parts.envelope.issuer,
            stream: &parts.id,
            now: now(),
        };
        let preview = Preview::of(record, &terms);
        for set in preview.sets(record) {
            let event = set.claims.event.event_timestamp();
            let too_old = self.valve.stream.passage.is_expired(event);
            let question = set.question(record);
            self.range.jtis.insert(question.jti);
            self.batch.push((question, set.position, too_old));
        }
        if self.batch.len() >= BATCH {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let state = &self.valve.stream.parts.state;
        let batch = std::mem::take(&mut self.batch);
        let asked: Vec<_> = batch
            .into_iter()
            .map(|(question, position, too_old)| {
                (state.look_up(&question), question.jti, position, too_old)
            })
            .collect();
        for (facts, jti, position, too_old) in asked {
            let facts = match self.runtime.block_on(facts) {
                Ok(facts) => facts,
                Err(error) => {
                    self.failed = Some(ActError::State(crate::telemetry::chain(&error)));
                    return;
                }
            };
            let waits = position.offset >= self.range.standing.settled
                && matches!(admit(&facts, position), Admission::Fresh { .. });
            if waits {
                self.rewound.waiting += usize::from(position.offset < self.range.standing.read);
            } else if self.again.insert(jti) {
                self.rewound.not_delivered += usize::from(!facts.delivered);
                self.rewound.too_old += usize::from(too_old);
            }
        }
    }
}

impl From<ReadError> for ActError {
    fn from(error: ReadError) -> Self {
        Self::Kafka(error.to_string())
    }
}
