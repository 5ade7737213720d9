//! How long to wait before the next attempt: exponential with full jitter, or what the receiver says.
//!
//! The only file that uses `backoff` (DESIGN §5). That crate draws its own random numbers, so it is
//! asked, with its randomisation off, for the *ceilings* only, once; full jitter is then a uniform draw
//! below the ceiling, and the draw is an argument. So the policy is a pure value. No sleep, no give-up.

use std::time::{Duration, Instant};

use backoff::ExponentialBackoff;
use backoff::SystemClock;
use backoff::backoff::Backoff as _;
use thiserror::Error;

use super::advice::Advice;

/// Most ceilings that are kept; the slowest growth (1.1) from 1 ms to 1 h takes 159 steps.
const MAX_STEPS: usize = 512;

/// Settings of a [`RetryPolicy`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySettings {
    /// Ceiling of the first wait.
    pub initial: Duration,
    /// Ceiling of every later wait.
    pub max: Duration,
    /// Growth of the ceiling per attempt, > 1.
    pub multiplier: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(30),
            multiplier: 2.0,
        }
    }
}

/// Settings that make no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RetrySettingsError {
    /// `initial` is 0 or above `max`.
    #[error("the initial wait must be above 0 and not above the longest wait")]
    Initial,
    /// `multiplier` is not a number from 1.1 to 100.
    #[error("the multiplier must be a number from 1.1 to 100")]
    Multiplier,
}

/// Waits between attempts; a value without state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Ceilings per failed attempt; the last one holds for all later attempts. Never empty.
    ceilings: Vec<Duration>,
}

impl RetryPolicy {
    /// Lays out the ceilings.
    ///
    /// # Errors
    /// See [`RetrySettingsError`].
    pub fn new(settings: RetrySettings) -> Result<Self, RetrySettingsError> {
        if settings.initial.is_zero() || settings.initial > settings.max {
            return Err(RetrySettingsError::Initial);
        }
        if !(1.1..=100.0).contains(&settings.multiplier) {
            return Err(RetrySettingsError::Multiplier);
        }
        let mut steps = ExponentialBackoff {
            current_interval: settings.initial,
            initial_interval: settings.initial,
            randomization_factor: 0.0,
            multiplier: settings.multiplier,
            max_interval: settings.max,
            max_elapsed_time: None,
            // Only read for `max_elapsed_time`, which is off.
            start_time: Instant::now(),
            clock: SystemClock::default(),
        };
        let mut ceilings = Vec::new();
        while ceilings.len() < MAX_STEPS && ceilings.last() != Some(&settings.max) {
            ceilings.push(steps.current_interval);
            let _randomised = steps.next_backoff();
        }
        Ok(Self { ceilings })
    }

    /// The longest that the wait after failed attempt number `attempt` (from 1) may be, without advice.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let last = self.ceilings.len() - 1;
        self.ceilings[step.min(last)]
    }

    /// The wait after failed attempt number `attempt` (from 1). `uniform` is a random number in `[0, 1)`.
    ///
    /// Full jitter: `uniform × ceiling`. With advice never less than the advice, and spread by up to the
    /// first ceiling, so that all who were told the same second do not come at the same second.
    #[must_use]
    pub fn delay(&self, attempt: u32, advice: Option<Advice>, uniform: f64) -> Duration {
        let jittered = scale(self.ceiling(attempt), uniform);
        match advice {
            None => jittered,
            Some(advice) => {
                jittered.max(advice.wait.saturating_add(scale(self.ceilings[0], uniform)))
            }
        }
    }

    /// The wait before the next probe of a held stream: between half the ceiling and the ceiling, so that
    /// probes never come in a burst.
    #[must_use]
    pub fn probe_delay(&self, failed: u32, uniform: f64) -> Duration {
        scale(self.ceiling(failed), 0.5 + unit(uniform) / 2.0)
    }
}

fn scale(duration: Duration, factor: f64) -> Duration {
    duration.mul_f64(unit(factor))
}

