//! How a stream's state is, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Told by the stream's task, asked by its handles.
#[derive(Debug, Default)]
pub(super) struct Health {
    bypassed: AtomicBool,
    lost: AtomicU64,
}

impl Health {
    /// It goes on without the server, or no longer.
    pub(super) fn bypass(&self, bypassed: bool) {
        self.bypassed.store(bypassed, Ordering::Relaxed);
    }

    pub(super) fn is_bypassed(&self) -> bool {
        self.bypassed.load(Ordering::Relaxed)
    }

    /// In so many partitions levels were dropped because writes are lost.
    pub(super) fn lost(&self, partitions: usize) {
        self.lost.fetch_add(partitions as u64, Ordering::Relaxed);
    }

    /// How many that were since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}
