//! `max_event_age`: when a detection is too old to act on.
//!
//! DESIGN §5: such a SET is a dead letter, reason `expired`, and ages stop while the stream is held. So the age of a
//! SET is the time since its event, less whatever of that time the stream was held: a wrong key over a weekend makes
//! nobody's detections expire, whether they had been read before the hold or waited in Kafka. The state keeps since
//! when a stream is held, so a restart during the hold changes nothing. Holds that are over are known in memory only.
//!
//! Event times are wall-clock times of other machines, so this is the wall clock too, in ms since 1970. Where it cannot
//! be exact it errs on the young side: a SET that is sent late can be judged by its `event_timestamp`, one that
//! is not sent cannot. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::set::Timestamp;

/// Holds that are remembered one by one; of more, the two that lie closest together become one.
const MAX_SPANS: usize = 256;

/// When a stream was held: as far as this process knows, and in the hold that it found.
#[derive(Debug, Clone, Default)]
pub struct HeldTime {
    /// Holds that are over: first and last millisecond, oldest first.
    spans: VecDeque<(i64, i64)>,
    /// The beginning of the present hold.
    since: Option<i64>,
}

impl HeldTime {
    /// A hold begins; one that is under way goes on.
    pub fn begin(&mut self, now_ms: i64) {
        self.since.get_or_insert(now_ms);
    }

    /// The present hold, or one that nobody knew of, began so early; what lies in it is part of it.
    pub fn began(&mut self, since_ms: i64) {
        let since = self.since.map_or(since_ms, |since| since.min(since_ms));
        self.spans.retain(|(_, ended)| *ended < since);
        self.since = Some(since);
    }

    /// The hold ends.
    pub fn end(&mut self, now_ms: i64) {
        let Some(since) = self.since.take() else {
            return;
        };
        // A clock that was set back during the hold measured nothing.
        if since < now_ms {
            self.spans.push_back((since, now_ms));
        }
        if self.spans.len() > MAX_SPANS {
            self.join_the_closest();
        }
    }

    /// How much of the time from `from_ms` to `now_ms` the stream was held, in ms.
    #[must_use]
    pub fn within(&self, from_ms: i64, now_ms: i64) -> i64 {
        let present = self.since.map(|since| (since, now_ms));
        self.spans
            .iter()
            .copied()
            .chain(present)
            .map(|(began, ended)| ended.min(now_ms).saturating_sub(began.max(from_ms)).max(0))
            .fold(0, i64::saturating_add)
    }

    fn join_the_closest(&mut self) {
        let gap = |at: &usize| self.spans[at + 1].0.saturating_sub(self.spans[*at].1);
        let Some(at) = (0..self.spans.len() - 1).min_by_key(gap) else {
            return;
        };
        if let Some((_, ended)) = self.spans.remove(at + 1) {
            let ended = ended.max(self.spans[at].1);
            self.spans[at].1 = ended;
        }
    }
}

/// Whether a SET about an event of this time is too old at `now_ms`.
#[must_use]
pub fn is_expired(event: Timestamp, max_age: Duration, held: &HeldTime, now_ms: i64) -> bool {
    // An event time has whole seconds: it may have been the last millisecond of its second.
    let event_ms = event.as_secs().saturating_mul(1_000).saturating_add(999);
    let max_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
    let age_ms = now_ms.saturating_sub(event_ms);
    age_ms > max_ms && age_ms.saturating_sub(held.within(event_ms, now_ms)) > max_ms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;
    const NOON: i64 = 1_750_000_000_000;

    /// Held from minute to minute, counted from noon.
    fn held(spans: &[(i64, i64)]) -> HeldTime {
        let mut held = HeldTime::default();
        for (began, ended) in spans {
            held.begin(NOON + began * MINUTE);
            held.end(NOON + ended * MINUTE);
        }
        held
    }

    #[test]
    fn the_age_counts_from_the_event_without_the_holds() {
        let ten = Duration::from_secs(600);
        type Holds = &'static [(i64, i64)];
        // (minute of the event, holds, minute of the question, expired)
        let rows: [(i64, Holds, i64, bool); 10] = [
            (0, &[], 9, false),
            (0, &[], 10, false),
            (0, &[], 11, true),
            (20, &[], 11, false),
            (0, &[(5, 30)], 34, false),
            (0, &[(5, 30)], 36, true),
            (20, &[(5, 30)], 39, false),
            (20, &[(5, 30)], 41, true),
            (30, &[(5, 30)], 41, true),
            (0, &[(2, 4), (6, 8), (10, 12)], 15, false),
        ];
        for (event, spans, now, expired) in rows {
            let held = held(spans);
            let event = Timestamp::from_millis(NOON + event * MINUTE);
            let now = NOON + now * MINUTE;
            let what = format!("{spans:?}, {event:?} at {now}");
            assert_eq!(is_expired(event, ten, &held, now), expired, "{what}");
        }
    }

    #[test]
    fn nothing_ages_during_a_hold() {
        let mut held = HeldTime::default();
        held.begin(NOON + 9 * MINUTE);
        let (event, ten) = (Timestamp::from_millis(NOON), Duration::from_secs(600));
        for minutes in [10, 100, 100_000] {
            let now = NOON + minutes * MINUTE;
            assert!(!is_expired(event, ten, &held, now), "after {minutes} min");
        }
        held.begin(NOON + 1_000 * MINUTE);
        held.end(NOON + 2_000 * MINUTE);
        assert_eq!(held.within(NOON, i64::MAX), 1_991 * MINUTE);
        held.end(NOON + 3_000 * MINUTE);
        assert_eq!(held.within(NOON, i64::MAX), 1_991 * MINUTE, "it had ended");
    }

    #[test]
    fn the_second_of_an_event_is_not_counted() {
        let event = Timestamp::from_millis(NOON + 999);
        let (one, never) = (Duration::from_secs(1), HeldTime::default());
        assert!(!is_expired(event, one, &never, NOON + 1_999));
        assert!(is_expired(event, one, &never, NOON + 2_000));
    }

    #[test]
    fn a_clock_that_is_set_back_measures_nothing() {
        let mut held = HeldTime::default();
        held.begin(NOON);
        assert_eq!(held.within(NOON - 1, NOON - MINUTE), 0);
        held.end(NOON - MINUTE);
        assert_eq!(held.within(0, i64::MAX), 0);
    }

    #[test]
    fn many_holds_take_bounded_memory_and_none_is_forgotten() {
        let mut held = HeldTime::default();
        let count = 10 * MAX_SPANS as i64;
        for n in 0..count {
            held.begin(n * 10);
            held.end(n * 10 + 5);
        }
        assert_eq!(held.spans.len(), MAX_SPANS);
        let total = held.within(0, i64::MAX);
        assert!(total >= count * 5, "{total}: holds were forgotten");
        assert!(total <= count * 10, "{total}: more than all time");
    }

    proptest! {
        #[test]
        fn held_time_is_what_a_minute_by_minute_count_says(
            lengths in proptest::collection::vec((1i64..20, 1i64..20), 0..20),
            from in 0i64..200,
            until in 0i64..400,
        ) {
            let (mut held, mut minutes, mut at) = (HeldTime::default(), Vec::new(), 0);
            for (open, shut) in lengths {
                held.begin(at + open);
                held.end(at + open + shut);
                minutes.extend(at + open..at + open + shut);
                at += open + shut;
            }
            let counted = minutes.iter().filter(|m| (from..until).contains(*m)).count();
            prop_assert_eq!(held.within(from, until), counted as i64);
        }
    }
}
