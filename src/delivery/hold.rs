//! The gate of a stream: open, or held for one or more reasons, with one probe at a time let through.
//!
//! DESIGN §5 "Hold" and "the probed head is itself bad". Pure: the pipeline tells what happened and asks
//! what may leave. Keys name the SETs that wait at the gate (one per lane in turn). A hold never loses
//! anything and never ends by itself: an acceptance (or whoever imposed it) ends it.
//!
//! | reason | ended by |
//! |---|---|
//! | a set-up fault, `refusals` | a probe that is accepted |
//! | `kafka_…`, `mapping_suspect`, `state_store`, `external_signer`, `operator` | [`Gate::lift`], by whoever imposed it; no probes meanwhile |
//!
//! | answer to a probe | what follows |
//! |---|---|
//! | accepted | resumed; all that wait may go |
//! | `invalid_request`, in a hold for a named `err` | the set-up is good: judge that SET as usual, probe the next at once |
//! | any other refusal | reason `refusals`; the set-up is suspect: the guard keeps that SET; next subject after the backoff |
//! | a set-up fault | reason updated; next subject after the backoff |
//! | a moment's fault | next subject after the backoff, or later if the receiver says so |

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::retry::RetryPolicy;
use super::verdict::{Refusal, SetUpFault, Verdict};

/// What of Kafka holds a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KafkaFault {
    /// SASL refused.
    Auth,
    /// The TLS handshake failed.
    Tls,
    /// An ACL is missing.
    Acl,
    /// A topic does not exist (yet).
    UnknownTopic,
    /// The dead-letter topic is missing, forbidden or does not take writes.
    DeadLetterTopic,
}

/// Why a stream is held; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldReason {
    /// The receiver, or its authorization server, says that the set-up is wrong.
    SetUp(SetUpFault),
    /// The refusal guard.
    Refusals,
    /// The mapping guard.
    MappingSuspect,
    /// Kafka refuses us.
    Kafka(KafkaFault),
    /// The state store fails.
    StateStore,
    /// Whoever has the keys refuses to sign, or has not told the public ones yet.
    ExternalSigner,
    /// An operator said so.
    Operator,
}

impl HoldReason {
    /// Every reason, so that metrics can start each label at 0.
    pub fn all() -> impl Iterator<Item = Self> {
        use KafkaFault::{Acl, Auth, DeadLetterTopic, Tls, UnknownTopic};
        let kafka = [Auth, Tls, Acl, UnknownTopic, DeadLetterTopic].map(Self::Kafka);
        let rest = [
            Self::Refusals,
            Self::MappingSuspect,
            Self::StateStore,
            Self::ExternalSigner,
            Self::Operator,
        ];
        SetUpFault::ALL
            .into_iter()
            .map(Self::SetUp)
            .chain(kafka)
            .chain(rest)
    }

    /// The label in metrics, logs and the status page.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SetUp(fault) => fault.as_str(),
            Self::Refusals => "refusals",
            Self::MappingSuspect => "mapping_suspect",
            Self::Kafka(KafkaFault::Auth) => "kafka_auth",
            Self::Kafka(KafkaFault::Tls) => "kafka_tls",
            Self::Kafka(KafkaFault::Acl) => "kafka_acl",
            Self::Kafka(KafkaFault::UnknownTopic) => "kafka_unknown_topic",
            Self::Kafka(KafkaFault::DeadLetterTopic) => "kafka_dead_letter_topic",
            Self::StateStore => "state_store",
            Self::ExternalSigner => "external_signer",
            Self::Operator => "operator",
        }
    }

    /// True when only a push can tell whether the reason is gone.
    #[must_use]
    pub fn is_probed(self) -> bool {
        matches!(self, Self::SetUp(_) | Self::Refusals)
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a probe's answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Accepted; the probed reason is gone. (The gate may stay shut for another one: ask [`Gate::is_open`].)
    Resumed,
    /// Refused: give it to the refusal guard. It no longer waits at the gate; if the guard rules `Hold`, let it
    /// [`Gate::enter`] again so that it can be probed again.
    Judge {
        /// The answer shows that the set-up is good, so the refusal is one as any other. Else it may as well be the
        /// set-up's fault.
        proves_set_up: bool,
    },
    /// Still held; it waits again, behind all others.
    Held,
}

#[derive(Debug, Clone, Copy)]
struct PushHold {
    reason: HoldReason,
    since: Instant,
    /// Probes that failed since the hold began.
    failed: u32,
    next_probe: Instant,
}

/// The gate of one stream.
#[derive(Debug)]
pub struct Gate<K> {
    backoff: RetryPolicy,
    push: Option<PushHold>,
    others: BTreeMap<HoldReason, Instant>,
    probing: Option<K>,
    /// Who waits, by place; the first is probed next.
    queue: BTreeMap<u64, K>,
    places: HashMap<K, u64>,
    next_place: u64,
}

impl<K: Eq + Hash + Clone> Gate<K> {
    /// An open gate. `backoff` spaces the probes, for instance 1 s → 60 s.
    #[must_use]
    pub fn new(backoff: RetryPolicy) -> Self {
        Self {
            backoff,
            push: None,
            others: BTreeMap::new(),
            probing: None,
            queue: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        }
    }

