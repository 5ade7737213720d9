//! How much a stream may hold in memory (DESIGN P6), shared by the poller that fills it and the desk that empties it.
//!
//! Only counts; it never decides what to do about being full: the poller pauses its partitions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;

/// The limits of one stream.
#[derive(Debug, Clone, Copy)]
pub struct RoomLimits {
    /// SETs (and records not yet expanded) without a final outcome.
    pub max_unsettled: usize,
    /// Bytes of the records that those came from, and again of the texts in the SETs made of them.
    pub max_unsettled_bytes: usize,
    /// Records received past the last commit that the broker acknowledged.
    pub max_uncommitted: usize,
}

/// The counts beside the limits.
#[derive(Debug)]
pub struct Room {
    limits: RoomLimits,
    unexpanded: AtomicUsize,
    sets: AtomicUsize,
    bytes: AtomicUsize,
    texts: AtomicUsize,
    uncommitted: AtomicUsize,
    /// One record at a time may come in beyond the limits: nothing else can show that the mapping is good again.
    probing: AtomicBool,
    held: AtomicBool,
    poller_waits: AtomicBool,
    poller: Mutex<Option<Thread>>,
}

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(limits: RoomLimits) -> Self {
        Self {
            limits,
            unexpanded: AtomicUsize::new(0),
            sets: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            texts: AtomicUsize::new(0),
            uncommitted: AtomicUsize::new(0),
            probing: AtomicBool::new(false),
            held: AtomicBool::new(false),
            poller_waits: AtomicBool::new(false),
            poller: Mutex::new(None),
        }
    }

    /// The limits given at the start.
    #[must_use]
    pub fn limits(&self) -> RoomLimits {
        self.limits
    }

    /// One record more, of so many bytes.
    pub fn enter(&self, bytes: usize) {
        self.unexpanded.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.uncommitted.fetch_add(1, Ordering::Relaxed);
    }

    /// So many SETs more, from a record under expansion.
    pub fn expand(&self, sets: usize) {
        self.sets.fetch_add(sets, Ordering::Relaxed);
    }

    /// A SET with so many bytes of text was made; it counts until what is returned is dropped with it.
    #[must_use]
    pub fn keep(self: &Arc<Self>, bytes: usize) -> Kept {
        self.texts.fetch_add(bytes, Ordering::Relaxed);
        Kept {
            room: Arc::clone(self),
            bytes,
        }
    }

    /// So many records less that wait to be expanded, so many SETs and bytes less: outcomes are final, or the partition
    /// is gone.
    pub fn leave(&self, records: usize, sets: usize, bytes: usize) {
        self.unexpanded.fetch_sub(records, Ordering::Relaxed);
        self.sets.fetch_sub(sets, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.wake_poller();
    }

    /// So many records less past the acknowledged commit.
    pub fn acknowledged(&self, records: usize) {
        self.uncommitted.fetch_sub(records, Ordering::Relaxed);
        self.wake_poller();
    }

    /// SETs without a final outcome, and records not yet expanded.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.sets.load(Ordering::Relaxed) + self.unexpanded.load(Ordering::Relaxed)
    }

    /// Bytes of the records without a final outcome, and of the texts in their SETs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.texts.load(Ordering::Relaxed)
    }

    /// Records past the last acknowledged commit.
    #[must_use]
    pub fn uncommitted(&self) -> usize {
        self.uncommitted.load(Ordering::Relaxed)
    }

    /// Whether one more record may be taken from Kafka.
    #[must_use]
    pub fn has_space(&self) -> bool {
        self.is_below(1, 1) || self.wants_a_probe()
    }

    /// The same for a replay. It shows nothing about the mapping, and the last quarter is for live records: partitions that
    /// are paused are resumed at three quarters, and replays must not keep the room above that. None comes in while the
    /// stream is held: it would stand in its lane before live records that come meanwhile.
    #[must_use]
    pub fn has_space_for_a_replay(&self) -> bool {
        !self.held.load(Ordering::Relaxed) && self.is_below(3, 4)
    }

    /// Whether the stream is held.
    pub fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether one record at a time may come in beyond the limits.
    pub fn set_probing(&self, probing: bool) {
        self.probing.store(probing, Ordering::Relaxed);
    }

    fn wants_a_probe(&self) -> bool {
        self.probing.load(Ordering::Relaxed) && self.unexpanded.load(Ordering::Relaxed) == 0
    }

    /// Whether there is enough space that resuming paused partitions pays (three quarters of each limit).
    #[must_use]
    pub fn has_ample_space(&self) -> bool {
        self.is_below(3, 4) || self.wants_a_probe()
    }

    /// Whether one more SET of a record under expansion may be made. Records that wait to be expanded do not count here:
    /// a room full of them is left only by expanding them. So SETs and records together are twice the limit at most, by
    /// number and by bytes.
    #[must_use]
    pub fn has_space_for_a_set(&self) -> bool {
        self.sets.load(Ordering::Relaxed) < self.limits.max_unsettled
            && self.texts.load(Ordering::Relaxed) < self.limits.max_unsettled_bytes
    }

    fn is_below(&self, part: usize, of: usize) -> bool {
        let below = |count: usize, limit: usize| count < (limit / of * part).max(1);
        below(self.unsettled(), self.limits.max_unsettled)
            && below(self.bytes(), self.limits.max_unsettled_bytes)
            && below(self.uncommitted(), self.limits.max_uncommitted)
    }

    /// Called once by the poller: whom to wake when space is made.
    pub fn register_poller(&self) {
        if let Ok(mut poller) = self.poller.lock() {
            *poller = Some(std::thread::current());
        }
    }

    /// Called by the poller before it parks.
    pub fn poller_waits(&self) {
        self.poller_waits.store(true, Ordering::SeqCst);
    }

    fn wake_poller(&self) {
        if self.poller_waits.load(Ordering::SeqCst) && self.has_ample_space() {
            self.poller_waits.store(false, Ordering::SeqCst);
            if let Ok(poller) = self.poller.lock()
                && let Some(thread) = poller.as_ref()
            {
                thread.unpark();
            }
        }
    }
}

