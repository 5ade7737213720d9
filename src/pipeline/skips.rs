//! What an operator wants skipped: one that waits hears of it at once, one on the wire after its answer.
//!
//! Only marks who is meant, by the number that each SET and fault has in its stream. The desk finds it, its own journey
//! makes the dead letter, by the same steps as any other.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::journey::LetGo;

/// Reason of the dead letter.
pub(super) const SKIPPED: &str = "skipped";

/// Why something goes on no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its partition leaves.
    LetGo,
    /// An operator skips it.
    Skipped,
}

impl From<LetGo> for Stop {
    fn from(LetGo: LetGo) -> Self {
        Self::LetGo
    }
}

/// Who is to be skipped.
#[derive(Debug, Default)]
pub(super) struct Skips {
    asked: Mutex<HashSet<u64>>,
    /// There is somebody: mostly there is not, and nobody needs the lock.
    any: AtomicBool,
    rung: Notify,
}

impl Skips {
    fn numbers(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one shall be skipped.
    pub(super) fn ask(&self, id: u64) {
        self.numbers().insert(id);
        self.any.store(true, Ordering::Release);
        self.rung.notify_waiters();
    }

    /// This one has its outcome, or was let go: what was asked is done with.
    pub(super) fn forget(&self, id: u64) {
        let mut numbers = self.numbers();
        numbers.remove(&id);
        self.any.store(!numbers.is_empty(), Ordering::Release);
    }

    /// Whether this one shall be skipped.
    pub(super) fn is_asked(&self, id: u64) -> bool {
        self.any.load(Ordering::Acquire) && self.numbers().contains(&id)
    }

    /// Waits for something unless this one is skipped. What is done already counts before the skip.
    pub(super) async fn unless<T>(
        &self,
        id: u64,
        wait: impl Future<Output = Result<T, LetGo>>,
    ) -> Result<T, Stop> {
        tokio::select! {
            biased;
            done = wait => Ok(done?),
            () = self.asked(id) => Err(Stop::Skipped),
        }
    }

    async fn asked(&self, id: u64) {
        loop {
            let mut rung = std::pin::pin!(self.rung.notified());
            // From here on no ring is missed.
            rung.as_mut().enable();
            if self.is_asked(id) {
                return;
            }
            rung.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn only_who_is_meant_stops() {
        let skips = Skips::default();
        skips.ask(7);
        assert_eq!(
            skips.unless::<()>(7, pending()).await,
            Err(Stop::Skipped),
            "asked before"
        );
        assert_eq!(skips.unless(7, ready(Ok(1))).await, Ok(1), "done already");
        assert_eq!(
            skips.unless::<()>(7, ready(Err(LetGo))).await,
            Err(Stop::LetGo),
            "a partition that leaves comes first"
        );
        let other = skips.unless::<()>(8, pending());
        let ask = async {
            tokio::task::yield_now().await;
            assert!(!skips.is_asked(8));
            skips.ask(9);
            tokio::task::yield_now().await;
            skips.ask(8);
        };
        let (other, ()) = tokio::join!(other, ask);
        assert_eq!(other, Err(Stop::Skipped), "asked while it waits");
        for id in [7, 8, 9] {
            assert!(skips.is_asked(id));
            skips.forget(id);
            assert!(!skips.is_asked(id));
        }
    }
}
