//! Since when a stream is held, kept in the state: a restart during a hold must not make old what waited for its end.
//!
//! The moment is written when a hold begins and none is kept, and cleared by the first acceptance while nothing holds
//! the stream: until then nobody knows that the hold's cause is gone. Only ages hang on it, so a failed write holds
//! nothing; the state itself writes it as soon as it can.

use futures_util::FutureExt as _;

use crate::state::{Flushed, StateError, StreamState};

/// What the state knows of the present hold.
pub(crate) struct HeldSince {
    state: StreamState,
    /// In ms since 1970; what the state was told last.
    kept: Option<i64>,
    writing: Option<Flushed>,
    /// The last write failed, and the log has heard of it.
    failed: bool,
}

impl HeldSince {
    /// Reads what a process before this one left.
    pub(crate) async fn read(state: StreamState) -> Result<Self, StateError> {
        let kept = state.held_since().await?;
        Ok(Self {
            state,
            kept,
            writing: None,
            failed: false,
        })
    }

    pub(super) fn kept(&self) -> Option<i64> {
        self.kept
    }

    pub(super) fn begin(&mut self, now_ms: i64) {
        if self.kept.is_none() {
            self.keep(Some(now_ms));
        }
    }

    pub(super) fn clear(&mut self) {
        if self.kept.is_some() {
            self.keep(None);
        }
    }

    /// The write is on its way when this returns; how it ended is asked by [`Self::tick`].
    fn keep(&mut self, since_ms: Option<i64>) {
        self.kept = since_ms;
        self.writing = Some(self.state.set_held_since(since_ms));
    }

    /// Looks whether the last write failed.
    pub(super) fn tick(&mut self, stream: &str) {
        let Some(writing) = &mut self.writing else {
            return;
        };
        // Asked again at the next tick, so nobody needs to be woken.
        let Some(written) = writing.now_or_never() else {
            return;
        };
        self.writing = None;
        if let Err(error) = &written
            && !self.failed
        {
            tracing::warn!(
                stream,
                error = crate::telemetry::chain(error),
                "since when the stream is held was not written; a restart now may count held time as age"
            );
        }
        self.failed = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::reasons::Reasons;
    use super::*;
    use crate::clock::epoch_ms;
    use crate::delivery::hold::{HoldReason, KafkaFault};
    use crate::metrics::Metrics;
    use crate::pipeline::stream::label_values;
    use crate::state::{StateSettings, StateStore, system_clock};

    const HOLD: HoldReason = HoldReason::StateStore;
    const HOUR: i64 = 3_600_000;

    fn state() -> StreamState {
        let settings = StateSettings::Memory {
            max_entries: 10,
            window: Duration::from_secs(60),
        };
        let store = StateStore::open(&settings, system_clock()).expect("opens");
        store.stream("s")
    }

    /// What a process that starts now knows of the stream's holds.
    async fn started(state: &StreamState) -> Reasons {
        let metrics = Metrics::new().expect("metrics");
        let held_since = HeldSince::read(state.clone()).await.expect("read");
        let metrics = metrics.stream("s", &label_values());
        let mut reasons = Reasons::new("s", metrics);
        reasons.recall(held_since);
        reasons
    }

    async fn kept(state: &StreamState) -> Option<i64> {
        state.held_since().await.expect("read")
    }

    #[tokio::test]
    async fn the_beginning_is_kept_until_an_acceptance_while_nothing_holds() {
        let state = state();
        let mut reasons = started(&state).await;
        reasons.accepted();
        assert_eq!(kept(&state).await, None);
        let before = epoch_ms();
        reasons.publish([HOLD].into_iter());
        let since = kept(&state).await.expect("kept");
        assert!((before..=epoch_ms()).contains(&since), "{since}");
        // Accepted while another reason holds: the cause may be there still.
        reasons.accepted();
        assert_eq!(kept(&state).await, Some(since));
        reasons.publish([].into_iter());
        assert_eq!(kept(&state).await, Some(since), "no proof yet");
        // The older one stays.
        state.set_held_since(Some(7)).await.expect("written");
        reasons.publish([HOLD].into_iter());
        assert_eq!(kept(&state).await, Some(7));
        reasons.publish([].into_iter());
        reasons.accepted();
        assert_eq!(kept(&state).await, None);
    }

    #[tokio::test]
    async fn a_hold_from_before_the_start_goes_on_until_the_first_acceptance() {
        let state = state();
        let start = epoch_ms();
        let friday = start - 60 * HOUR;
        state.set_held_since(Some(friday)).await.expect("written");
        let mut reasons = started(&state).await;
        let held = |reasons: &Reasons| reasons.held().within(0, start + 100 * HOUR) / HOUR;
        assert_eq!(held(&reasons), 160, "until now, whenever that is");
        // A hold of this process neither ends it nor counts twice.
        reasons.publish([HOLD].into_iter());
        assert_eq!(held(&reasons), 160);
        reasons.publish([].into_iter());
        assert_eq!(held(&reasons), 160);
        reasons.accepted();
        assert_eq!(held(&reasons), 60, "it is over");
        assert_eq!(kept(&state).await, None);
        reasons.accepted();
        assert_eq!(held(&reasons), 60);
        assert_eq!(started(&state).await.held().within(0, i64::MAX), 0);
    }

    #[tokio::test]
    async fn a_reason_of_kafka_outlives_the_hold_from_before() {
        let state = state();
        let start = epoch_ms();
        let friday = start - 60 * HOUR;
        state.set_held_since(Some(friday)).await.expect("written");
        let mut reasons = started(&state).await;
        reasons.show(HoldReason::Kafka(KafkaFault::Acl));
        reasons.publish([].into_iter());
        reasons.accepted();
        let held = |reasons: &Reasons| reasons.held().within(0, start + 100 * HOUR) / HOUR;
        assert_eq!(held(&reasons), 160, "held still");
        assert_eq!(kept(&state).await, Some(friday));
        reasons.show_no_longer();
        reasons.publish([].into_iter());
        assert_eq!(held(&reasons), 60);
        assert_eq!(kept(&state).await, Some(friday), "nothing accepted since");
        reasons.accepted();
        assert_eq!(kept(&state).await, None);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_does_not_stop_the_count() {
        let state = state();
        let start = epoch_ms();
        let later = start + 60 * HOUR;
        state.set_held_since(Some(later)).await.expect("written");
        let reasons = started(&state).await;
        let held = reasons.held().within(0, start + 100 * HOUR);
        assert!(held > 99 * HOUR, "{held}");
    }

    #[tokio::test]
    async fn a_failed_write_is_noticed_and_holds_nothing() {
        let directory = tempfile::tempdir().expect("tempdir");
        let settings = StateSettings::Sqlite {
            path: directory.path().join("state.db"),
            window: Duration::from_secs(60),
        };
        let store = StateStore::open(&settings, system_clock()).expect("opens");
        let mut held_since = HeldSince::read(store.stream("s")).await.expect("read");
        let written = |held_since: &mut HeldSince| {
            while held_since.writing.is_some() {
                held_since.tick("s");
                std::thread::yield_now();
            }
            !held_since.failed
        };
        held_since.begin(7);
        assert!(written(&mut held_since));
        store.close().await.expect("closes");
        held_since.clear();
        assert!(!written(&mut held_since), "the state is closed");
        assert_eq!(held_since.kept(), None, "it goes on as if it were written");
    }
}
