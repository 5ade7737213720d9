//! What a journey asks of its stream: facts, a token, a signature, a push, a dead letter. Each returns what it came to;
//! the order of the steps is the page's.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use tokio::sync::{Semaphore, oneshot};

use crate::config::Mode;
use crate::delivery::hold::{HoldReason, KafkaFault};
use crate::delivery::pacer::Pacer;
use crate::delivery::policy::Attempts;
use crate::delivery::{Answer, MomentFault, Receiver, Verdict};
use crate::detection::DecodeLimits;
use crate::kafka::client::Trouble;
use crate::kafka::dead_letter::{self, Cause, Stage};
use crate::kafka::membership::Membership;
use crate::kafka::producer::{AckedProducer, Outgoing, WriteError};
use crate::kafka::room::Room;
use crate::mapping::{Envelope, Mapping};
use crate::metrics::{LabelValues, StreamMetrics};
use crate::set::{Level, Timestamp};
use crate::signing::{KeyRing, SignedSet, Signer};
use crate::state::{Facts, Flushed, StreamState};

use super::journey::{Draft, Lease, LetGo, Outcome, Source};
use super::passage::{Next, Pass, Passage};

/// Longest wait between two tries of something of ours that failed: state store, dead-letter write.
const MAX_RETRY: Duration = Duration::from_secs(10);
/// The first of these waits.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const DEAD_LETTERS: HoldReason = HoldReason::Kafka(KafkaFault::DeadLetterTopic);

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
    permits: Semaphore,
    broken: OnceLock<String>,
}

/// A stream as the status page shows it; refreshed by its desk a few times a second.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct StreamStatus {
    /// Id of the stream.
    pub id: String,
    /// `live` or `shadow`.
    pub mode: &'static str,
    /// Reasons in force, each with the seconds that it lasts already; empty: the stream flows.
    pub held: Vec<Held>,
    /// SETs without a final outcome.
    pub unsettled: usize,
    /// SETs that wait behind another one about their subject.
    pub waiting_in_lanes: usize,
    /// Records past the last acknowledged commit.
    pub uncommitted: usize,
    /// Seconds since the oldest unsettled record was read.
    pub oldest_unsettled_seconds: f64,
    /// Requests that wait for an answer.
    pub requests_in_flight: usize,
    /// Partitions of this process.
    pub partitions: Vec<PartitionStatus>,
    /// Final outcomes since the start.
    pub outcomes: std::collections::BTreeMap<&'static str, u64>,
    /// Dead letters since the start, by reason; only those that happened.
    pub dead_letters: std::collections::BTreeMap<&'static str, u64>,
}

/// One reason for a hold.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Held {
    /// Closed list.
    pub reason: &'static str,
    /// For how long.
    pub seconds: f64,
}

/// One assigned partition.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PartitionStatus {
    /// Topic name.
    pub topic: String,
    /// Number.
    pub partition: i32,
    /// Records between the settled prefix and the log's end.
    pub lag: Option<i64>,
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since 1970, rounded down: an `iat` is never ahead of the machine's clock.
pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(now_ms() / 1000)
}

