//! Steps *decode*, *match* and *map*: one record at a time, one detection at a time, as room allows.
//!
//! The mapping guard stands here: a typo in a mapping at 3 a.m. must not empty the topic into the dead letters.

mod causes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::delivery::guard::{Guard, Ruling};
use crate::delivery::hold::HoldReason;
use crate::detection::{self, DecodeError, Decoded, Detection, Elements};
use crate::kafka::dead_letter::{Cause, sha256_hex};
use crate::kafka::events::{Seat, SideTopic};
use crate::mapping::{Claims, MapError, MapInput, Mapped};
use crate::record::Record;

use causes::{decode_cause, map_cause, replay_cause};

use super::journey::{Draft, Fault, Lease, Outcome, Source};
use super::replay::{Malformed, Replay};
use super::stream::{REPLAY_CHANGED, REPLAY_MALFORMED, Stream, key_of};
use crate::clock::now;

/// While the mapping is suspect, one detection is tried this often.
const PROBE: Duration = Duration::from_secs(1);

/// What one step of the intake came to.
pub(super) enum Taken {
    /// SETs and faults of one detection.
    Drafts(Vec<Result<Box<Draft>, Box<Fault>>>),
    /// A detection or record that settles without a SET.
    Nothing,
    /// The record is expanded.
    End {
        /// Its offset.
        offset: i64,
    },
}

enum Contents {
    Refused(DecodeError),
    /// It came on a side topic, and is no dead letter to be replayed there.
    Malformed(Malformed),
    Elements(Elements),
    Done,
}

struct Expanding {
    seat: Seat,
    /// Its offset in the seat's partition.
    settles: i64,
    record: Arc<Record>,
    contents: Contents,
    replay: Option<Arc<Replay>>,
    /// What is wanted of a replay was found in it.
    found: bool,
}

impl Expanding {
    fn source(&self, element: Option<(u32, Option<String>)>, lease: &Lease) -> Source {
        Source {
            record: Arc::clone(&self.record),
            seat: self.seat,
            settles: self.settles,
            replay: self.replay.clone(),
            element,
            lease: lease.clone(),
        }
    }
}

/// The intake of one stream.
pub(super) struct Intake {
    stream: Arc<Stream>,
    guard: Guard<u64, u64>,
    rulings: HashMap<u64, oneshot::Sender<()>>,
    /// A fault was seen since the last detection that could be mapped.
    row: bool,
    next_probe: Instant,
    expanding: Option<Expanding>,
    next_id: u64,
}

impl Intake {
    pub(super) fn new(stream: Arc<Stream>, guard: Guard<u64, u64>) -> Self {
        Self {
            stream,
            guard,
            rulings: HashMap::new(),
            row: false,
            next_probe: Instant::now(),
            expanding: None,
            next_id: 0,
        }
    }

    pub(super) fn is_expanding(&self) -> bool {
        self.expanding.is_some()
    }

    /// The seat of the record under expansion.
    pub(super) fn seat(&self) -> Option<Seat> {
        self.expanding.as_ref().map(|expanding| expanding.seat)
    }

    /// The partition of the record under expansion left: the rest of it is somebody else's.
    pub(super) fn forget(&mut self) {
        self.expanding = None;
    }

    /// Whether the mapping guard holds the stream.
    pub(super) fn is_suspect(&self) -> bool {
        self.guard.is_held()
    }

    /// Whether a detection may be tried now: always, but while the mapping is suspect.
    pub(super) fn may_take(&self) -> bool {
        !self.guard.is_held() || self.next_probe <= Instant::now()
    }

