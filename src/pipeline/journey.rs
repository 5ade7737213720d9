//! What travels: a draft (claims that wait for their turn), a fault, and how either ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::kafka::dead_letter::Cause;
use crate::kafka::events::Seat;
use crate::kafka::room::Kept;
use crate::mapping::Claims;
use crate::record::{Origin, Record};
use crate::set::{Level, Timestamp};
use crate::state::{Decision, Facts, Flushed, Position, Question};

use super::replay::Replay;
use super::skips::SKIPPED;

/// The partition is leaving, or the process is: whatever was under way is given up, unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LetGo;

/// How long a SET may go on. One per assigned partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    /// Cancelled: start nothing more, wait for nothing more. What is on the wire goes on.
    pub(crate) soft: CancellationToken,
    /// Cancelled: abort also what is on the wire.
    pub(crate) hard: CancellationToken,
    /// Cancelled: the state has said what it knows about the partition; nothing is asked before.
    pub(crate) taken_over: CancellationToken,
    /// Cancelled: what was decided about the partition was not taken by the shared state.
    pub(crate) fenced: CancellationToken,
}

impl Lease {
    /// Waits for something that has not begun to leave.
    pub(crate) async fn wait<T>(&self, wait: impl Future<Output = T>) -> Result<T, LetGo> {
        unless(&self.soft, wait).await
    }

    /// Goes on with something that must not be cut off in the middle while there is time.
    pub(crate) async fn finish<T>(&self, work: impl Future<Output = T>) -> Result<T, LetGo> {
        unless(&self.hard, work).await
    }

    /// Sleeps, unless the partition leaves.
    pub(crate) async fn sleep(&self, time: Duration) -> Result<(), LetGo> {
        self.wait(tokio::time::sleep(time)).await
    }
}

/// The token counts first: nothing begins and nothing goes on after it. It is waited for last, because most work is
/// done at once, and each wait for a token takes its lock twice.
async fn unless<T>(token: &CancellationToken, work: impl Future<Output = T>) -> Result<T, LetGo> {
    if token.is_cancelled() {
        return Err(LetGo);
    }
    tokio::select! {
        biased;
        value = work => (!token.is_cancelled()).then_some(value).ok_or(LetGo),
        () = token.cancelled() => Err(LetGo),
    }
}

/// A partition of a source topic, as the state knows it.
pub(crate) type SourcePartition = (Arc<str>, i32);

/// Where a SET or a fault comes from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) record: Arc<Record>,
    pub(crate) seat: Seat,
    /// The offset in that seat's partition that settles with it: the record's own, but for a replay.
    pub(crate) settles: i64,
    /// It is a dead letter that comes back.
    pub(crate) replay: Option<Arc<Replay>>,
    /// Which detection of the record, and its SHA-256 in hex when the record holds several.
    pub(crate) element: Option<(u32, Option<String>)>,
    pub(crate) lease: Lease,
}

impl Source {
    /// The source topic, whose dead-letter topic is the right one.
    pub(crate) fn topic(&self) -> &str {
        match &self.replay {
            Some(replay) => &replay.topic.source,
            None => &self.record.origin.topic,
        }
    }

    /// The partition under which the state keeps what is decided: the record's own, also for a replay.
    pub(crate) fn source_partition(&self) -> SourcePartition {
        let origin = &self.record.origin;
        (Arc::clone(&origin.topic), origin.partition)
    }

    /// It waits until the state answers: see [`Replay::is_unsure`].
    pub(crate) fn is_unsure(&self, facts: &Facts) -> bool {
        self.replay
            .as_ref()
            .is_some_and(|replay| replay.is_unsure(facts))
    }

    /// An operator wants it sent, whatever is newer and however old it is.
    pub(crate) fn is_forced(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.force)
    }
}

/// Claims that wait for their turn: complete but for what only the turn can tell (previous level, time of issue).
#[derive(Debug)]
pub(crate) struct Draft {
    /// Unique in this stream of this process.
    pub(crate) id: u64,
    pub(crate) source: Source,
    /// Number of the SET among those of its detection.
    pub(crate) set: u32,
    pub(crate) claims: Claims,
    /// What its texts take of the room, for as long as it is there.
    #[expect(
        dead_code,
        reason = "it is dropped with the draft, which is all that it is for"
    )]
    pub(crate) kept: Kept,
}

impl Draft {
    /// Where in its partition the SET stands: what marks compare.
    pub(crate) fn position(&self) -> Position {
        Position {
            offset: self.source.record.origin.offset,
            element: self
                .source
                .element
                .as_ref()
                .map_or(0, |(element, _)| *element),
            set: self.set,
        }
    }

    /// Step *admit*, the answer.
    pub(crate) fn admit(&self, facts: &Facts) -> Admission {
        let position = self.position();
        match &self.source.replay {
            None => admit(facts, position),
            Some(replay) => admit_replay(facts, position, self.claims.event_time(), replay.force),
        }
    }

    /// What the state is to remember of an outcome; [`None`]: it knows already.
    pub(crate) fn decision(&self, outcome: &Outcome, facts: &Facts) -> Option<Decision> {
        let (level, event_time) = (self.claims.event.level(), self.claims.event_time());
        let is_late = facts.delivered_late && matches!(outcome, Outcome::Duplicate);
        match (outcome, &self.source.replay) {
            (_, None) if is_late || outcome.is_acceptance() => {
                Some(Decision::Accepted { level, event_time })
            }
            (_, Some(_)) if is_late || outcome.is_acceptance() => {
                Some(Decision::Replayed { level, event_time })
            }
            (Outcome::DeadLettered(_), None) => Some(Decision::Final),
            // Its mark was left when it became a dead letter for the first time.
            (Outcome::DeadLettered(_), Some(_)) => None,
            (
                Outcome::Delivered { .. }
                | Outcome::Shadowed
                | Outcome::Duplicate
                | Outcome::AlreadyDecided
                | Outcome::Stale
                | Outcome::Filtered(_),
                _,
            ) => None,
        }
    }