/// The texts of one SET, in the room.
#[derive(Debug)]
pub struct Kept {
    room: Arc<Room>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.texts.fetch_sub(self.bytes, Ordering::Relaxed);
        self.room.wake_poller();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room::new(RoomLimits {
            max_unsettled: 8,
            max_unsettled_bytes: 1000,
            max_uncommitted: 100,
        })
    }

    #[test]
    fn each_limit_closes_the_room_by_itself() {
        let by_sets = room();
        (0..8).for_each(|_| by_sets.enter(1));
        assert!(!by_sets.has_space());
        assert!(
            by_sets.has_space_for_a_set(),
            "a room full of records is left only by expanding one"
        );
        by_sets.expand(8);
        assert!(!by_sets.has_space_for_a_set());
        by_sets.leave(8, 1, 1);
        assert!(by_sets.has_space() && !by_sets.has_ample_space());
        assert!(
            !by_sets.has_space_for_a_replay(),
            "live records are not resumed yet"
        );
        by_sets.leave(0, 2, 0);
        assert!(by_sets.has_ample_space() && by_sets.has_space_for_a_replay());
        by_sets.set_held(true);
        assert!(by_sets.has_ample_space() && !by_sets.has_space_for_a_replay());

        let by_bytes = room();
        by_bytes.enter(1000);
        assert!(!by_bytes.has_space());

        let by_texts = Arc::new(room());
        let kept = [400, 600].map(|bytes| by_texts.keep(bytes));
        assert!(!by_texts.has_space_for_a_set() && !by_texts.has_space());
        assert_eq!(by_texts.bytes(), 1000);
        drop(kept);
        assert!(by_texts.has_space_for_a_set() && by_texts.has_ample_space());

        let by_commits = room();
        for _ in 0..100 {
            by_commits.enter(0);
            by_commits.leave(1, 0, 0);
        }
        assert!(
            !by_commits.has_space(),
            "settled, but the broker has acknowledged no commit"
        );
        by_commits.acknowledged(100);
        assert!(by_commits.has_ample_space());
    }
}
