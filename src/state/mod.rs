//! What a stream remembers: delivered jtis, last accepted levels, marks, and how far this process
//! settled each partition (DESIGN §2 "State", "State goes with the partition").
//!
//! [`StateStore`] is opened once per process; [`StreamState`] is one stream's cheap handle on it.
//! Three backends stand behind the `Backend` trait: memory answers at once, SQLite on a thread of
//! its own, Redis over the network. Every call hands over a command and returns a [`Reply`], so
//! batches, pipelines and round trips are the backend's own affair.
//!
//! The three rules for callers:
//! 1. **Remember, flush, settle.** [`StreamState::remember`] takes effect for every later
//!    [`StreamState::look_up`] at once, so an *accepted* SET's lane is free when it returns. The
//!    record may settle only when the returned [`Flushed`] is `Ok`.
//! 2. **A final decision without acceptance keeps its lane until it is flushed.** A jti that was
//!    accepted twice does no harm; but if "high" was dead-lettered, "low" was accepted, and a crash
//!    lost only the mark of "high", then the restart would send "high" after "low", and the
//!    receiver would ignore the repeated "low".
//! 3. **Progress before store.** An offset is stored in Kafka (or committed, for any reason) only
//!    when [`StreamState::progress`] for it is flushed; else our own commit looks like somebody
//!    else's work after a crash, and marks would be dropped that are still needed.
//!
//! When the backend fails (full disk, no answer from Redis), a failed `remember` or `progress` is **not** lost and must
//! not be repeated: the backend keeps it, in order, and writes it as soon as it can. The stream is
//! held, and [`StreamState::flush_of`] is tried again until it is `Ok`. One error is final: [`StateError::Fenced`], where
//! the shared state has another owner for the partition. Nothing of it may settle then; the group says who is right.
//!
//! It must never block the caller, keep a subject or a jti in clear text, or grow without bound: the
//! queue to a backend holds only what callers have not settled yet, so `max_unsettled` bounds it.

mod error;
mod facts;
mod memory;
mod redis;
mod reply;
mod sqlite;
mod store;
mod tenure;
mod view;
mod window;

#[cfg(test)]
mod tests;

pub use error::StateError;
pub use facts::{Decided, Decision, Facts, Handover, JtiKey, Position, Question, StateStats};
pub use redis::{OnUnavailable, RedisAddress, RedisSettings, RedisTls};
pub use reply::{Flushed, Reply};
pub use store::{Clock, StateSettings, StateStore, StreamState, system_clock};
pub use view::StateView;

/// What one stream asks of its backend. All calls take effect in the order in which they are made,
/// also when their replies are awaited later or never.
trait Backend: Send + Sync {
    fn look_up(&self, question: &Question) -> Reply<Facts>;
    fn remember(&self, decided: &Decided) -> Flushed;
    fn progress(&self, topic: &str, partition: i32, next_offset: i64) -> Flushed;
    fn assigned(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    ) -> Reply<Handover>;
    /// The partition is not ours any more. Only a state that others share needs to know.
    fn released(&self, _topic: &str, _partition: i32) {}
    fn forget(&self, jtis: &[JtiKey]) -> Flushed;
    fn flush(&self) -> Flushed;
    /// As [`Self::flush`] about what was noted of one partition; only a shared state can refuse it.
    fn flush_of(&self, _topic: &str, _partition: i32) -> Flushed {
        self.flush()
    }
    /// The stream goes on without its state.
    fn is_bypassed(&self) -> bool {
        false
    }
    /// Partitions whose levels were dropped because the state has lost writes, since the last call.
    fn take_lost(&self) -> u64 {
        0
    }
    fn accepted_under(&self) -> Reply<Option<[u8; 32]>>;
    fn set_accepted_under(&self, fingerprint: [u8; 32]) -> Flushed;
    fn operator_hold(&self) -> Reply<Option<String>>;
    fn set_operator_hold(&self, reason: Option<&str>) -> Flushed;
    fn held_since(&self) -> Reply<Option<i64>>;
    fn set_held_since(&self, since_ms: Option<i64>) -> Flushed;
}
