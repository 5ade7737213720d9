//! The places on the wire to a receiver, and who is on the way to one.
//!
//! The desk takes records in only while the way is not crowded: a SET that is made long before it can leave costs memory,
//! and has left every cache when its turn comes. And it takes in many at a time, so that decoding and mapping stay in
//! the caches, too. Who waits for something else (a hold, a delay, the guard) is not on the
//! way: then the desk goes on looking for others, up to `max_unsettled`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Fewer SETs on the way than this are never a crowd: with one place on the wire the next ones should be ready.
const FEW: usize = 16;

/// The wire of one stream.
#[derive(Debug)]
pub(super) struct Wire {
    places: Semaphore,
    approaching: AtomicUsize,
    crowd: usize,
    /// The way was crowded, and is not half empty yet.
    closed: AtomicBool,
}

impl Wire {
    /// A wire for so many requests in flight.
    pub(super) fn new(max_requests_in_flight: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Semaphore::new(max_requests_in_flight),
            approaching: AtomicUsize::new(0),
            crowd: max_requests_in_flight.max(FEW),
            closed: AtomicBool::new(false),
        })
    }

    /// One SET more on the way, until what is returned is dropped.
    pub(super) fn approach(self: &Arc<Self>) -> Approach {
        self.approaching.fetch_add(1, Ordering::Relaxed);
        Approach(Arc::clone(self))
    }

    /// Whether more should come: until as many are on the way as there are places, then not before half of these are
    /// gone. For the one who takes in.
    pub(super) fn wants_more(&self) -> bool {
        let approaching = self.approaching.load(Ordering::Relaxed);
        if approaching >= self.crowd {
            self.closed.store(true, Ordering::Relaxed);
        } else if approaching <= self.crowd / 2 {
            self.closed.store(false, Ordering::Relaxed);
        }
        !self.closed.load(Ordering::Relaxed)
    }

    /// Waits for a place, first come, first served.
    pub(super) async fn place(&self) -> SemaphorePermit<'_> {
        match self.places.acquire().await {
            Ok(permit) => permit,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A SET on the way to the wire. Dropped when it has a place there, or waits for something else.
#[derive(Debug)]
pub(super) struct Approach(Arc<Wire>);

impl Drop for Approach {
    fn drop(&mut self) {
        self.0.approaching.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_has_to_be_half_gone_before_more_come() {
        let wire = Wire::new(20);
        let mut way: Vec<_> = (0..19).map(|_| wire.approach()).collect();
        assert!(wire.wants_more());
        way.push(wire.approach());
        assert!(!wire.wants_more());
        way.truncate(11);
        assert!(!wire.wants_more());
        way.pop();
        assert!(wire.wants_more());
        way.extend((0..9).map(|_| wire.approach()));
        assert!(wire.wants_more());
        let narrow = Wire::new(1);
        let _way: Vec<_> = (0..FEW - 1).map(|_| narrow.approach()).collect();
        assert!(narrow.wants_more());
    }
}
