//! Waiting for one's turn: the thin async shell around [`Pacing`], shared by all streams to one origin.
//!
//! First come, first served: the one at the front sleeps, all others queue behind it. Dropping a wait
//! gives up the place and takes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::advice::{Advice, RateHeaders};
use super::pacing::{Pacing, PacingSettings};
use super::target::TargetOrigin;

/// The pace of one origin.
#[derive(Debug)]
pub struct Pacer {
    /// Held by whoever is next; tokio's mutex is fair.
    turn: tokio::sync::Mutex<()>,
    pacing: Mutex<Pacing>,
}

impl Pacer {
    /// A pacer with a full bucket.
    #[must_use]
    pub fn new(settings: PacingSettings) -> Self {
        let pacing = Pacing::new(settings, Instant::now().into_std());
        Self {
            turn: tokio::sync::Mutex::new(()),
            pacing: Mutex::new(pacing),
        }
    }

    /// Waits until one request may leave. Cancel-safe.
    pub async fn turn(&self) {
        let _front = self.turn.lock().await;
        loop {
            let taken = self.pacing().take(Instant::now().into_std());
            match taken {
                Ok(()) => return,
                // Asks again afterwards: an answer may have paused the origin meanwhile.
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Learns from an answer; see [`Pacing::learn`].
    pub fn learn(&self, rate: &RateHeaders, advice: Option<Advice>, throttled: bool) {
        self.pacing()
            .learn(rate, advice, throttled, Instant::now().into_std());
    }

    /// Until when the receiver wants nothing; for the status page.
    #[must_use]
    pub fn paused_until(&self) -> Option<std::time::Instant> {
        self.pacing()
            .paused_until()
            .filter(|until| *until > Instant::now().into_std())
    }

    fn pacing(&self) -> MutexGuard<'_, Pacing> {
        // A panic inside the pure bucket leaves numbers, not a broken invariant.
        self.pacing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pacers of this process, one per origin.
#[derive(Debug, Default)]
pub struct Pacers {
    by_origin: Mutex<HashMap<TargetOrigin, Arc<Pacer>>>,
}

impl Pacers {
    /// The pacer of `origin`. Where several streams name different rates for one origin, the lowest rules:
    /// a rate is the total for the origin (DESIGN §5).
    #[must_use]
    pub fn for_origin(&self, origin: TargetOrigin, settings: PacingSettings) -> Arc<Pacer> {
        let mut known = self
            .by_origin
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pacer = known
            .entry(origin)
            .or_insert_with(|| Arc::new(Pacer::new(settings)));
        pacer.pacing().tighten(settings);
        Arc::clone(pacer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::advice::AdviceSource;
    use super::*;

    fn slow() -> PacingSettings {
        PacingSettings {
            rate: Some(50.0),
            burst: 1,
        }
    }

    fn origin(url: &str) -> TargetOrigin {
        super::super::target::TargetUrl::parse(url, false)
            .expect("valid")
            .origin()
    }

    #[tokio::test]
    async fn turns_come_at_the_rate() {
        let pacer = Pacer::new(slow());
        let start = Instant::now();
        for _ in 0..4 {
            pacer.turn().await;
        }
        assert!(
            start.elapsed() >= Duration::from_millis(59),
            "3 waits of 20 ms: {:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn an_abandoned_wait_takes_nothing() {
        let pacer = Arc::new(Pacer::new(PacingSettings::default()));
        let advice = Advice {
            wait: Duration::from_secs(3600),
            source: AdviceSource::RetryAfter,
        };
        pacer.learn(&RateHeaders::default(), Some(advice), true);
        assert!(pacer.paused_until().is_some());
        let waits = Arc::clone(&pacer);
        let waiting = tokio::spawn(async move { waits.turn().await });
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        assert!(pacer.turn.try_lock().is_ok(), "the front is free again");
    }

    #[test]
    fn streams_to_one_origin_share_a_pacer() {
        let pacers = Pacers::default();
        let a = pacers.for_origin(origin("https://h.example/a"), PacingSettings::default());
        let b = pacers.for_origin(origin("https://H.example:443/b?x"), slow());
        let c = pacers.for_origin(origin("https://h.example:8443/a"), slow());
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &c));
        assert!(a.pacing().take(std::time::Instant::now()).is_ok());
        assert!(
            a.pacing().take(std::time::Instant::now()).is_err(),
            "the lower rate rules"
        );
    }
}