    /// Step *decode*. `side`: the record comes from a side topic, so it is a dead letter around the record that is meant.
    pub(super) fn begin(&mut self, seat: Seat, record: Record, side: Option<SideTopic>) {
        let parts = &self.stream.parts;
        let settles = record.origin.offset;
        let (record, replay, contents) = match side {
            None => {
                parts.metrics.records.inc();
                parts.metrics.record_bytes.inc_by(record.size() as u64);
                let contents = self.decode(&record);
                (record, None, contents)
            }
            Some(topic) => {
                parts.metrics.replay_records.inc();
                let (replay, whole) = Replay::open(&record, topic, &parts.id);
                let (record, contents) = match whole {
                    Ok(whole) => {
                        let contents = self.decode(&whole);
                        (whole, contents)
                    }
                    Err(malformed) => (record, Contents::Malformed(malformed)),
                };
                (record, Some(Arc::new(replay)), contents)
            }
        };
        self.expanding = Some(Expanding {
            seat,
            settles,
            record: Arc::new(record),
            contents,
            replay,
            found: false,
        });
    }

    fn decode(&self, record: &Record) -> Contents {
        let parts = &self.stream.parts;
        let needs = parts.mapping.needs();
        match detection::decode(record.value.as_ref(), &parts.decode_limits, needs) {
            Ok(Decoded::Tombstone) => {
                parts.metrics.tombstones.inc();
                Contents::Done
            }
            Ok(Decoded::Elements(elements)) => Contents::Elements(elements),
            Err(error) => Contents::Refused(error),
        }
    }

    /// The next detection of the record: steps *match* and *map*.
    pub(super) fn step(&mut self, lease: &Lease) -> Taken {
        let Some(mut expanding) = self.expanding.take() else {
            return Taken::Nothing;
        };
        let cause = match &mut expanding.contents {
            Contents::Elements(elements) => match elements.next() {
                Some((element, detection)) => {
                    let sha256 = elements
                        .is_many()
                        .then(|| sha256_hex(elements.last_bytes()));
                    return self.element(expanding, (element, sha256), detection, lease);
                }
                None => None,
            },
            Contents::Refused(error) => Some(decode_cause(error, None)),
            Contents::Malformed(why) => Some(replay_cause(REPLAY_MALFORMED, why.to_string())),
            Contents::Done => None,
        };
        let cause = cause.or_else(|| {
            // Who asked for the replay must hear that there is nothing of it.
            let missed = expanding.replay.is_some() && !expanding.found;
            missed
                .then(|| replay_cause(REPLAY_CHANGED, "the record has no such element".to_owned()))
        });
        let Some(cause) = cause else {
            return Taken::End {
                offset: expanding.settles,
            };
        };
        (expanding.contents, expanding.found) = (Contents::Done, true);
        let source = expanding.source(None, lease);
        self.expanding = Some(expanding);
        Taken::Drafts(vec![Err(Box::new(self.fault(source, cause)))])
    }

    fn element(
        &mut self,
        mut expanding: Expanding,
        (element, sha256): (u32, Option<String>),
        detection: Result<Detection, DecodeError>,
        lease: &Lease,
    ) -> Taken {
        let wants = |replay: &Arc<Replay>| replay.wants_element(element, sha256.as_deref());
        let wanted = expanding.replay.as_ref().is_none_or(wants);
        expanding.found |= wanted;
        let source = expanding.source(Some((element, sha256.clone())), lease);
        self.expanding = Some(expanding);
        if !wanted {
            return Taken::Nothing;
        }
        self.stream.parts.metrics.detections.inc();
        match detection {
            Ok(detection) => self.map(source, &detection),
            Err(error) => {
                let of_many = sha256.map(|sha256| (element, sha256));
                let cause = decode_cause(&error, of_many);
                Taken::Drafts(vec![Err(Box::new(self.fault(source, cause)))])
            }
        }
    }