impl Stream {
    /// A stream that has not begun. `passage` carries its guard and its hold.
    pub(crate) fn new(parts: StreamParts, passage: Passage) -> Self {
        let permits = Semaphore::new(parts.max_requests_in_flight);
        Self {
            parts,
            passage,
            permits,
            broken: OnceLock::new(),
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

    /// Step *admit*, the question: while the state store is down the stream is held and asks again.
    pub(super) async fn look_up(&self, draft: &Draft) -> Result<Facts, LetGo> {
        let mut wait = FIRST_RETRY;
        loop {
            let asked = draft
                .source
                .lease
                .wait(self.parts.state.look_up(&draft.question()))
                .await?;
            match asked {
                Ok(facts) => {
                    if wait > FIRST_RETRY {
                        self.state_works();
                    }
                    if facts.other_partition {
                        self.parts.metrics.spread_subjects.inc();
                    }
                    return Ok(facts);
                }
                Err(error) => self.state_failed(&error),
            }
            draft.source.lease.sleep(wait).await?;
            wait = (wait * 2).min(MAX_RETRY);
        }
    }

    pub(super) fn state_failed(&self, error: &crate::state::StateError) {
        self.parts.metrics.state_errors.inc();
        tracing::error!(stream = self.id(), %error, "the state store fails; the stream is held until it works");
        self.passage.hold(HoldReason::StateStore);
    }

    /// Step *complete*: the level before, from the mapping or from the state, and the time of issue.
    pub(super) fn complete(&self, draft: &Draft, previous: Option<Level>) -> Vec<u8> {
        draft
            .claims
            .complete(previous, now(), &self.parts.envelope)
            .to_json()
    }

    /// Steps *sign*, *push* and *judge*, until the receiver or the guard has decided. Every attempt under one key sends
    /// the same bytes (P4): the token is complete, and RS256 is deterministic.
    pub(super) async fn push_until_decided(
        &self,
        draft: &Draft,
        token: &[u8],
    ) -> Result<Outcome, LetGo> {
        let mut signed: Option<(SignedSet, u64)> = None;
        if self.parts.mode == Mode::Shadow {
            self.sign(draft, token, &mut signed, Pass::Free).await?;
            return Ok(Outcome::Shadowed);
        }
        let _stay = Stay {
            stream: self,
            id: draft.id,
        };
        let mut attempts = Attempts::default();
        let mut last = LastAnswer::default();
        let mut pass = self.pass(draft).await?;
        loop {
            if pass == Pass::DeadLetter {
                return Ok(last.refused(draft, attempts.count));
            }
            let answer = self.attempt(draft, token, &mut signed, pass).await?;
            last.note(&answer);
            match self.passage.judge(
                draft.id,
                draft.claims.subject_key,
                pass,
                &answer,
                &mut attempts,
            ) {
                Next::Accepted => {
                    self.accepted(draft).await;
                    return Ok(Outcome::Delivered {
                        status: answer.status.unwrap_or(0),
                        attempts: attempts.count,
                    });
                }
                Next::DeadLetter => return Ok(last.refused(draft, attempts.count)),
                Next::ReceiverError => {
                    return Ok(last.dead_letter(draft, "receiver_error", attempts.count));
                }
                Next::Wait(told) => pass = self.told(draft, told).await?,
                Next::After(delay) => {
                    draft.source.lease.sleep(delay).await?;
                    pass = self.pass(draft).await?;
                }
            }
        }
    }

    /// Waits for the gate.
    async fn pass(&self, draft: &Draft) -> Result<Pass, LetGo> {
        match self.passage.enter(draft.id) {
            Ok(pass) => Ok(pass),
            Err(told) => self.told(draft, told).await,
        }
    }

    async fn told(&self, draft: &Draft, told: oneshot::Receiver<Pass>) -> Result<Pass, LetGo> {
        draft.source.lease.wait(told).await?.map_err(|_| LetGo)
    }

    /// One request, when there is a place on the wire, the pace allows it, and the partition is surely ours.
    async fn attempt(
        &self,
        draft: &Draft,
        token: &[u8],
        signed: &mut Option<(SignedSet, u64)>,
        pass: Pass,
    ) -> Result<Answer, LetGo> {
        let lease = &draft.source.lease;
        let _permit = lease
            .wait(self.permits.acquire())
            .await?
            .map_err(|_| LetGo)?;
        lease.wait(self.parts.pacer.turn()).await?;
        lease.wait(self.parts.membership.sure()).await?;
        let body = self.sign(draft, token, signed, pass).await?;
        self.parts.metrics.in_flight.inc();
        let answer = lease.finish(self.parts.receiver.push(body)).await;
        self.parts.metrics.in_flight.dec();
        let answer = answer?;
        self.parts
            .pacer
            .learn(&answer.rate, answer.advice, answer.is_throttled());
        self.count(&answer);
        Ok(answer)
    }

    /// The signed bytes: those of the attempt before, unless their key is no longer published, or keys were reloaded
    /// while the stream is held.
    async fn sign(
        &self,
        draft: &Draft,
        token: &[u8],
        signed: &mut Option<(SignedSet, u64)>,
        pass: Pass,
    ) -> Result<bytes::Bytes, LetGo> {
        let keys = &self.parts.keys;
        let generation = keys.generation();
        if let Some((set, made_under)) = signed
            && keys.publishes(&set.kid)
            && (pass == Pass::Free || *made_under == generation)
        {
            return Ok(set.compact.clone());
        }
        let work = self.parts.signer.sign(keys.active(), token.to_vec());
        match draft.source.lease.finish(work).await? {
            Ok(set) => {
                self.parts.metrics.signed.inc();
                self.parts
                    .metrics
                    .sign_seconds
                    .observe(set.signing.as_secs_f64());
                let body = set.compact.clone();
                *signed = Some((set, generation));
                Ok(body)
            }
            Err(error) => {
                // The signer is ours: without it nothing can ever leave, so the desk ends the process.
                let _ = self.broken.set(format!("signing failed: {error}"));
                Err(LetGo)
            }
        }
    }

    fn count(&self, answer: &Answer) {
        let metrics = &self.parts.metrics;
        metrics.push_seconds.observe(answer.elapsed.as_secs_f64());
        metrics.attempts.inc(match answer.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Refused(_) => "refused",
            Verdict::SetUp(_) => "set_up",
            Verdict::Moment(_) => "moment",
        });
        if answer.verdict == Verdict::Accepted && answer.status != Some(202) {
            metrics.accepted_other.inc();
        }
        if let Verdict::Moment(fault) = answer.verdict {
            metrics.retries.inc(fault.label());
        }
    }

    async fn accepted(&self, draft: &Draft) {
        if let Some(ms) = draft.source.record.timestamp_ms {
            let millis = now_ms().saturating_sub(ms).max(0);
            self.parts
                .metrics
                .delivery_seconds
                .observe(millis as f64 / 1000.0);
        }
        if self.passage.is_first_acceptance()
            && let Err(error) = self
                .parts
                .state
                .set_accepted_under(self.parts.fingerprint)
                .await
        {
            // Only the guard's memory: after a restart it is strict once more.
            tracing::warn!(stream = self.id(), %error, "the first acceptance was not noted");
        }
    }

    /// Step *dead letter*: nothing, unless the outcome is one. Returns when the broker has acknowledged it.
    pub(super) async fn write_dead_letter(
        &self,
        source: &Source,
        outcome: &Outcome,
    ) -> Result<(), LetGo> {
        let Outcome::DeadLettered(cause) = outcome else {
            return Ok(());
        };
        if self.parts.mode == Mode::Live {
            let topic = (self.parts.dead_letter_topic)(&source.record.origin.topic);
            let write = || {
                dead_letter::write(
                    &self.parts.producer,
                    &topic,
                    self.id(),
                    &source.record,
                    cause,
                )
            };
            self.write_until_acknowledged(source, write).await?;
        }
        self.parts.metrics.dead_letters.inc(cause.reason);
        tracing::warn!(
            stream = self.id(),
            origin = %source.record.origin,
            jti = cause.jti.as_deref(),
            stage = cause.stage.as_str(),
            reason = cause.reason,
            detail = cause.detail.as_deref(),
            status = cause.status,
            "dead letter"
        );
        Ok(())
    }

    /// Step *announce*: one record in the outcome topic, if there is one, acknowledged.
    pub(super) async fn announce(&self, draft: &Draft, outcome: &Outcome) -> Result<(), LetGo> {
        let Some(topic) = &self.parts.outcome_topic else {
            return Ok(());
        };
        let origin = &draft.source.record.origin;
        let (status, attempts, times) = match outcome {
            Outcome::Delivered { status, attempts } => (Some(*status), *attempts, None),
            Outcome::DeadLettered(cause) => (cause.status, cause.attempts, cause.attempted_ms),
            _ => (None, 0, None),
        };
        let value = serde_json::json!({
            "stream": self.id(),
            "topic": &*origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "element": draft.source.element.as_ref().map(|(element, _)| element),
            "jti": draft.claims.jti.as_str(),
            "event": draft.claims.event.event_type().uri(),
            "outcome": outcome.as_str(),
            "reason": match outcome { Outcome::DeadLettered(cause) => Some(cause.reason), _ => None },
            "status": status,
            "attempts": attempts,
            "received_ms": draft.source.record.timestamp_ms,
            "first_attempt_ms": times.map(|(first, _)| first),
            "decided_ms": now_ms(),
        })
        .to_string();
        let key = draft.claims.jti.as_str().as_bytes();
        let write = || {
            let value = Some(value.as_bytes());
            self.parts.producer.write(Outgoing {
                topic,
                key: Some(key),
                value,
                headers: Vec::new(),
            })
        };
        self.write_until_acknowledged(&draft.source, write).await
    }

    /// A write that fails holds the stream: what it would settle stays unsettled.
    async fn write_until_acknowledged<F: Future<Output = Result<(), WriteError>>>(
        &self,
        source: &Source,
        write: impl Fn() -> F,
    ) -> Result<(), LetGo> {
        let mut wait = FIRST_RETRY;
        loop {
            match source.lease.finish(write()).await? {
                Ok(()) => {
                    if wait > FIRST_RETRY {
                        self.dead_letters_work();
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.parts.metrics.dead_letter_errors.inc();
                    tracing::error!(stream = self.id(), origin = %source.record.origin, %error, "a dead letter or outcome record was not acknowledged; trying again");
                    self.hold_for_dead_letters();
                }
            }
            source.lease.sleep(wait).await?;
            wait = (wait * 2).min(MAX_RETRY);
        }
    }

    /// Waits until what was remembered is durable. The state keeps what it could not write; it is asked again until it
    /// could, and the stream is held meanwhile.
    pub(super) async fn durable(&self, lease: &Lease, flushed: Flushed) -> Result<(), LetGo> {
        let mut flushed = flushed;
        let mut wait = FIRST_RETRY;
        while let Err(error) = lease.finish(flushed).await? {
            self.state_failed(&error);
            lease.finish(tokio::time::sleep(wait)).await?;
            wait = (wait * 2).min(MAX_RETRY);
            flushed = self.parts.state.flush();
        }
        if wait > FIRST_RETRY {
            self.state_works();
        }
        Ok(())
    }

    pub(super) fn state_works(&self) {
        self.passage.lift(HoldReason::StateStore);
    }

    pub(super) fn hold_for_dead_letters(&self) {
        self.passage.hold(DEAD_LETTERS);
    }

    pub(super) fn dead_letters_work(&self) {
        self.passage.lift(DEAD_LETTERS);
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

/// A SET at the passage; when it goes, for whatever reason, the passage forgets it.
struct Stay<'a> {
    stream: &'a Stream,
    id: u64,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.stream.passage.leave(self.id);
    }
}

/// What the receiver said last, for the dead letter's headers.
#[derive(Default)]
struct LastAnswer {
    reason: Option<&'static str>,
    status: Option<u16>,
    err: Option<String>,
    first_ms: Option<i64>,
    last_ms: i64,
}

impl LastAnswer {
    fn note(&mut self, answer: &Answer) {
        self.last_ms = now_ms();
        self.first_ms.get_or_insert(self.last_ms);
        self.status = answer.status;
        self.err = answer.err.as_ref().map(|err| err.as_str().to_owned());
        if let Verdict::Refused(refusal) = answer.verdict {
            self.reason = Some(refusal.as_str());
        }
    }

    fn refused(self, draft: &Draft, attempts: u32) -> Outcome {
        let reason = self.reason.unwrap_or("refused");
        self.dead_letter(draft, reason, attempts)
    }

    fn dead_letter(self, draft: &Draft, reason: &'static str, attempts: u32) -> Outcome {
        let element = draft.source.element.as_ref();
        Outcome::DeadLettered(Box::new(Cause {
            stage: Stage::Push,
            reason,
            detail: None,
            element: element.and_then(|(element, sha)| Some((*element, sha.clone()?))),
            jti: Some(draft.claims.jti.as_str().to_owned()),
            status: self.status,
            err: self.err,
            attempts,
            attempted_ms: self.first_ms.map(|first| (first, self.last_ms)),
        }))
    }
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
    let mut dead_letters = vec!["receiver_error", "refused"];
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
    }
}
