//! Steps *decode*, *match* and *map*: one record at a time, one detection at a time, as room allows.
//!
//! The mapping guard stands here: a typo in a mapping at 3 a.m. must not empty the topic into the dead letters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::delivery::guard::{Guard, Ruling};
use crate::delivery::hold::HoldReason;
use crate::detection::{self, DecodeError, Decoded, Detection, Elements};
use crate::kafka::dead_letter::{Cause, Stage, sha256_hex};
use crate::kafka::events::Seat;
use crate::mapping::{MapError, MapInput, Mapped};
use crate::record::Record;

use super::journey::{Draft, Fault, Lease, Source};
use super::stream::{Stream, key_of, now};

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
    Elements(Elements),
    Done,
}

struct Expanding {
    seat: Seat,
    record: Arc<Record>,
    contents: Contents,
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

    /// Step *decode*.
    pub(super) fn begin(&mut self, seat: Seat, record: Record) {
        let parts = &self.stream.parts;
        parts.metrics.records.inc();
        parts.metrics.record_bytes.inc_by(record.size() as u64);
        let needs = parts.mapping.needs();
        let contents = match detection::decode(record.value.as_ref(), &parts.decode_limits, needs) {
            Ok(Decoded::Tombstone) => {
                parts.metrics.tombstones.inc();
                Contents::Done
            }
            Ok(Decoded::Elements(elements)) => Contents::Elements(elements),
            Err(error) => Contents::Refused(error),
        };
        self.expanding = Some(Expanding {
            seat,
            record: Arc::new(record),
            contents,
        });
    }

    /// The next detection of the record: steps *match* and *map*.
    pub(super) fn step(&mut self, lease: &Lease) -> Taken {
        let Some(mut expanding) = self.expanding.take() else {
            return Taken::Nothing;
        };
        let (seat, record) = (expanding.seat, Arc::clone(&expanding.record));
        let (element, detection, sha256) = match &mut expanding.contents {
            Contents::Done => {
                return Taken::End {
                    offset: record.origin.offset,
                };
            }
            Contents::Refused(error) => {
                let cause = decode_cause(error, None);
                expanding.contents = Contents::Done;
                self.expanding = Some(expanding);
                let source = Source {
                    record,
                    seat,
                    element: None,
                    lease: lease.clone(),
                };
                return Taken::Drafts(vec![Err(Box::new(self.fault(source, cause)))]);
            }
            Contents::Elements(elements) => {
                let Some((element, detection)) = elements.next() else {
                    return Taken::End {
                        offset: record.origin.offset,
                    };
                };
                let sha256 = elements
                    .is_many()
                    .then(|| sha256_hex(elements.last_bytes()));
                (element, detection, sha256)
            }
        };
        self.expanding = Some(expanding);
        self.stream.parts.metrics.detections.inc();
        let lease = lease.clone();
        match detection {
            Ok(detection) => self.map(
                Source {
                    record,
                    seat,
                    element: Some((element, sha256)),
                    lease,
                },
                &detection,
            ),
            Err(error) => {
                let of_many = sha256.clone().map(|sha256| (element, sha256));
                let cause = decode_cause(&error, of_many);
                let source = Source {
                    record,
                    seat,
                    element: Some((element, sha256)),
                    lease,
                };
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
                return Taken::Nothing;
            }
            Mapped::Sets(sets) => sets,
        };
        if sets.iter().all(Result::is_ok) {
            self.mapped(&source.record);
        }
        let entries = sets.into_iter().zip(0..).map(|(set, number)| match set {
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

    /// A fault waits until the guard has seen that others can be mapped.
    fn fault(&mut self, source: Source, cause: Cause) -> Fault {
        self.next_id += 1;
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
            cause,
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

fn decode_cause(error: &DecodeError, element: Option<(u32, String)>) -> Cause {
    Cause {
        stage: Stage::Decode,
        reason: error.reason(),
        detail: Some(error.to_string()),
        element,
        jti: None,
        status: None,
        err: None,
        attempts: 0,
        attempted_ms: None,
    }
}

fn map_cause(error: &MapError, source: &Source) -> Cause {
    let element = source
        .element
        .as_ref()
        .and_then(|(element, sha256)| Some((*element, sha256.clone()?)));
    Cause {
        stage: Stage::Map,
        reason: error.reason(),
        detail: Some(error.detail()),
        element,
        jti: None,
        status: None,
        err: None,
        attempts: 0,
        attempted_ms: None,
    }
}
