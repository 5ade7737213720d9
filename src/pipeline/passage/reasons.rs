//! What the world is told about a stream's holds: metrics, log, status page, and the age of what waits.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::delivery::age::HeldTime;
use crate::delivery::hold::HoldReason;
use crate::metrics::StreamMetrics;

use super::held_since::HeldSince;
use super::now_ms;

/// The reasons that hold one stream.
pub(super) struct Reasons {
    stream: String,
    metrics: StreamMetrics,
    /// Kafka's reasons: shown, but records that were read already may be delivered.
    shown: BTreeSet<HoldReason>,
    published: BTreeSet<HoldReason>,
    since: HashMap<HoldReason, Instant>,
    /// When there was any reason: ages stop then.
    held: HeldTime,
    /// A hold from before the start is counted until the first acceptance.
    from_before: bool,
    /// [`None`]: not read yet, or nothing is ever accepted (shadow mode), so nothing would clear it.
    held_since: Option<HeldSince>,
}

impl Reasons {
    pub(super) fn new(stream: &str, metrics: StreamMetrics) -> Self {
        Self {
            stream: stream.to_owned(),
            metrics,
            shown: BTreeSet::new(),
            published: BTreeSet::new(),
            since: HashMap::new(),
            held: HeldTime::default(),
            from_before: false,
            held_since: None,
        }
    }

    /// The state was read: what a process before this one knew of the hold.
    pub(super) fn recall(&mut self, mut held_since: HeldSince) {
        let now = now_ms();
        match held_since.kept() {
            Some(since) => {
                // Not ahead of a clock that was set back meanwhile.
                self.held.began(since.min(now));
                self.from_before = true;
            }
            None if !self.published.is_empty() => held_since.begin(now),
            None => {}
        }
        self.held_since = Some(held_since);
    }

    pub(super) fn show(&mut self, reason: HoldReason) {
        self.shown.insert(reason);
    }

    pub(super) fn show_no_longer(&mut self) {
        self.shown.clear();
    }

    /// The reasons in force and for how long.
    pub(super) fn in_force(&self) -> Vec<(HoldReason, Duration)> {
        let since = self.since.iter();
        since
            .map(|(reason, since)| (*reason, since.elapsed()))
            .collect()
    }

    /// No reason is in force.
    pub(super) fn is_free(&self) -> bool {
        self.published.is_empty()
    }

    pub(super) fn held(&self) -> &HeldTime {
        &self.held
    }

    /// A SET was accepted, and what that means for the reasons is published.
    pub(super) fn accepted(&mut self) {
        let is_free = self.is_free();
        if self.from_before {
            self.from_before = false;
            if is_free {
                self.held.end(now_ms());
            }
        }
        if is_free && let Some(held_since) = &mut self.held_since {
            held_since.clear();
        }
    }

    pub(super) fn tick(&mut self) {
        if let Some(held_since) = &mut self.held_since {
            held_since.tick(&self.stream);
        }
    }

    /// The one place where a change of the hold is counted and logged.
    pub(super) fn publish(&mut self, of_the_gate: impl Iterator<Item = HoldReason>) {
        let reasons: BTreeSet<HoldReason> = of_the_gate.chain(self.shown.iter().copied()).collect();
        if reasons == self.published {
            return;
        }
        let stream = self.stream.as_str();
        for reason in reasons.difference(&self.published) {
            self.metrics.set_held(reason.as_str(), true);
            self.metrics.holds.inc(reason.as_str());
            self.since.insert(*reason, Instant::now());
            tracing::warn!(
                stream,
                reason = reason.as_str(),
                "stream held; offsets are kept, nothing is lost"
            );
        }
        for reason in self.published.difference(&reasons) {
            self.metrics.set_held(reason.as_str(), false);
            self.since.remove(reason);
            tracing::info!(stream, reason = reason.as_str(), "hold ended");
        }
        let now = now_ms();
        if !reasons.is_empty() {
            self.held.begin(now);
            if let Some(held_since) = &mut self.held_since {
                held_since.begin(now);
            }
        } else if !self.from_before {
            self.held.end(now);
        }
        self.published = reasons;
    }
}
