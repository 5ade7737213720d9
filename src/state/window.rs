//! The dedup window in buckets of time, so that expiry drops whole buckets.
//!
//! Pure: `now` is an argument. A jti is remembered for at least the window and at most one bucket
//! longer. Buckets are half a window long: then at most three are alive, so a look-up probes three
//! places, and the price is at most half a window more of jtis (measured: a probe costs a tenth of
//! all that SQLite adds per SET; with buckets of a 24th of the window it would be 25 probes).

use std::time::Duration;

use crate::set::Timestamp;

#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    seconds: i64,
    bucket_seconds: i64,
}

/// A span of time, in seconds since 1970: `start` is part of it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Window {
    /// A window shorter than two seconds counts as two.
    pub(super) fn new(window: Duration) -> Self {
        let seconds = i64::try_from(window.as_secs()).unwrap_or(i64::MAX / 4);
        let seconds = seconds.clamp(2, i64::MAX / 4);
        Self {
            seconds,
            bucket_seconds: seconds.div_euclid(2),
        }
    }

    /// Where something that happens now belongs. A clock that jumped back leads to an older
    /// bucket, which lives on as long as its own time demands.
    pub(super) fn bucket(self, now: Timestamp) -> Bucket {
        let start = now.as_secs().div_euclid(self.bucket_seconds) * self.bucket_seconds;
        Bucket {
            start,
            end: start.saturating_add(self.bucket_seconds),
        }
    }

    /// Whether everything in a bucket that ends at `end` (excluded) is older than the window.
    pub(super) fn is_over(self, end: i64, now: Timestamp) -> bool {
        end.saturating_add(self.seconds) <= now.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn kept_for_the_window_and_at_most_a_bucket_more(
            window in 2..100_000u64, then in -1_000_000..4_000_000_000i64, later in 0..200_000i64,
        ) {
            let kept = Window::new(Duration::from_secs(window));
            let bucket = kept.bucket(Timestamp::from_secs(then));
            prop_assert!(bucket.start <= then && then < bucket.end);
            let over = kept.is_over(bucket.end, Timestamp::from_secs(then + later));
            if later < window as i64 {
                prop_assert!(!over, "within the window");
            }
            if later > (window + window / 2) as i64 {
                prop_assert!(over, "more than a bucket past it");
            }
        }
    }
}
