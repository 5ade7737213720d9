//! Whether this process may still believe that its partitions are its own (DESIGN "a zombie").
//!
//! A process that was stopped (SIGSTOP, a frozen VM, a long page-in) wakes up believing that it owns partitions that
//! the group has long given to somebody else; librdkafka learns of it only with the next heartbeat. So nothing is sent
//! unless the poller has ticked recently, and a poller that notices a gap asks the group before it ticks again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The poller's heartbeat, readable from every task of the stream.
#[derive(Debug)]
pub struct Membership {
    born: Instant,
    /// Milliseconds after `born` of the last loop of the poller, whether or not it may speak for the group.
    looped: AtomicU64,
    /// Milliseconds after `born` until which the partitions are ours beyond doubt.
    sure_until: AtomicU64,
    /// How long one tick is good for: half the session time-out.
    lease: Duration,
    ticked: Notify,
}

impl Membership {
    /// A membership whose ticks are good for half of the group's session time-out.
    #[must_use]
    pub fn new(session_timeout: Duration) -> Self {
        Self {
            born: Instant::now(),
            looped: AtomicU64::new(0),
            sure_until: AtomicU64::new(0),
            lease: session_timeout / 2,
            ticked: Notify::new(),
        }
    }

    /// One that is as old as a session, so that it can have been silent for longer than a lease.
    #[cfg(test)]
    pub(super) fn as_old_as(session_timeout: Duration) -> Self {
        let born = Instant::now().checked_sub(session_timeout);
        Self {
            born: born.expect("the machine is older than that"),
            ..Self::new(session_timeout)
        }
    }

    /// As if the process had been stopped since the membership was born.
    #[cfg(test)]
    pub(super) fn sleep(&self) {
        self.looped.store(0, Ordering::SeqCst);
        self.sure_until.store(0, Ordering::SeqCst);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// The poller is alive; says whether its last loop was so long ago that the group must be asked.
    pub(super) fn looped(&self) -> bool {
        let now = self.now_ms();
        now.saturating_sub(self.looped.swap(now, Ordering::SeqCst)) > self.lease_ms()
    }

    /// The poller speaks for the group: the partitions are ours for one lease more.
    pub(super) fn tick(&self) {
        let until = self.now_ms().saturating_add(self.lease_ms());
        // Equal counts as expired, as it does for who asks.
        if self.sure_until.swap(until, Ordering::SeqCst) <= self.now_ms() {
            self.ticked.notify_waiters();
        }
    }

    /// Time since the poller's last loop: what `/livez` looks at.
    #[must_use]
    pub fn silence(&self) -> Duration {
        Duration::from_millis(
            self.now_ms()
                .saturating_sub(self.looped.load(Ordering::SeqCst)),
        )
    }

    /// Whether something may be sent now.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.now_ms() < self.sure_until.load(Ordering::SeqCst)
    }

    /// Waits until something may be sent.
    pub async fn sure(&self) {
        loop {
            let ticked = self.ticked.notified();
            if self.is_sure() {
                return;
            }
            ticked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_without_ticks_expires() {
        let membership = Membership::new(Duration::from_millis(40));
        assert!(
            !membership.is_sure(),
            "nothing is sent before the group was joined"
        );
        membership.looped();
        membership.tick();
        assert!(membership.is_sure());
        std::thread::sleep(Duration::from_millis(30));
        assert!(
            !membership.is_sure(),
            "half of the session time-out has passed without a tick"
        );
        assert!(
            membership.looped(),
            "and the poller knows that it has to ask"
        );
        assert!(!membership.looped());
    }
}
