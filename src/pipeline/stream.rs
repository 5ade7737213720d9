//! What a journey asks of its stream: facts, a token, a signature, a push, a dead letter. Each returns what it came to;
//! the order of the steps is the page's.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::clock::epoch_ms as now_ms;
use crate::clock::epoch_seconds;
use crate::config::Mode;
use crate::delivery::hold::{HoldReason, KafkaFault};
use crate::delivery::pacer::Pacer;
use crate::delivery::{MomentFault, Receiver};
use crate::detection::DecodeLimits;
use crate::kafka::client::Trouble;
use crate::kafka::events::NewSeat;
use crate::kafka::membership::Membership;
use crate::kafka::producer::AckedProducer;
use crate::kafka::room::Room;
use crate::mapping::{Envelope, Mapping};
use crate::metrics::{LabelValues, StreamMetrics};
use crate::set::{Level, Timestamp};
use crate::signing::{Algorithm, KeyRing, Signer};
use crate::state::{
    Decided, Decision, Facts, Flushed, Handover, JtiKey, Reply, StateError, StreamState,
};

use super::desk::Forgetting;
use super::journey::{Draft, Lease, LetGo, Outcome, Source, SourcePartition};
use super::operator::OperatorHold;
use super::outage::{Outage, Waiting};
use super::passage::{HeldSince, Passage};
use super::skips::{SKIPPED, Skips, Stop};
use super::valve::Act;
use super::wire::Wire;

/// Longest wait between two tries of something of ours that failed: state store, dead-letter write.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(10);
/// The first of these waits.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(100);
/// So many jtis are forgotten by one call of the state: milliseconds of its thread.
const FORGET_AT_ONCE: usize = 1000;
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
    recalled: CancellationToken,
    state_outage: Outage,
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

