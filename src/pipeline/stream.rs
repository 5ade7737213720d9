//! What a journey asks of its stream: facts, a token, a signature, a push, a dead letter. Each returns what it came to;
//! the order of the steps is the page's.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::clock::epoch_ms as now_ms;
use crate::clock::now;
use crate::config::Mode;
use crate::delivery::hold::{HoldReason, KafkaFault};
use crate::delivery::pacer::Pacer;
use crate::delivery::{MomentFault, Receiver};
use crate::detection::DecodeLimits;
use crate::kafka::client::Trouble;
use crate::kafka::membership::Membership;
use crate::kafka::producer::AckedProducer;
use crate::kafka::room::Room;
use crate::mapping::{Envelope, Mapping};
use crate::metrics::{LabelValues, StreamMetrics};
use crate::set::Level;
use crate::signing::{Algorithm, KeyRing, Signer};
use crate::state::{Decided, Decision, Flushed, StreamState};

use super::journey::{Draft, LetGo, Outcome};
use super::operator::OperatorHold;
use super::outage::Outage;
use super::passage::Passage;
use super::push::SignerOutage;
use super::skips::{SKIPPED, Skips};
use super::valve::Act;
use super::wire::Wire;

/// Longest wait between two tries of something of ours that failed: state store, dead-letter write.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(10);
/// The first of these waits.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Reason of a dead letter: replayed, and the mapping makes no longer the SET that the dead letter is about.
pub(super) const REPLAY_CHANGED: &str = "replay_changed";
/// Reason of a dead letter: a record in the side topic that is no dead letter to be replayed there.
pub(super) const REPLAY_MALFORMED: &str = "replay_malformed";
pub(super) const DEAD_LETTERS: HoldReason = HoldReason::Kafka(KafkaFault::DeadLetterTopic);

/// Everything that one stream works with. Built by the bridge, shared by the stream's journeys.
pub struct StreamParts {
    /// Id of the stream.
    pub id: Arc<str>,
    /// Whether SETs leave.
    pub mode: Mode,
    /// `iss`, `aud` and shape of the SETs.
    pub envelope: Envelope,
    /// Detection → claims.
    pub mapping: Arc<Mapping>,
    /// Bounds of one record.
    pub decode_limits: DecodeLimits,
    /// Delivered jtis, marks, levels.
    pub state: StreamState,
    /// Keys that sign.
    pub keys: Arc<KeyRing>,
    /// What its SETs are signed by; the ring has a key for it.
    pub algorithm: Algorithm,
    /// Threads that sign.
    pub signer: Arc<Signer>,
    /// Who gets the SETs.
    pub receiver: Receiver,
    /// The pace of the receiver's origin.
    pub pacer: Arc<Pacer>,
    /// Requests in flight at most.
    pub max_requests_in_flight: usize,
    /// Writes dead letters and outcome records.
    pub producer: Arc<AckedProducer>,
    /// Name of the dead-letter topic by source topic.
    pub dead_letter_topic: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Where outcomes are announced.
    pub outcome_topic: Option<String>,
    /// Whether the partitions are ours.
    pub membership: Arc<Membership>,
    /// What is counted.
    pub metrics: StreamMetrics,
    /// SHA-256 of the set-up that a first acceptance proves good.
    pub fingerprint: [u8; 32],
    /// The bounds in force, with their counts.
    pub room: Arc<Room>,
}

/// One stream of the running bridge.
pub struct Stream {
    pub(super) parts: StreamParts,
    pub(super) passage: Passage,
    pub(super) operator: OperatorHold,
    pub(super) skips: Skips,
    pub(super) wire: Arc<Wire>,
    pub(super) broken: OnceLock<String>,
    /// Cancelled: what the state knows about the stream was read.
    pub(super) recalled: CancellationToken,
    pub(super) state_outage: Outage,
    pub(super) signer: SignerOutage,
    pub(super) letter_outage: Outage,
    /// What becomes of replays cannot be told: no reason to hold what comes in.
    pub(super) replay_outage: Outage,
}

/// What was decided does not become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotDurable {
    /// Nobody waits for it any more.
    LetGo,
    /// The shared state has another owner for the partition.
    Fenced,
}

impl From<LetGo> for NotDurable {
    fn from(_: LetGo) -> Self {
        Self::LetGo
    }
}

