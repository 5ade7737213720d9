//! What follows from one attempt: [`DeliveryPolicy::next`], a pure function (STYLE rule 4).
//!
//! For attempts through an open gate. The answer to a probe of a held stream goes to
//! [`super::hold::Gate::probed`] first, which knows what it means for the hold.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::advice::Advice;
use super::hold::HoldReason;
use super::receiver_fault::{Acceptances, FaultTally, ReceiverFaultSettings};
use super::retry::RetryPolicy;
use super::verdict::{Refusal, Verdict};

/// What to do with a SET after one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Delivered: remember, settle, tell the guard and the [`Acceptances`].
    Accepted,
    /// Wait, then push the same bytes again.
    After(Duration),
    /// Dead letter, reason `receiver_error`.
    ReceiverError,
    /// Dead letter, reason `max_attempts`.
    MaxAttempts,
    /// Ask the refusal guard.
    Guard(Refusal),
    /// Hold the stream; the SET waits at the gate.
    Hold(HoldReason),
}

/// Everything that decides about the next attempt; a value without state.
#[derive(Debug, Clone)]
pub struct DeliveryPolicy {
    /// Waits between attempts.
    pub retry: RetryPolicy,
    /// When 5xx is the record's fault.
    pub receiver_fault: ReceiverFaultSettings,
    /// Older than this, holds not counted, a SET is not sent any more; [`None`]: whatever its age.
    pub max_event_age: Option<Duration>,
    /// So many attempts that failed by the moment's fault while the stream flowed are enough; [`None`]: none are.
    pub max_attempts: Option<NonZeroU32>,
}

/// The history of one SET's attempts; goes with the SET.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempts {
    /// All attempts so far.
    pub count: u32,
    /// Moment's faults in a row, for the backoff: a hold in between starts it anew.
    failed: u32,
    /// Moment's faults in all, but those of a held stream.
    counted: u32,
    tally: FaultTally,
}

impl DeliveryPolicy {
    /// Notes one attempt in `attempts` and says what follows. `own` is the SET's subject, `held` whether the stream is
    /// held, `uniform` a random number in `[0, 1)`.
    #[allow(clippy::too_many_arguments)] // each is one independent input of a pure rule
    pub fn next<K: Eq + Clone>(
        &self,
        attempts: &mut Attempts,
        verdict: Verdict,
        advice: Option<Advice>,
        own: &K,
        acceptances: &Acceptances<K>,
        held: bool,
        now: Instant,
        uniform: f64,
    ) -> Step {
        attempts.count = attempts.count.saturating_add(1);
        let fault = match verdict {
            Verdict::Accepted => return Step::Accepted,
            Verdict::Refused(refusal) => return Step::Guard(refusal),
            Verdict::SetUp(fault) => {
                attempts.failed = 0;
                return Step::Hold(HoldReason::SetUp(fault));
            }
            Verdict::Moment(fault) => fault,
        };
        attempts.failed = attempts.failed.saturating_add(1);
        if attempts
            .tally
            .failed(fault, own, acceptances, &self.receiver_fault, now)
        {
            return Step::ReceiverError;
        }
        attempts.counted = attempts.counted.saturating_add(u32::from(!held));
        if !held
            && self
                .max_attempts
                .is_some_and(|max| attempts.counted >= max.get())
        {
            return Step::MaxAttempts;
        }
        Step::After(self.retry.delay(attempts.failed, advice, uniform))
    }
}

#[cfg(test)]
mod tests {
    use super::super::advice::AdviceSource;
    use super::super::retry::RetrySettings;
    use super::super::verdict::{MomentFault, SetUpFault};
    use super::*;

    fn policy() -> DeliveryPolicy {
        DeliveryPolicy {
            retry: RetryPolicy::new(RetrySettings::default()).expect("valid"),
            receiver_fault: ReceiverFaultSettings::default(),
            max_event_age: None,
            max_attempts: None,
        }
    }

    fn step(attempts: &mut Attempts, verdict: Verdict, advice: Option<Advice>) -> Step {
        let policy = policy();
        let none = Acceptances::new(&policy.receiver_fault);
        policy.next(
            attempts,
            verdict,
            advice,
            &0u32,
            &none,
            false,
            Instant::now(),
            1.0,
        )
    }

    #[test]
    fn each_verdict_has_its_step() {
        let mut attempts = Attempts::default();
        assert_eq!(step(&mut attempts, Verdict::Accepted, None), Step::Accepted);
        let refusal = Refusal::InvalidRequest;
        assert_eq!(
            step(&mut attempts, Verdict::Refused(refusal), None),
            Step::Guard(refusal)
        );
        let fault = SetUpFault::InvalidKey;
        assert_eq!(
            step(&mut attempts, Verdict::SetUp(fault), None),
            Step::Hold(HoldReason::SetUp(fault))
        );
        assert_eq!(attempts.count, 3);
    }

    #[test]
    fn moments_back_off_and_a_hold_starts_anew() {
        let mut attempts = Attempts::default();
        let timeout = Verdict::Moment(MomentFault::Timeout);
        for wait in [200, 400, 800] {
            assert_eq!(
                step(&mut attempts, timeout, None),
                Step::After(Duration::from_millis(wait))
            );
        }
        step(&mut attempts, Verdict::SetUp(SetUpFault::Gone), None);
        assert_eq!(
            step(&mut attempts, timeout, None),
            Step::After(Duration::from_millis(200))
        );
        let advice = Advice {
            wait: Duration::from_secs(9),
            source: AdviceSource::RetryAfter,
        };
        assert_eq!(
            step(&mut attempts, timeout, Some(advice)),
            Step::After(Duration::from_millis(9200))
        );
    }

    #[test]
    fn a_receiver_that_only_ever_fails_never_gives_up() {
        let policy = policy();
        let none = Acceptances::new(&policy.receiver_fault);
        let mut attempts = Attempts::default();
        let mut now = Instant::now();
        for _ in 0..10_000 {
            now += Duration::from_secs(30);
            let verdict = Verdict::Moment(MomentFault::Server(500));
            let step = policy.next(&mut attempts, verdict, None, &0u32, &none, false, now, 0.5);
            assert!(matches!(step, Step::After(_)));
        }
    }

    #[test]
    fn enough_attempts_are_enough_but_those_of_a_held_stream() {
        let policy = DeliveryPolicy {
            max_attempts: NonZeroU32::new(3),
            ..policy()
        };
        let none = Acceptances::new(&policy.receiver_fault);
        let now = Instant::now();
        let mut attempts = Attempts::default();
        let mut next =
            |verdict, held| policy.next(&mut attempts, verdict, None, &0u32, &none, held, now, 0.5);
        let moment = Verdict::Moment(MomentFault::TooManyRequests);
        let mut goes_on = |verdict, held| {
            let step = next(verdict, held);
            assert!(!matches!(step, Step::MaxAttempts), "{verdict:?} {held}");
        };
        goes_on(moment, false);
        (0..10).for_each(|_| goes_on(moment, true));
        goes_on(Verdict::SetUp(SetUpFault::Gone), false);
        goes_on(moment, false);
        goes_on(moment, true);
        assert_eq!(next(moment, false), Step::MaxAttempts);
    }
}
