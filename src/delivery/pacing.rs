//! When the next request to an origin may leave: a token bucket, tightened by the receiver's headers.
//!
//! Pure: `now` is passed, a wait is returned; `pacer` does the waiting. One bucket per origin (scheme,
//! host, port), whatever streams share it (DESIGN §5). Every pause is capped by what `advice` capped.

use std::time::{Duration, Instant};

use super::advice::{Advice, RateHeaders};

/// Two resets that differ by less belong to the same window: they are whole seconds, seen through jitter.
const SAME_WINDOW: Duration = Duration::from_millis(1500);

/// Limits of one origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PacingSettings {
    /// Requests per second in all, > 0; `None` = as fast as the receiver's headers let us.
    pub rate: Option<f64>,
    /// Requests that may leave at once after a quiet time, ≥ 1.
    pub burst: u32,
}

impl Default for PacingSettings {
    fn default() -> Self {
        Self {
            rate: None,
            burst: 1,
        }
    }
}

/// What the receiver told about its present window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    remaining: u64,
    until: Instant,
}

/// The bucket of one origin.
#[derive(Debug, Clone)]
pub struct Pacing {
    /// Seconds between requests in the long run; `None` = unlimited.
    interval: Option<f64>,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
    paused_until: Option<Instant>,
    window: Option<Window>,
}

impl Pacing {
    /// A full bucket. A rate that is not a positive number counts as unlimited: the configuration has
    /// refused it before.
    #[must_use]
    pub fn new(settings: PacingSettings, now: Instant) -> Self {
        let burst = f64::from(settings.burst.max(1));
        let interval = settings
            .rate
            .filter(|r| r.is_finite() && *r > 0.0)
            .map(|rate| 1.0 / rate);
        Self {
            interval,
            burst,
            tokens: burst,
            filled_at: now,
            paused_until: None,
            window: None,
        }
    }

