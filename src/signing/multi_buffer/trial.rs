//! What a key has to pass before the library signs with it, and what a signature by it costs either way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::Lane;
use super::lanes::LaneKey;
use super::{LANES, MultiBuffer, NEVER};
use crate::signing::backend::thread_cpu;
use crate::signing::key::SigningKey;

/// Rounds of timing; the shortest counts, because other work on the machine only ever adds.
const ROUNDS: usize = 3;

/// A key that passed.
pub(in crate::signing) struct Admitted {
    key: LaneKey,
    crossing: usize,
}

impl Admitted {
    pub(super) fn key(&self) -> &LaneKey {
        &self.key
    }

    pub(super) fn bits(&self) -> usize {
        self.key.bits()
    }

    /// From so many jobs on eight at once are less work than one after the other.
    pub(super) fn crossing(&self) -> usize {
        self.crossing
    }
}

/// [`None`]: the key stays with aws-lc-rs, because the library cannot take it, fails its trial, or never gains with it.
pub(super) fn admit(backend: &MultiBuffer, key: &SigningKey) -> Option<Admitted> {
    let lanes =
        LaneKey::of(key.rs256_pair()?).filter(|lanes| backend.engine.supports(lanes.bits()))?;
    if !is_right(backend, key, &lanes) {
        backend.mismatch();
        return None;
    }
    let crossing = crossing(
        fastest(|| eight(backend, &lanes)),
        fastest(|| key.signature(b"how long does one take?").is_ok()),
    );
    tracing::debug!(
        bits = lanes.bits(),
        crossing,
        "a signing key passed its trial"
    );
    backend.crossing.fetch_min(crossing, Ordering::Relaxed);
    (crossing < NEVER).then_some(Admitted {
        key: lanes,
        crossing,
    })
}

/// The same bytes as by aws-lc-rs in each lane, by a full batch and by one with empty lanes, and a check that refuses what is wrong.
fn is_right(backend: &MultiBuffer, key: &SigningKey, lane_key: &LaneKey) -> bool {
    let messages: Vec<Vec<u8>> = (0..LANES)
        .map(|n| format!("trial {n}").into_bytes())
        .collect();
    let lanes = |count: usize| -> Vec<Lane<'_>> {
        let lane = |message| Lane {
            key: lane_key,
            message,
        };
        messages
            .iter()
            .take(count)
            .map(|m| lane(m.as_slice()))
            .collect()
    };
    let expected: Result<Vec<Vec<u8>>, _> = messages.iter().map(|m| key.signature(m)).collect();
    let Ok(expected) = expected else { return false };
    let same = |count: usize| {
        backend
            .engine
            .sign(&lanes(count))
            .is_ok_and(|s| s[..] == expected[..count])
    };
    let refuses = |wrong: usize| {
        let mut signatures = expected.clone();
        signatures[wrong][lane_key.bits() / 16] ^= 1;
        backend.engine.check(&lanes(LANES), &signatures).is_err()
    };
    same(LANES) && same(3) && (0..LANES).all(refuses)
}

fn eight(backend: &MultiBuffer, key: &LaneKey) -> bool {
    let lanes = [b"how long do eight take?".as_slice(); LANES].map(|message| Lane { key, message });
    backend.engine.sign(&lanes).is_ok()
}

/// CPU time of the shortest of some calls.
fn fastest(call: impl Fn() -> bool) -> Duration {
    let time = |_| {
        let before = thread_cpu();
        std::hint::black_box(call());
        thread_cpu().saturating_sub(before)
    };
    (0..ROUNDS).map(time).min().unwrap_or_default()
}

/// The smallest number of jobs that take longer one after the other than all at once.
fn crossing(eight: Duration, one: Duration) -> usize {
    let ratio = eight.as_nanos() / one.as_nanos().max(1);
    usize::try_from(ratio + 1).map_or(NEVER, |count| count.clamp(2, NEVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crossing_is_where_eight_at_once_are_less_work() {
        let micros = Duration::from_micros;
        assert_eq!(crossing(micros(560), micros(250)), 3);
        assert_eq!(crossing(micros(1070), micros(230)), 5);
        assert_eq!(crossing(micros(100), micros(250)), 2, "never a single one");
        assert_eq!(
            crossing(micros(2000), micros(250)),
            NEVER,
            "eight cost eight"
        );
        assert_eq!(crossing(micros(1), Duration::ZERO), NEVER);
        assert_eq!(crossing(Duration::MAX, micros(1)), NEVER);
    }
}