/// Seconds since 1970, rounded down: an `iat` is never ahead of the machine's clock.
pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(epoch_seconds())
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
            state_outage: Outage::new(
                Some(HoldReason::StateStore),
                "the state store fails; the stream is held until it works",
            ),
            letter_outage: Outage::new(
                Some(DEAD_LETTERS),
                "a dead letter or outcome record was not acknowledged; it is tried again, and the stream is held until it is",
            ),
            replay_outage: Outage::new(
                None,
                "the outcome of a replay was not acknowledged; it is tried again, and the replay waits until it is",
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

    /// Reads what a process before this one left about the stream as a whole; until it could, nothing is asked and
    /// nothing sent, and the stream is held.
    pub(super) async fn recall(&self, lease: &Lease) {
        let read = || async {
            let proven = self.parts.state.accepted_under().await? == Some(self.parts.fingerprint);
            // In shadow mode nothing is accepted, so a hold from before would never be over.
            let held_since = match self.parts.mode {
                Mode::Shadow => None,
                Mode::Live => Some(HeldSince::read(self.parts.state.clone()).await?),
            };
            Ok((proven, held_since))
        };
        if let Ok((proven, held_since)) = self.ask_until_answered(lease, read(), read).await {
            self.passage.recall(proven, held_since);
            self.recalled.cancel();
        }
    }

    /// Asks the state about a partition that was assigned. The question is asked when this returns.
    pub(super) fn ask_about(&self, seat: &NewSeat) -> Reply<Handover> {
        let state = &self.parts.state;
        state.assigned(&seat.topic, seat.partition, seat.committed, seat.log_end)
    }

    /// Waits for the answer, asking again until there is one; then the partition's SETs may ask too.
    ///
    /// Taking over makes us the owner and judges the state by where the log ended at the assignment. Who was stopped
    /// meanwhile may be neither: it asks again only once the group has confirmed it.
    pub(super) async fn take_over(
        &self,
        seat: &NewSeat,
        first: Reply<Handover>,
        lease: &Lease,
        rewound: Option<Forgetting>,
    ) {
        let ask = |first: Option<Reply<Handover>>| async move {
            if let Some(asked) = first {
                return asked.await;
            }
            self.parts.membership.sure().await;
            self.ask_about(seat).await
        };
        let answer = self.ask_until_answered(lease, ask(Some(first)), || ask(None));
        let Ok(handover) = answer.await else {
            return;
        };
        let (topic, partition) = (&seat.topic, seat.partition);
        if matches!(handover, Handover::TakenOver | Handover::Recreated) && rewound.is_none() {
            self.parts.metrics.handovers.inc();
            tracing::info!(stream = self.id(), %topic, partition, ?handover, "levels and marks of the partition were dropped");
        }
        if let (Handover::First, Some(committed @ 1..)) = (handover, seat.committed) {
            // With a state in memory at each start; else another process had it, or a file or a Redis was lost.
            tracing::info!(stream = self.id(), %topic, partition, committed, "nothing is known here of what was decided before in this partition: SETs may go out again under the same jti, previous levels are not known");
        }
        if seat.committed.is_none() {
            // The group begins here: its own first commit must not look like somebody else's work after a crash. The
            // order of the state's calls is enough; nobody waits for it.
            drop(self.parts.state.progress(topic, partition, seat.start));
        }
        if let Some(Forgetting { jtis, done }) = rewound {
            if self.forget(lease, &jtis).await.is_err() {
                return;
            }
            // Who asked may have gone.
            let _ = done.send(());
        }
        if lease.wait(self.recalled.cancelled()).await.is_ok() {
            lease.taken_over.cancel();
        }
    }

    /// Forgets that these were delivered. A batch begins when the one before is durable: what other streams ask of the
    /// state goes between.
    async fn forget(&self, lease: &Lease, jtis: &[JtiKey]) -> Result<(), NotDurable> {
        for some in jtis.chunks(FORGET_AT_ONCE) {
            if lease.soft.is_cancelled() {
                return Err(NotDurable::LetGo);
            }
            let forgotten = self.parts.state.forget(some);
            self.durable(lease, None, forgotten).await?;
        }
        Ok(())
    }

    /// The state's answer. While it fails the stream is held, and the question is asked again.
    async fn ask_until_answered<T, F>(
        &self,
        lease: &Lease,
        first: F,
        again: impl Fn() -> F,
    ) -> Result<T, LetGo>
    where
        F: Future<Output = Result<T, StateError>>,
    {
        let mut wait = FIRST_RETRY;
        let mut holding = None;
        let mut asked = first;
        loop {
            match lease.wait(asked).await? {
                Ok(answer) => return Ok(answer),
                Err(error) => holding = Some(self.state_failed(&error, holding)),
            }
            lease.sleep(wait).await?;
            wait = (wait * 2).min(MAX_RETRY);
            asked = again();
        }
    }

    /// Step *admit*, the question. [`None`]: an operator skips the replay that it is about. A live SET is not skipped
    /// before it is known whether the receiver has it, and without the state its mark could not be left either; a replay
    /// leaves none, and its dead letter may be replayed once more.
    pub(super) async fn look_up(&self, draft: &Draft) -> Result<Option<Facts>, LetGo> {
        let asked = self.ask_about_set(draft);
        if draft.source.replay.is_none() {
            return asked.await.map(Some);
        }
        match self.skips.unless(draft.id, asked).await {
            Ok(facts) => Ok(Some(facts)),
            Err(Stop::Skipped) => Ok(None),
            Err(Stop::LetGo) => Err(LetGo),
        }
    }

    /// While the state store is down the stream is held and asks again. Where live SETs go on without it, a replay waits
    /// for it all the same, unless it is forced.
    async fn ask_about_set(&self, draft: &Draft) -> Result<Facts, LetGo> {
        let lease = &draft.source.lease;
        if !lease.taken_over.is_cancelled() {
            lease.wait(lease.taken_over.cancelled()).await?;
        }
        let ask = || self.parts.state.look_up(&draft.question());
        let mut facts = self.ask_until_answered(lease, ask(), ask).await?;
        let mut wait = FIRST_RETRY;
        while draft.source.is_unsure(&facts) {
            lease.sleep(wait).await?;
            wait = (wait * 2).min(MAX_RETRY);
            facts = self.ask_until_answered(lease, ask(), ask).await?;
        }
        if facts.other_partition {
            self.parts.metrics.spread_subjects.inc();
        }
        if facts.bypassed {
            self.parts.metrics.sets_without_state.inc();
        }
        Ok(facts)
    }

    /// Counts, logs once, and holds the stream for as long as what is returned lives.
    pub(super) fn state_failed<'a>(
        &'a self,
        error: &StateError,
        before: Option<Waiting<'a>>,
    ) -> Waiting<'a> {
        self.parts.metrics.state_errors.inc();
        if matches!(error, StateError::Stopped) {
            let _ = self.broken.set(format!("the state store ended: {error}"));
        }
        self.state_outage
            .failed(self.id(), &self.passage, before, error)
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

    /// Waits until what was remembered is durable. The state keeps what it could not write; it is asked again until it
    /// could, and the stream is held meanwhile.
    pub(super) async fn durable(
        &self,
        lease: &Lease,
        of: Option<&SourcePartition>,
        flushed: Flushed,
    ) -> Result<(), NotDurable> {
        let mut flushed = flushed;
        let mut wait = FIRST_RETRY;
        let mut holding = None;
        while let Err(error) = lease.finish(flushed).await? {
            if matches!(error, StateError::Fenced { .. }) {
                return Err(NotDurable::Fenced);
            }
            holding = Some(self.state_failed(&error, holding));
            lease.finish(tokio::time::sleep(wait)).await?;
            wait = (wait * 2).min(MAX_RETRY);
            flushed = self.flush(of);
        }
        Ok(())
    }

    /// The same for the outcome of a SET. One that a fenced partition has to let go is not decided.
    pub(super) async fn durable_for(&self, source: &Source, flushed: Flushed) -> Result<(), LetGo> {
        let of = source.source_partition();
        let durable = self.durable(&source.lease, Some(&of), flushed).await;
        durable.map_err(|why| {
            if why == NotDurable::Fenced {
                source.lease.fenced.cancel();
            }
            LetGo
        })
    }

    /// Asks once more whether what was noted, of one partition or of all, is durable.
    pub(super) fn flush(&self, of: Option<&SourcePartition>) -> Flushed {
        let state = &self.parts.state;
        of.map_or_else(
            || state.flush(),
            |(topic, partition)| state.flush_of(topic, *partition),
        )
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