    /// True when everything may leave.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.push.is_none() && self.others.is_empty()
    }

    /// True when nothing leaves, not even a probe: somebody imposed a reason.
    #[must_use]
    pub fn bars_probes(&self) -> bool {
        !self.others.is_empty()
    }

    /// The reasons in force, each with its beginning; the probed one first.
    pub fn reasons(&self) -> impl Iterator<Item = (HoldReason, Instant)> {
        let push = self.push.map(|hold| (hold.reason, hold.since));
        push.into_iter()
            .chain(self.others.iter().map(|(reason, since)| (*reason, *since)))
    }

    /// Shuts the gate. A second probed reason replaces the first and keeps its `since` and its backoff:
    /// the newest answer knows best. `uniform` is a random number in `[0, 1)`.
    /// Returns true when the gate was open.
    pub fn hold(&mut self, reason: HoldReason, now: Instant, uniform: f64) -> bool {
        let was_open = self.is_open();
        if !reason.is_probed() {
            self.others.entry(reason).or_insert(now);
        } else if let Some(hold) = &mut self.push {
            hold.reason = reason;
        } else {
            let next_probe = now + self.backoff.probe_delay(1, uniform);
            self.push = Some(PushHold {
                reason,
                since: now,
                failed: 0,
                next_probe,
            });
        }
        was_open
    }

    /// Takes a reason away, on behalf of whoever imposed it. Returns true when this opened the gate.
    pub fn lift(&mut self, reason: HoldReason) -> bool {
        let was_open = self.is_open();
        if self.push.is_some_and(|hold| hold.reason == reason) {
            self.push = None;
            self.probing = None;
        }
        self.others.remove(&reason);
        self.forget_queue_if_open();
        !was_open && self.is_open()
    }

    /// `key` wants to leave: true = it may. Else it waits, to be chosen as a probe, until the gate opens
    /// (then all that wait are forgotten and must ask again) or it [`Gate::leave`]s.
    pub fn enter(&mut self, key: &K) -> bool {
        if self.is_open() {
            return true;
        }
        if !self.places.contains_key(key) && self.probing.as_ref() != Some(key) {
            self.queue_up(key.clone());
        }
        false
    }

    /// `key` waits no longer, or its probe was abandoned (revoked, dead-lettered, skipped).
    pub fn leave(&mut self, key: &K) {
        if let Some(place) = self.places.remove(key) {
            self.queue.remove(&place);
        }
        if self.probing.as_ref() == Some(key) {
            self.probing = None;
        }
    }

    /// The next probe, when one is due, none is under way and nothing but the receiver is in question.
    /// The caller pushes it once and reports to [`Gate::probed`], or calls [`Gate::leave`].
    pub fn probe(&mut self, now: Instant) -> Option<K> {
        if self.next_probe().is_none_or(|at| at > now) {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.places.remove(&key);
        self.probing = Some(key.clone());
        Some(key)
    }

    /// When [`Gate::probe`] is worth asking; `None` while a probe is under way, nobody waits, the gate is
    /// open, or another reason stands.
    #[must_use]
    pub fn next_probe(&self) -> Option<Instant> {
        if self.probing.is_some() || !self.others.is_empty() || self.queue.is_empty() {
            return None;
        }
        self.push.map(|hold| hold.next_probe)
    }

    /// The next probe may go at once: keys were reloaded, credentials renewed, an operator asks.
    pub fn probe_soon(&mut self, now: Instant) {
        if let Some(hold) = &mut self.push {
            hold.next_probe = now;
            hold.failed = 0;
        }
    }

    /// The answer to the probe `key`; see the table at the top. `advised` is what the receiver asks to
    /// wait at least, `uniform` a random number in `[0, 1)`.
    pub fn probed(
        &mut self,
        key: &K,
        verdict: Verdict,
        advised: Option<Duration>,
        now: Instant,
        uniform: f64,
    ) -> Probed {
        if self.probing.as_ref() == Some(key) {
            self.probing = None;
        }
        if verdict == Verdict::Accepted {
            self.push = None;
            self.forget_queue_if_open();
            return Probed::Resumed;
        }
        if let Some(hold) = &mut self.push {
            let proves_set_up = verdict == Verdict::Refused(Refusal::InvalidRequest)
                && matches!(hold.reason, HoldReason::SetUp(fault) if fault.is_named_err());
            if proves_set_up {
                hold.next_probe = now;
                return Probed::Judge { proves_set_up };
            }
            hold.failed = hold.failed.saturating_add(1);
            let delay = self
                .backoff
                .probe_delay(hold.failed.saturating_add(1), uniform);
            hold.next_probe = now + delay.max(advised.unwrap_or_default());
            match verdict {
                Verdict::SetUp(fault) => hold.reason = HoldReason::SetUp(fault),
                Verdict::Refused(_) => hold.reason = HoldReason::Refusals,
                Verdict::Moment(_) | Verdict::Accepted => {}
            }
        }
        if matches!(verdict, Verdict::Refused(_)) {
            return Probed::Judge {
                proves_set_up: false,
            };
        }
        self.queue_up(key.clone());
        Probed::Held
    }

    /// How many wait at the gate (a probe under way not counted).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn queue_up(&mut self, key: K) {
        if self.is_open() || self.places.contains_key(&key) {
            return;
        }
        self.places.insert(key.clone(), self.next_place);
        self.queue.insert(self.next_place, key);
        self.next_place += 1;
    }

    fn forget_queue_if_open(&mut self) {
        if self.is_open() {
            self.queue.clear();
            self.places.clear();
        }
    }
}

#[cfg(test)]
mod tests;
