//! Something of ours that fails for every SET alike (the state store, the writes of dead letters): each SET waits for it
//! by itself, but the log tells it once, not once a SET and try, and its end once. It ends when a call works and nobody
//! waits any more: who was let go meanwhile, as in a rebalance, ends nothing.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::delivery::hold::HoldReason;
use crate::telemetry::chain;

use super::passage::{Holding, Passage};

/// What may fail, and how many wait for it now.
#[derive(Debug)]
pub(super) struct Outage {
    /// [`None`]: who waits does not hold the stream.
    reason: Option<HoldReason>,
    /// For the log.
    what: &'static str,
    /// For the log: its end.
    over: &'static str,
    waiting: AtomicUsize,
    /// The log has heard of it, and not of its end.
    told: AtomicBool,
}

/// One that waits until it works again. The stream is held as long as any does, if the outage is a reason to.
#[must_use = "the hold ends when this is dropped"]
pub(super) struct Waiting<'a> {
    outage: &'a Outage,
    _holding: Option<Holding<'a>>,
}

impl Outage {
    pub(super) fn new(reason: Option<HoldReason>, what: &'static str, over: &'static str) -> Self {
        Self {
            reason,
            what,
            over,
            waiting: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// A try failed; `before` is what the failed try before it returned.
    pub(super) fn failed<'a>(
        &'a self,
        stream: &str,
        passage: &'a Passage,
        before: Option<Waiting<'a>>,
        error: &(dyn Error + 'static),
    ) -> Waiting<'a> {
        let error = chain(error);
        if self.told.swap(true, Ordering::AcqRel) {
            tracing::debug!(stream, error, "{}", self.what);
        } else {
            tracing::error!(stream, error, "{}", self.what);
        }
        before.unwrap_or_else(|| {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            Waiting {
                outage: self,
                _holding: self.reason.map(|reason| passage.holding(reason)),
            }
        })
    }

    /// A try worked; `before` is what a failed try before it returned.
    pub(super) fn worked(&self, stream: &str, before: Option<Waiting<'_>>) {
        drop(before);
        let is_told = self.told.load(Ordering::Acquire);
        if is_told
            && self.waiting.load(Ordering::Acquire) == 0
            && self.told.swap(false, Ordering::AcqRel)
        {
            tracing::info!(stream, "{}", self.over);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.outage.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::delivery::guard::{Guard, GuardSettings};
    use crate::delivery::hold::{Gate, KafkaFault};
    use crate::delivery::policy::DeliveryPolicy;
    use crate::delivery::receiver_fault::ReceiverFaultSettings;
    use crate::delivery::retry::{RetryPolicy, RetrySettings};
    use crate::metrics::Metrics;
    use crate::pipeline::stream::label_values;

    /// A passage that nothing holds.
    pub(in crate::pipeline) fn passage() -> Passage {
        let retry = RetryPolicy::new(RetrySettings::default()).expect("valid");
        let policy = DeliveryPolicy {
            retry: retry.clone(),
            receiver_fault: ReceiverFaultSettings::default(),
            max_event_age: None,
            max_attempts: None,
        };
        let metrics = Metrics::new().expect("metrics");
        let metrics = metrics.stream("s", &label_values());
        let guard = Guard::new(GuardSettings::refusals(), true);
        Passage::new("s", policy, Gate::new(retry), guard, metrics)
    }

    #[test]
    fn who_waits_holds_the_stream_only_if_there_is_a_reason() {
        let error = std::io::Error::other("no such topic");
        let held = HoldReason::Kafka(KafkaFault::DeadLetterTopic);
        for (reason, holds) in [(Some(held), 1), (None, 0)] {
            let (passage, outage) = (passage(), Outage::new(reason, "failed", "works"));
            let waiting = outage.failed("s", &passage, None, &error);
            assert_eq!(passage.holds().len(), holds);
            let waiting = outage.failed("s", &passage, Some(waiting), &error);
            assert_eq!(outage.waiting.load(Ordering::Acquire), 1);
            drop(waiting);
            assert_eq!(outage.waiting.load(Ordering::Acquire), 0);
            assert!(passage.holds().is_empty());
        }
    }

    #[test]
    fn it_is_told_until_a_call_works_and_nobody_waits() {
        let error = std::io::Error::other("no answer");
        let (passage, outage) = (passage(), Outage::new(None, "failed", "works"));
        let is_told = || outage.told.load(Ordering::Acquire);
        outage.worked("s", None);
        assert!(!is_told());
        // Two wait; all are let go: nothing is known to work.
        drop([
            outage.failed("s", &passage, None, &error),
            outage.failed("s", &passage, None, &error),
        ]);
        assert!(is_told());
        let [first, second] = [(); 2].map(|()| outage.failed("s", &passage, None, &error));
        outage.worked("s", Some(first));
        assert!(is_told(), "another still waits");
        outage.worked("s", None);
        assert!(is_told(), "another still waits");
        outage.worked("s", Some(second));
        assert!(!is_told());
    }
}
