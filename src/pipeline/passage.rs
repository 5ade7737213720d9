//! What stands between a SET and the receiver besides time: the stream's hold, and the refusal guard.
//!
//! The rules are pure ([`Gate`], [`Guard`], [`DeliveryPolicy`]); this file only lets tasks wait for them. A SET that has
//! to wait registers under its number and is told how to go on; one that goes away is forgotten by every rule.

mod held_since;
mod reasons;
mod rules;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::delivery::Answer;
use crate::delivery::age;
use crate::delivery::chance;
use crate::delivery::guard::Guard;
use crate::delivery::hold::{Gate, HoldReason, Probed};
use crate::delivery::policy::{Attempts, DeliveryPolicy, Step};
use crate::delivery::receiver_fault::Acceptances;
use crate::delivery::verdict::Verdict;
use crate::metrics::StreamMetrics;
use crate::set::{SubjectKey, Timestamp};

use super::stream::now_ms;
pub(crate) use held_since::HeldSince;
use reasons::Reasons;
use rules::Rules;

/// How a SET may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The stream is open: push.
    Free,
    /// The stream is held, and this SET is the probe: push once.
    Probe,
    /// Another subject was accepted, or nobody was for long enough: this refused SET is a dead letter.
    DeadLetter,
}

/// What follows from an answer.
#[derive(Debug)]
pub(crate) enum Next {
    /// Delivered.
    Accepted,
    /// The same bytes again after this time.
    After(Duration),
    /// 5xx for so long, while others were accepted, that it is the record's fault.
    ReceiverError,
    /// As many attempts as the configuration allows failed by the moment's fault.
    MaxAttempts,
    /// The record's fault beyond doubt.
    DeadLetter,
    /// Wait to be told.
    Wait(oneshot::Receiver<Pass>),
}

/// The passage of one stream.
pub(crate) struct Passage {
    policy: DeliveryPolicy,
    open: AtomicBool,
    /// Not even a probe may leave.
    barred: AtomicBool,
    /// An acceptance under the present configuration is on record.
    proven: AtomicBool,
    rules: Mutex<Rules>,
}

impl Passage {
    pub(crate) fn new(
        stream: &str,
        policy: DeliveryPolicy,
        gate: Gate<u64>,
        guard: Guard<SubjectKey, u64>,
        metrics: StreamMetrics,
    ) -> Self {
        let acceptances = Acceptances::new(&policy.receiver_fault);
        let reasons = Reasons::new(stream, metrics);
        Self {
            policy,
            open: AtomicBool::new(true),
            barred: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            rules: Mutex::new(Rules::new(gate, guard, acceptances, reasons)),
        }
    }

