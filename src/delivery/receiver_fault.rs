//! `receiver_error`: when a SET that a receiver keeps answering with 5xx is the record's fault after all.
//!
//! DESIGN "one SET keeps failing with 5xx while others succeed": ≥ 20 attempts answered with 5xx, ≥ 15 min,
//! and ≥ 20 *other* subjects accepted since. So one payload that trips a receiver's bug cannot stop a
//! stream, and a receiver that is down never dead-letters anything: nobody else is accepted then.
//!
//! Only 5xx answers count. Attempts that ended otherwise (connect, TLS, time-out, reset, 408, 425, 429)
//! are passed over: they neither count nor reset, because they say nothing about the payload. The clock
//! and the count of others start at the first 5xx, so a long outage before it cannot fill the 15 minutes.
//!
//! Pure. Memory per stream: one ring of `min_others + 1` subjects; per SET: one [`FaultTally`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::verdict::MomentFault;

/// Thresholds of the rule; all must be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverFaultSettings {
    /// Off: a SET that gets 5xx is tried for ever (or until its `max_event_age`).
    pub enabled: bool,
    /// Attempts answered with 5xx.
    pub min_attempts: u32,
    /// Time since the first of them.
    pub min_age: Duration,
    /// Other subjects of the stream accepted since the first of them.
    pub min_others: usize,
}

impl Default for ReceiverFaultSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            min_attempts: 20,
            min_age: Duration::from_secs(15 * 60),
            min_others: 20,
        }
    }
}

/// The stream's latest acceptances: the last `min_others + 1` *distinct* subjects, each with the number of
/// its latest acceptance. The one more is room for the failing SET's own subject, which never counts.
#[derive(Debug, Clone)]
pub struct Acceptances<K> {
    /// Oldest first; subjects are distinct.
    ring: VecDeque<(K, u64)>,
    capacity: usize,
    /// Number of the latest acceptance; 0 = none yet.
    count: u64,
}

impl<K: Eq + Clone> Acceptances<K> {
    /// An empty memory for a rule with these settings.
    #[must_use]
    pub fn new(settings: &ReceiverFaultSettings) -> Self {
        Self {
            ring: VecDeque::new(),
            capacity: settings.min_others.saturating_add(1),
            count: 0,
        }
    }

    /// A SET about `subject` was accepted.
    pub fn accepted(&mut self, subject: &K) {
        self.count += 1;
        if let Some(at) = self.ring.iter().position(|(known, _)| known == subject) {
            self.ring.remove(at);
        } else if self.ring.len() == self.capacity {
            self.ring.pop_front();
        }
        self.ring.push_back((subject.clone(), self.count));
    }

    /// Distinct subjects other than `own` accepted after acceptance number `since`, up to the capacity.
    fn others_since(&self, since: u64, own: &K) -> usize {
        self.ring
            .iter()
            .rev()
            .take_while(|(_, number)| *number > since)
            .filter(|(key, _)| key != own)
            .count()
    }
}

/// The 5xx history of one SET. Goes with the SET; dropped with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultTally {
    first: Option<FirstFault>,
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FirstFault {
    at: Instant,
    acceptances_before: u64,
}