    /// Takes the right to send one request.
    ///
    /// # Errors
    /// The least time after which it is worth asking again, > 0.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.forget_the_past(now);
        if let Some(until) = self.paused_until {
            return Err(until - now);
        }
        if let Some(Window {
            remaining: 0,
            until,
        }) = self.window
        {
            return Err(until - now);
        }
        if let Some(interval) = self.interval {
            let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() / interval;
            self.tokens = (self.tokens + gained).min(self.burst);
            self.filled_at = self.filled_at.max(now);
            if self.tokens < 1.0 {
                let wait = Duration::try_from_secs_f64((1.0 - self.tokens) * interval);
                // Up by a nanosecond, so that rounding never asks for a wait of 0.
                return Err(wait.unwrap_or(Duration::from_secs(1)) + Duration::from_nanos(1));
            }
            self.tokens -= 1.0;
        }
        if let Some(window) = &mut self.window {
            window.remaining = window.remaining.saturating_sub(1);
        }
        Ok(())
    }

    /// Learns from an answer. `throttled`: it was a 429 (only then does `advice` stop the whole origin; a
    /// 503 for one SET says nothing about the next).
    pub fn learn(
        &mut self,
        rate: &RateHeaders,
        advice: Option<Advice>,
        throttled: bool,
        now: Instant,
    ) {
        self.forget_the_past(now);
        if let (true, Some(advice)) = (throttled, advice) {
            let until = now + advice.wait;
            self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
        }
        let (Some(remaining), Some(reset)) = (rate.remaining, rate.reset) else {
            return;
        };
        if rate.is_concurrency_hint() {
            return;
        }
        let until = now + reset;
        self.window = Some(match self.window {
            // An answer of the last window that arrives late.
            Some(known) if until + SAME_WINDOW < known.until => known,
            // Answers overtake one another, and requests on the wire are not in the header yet: the
            // smaller number is right.
            Some(known) if until < known.until + SAME_WINDOW => Window {
                remaining: known.remaining.min(remaining),
                until: known.until,
            },
            _ => Window { remaining, until },
        });
    }

    /// Until when nothing leaves, if the receiver said so; for the status page.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        let used_up = self.window.filter(|w| w.remaining == 0).map(|w| w.until);
        self.paused_until.max(used_up)
    }

    /// Tightens the rate to the lower of the two: streams that share an origin share its bucket.
    pub fn tighten(&mut self, settings: PacingSettings) {
        let other = Self::new(settings, self.filled_at);
        self.interval = match (self.interval, other.interval) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.burst = self.burst.min(other.burst);
        self.tokens = self.tokens.min(self.burst);
    }

    fn forget_the_past(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| *until > now);
        self.window = self.window.filter(|window| window.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::advice::AdviceSource;
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn headers(limit: u64, remaining: u64, reset: u64) -> RateHeaders {
        RateHeaders {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(reset)),
        }
    }

    fn advice(secs: u64) -> Option<Advice> {
        Some(Advice {
            wait: Duration::from_secs(secs),
            source: AdviceSource::RetryAfter,
        })
    }

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut pacing = Pacing::new(
            PacingSettings {
                rate: Some(10.0),
                burst: 3,
            },
            start,
        );
        for _ in 0..3 {
            assert_eq!(pacing.take(start), Ok(()));
        }
        let wait = pacing.take(start).expect_err("the bucket is empty");
        assert!(wait > 99 * MS && wait < 101 * MS, "{wait:?}");
        assert_eq!(pacing.take(start + wait), Ok(()));
        assert!(pacing.take(start + wait).is_err());
        // A long quiet time fills up to the burst and no further.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..5).filter(|_| pacing.take(later).is_ok()).count(), 3);
    }

    #[test]
    fn unlimited_until_told_otherwise() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        assert!((0..10_000).all(|_| pacing.take(now).is_ok()));
        pacing.learn(&RateHeaders::default(), advice(5), true, now);
        assert_eq!(pacing.take(now), Err(Duration::from_secs(5)));
        assert_eq!(pacing.take(now + Duration::from_secs(5)), Ok(()));
    }

    #[test]
    fn only_a_429_pauses_the_origin() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        pacing.learn(&RateHeaders::default(), advice(5), false, now);
        assert_eq!(pacing.take(now), Ok(()));
    }

    #[test]
    fn a_shorter_pause_does_not_undo_a_longer_one() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        pacing.learn(&RateHeaders::default(), advice(9), true, now);
        pacing.learn(&RateHeaders::default(), advice(2), true, now);
        assert_eq!(pacing.take(now), Err(Duration::from_secs(9)));
        assert_eq!(pacing.paused_until(), Some(now + Duration::from_secs(9)));
    }

    #[test]
    fn the_window_is_counted_down() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        pacing.learn(&headers(600, 3, 10), None, false, now);
        assert_eq!((0..9).filter(|_| pacing.take(now).is_ok()).count(), 3);
        assert_eq!(pacing.take(now), Err(Duration::from_secs(10)));
        // A late answer that still saw 2 left changes nothing; the next window opens at its time.
        pacing.learn(&headers(600, 2, 10), None, false, now);
        assert!(pacing.take(now + Duration::from_secs(9)).is_err());
        assert_eq!(pacing.take(now + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn an_answer_of_the_last_window_does_not_reopen_it() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        pacing.learn(&headers(600, 0, 60), None, true, now);
        pacing.learn(&headers(600, 500, 1), None, false, now);
        assert_eq!(pacing.take(now), Err(Duration::from_secs(60)));
        // A window that ends later replaces it.
        pacing.learn(&headers(600, 500, 120), None, false, now);
        assert_eq!(pacing.take(now), Ok(()));
    }

    #[test]
    fn a_concurrency_429_is_only_a_hint() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        pacing.learn(&headers(0, 0, 60), None, true, now);
        assert_eq!(pacing.take(now), Ok(()));
    }

    #[test]
    fn sharing_takes_the_lower_rate() {
        let now = Instant::now();
        let mut pacing = Pacing::new(PacingSettings::default(), now);
        pacing.tighten(PacingSettings {
            rate: Some(1.0),
            burst: 1,
        });
        pacing.tighten(PacingSettings {
            rate: Some(5.0),
            burst: 9,
        });
        assert_eq!(pacing.take(now), Ok(()));
        assert!(pacing.take(now).expect_err("one a second") > 900 * MS);
    }

    proptest! {
        /// In any time span no more leave than rate × span + burst, and following the advised waits
        /// always gets through.
        #[test]
        fn never_above_the_rate(rate in 0.1f64..5000.0, burst in 1u32..50, steps in proptest::collection::vec(0u64..2_000, 1..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut pacing = Pacing::new(PacingSettings { rate: Some(rate), burst }, now);
            let mut sent = 0u32;
            for step in steps {
                now += Duration::from_millis(step);
                match pacing.take(now) {
                    Ok(()) => sent += 1,
                    Err(wait) => {
                        prop_assert!(wait > Duration::ZERO);
                        now += wait;
                        prop_assert_eq!(pacing.take(now), Ok(()));
                        sent += 1;
                    }
                }
            }
            let allowed = (now - start).as_secs_f64() * rate + f64::from(burst) + 1e-3;
            prop_assert!(f64::from(sent) <= allowed, "{} > {}", sent, allowed);
        }
    }
}