    pub(crate) fn question(&self) -> Question {
        question(&self.claims, &self.source.record.origin)
    }
}

/// What the state is asked about a SET of the record from there.
pub(super) fn question(claims: &Claims, origin: &Origin) -> Question {
    Question {
        jti: (&claims.jti).into(),
        subject: claims.subject_key,
        event: claims.event.event_type(),
        topic: Arc::clone(&origin.topic),
        partition: origin.partition,
    }
}

/// What the state says about a draft whose turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Push it.
    Fresh {
        /// The last accepted level.
        previous: Option<Level>,
    },
    /// The receiver has this jti.
    Duplicate,
    /// A newer SET about this subject has an outcome, so this one had one too before a crash.
    AlreadyDecided,
    /// It is replayed, and a newer SET about this subject was accepted meanwhile.
    Stale,
}

/// Decides by what the state knows. Pure.
#[must_use]
pub fn admit(facts: &Facts, position: Position) -> Admission {
    if facts.delivered {
        Admission::Duplicate
    } else if facts.mark.is_some_and(|mark| position <= mark) {
        Admission::AlreadyDecided
    } else {
        Admission::Fresh {
            previous: facts.level,
        }
    }
}

/// The same about a replay. It is exempt from the mark, which is its own or a newer one, but not from dedup; unless it is
/// forced, nothing newer about its subject may have been accepted.
fn admit_replay(
    facts: &Facts,
    position: Position,
    event_time: Timestamp,
    force: bool,
) -> Admission {
    if facts.delivered {
        Admission::Duplicate
    } else if !force && facts.outdates(event_time, position) {
        Admission::Stale
    } else {
        Admission::Fresh {
            previous: facts.level,
        }
    }
}

/// The final outcome of a SET, or of what should have become one.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The receiver has it.
    Delivered {
        /// 2xx.
        status: u16,
        /// Requests made.
        attempts: u32,
        /// First and last of them, in ms since 1970.
        attempted_ms: (i64, i64),
    },
    /// Everything but the push was done.
    Shadowed,
    /// The receiver has this jti from before.
    Duplicate,
    /// It had an outcome before a crash or a hand-over.
    AlreadyDecided,
    /// It was replayed, but something newer about its subject was accepted: not sent.
    Stale,
    /// It was replayed, but by now the mapping wants no SET of it; why.
    Filtered(&'static str),
    /// It is in the dead-letter topic.
    DeadLettered(Box<Cause>),
}

impl Outcome {
    /// Every label, so that metrics can start each at 0.
    pub const LABELS: [&'static str; 7] = [
        "delivered",
        "shadowed",
        "duplicate",
        "already_decided",
        "stale",
        "filtered",
        "dead_lettered",
    ];

    /// Whether the receiver has it by this journey (or would have, in shadow mode).
    pub(crate) fn is_acceptance(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Shadowed)
    }

    /// Why it is a dead letter, if it is one.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::DeadLettered(cause) => Some(cause.reason),
            _ => None,
        }
    }

    /// The label in metrics, logs and the outcome topic.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Shadowed => "shadowed",
            Self::Duplicate => "duplicate",
            Self::AlreadyDecided => "already_decided",
            Self::Stale => "stale",
            Self::Filtered(_) => "filtered",
            Self::DeadLettered(_) => "dead_lettered",
        }
    }
}

/// A final outcome, and what has to be durable before it settles.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) outcome: Outcome,
    /// [`None`]: the state has not changed.
    pub(crate) flushed: Option<Flushed>,
}

impl Final {
    pub(crate) fn unchanged(outcome: Outcome) -> Self {
        Self {
            outcome,
            flushed: None,
        }
    }
}

/// What did not become a SET, though somebody waits for its outcome.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Unique in this stream of this process, among drafts and faults.
    pub(crate) id: u64,
    pub(crate) source: Source,
    /// A dead letter; of a replay also that no SET is wanted.
    pub(crate) outcome: Outcome,
    /// The mapping guard's word, when it has one to say.
    pub(crate) ruling: std::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl Fault {
    /// One about which the guard has nothing to say.
    pub(crate) fn ruled_already(id: u64, source: Source, outcome: Outcome) -> Self {
        Self {
            id,
            source,
            outcome,
            ruling: std::sync::Mutex::new(None),
        }
    }

    /// Waits until the mapping guard releases it.
    pub(crate) async fn ruled(&self) -> Result<(), LetGo> {
        let ruling = self
            .ruling
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let Some(ruling) = ruling else { return Ok(()) };
        // A guard that is gone went with its stream.
        self.source.lease.wait(ruling).await?.map_err(|_| LetGo)
    }

    /// The outcome when an operator skips it; what was wrong stays in the detail.
    pub(crate) fn skipped(&self) -> Outcome {
        let Outcome::DeadLettered(cause) = &self.outcome else {
            return self.outcome.clone();
        };
        let mut cause = Cause::clone(cause);
        cause.detail = Some(match cause.detail {
            Some(detail) => format!("{}: {detail}", cause.reason),
            None => cause.reason.to_owned(),
        });
        cause.reason = SKIPPED;
        Outcome::DeadLettered(Box::new(cause))
    }
}
