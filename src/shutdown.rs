//! How the process ends: a soft token (take nothing new, finish, store), and a hard one (abort) after the deadline or at
//! the second signal.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two tokens. Clones are the same tokens.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled: take nothing new, finish what is on the wire, store.
    pub soft: CancellationToken,
    /// Cancelled: abort.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Begins to end; aborts what is left when `deadline` is over. Returns at the deadline, so it is raced with the
    /// orderly end.
    pub async fn drain(&self, deadline: Duration) {
        self.soft.cancel();
        tokio::time::sleep(deadline).await;
        self.hard.cancel();
    }
}

/// What the operating system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

/// The signals that the process listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}
