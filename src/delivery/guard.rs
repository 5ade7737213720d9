//! The refusal guard and the mapping guard: does a fault lie in the record, or in the set-up?
//!
//! DESIGN "many refusals in a row" and "decoding, mapping, schema look-up fail in a row". A wrong key or a
//! typo in a mapping at 3 a.m. must not empty the topic into the dead letters (P5), so a fault *waits*
//! until somebody else's success shows that the set-up is good. Pure, generic over the key (a subject, a
//! record key) and the token (whatever names the SET or element that waits).
//!
//! | state | event | next state | effect |
//! |---|---|---|---|
//! | any, `enabled: false` | fault | same | `Release`: dead-letter at once |
//! | unproven (refusal guard) | fault | held | waits, `Hold` |
//! | proven | suspicious fault | held | waits, `Hold` |
//! | proven | fault, row below both limits | proven | waits, `Wait` |
//! | proven | fault, row at both limits | held | waits, `Hold` |
//! | held | fault | held | waits, `Hold` |
//! | proven | acceptance of key *k* | proven, row empty | all that wait under other keys are released |
//! | unproven, held | acceptance of key *k* | proven, row empty | the same; the caller pushes a SET that was refused under suspicion once more before it is a dead letter |
//! | proven | 30 s pass for one that waits | proven, row kept | it is released, and goes on counting |
//! | held | time passes | held | nothing |
//!
//! A fault is *suspicious* when it may as well be the set-up's: a 400 without a readable body, and a
//! probe of a held stream refused for anything that does not prove the set-up good. The *row* is the
//! faults since the last acceptance: their number, and their distinct keys. It has reached its limits
//! when there are `max_faults` faults from `min_keys` keys. Faults of one key alone never hold a
//! stream; at most `max_faults` wait outside a hold, then the oldest is released.
//! What waits in a hold is bounded by the stream's own limits: each is a SET that is unsettled anyway.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::hold::HoldReason;

/// Limits of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSettings {
    /// False: `guard: off`, every fault is the record's.
    pub enabled: bool,
    /// The longest that a fault waits for somebody else's acceptance.
    pub max_wait: Duration,
    /// Faults in a row that hold the stream…
    pub max_faults: usize,
    /// …when they come from this many distinct keys.
    pub min_keys: usize,
    /// Before the first acceptance every fault counts as set-up.
    pub strict_until_accepted: bool,
    /// What the hold is called.
    pub reason: HoldReason,
}

impl GuardSettings {
    /// The refusal guard: 10 subjects in a row.
    #[must_use]
    pub fn refusals() -> Self {
        Self {
            enabled: true,
            max_wait: Duration::from_secs(30),
            max_faults: 10,
            min_keys: 10,
            strict_until_accepted: true,
            reason: HoldReason::Refusals,
        }
    }

    /// The mapping guard: 100 record faults in a row from 10 keys.
    #[must_use]
    pub fn mapping() -> Self {
        Self {
            enabled: true,
            max_wait: Duration::from_secs(30),
            max_faults: 100,
            min_keys: 10,
            strict_until_accepted: false,
            reason: HoldReason::MappingSuspect,
        }
    }
}

/// What is to be done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It waits, unsettled; the guard releases it later.
    Wait,
    /// It waits, unsettled, and the stream is to be held.
    Hold(HoldReason),
    /// The guard is off: dead-letter it now.
    Release,
}

#[derive(Debug)]
struct Waiting<K, T> {
    token: T,
    key: K,
    since: Instant,
}

/// One guard; one per stream and kind. See the table at the top.
#[derive(Debug)]
pub struct Guard<K, T> {
    settings: GuardSettings,
    /// An acceptance was seen under the present configuration.
    proven: bool,
    held: bool,
    /// Oldest first.
    waiting: VecDeque<Waiting<K, T>>,
    row_faults: usize,
    /// At most `min_keys` are kept.
    row_keys: HashSet<K>,
}

impl<K: Eq + Hash + Clone, T: Eq + Clone> Guard<K, T> {
    /// `proven`: the state remembers an acceptance under the present configuration.
    #[must_use]
    pub fn new(settings: GuardSettings, proven: bool) -> Self {
        Self {
            settings,
            proven: proven || !settings.strict_until_accepted,
            held: false,
            waiting: VecDeque::new(),
            row_faults: 0,
            row_keys: HashSet::new(),
        }
    }

    /// The state remembers an acceptance under the present configuration after all.
    pub fn prove(&mut self) {
        self.proven = true;
    }

    /// The one named by `token` (unique) under `key` is at fault. `suspicious`: see the table. May be
    /// called again for a token that waits already (a probe that was refused again): it counts once.
    /// Tokens pushed out of the waiting row are added to `released`.
    pub fn refused(
        &mut self,
        token: T,
        key: &K,
        suspicious: bool,
        now: Instant,
        released: &mut Vec<T>,
    ) -> Ruling {
        if !self.settings.enabled {
            return Ruling::Release;
        }
        if !self.waiting.iter().any(|w| w.token == token) {
            self.waiting.push_back(Waiting {
                token,
                key: key.clone(),
                since: now,
            });
            self.row_faults = self.row_faults.saturating_add(1);
            if self.row_keys.len() < self.settings.min_keys {
                self.row_keys.insert(key.clone());
            }
        }
        let row_full = self.row_faults >= self.settings.max_faults
            && self.row_keys.len() >= self.settings.min_keys;
        if self.held || !self.proven || suspicious || row_full {
            self.held = true;
            return Ruling::Hold(self.settings.reason);
        }
        while self.waiting.len() > self.settings.max_faults {
            released.extend(self.waiting.pop_front().map(|w| w.token));
        }
        Ruling::Wait
    }

    /// The one named by `token` under `key` was accepted (by the receiver, or by the mapping). Returns the
    /// tokens that are hereby shown to be at fault themselves: dead-letter them.
    pub fn accepted(&mut self, token: &T, key: &K) -> Vec<T> {
        self.proven = true;
        self.held = false;
        self.row_faults = 0;
        self.row_keys.clear();
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.withdraw(token);
        let (same_key, others) = self.waiting.drain(..).partition(|w| &w.key == key);
        self.waiting = same_key;
        let others: VecDeque<Waiting<K, T>> = others;
        others.into_iter().map(|w| w.token).collect()
    }

    /// Those that have waited for `max_wait`: dead-letter them. Empty while held.
    pub fn due(&mut self, now: Instant) -> Vec<T> {
        let mut released = Vec::new();
        while self.next_due().is_some_and(|at| at <= now) {
            released.extend(self.waiting.pop_front().map(|w| w.token));
        }
        released
    }

    /// When [`Guard::due`] has something next; `None` while held or when nothing waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        if self.held {
            return None;
        }
        // `since` never decreases along the queue: it is the caller's monotonic clock.
        self.waiting
            .front()
            .map(|w| w.since + self.settings.max_wait)
    }

    /// The stream was held for another reason for `by`: nobody could be accepted meanwhile, so that time
    /// does not count as waiting.
    pub fn postpone(&mut self, by: Duration, now: Instant) {
        for waiting in &mut self.waiting {
            // One that began to wait during the hold has waited for less than all of it.
            waiting.since = (waiting.since + by).min(now);
        }
    }

    /// Forgets one that is no longer ours (its partition was revoked, an operator skipped it).
    pub fn withdraw(&mut self, token: &T) {
        self.waiting.retain(|w| &w.token != token);
    }

    /// True while this one waits here.
    pub fn keeps(&self, token: &T) -> bool {
        self.waiting.iter().any(|w| &w.token == token)
    }

    /// True while the guard's verdict is a hold.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
