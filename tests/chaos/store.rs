//! The Redis of a run. It writes everything down before it answers, so it may be killed at any moment.

use super::support::redis_server::RedisServer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Now {
    Up,
    Killed,
    Paused,
}

/// A server, and what was done to it.
pub(crate) struct Store {
    server: RedisServer,
    now: Now,
}

impl Store {
    /// Starts one.
    pub(crate) fn start() -> Store {
        let always = [
            "--appendfsync",
            "always",
            "--maxmemory-policy",
            "noeviction",
        ];
        Store {
            server: RedisServer::start(&always),
            now: Now::Up,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.go_on();
        self.server.kill();
        self.now = Now::Killed;
    }

    /// SIGSTOP: its sockets are open, and nobody answers.
    pub(crate) fn pause(&mut self) {
        if self.now == Now::Up {
            self.server.pause();
            self.now = Now::Paused;
        }
    }

    /// It answers again.
    pub(crate) fn go_on(&mut self) {
        match self.now {
            Now::Up => {}
            Now::Killed => self.server.start_again(),
            Now::Paused => self.server.go_on(),
        }
        self.now = Now::Up;
    }
}