    /// The state was read: whether it remembers an acceptance under the present configuration, and since when the
    /// stream is held. Nothing passes before.
    pub(crate) fn recall(&self, proven: bool, held_since: Option<HeldSince>) {
        let mut rules = self.rules();
        if proven {
            self.proven.store(true, Ordering::Release);
            rules.guard.prove();
        }
        if let Some(held_since) = held_since {
            rules.reasons.recall(held_since);
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to push. [`Ok`]: now; [`Err`]: when told.
    pub(crate) fn enter(&self, id: u64) -> Result<Pass, oneshot::Receiver<Pass>> {
        if self.open.load(Ordering::Acquire) {
            return Ok(Pass::Free);
        }
        let mut rules = self.rules();
        if rules.gate.enter(&id) {
            Ok(Pass::Free)
        } else {
            Err(rules.wait(id, false))
        }
    }

    /// Whether what was let through may still leave: the stream may have been held since.
    pub(crate) fn lets(&self, pass: Pass) -> bool {
        self.open.load(Ordering::Acquire)
            || (pass == Pass::Probe && !self.barred.load(Ordering::Acquire))
    }

    /// One that was let through and has not left waits again, as [`Passage::enter`] has it.
    pub(crate) fn step_back(&self, id: u64) -> Result<Pass, oneshot::Receiver<Pass>> {
        let mut rules = self.rules();
        rules.gate.leave(&id);
        if rules.gate.enter(&id) {
            return Ok(Pass::Free);
        }
        let guarded = rules.guard.keeps(&id);
        Err(rules.wait(id, guarded))
    }

    /// What the answer to a push means for this SET and for the stream.
    pub(crate) fn judge(
        &self,
        id: u64,
        subject: SubjectKey,
        pass: Pass,
        answer: &Answer,
        attempts: &mut Attempts,
    ) -> Next {
        let now = Instant::now();
        // An acceptance has nothing to wait for, so it draws no random number.
        let jitter = match answer.verdict {
            Verdict::Accepted => 0.0,
            _ => chance::uniform(),
        };
        let mut rules = self.rules();
        let held = pass == Pass::Probe || !rules.reasons.is_free();
        let step = self.policy.next(
            attempts,
            answer.verdict,
            answer.advice,
            &subject,
            &rules.acceptances,
            held,
            now,
            jitter,
        );
        // When the gate has opened meanwhile, a probe is an attempt like any other.
        let next = if pass == Pass::Probe && !rules.gate.is_open() {
            let advised = answer.advice.map(|advice| advice.wait);
            match rules.gate.probed(&id, answer.verdict, advised, now, jitter) {
                Probed::Resumed => rules.accepted(id, subject),
                Probed::Held => Next::Wait(rules.wait(id, false)),
                Probed::Judge { proves_set_up } => {
                    rules.refused(id, subject, !proves_set_up, true, now)
                }
            }
        } else {
            match step {
                Step::Accepted => rules.accepted(id, subject),
                Step::After(delay) => Next::After(delay),
                Step::ReceiverError => Next::ReceiverError,
                Step::MaxAttempts => Next::MaxAttempts,
                Step::Guard(refusal) => {
                    rules.refused(id, subject, refusal.is_unreadable(), false, now)
                }
                Step::Hold(reason) => {
                    rules.gate.hold(reason, now, chance::uniform());
                    rules.gate.enter(&id);
                    Next::Wait(rules.wait(id, false))
                }
            }
        };
        self.publish(&mut rules);
        if matches!(next, Next::Accepted) {
            rules.reasons.accepted();
        }
        next
    }

    /// True exactly once: the first acceptance under the present configuration.
    pub(crate) fn is_first_acceptance(&self) -> bool {
        !self.proven.swap(true, Ordering::AcqRel)
    }

    /// This SET goes no further here: revoked, drained, or decided.
    pub(crate) fn leave(&self, id: u64) {
        let mut rules = self.rules();
        let knows_nobody = rules.waiters.is_empty() && rules.retried.is_empty();
        if self.open.load(Ordering::Acquire) && knows_nobody {
            return;
        }
        rules.forget(id);
        self.publish(&mut rules);
    }

    /// Imposes a hold that ends only by [`Passage::lift`].
    pub(crate) fn hold(&self, reason: HoldReason) {
        let mut rules = self.rules();
        rules.gate.hold(reason, Instant::now(), chance::uniform());
        self.publish(&mut rules);
    }

    /// Ends a hold that was imposed.
    pub(crate) fn lift(&self, reason: HoldReason) {
        let mut rules = self.rules();
        if rules.gate.lift(reason) {
            rules.open_up();
        }
        self.publish(&mut rules);
    }

    /// Imposes a hold for as long as what is returned lives. Several may hold for one reason; the last one ends it.
    pub(crate) fn holding(&self, reason: HoldReason) -> Holding<'_> {
        self.one_more_holds(reason);
        Holding {
            passage: self,
            reason,
        }
    }

    /// As [`Passage::holding`], until [`Passage::one_less_holds`].
    pub(super) fn one_more_holds(&self, reason: HoldReason) {
        let mut rules = self.rules();
        *rules.holders.entry(reason).or_insert(0) += 1;
        rules.gate.hold(reason, Instant::now(), chance::uniform());
        self.publish(&mut rules);
    }

    /// One of those who hold the stream for this reason does so no longer.
    pub(super) fn one_less_holds(&self, reason: HoldReason) {
        let mut rules = self.rules();
        let last = rules.holders.get_mut(&reason).is_none_or(|count| {
            *count -= 1;
            *count == 0
        });
        if last {
            rules.holders.remove(&reason);
            if rules.gate.lift(reason) {
                rules.open_up();
            }
            self.publish(&mut rules);
        }
    }

    /// Shows a hold without stopping what was read already: Kafka's reasons.
    pub(crate) fn show(&self, reason: HoldReason) {
        let mut rules = self.rules();
        rules.reasons.show(reason);
        self.publish(&mut rules);
    }

    /// Kafka works again.
    pub(crate) fn show_no_longer(&self) {
        let mut rules = self.rules();
        rules.reasons.show_no_longer();
        self.publish(&mut rules);
    }

    /// The next probe may go at once: keys or credentials were reloaded.
    pub(crate) fn probe_soon(&self) {
        self.rules().gate.probe_soon(Instant::now());
    }

    /// Lets time pass: refused SETs whose wait is over become dead letters, a probe that is due is let through.
    pub(crate) fn tick(&self) {
        let now = Instant::now();
        let mut rules = self.rules();
        if rules.gate.is_open() {
            for id in rules.guard.due(now) {
                rules.tell(id, Pass::DeadLetter);
            }
        }
        while let Some(id) = rules.gate.probe(now) {
            if rules.tell(id, Pass::Probe) {
                break;
            }
            rules.gate.leave(&id);
        }
        self.publish(&mut rules);
        rules.reasons.tick();
    }

    /// Whether a SET about an event of this time is too old to be sent.
    pub(crate) fn is_expired(&self, event: Timestamp) -> bool {
        self.policy.max_event_age.is_some_and(|max_age| {
            let now = now_ms();
            age::is_expired(event, max_age, self.rules().reasons.held(), now)
        })
    }

    /// The reasons in force and for how long.
    pub(crate) fn holds(&self) -> Vec<(HoldReason, Duration)> {
        self.rules().reasons.in_force()
    }

    /// To be called after every change of the rules: gate, guard and the world hear of it.
    fn publish(&self, rules: &mut Rules) {
        let open = rules.gate.is_open();
        self.open.store(open, Ordering::Release);
        let barred = rules.gate.bars_probes();
        self.barred.store(barred, Ordering::Release);
        match (open, rules.shut_since) {
            (false, None) => rules.shut_since = Some(Instant::now()),
            (true, Some(since)) => {
                // Nobody could be accepted meanwhile, so that time does not count as waiting.
                rules.guard.postpone(since.elapsed(), Instant::now());
                rules.shut_since = None;
            }
            _ => {}
        }
        let of_the_gate = rules.gate.reasons().map(|(reason, _)| reason);
        rules.reasons.publish(of_the_gate);
    }
}

/// A hold that ends when this goes, for whatever reason: a partition that leaves must not leave a hold behind.
#[must_use = "the hold ends when this is dropped"]
pub(crate) struct Holding<'a> {
    passage: &'a Passage,
    reason: HoldReason,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.passage.one_less_holds(self.reason);
    }
}