/// A caller's random number, made harmless: NaN counts as 1 (the longest wait).
fn unit(uniform: f64) -> f64 {
    if uniform.is_nan() {
        1.0
    } else {
        uniform.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::advice::AdviceSource;
    use super::*;
    use proptest::prelude::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::new(RetrySettings::default()).expect("defaults are valid")
    }

    fn advice(wait: Duration) -> Option<Advice> {
        Some(Advice {
            wait,
            source: AdviceSource::RetryAfter,
        })
    }

    #[test]
    fn ceilings_double_up_to_the_maximum() {
        let ceilings: Vec<_> = (1..=10).map(|n| policy().ceiling(n).as_millis()).collect();
        assert_eq!(
            ceilings,
            [
                200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000
            ]
        );
        assert_eq!(policy().ceiling(u32::MAX), Duration::from_secs(30));
        assert_eq!(policy().ceiling(0), Duration::from_millis(200));
    }

    #[test]
    fn jitter_covers_zero_to_the_ceiling() {
        assert_eq!(policy().delay(3, None, 0.0), Duration::ZERO);
        assert_eq!(policy().delay(3, None, 0.5), Duration::from_millis(400));
        assert_eq!(policy().delay(3, None, 1.0), Duration::from_millis(800));
    }

    #[test]
    fn advice_is_never_undercut() {
        assert_eq!(
            policy().delay(1, advice(Duration::from_secs(7)), 0.0),
            Duration::from_secs(7)
        );
        assert_eq!(
            policy().delay(1, advice(Duration::from_secs(7)), 0.5),
            Duration::from_millis(7100)
        );
        // Told "1 s" for the tenth time: our own, longer wait stands.
        assert_eq!(
            policy().delay(10, advice(Duration::from_secs(1)), 0.9),
            Duration::from_secs(27)
        );
    }

    #[test]
    fn bad_settings_are_refused() {
        let base = RetrySettings::default();
        let bad = [
            (
                RetrySettings {
                    initial: Duration::ZERO,
                    ..base
                },
                RetrySettingsError::Initial,
            ),
            (
                RetrySettings {
                    initial: Duration::from_secs(31),
                    ..base
                },
                RetrySettingsError::Initial,
            ),
            (
                RetrySettings {
                    multiplier: 1.0,
                    ..base
                },
                RetrySettingsError::Multiplier,
            ),
            (
                RetrySettings {
                    multiplier: f64::NAN,
                    ..base
                },
                RetrySettingsError::Multiplier,
            ),
            (
                RetrySettings {
                    multiplier: f64::INFINITY,
                    ..base
                },
                RetrySettingsError::Multiplier,
            ),
        ];
        for (settings, error) in bad {
            assert_eq!(RetryPolicy::new(settings), Err(error));
        }
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(
            initial in 1u64..10_000, max in 1u64..3_600_000, multiplier in 1.1f64..50.0,
            attempt in any::<u32>(), uniform in any::<f64>(), wait in proptest::option::of(1u64..100_000),
        ) {
            let max = max.max(initial);
            let policy = RetryPolicy::new(RetrySettings {
                initial: Duration::from_millis(initial), max: Duration::from_millis(max), multiplier,
            }).expect("valid");
            let given = wait.map(Duration::from_millis);
            let delay = policy.delay(attempt, given.and_then(advice), uniform);
            let least = given.unwrap_or_default();
            let most = Duration::from_millis(max).max(least + Duration::from_millis(initial));
            prop_assert!(delay >= least && delay <= most, "{delay:?} not in {least:?}..={most:?}");
            let probe = policy.probe_delay(attempt, uniform);
            prop_assert!(probe >= policy.ceiling(attempt) / 2 && probe <= policy.ceiling(attempt));
        }

        #[test]
        fn ceilings_never_shrink(attempt in 0u32..200, multiplier in 1.1f64..50.0) {
            let policy = RetryPolicy::new(RetrySettings { multiplier, ..RetrySettings::default() }).expect("valid");
            prop_assert!(policy.ceiling(attempt) <= policy.ceiling(attempt + 1));
        }
    }
}