    fn map(&mut self, source: Source, detection: &Detection) -> Taken {
        let parts = &self.stream.parts;
        let input = MapInput {
            detection,
            record: &source.record,
            issuer: &parts.envelope.issuer,
            stream: &parts.id,
            now: now(),
        };
        let sets = match parts.mapping.map(&input) {
            Mapped::Filtered(reason) => {
                // What no rule wanted says nothing about the rules that others meet.
                parts.metrics.filtered.inc(reason.as_str());
                return match source.replay {
                    None => Taken::Nothing,
                    Some(_) => {
                        let outcome = Outcome::Filtered(reason.as_str());
                        self.next_id += 1;
                        let told = Fault::ruled_already(self.next_id, source, outcome);
                        Taken::Drafts(vec![Err(Box::new(told))])
                    }
                };
            }
            Mapped::Sets(sets) => sets,
        };
        let mut sets: Vec<_> = sets.into_iter().zip(0..).collect();
        if let Some(replay) = &source.replay {
            if let Some(jti) = replay.jti()
                && !keep_only(&mut sets, jti)
            {
                let detail = "the mapping makes no SET with this jti of it any more";
                let cause = replay_cause(REPLAY_CHANGED, detail.to_owned());
                return Taken::Drafts(vec![Err(Box::new(self.fault(source, cause)))]);
            }
        } else if sets.iter().all(|(set, _)| set.is_ok()) {
            self.mapped(&source.record);
        }
        let entries = sets.into_iter().map(|(set, number)| match set {
            Ok(claims) => {
                self.stream
                    .parts
                    .metrics
                    .sets_mapped
                    .inc(claims.event.event_type().as_str());
                self.next_id += 1;
                Ok(Box::new(Draft {
                    id: self.next_id,
                    source: source.clone(),
                    set: number,
                    kept: self.stream.parts.room.keep(claims.text_bytes()),
                    claims,
                }))
            }
            Err(error) => {
                let cause = map_cause(&error, &source);
                Err(Box::new(self.fault(source.clone(), cause)))
            }
        });
        Taken::Drafts(entries.collect())
    }

    /// A fault waits until the guard has seen that others can be mapped. A replay does not: its fault was ruled about when
    /// it became a dead letter, and says nothing about the mapping as it is for what comes in.
    fn fault(&mut self, source: Source, cause: Cause) -> Fault {
        let outcome = Outcome::DeadLettered(Box::new(cause));
        self.next_id += 1;
        if source.replay.is_some() {
            return Fault::ruled_already(self.next_id, source, outcome);
        }
        self.row = true;
        let (id, mut released) = (self.next_id, Vec::new());
        let ruling = self.guard.refused(
            id,
            &key_of(&source.record),
            false,
            Instant::now(),
            &mut released,
        );
        self.release(released);
        if let Ruling::Hold(reason) = ruling {
            self.next_probe = Instant::now() + PROBE;
            self.stream.passage.hold(reason);
        }
        let ruling = (ruling != Ruling::Release).then(|| {
            let (tell, told) = oneshot::channel();
            self.rulings.insert(id, tell);
            told
        });
        Fault {
            id,
            source,
            outcome,
            ruling: Mutex::new(ruling),
        }
    }

    /// A detection could be mapped, so the faults before it are the records' own.
    fn mapped(&mut self, record: &Record) {
        if !std::mem::take(&mut self.row) {
            return;
        }
        self.next_id += 1;
        let released = self.guard.accepted(&self.next_id, &key_of(record));
        self.row = self.guard.waiting() > 0;
        self.release(released);
        self.stream.passage.lift(HoldReason::MappingSuspect);
    }

    /// Faults that nobody else's success has explained for long enough are dead letters after all.
    pub(super) fn tick(&mut self) {
        let released = self.guard.due(Instant::now());
        self.release(released);
        // Faults whose partition left are nobody's to rule about.
        let gone: Vec<u64> = self
            .rulings
            .iter()
            .filter(|(_, tell)| tell.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.rulings.remove(&id);
            self.guard.withdraw(&id);
        }
    }

    fn release(&mut self, ids: Vec<u64>) {
        for tell in ids.iter().filter_map(|id| self.rulings.remove(id)) {
            // Its partition left meanwhile.
            let _ = tell.send(());
        }
    }
}

/// Keeps the SET of this name, or else what could not be mapped; false: there is neither.
fn keep_only(sets: &mut Vec<(Result<Claims, MapError>, u32)>, jti: &str) -> bool {
    let named = |(set, _): &(Result<Claims, MapError>, u32)| {
        set.as_ref().is_ok_and(|claims| claims.jti.as_str() == jti)
    };
    let found = sets.iter().any(named);
    sets.retain(|entry| {
        if found {
            named(entry)
        } else {
            entry.0.is_err()
        }
    });
    !sets.is_empty()
}