impl Stream {
    /// A stream that has not begun. `passage` carries its guard and its hold.
    pub(crate) fn new(parts: StreamParts, passage: Passage) -> Self {
        let wire = Wire::new(parts.max_requests_in_flight);
        Self {
            operator: OperatorHold::new(parts.state.clone()),
            skips: Skips::default(),
            parts,
            passage,
            wire,
            broken: OnceLock::new(),
            recalled: CancellationToken::new(),
            signer: SignerOutage::new(),
            state_outage: Outage::new(
                Some(HoldReason::StateStore),
                "the state store fails; the stream is held until it works",
                "the state store works again",
            ),
            letter_outage: Outage::new(
                Some(DEAD_LETTERS),
                "a dead letter or outcome record was not acknowledged; it is tried again, and the stream is held until it is",
                "dead letters and outcome records are acknowledged again",
            ),
            replay_outage: Outage::new(
                None,
                "the outcome of a replay was not acknowledged; it is tried again, and the replay waits until it is",
                "outcomes of replays are acknowledged again",
            ),
        }
    }

    /// Id of the stream.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.parts.id
    }

    /// Keys, CA files or credentials were reloaded: a held stream probes at once.
    pub fn reloaded(&self) {
        if let Err(error) = self.parts.receiver.reload() {
            tracing::error!(stream = self.id(), %error, "credentials were not reloaded; the old ones stay");
        }
        self.passage.probe_soon();
    }

    /// Looks what operators said, here or in another process.
    pub(super) fn hear_operators(&self) {
        if let Err(error) = self.operator.tick(&self.passage) {
            self.parts.metrics.state_errors.inc();
            tracing::error!(
                stream = self.id(),
                error = crate::telemetry::chain(&error),
                "whether an operator holds the stream is not known; it is held until the state answers"
            );
        }
    }

    /// Step *complete*: the level before, from the mapping or from the state, and the time of issue.
    pub(super) fn complete(&self, draft: &Draft, previous: Option<Level>) -> Vec<u8> {
        let token = draft.claims.complete(previous, now(), &self.parts.envelope);
        token.to_json()
    }

    /// Step *remember*: the memory knows at once; the reply says when it is durable.
    pub(super) fn remember(&self, draft: &Draft, decision: Decision) -> Flushed {
        self.parts.state.remember(&Decided {
            question: draft.question(),
            other_subject: draft.claims.other_lane,
            position: draft.position(),
            decision,
        })
    }

    /// Why the process has to end, if it has to.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }
}

/// The hold that a kind of trouble with Kafka is shown as; [`None`]: only counted.
pub(super) fn hold_reason(trouble: Trouble) -> Option<HoldReason> {
    let fault = match trouble {
        Trouble::Auth => KafkaFault::Auth,
        Trouble::Tls => KafkaFault::Tls,
        Trouble::Acl => KafkaFault::Acl,
        Trouble::UnknownTopic => KafkaFault::UnknownTopic,
        Trouble::Unreachable | Trouble::Other => return None,
    };
    Some(HoldReason::Kafka(fault))
}

/// SHA-256 of a record key, or of the value of a record without one: which records count as different for the mapping
/// guard.
pub(super) fn key_of(record: &crate::record::Record) -> u64 {
    let bytes = record
        .key
        .as_deref()
        .or(record.value.as_deref())
        .unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref()
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The closed lists behind a stream's metric labels, gathered from the modules that own them.
#[must_use]
pub fn label_values() -> LabelValues {
    use crate::delivery::Refusal;
    use crate::detection::DecodeError;
    use crate::mapping::{FilterReason, MapReason};
    let mut dead_letters = vec![
        "expired",
        "max_attempts",
        "receiver_error",
        "refused",
        SKIPPED,
        REPLAY_CHANGED,
        REPLAY_MALFORMED,
    ];
    dead_letters.extend(Refusal::LABELS);
    dead_letters.extend(DecodeError::REASONS);
    dead_letters.extend(MapReason::ALL.map(MapReason::as_str));
    LabelValues {
        events: crate::set::EventType::ALL
            .iter()
            .map(|event| event.as_str())
            .collect(),
        filters: FilterReason::ALL.map(FilterReason::as_str).to_vec(),
        outcomes: Outcome::LABELS.to_vec(),
        dead_letters,
        faults: MomentFault::LABELS.to_vec(),
        holds: HoldReason::all().map(HoldReason::as_str).collect(),
        kafka: crate::kafka::client::Trouble::ALL
            .iter()
            .map(|trouble| trouble.as_str())
            .collect(),
        acts: Act::ALL.map(Act::as_str).to_vec(),
    }
}