impl FaultTally {
    /// Notes a failed attempt and says whether the rule now holds: true = dead letter `receiver_error`.
    pub fn failed<K: Eq + Clone>(
        &mut self,
        fault: MomentFault,
        own: &K,
        acceptances: &Acceptances<K>,
        settings: &ReceiverFaultSettings,
        now: Instant,
    ) -> bool {
        if !matches!(fault, MomentFault::Server(_)) {
            return false;
        }
        self.attempts = self.attempts.saturating_add(1);
        let first = *self.first.get_or_insert(FirstFault {
            at: now,
            acceptances_before: acceptances.count,
        });
        settings.enabled
            && self.attempts >= settings.min_attempts
            && now.saturating_duration_since(first.at) >= settings.min_age
            && acceptances.others_since(first.acceptances_before, own) >= settings.min_others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 0;

    struct Case {
        settings: ReceiverFaultSettings,
        acceptances: Acceptances<u32>,
        tally: FaultTally,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            let settings = ReceiverFaultSettings::default();
            Self {
                settings,
                acceptances: Acceptances::new(&settings),
                tally: FaultTally::default(),
                now: Instant::now(),
            }
        }

        fn fail(&mut self, fault: MomentFault) -> bool {
            self.tally
                .failed(fault, &OWN, &self.acceptances, &self.settings, self.now)
        }

        fn fail_times(&mut self, n: u32) {
            for _ in 0..n {
                assert!(!self.fail(MomentFault::Server(500)));
            }
        }

        fn accept_others(&mut self, n: u32) {
            for subject in 1..=n {
                self.acceptances.accepted(&subject);
            }
        }

        fn minutes(&mut self, n: u64) {
            self.now += Duration::from_secs(60 * n);
        }
    }

    #[test]
    fn all_three_together_make_it_the_records_fault() {
        let mut case = Case::new();
        case.fail_times(19);
        case.accept_others(20);
        case.minutes(15);
        assert!(case.fail(MomentFault::Server(500)));
    }

    #[test]
    fn each_alone_is_missing() {
        let mut too_few_attempts = Case::new();
        too_few_attempts.fail_times(18);
        too_few_attempts.accept_others(20);
        too_few_attempts.minutes(15);
        assert!(!too_few_attempts.fail(MomentFault::Server(503)));

        let mut too_early = Case::new();
        too_early.fail_times(19);
        too_early.accept_others(20);
        too_early.minutes(14);
        assert!(!too_early.fail(MomentFault::Server(503)));

        let mut too_few_others = Case::new();
        too_few_others.fail_times(19);
        too_few_others.accept_others(19);
        too_few_others.minutes(60);
        assert!(!too_few_others.fail(MomentFault::Server(503)));

        let mut off = Case::new();
        off.settings.enabled = false;
        off.fail_times(100);
        off.accept_others(20);
        off.minutes(60);
        assert!(!off.fail(MomentFault::Server(503)));
    }

    #[test]
    fn only_5xx_counts_and_nothing_resets() {
        let others = [
            MomentFault::Connect,
            MomentFault::Tls,
            MomentFault::Timeout,
            MomentFault::Reset,
            MomentFault::Unparsable,
            MomentFault::RequestTimeout,
            MomentFault::TooEarly,
            MomentFault::TooManyRequests,
            MomentFault::TokenEndpoint,
        ];
        let mut case = Case::new();
        for fault in others {
            for _ in 0..30 {
                assert!(!case.fail(fault));
            }
        }
        case.minutes(60);
        case.fail_times(19);
        case.accept_others(20);
        assert!(
            !case.fail(MomentFault::Server(500)),
            "the clock starts at the first 5xx"
        );
        case.minutes(15);
        for fault in others {
            assert!(!case.fail(fault));
        }
        assert!(
            case.fail(MomentFault::Server(500)),
            "the others did not reset the count"
        );
    }

    #[test]
    fn the_own_subject_and_repeats_do_not_count_as_others() {
        let mut case = Case::new();
        case.fail_times(19);
        for _ in 0..100 {
            case.acceptances.accepted(&OWN);
            case.acceptances.accepted(&1);
        }
        case.minutes(60);
        assert!(!case.fail(MomentFault::Server(500)));
        case.accept_others(20);
        assert!(case.fail(MomentFault::Server(500)));
    }

    #[test]
    fn acceptances_from_before_do_not_count() {
        let mut case = Case::new();
        case.accept_others(20);
        case.fail_times(19);
        case.minutes(60);
        assert!(!case.fail(MomentFault::Server(500)));
    }

    #[test]
    fn memory_stays_at_one_ring() {
        let mut case = Case::new();
        case.accept_others(10_000);
        assert_eq!(case.acceptances.ring.len(), 21);
    }
}
