//! What the simulator has received: counts, a bounded log, and a way to wait for something to arrive.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;

/// How many `jti`s are remembered.
const KNOWN_JTIS: usize = 1_000_000;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// With this status.
    Status(u16),
    /// By a reset.
    Reset,
    /// Not at all.
    Never,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// Number of the request, from 1.
    pub number: u64,
    /// When the request had arrived, for differences.
    pub at: Instant,
    /// The same on the wall clock.
    pub wall: SystemTime,
    /// Request headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came; empty when it was not read.
    pub raw: Bytes,
    /// The `kid` of the token's header.
    pub kid: Option<String>,
    /// The claims, decoded, whether they verify or not.
    pub claims: Option<Value>,
    /// Signature, header and claims are right. `None` when this one was not verified.
    pub valid: Option<bool>,
    /// The SET took effect: it was judged good (or not verified) and its `jti` was new.
    pub taken: bool,
    /// Its `jti` had been taken before.
    pub repeat: bool,
    /// How the request ended.
    pub answered: Answered,
    /// The `err` that was answered.
    pub err: Option<String>,
}

impl Received {
    /// The `jti`.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.claims.as_ref()?.get("jti")?.as_str()
    }

    /// The event's URI and its claims, when there is exactly one.
    #[must_use]
    pub fn event(&self) -> Option<(&str, &Value)> {
        let mut events = self.claims.as_ref()?.get("events")?.as_object()?.iter();
        let (uri, event) = events.next()?;
        events.next().is_none().then_some((uri.as_str(), event))
    }

    /// The event's subject, else the top-level `sub_id`.
    #[must_use]
    pub fn subject(&self) -> Option<&Value> {
        let within = self.event().and_then(|(_, event)| event.get("subject"));
        within.or_else(|| self.claims.as_ref()?.get("sub_id"))
    }

    /// A request header by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Counts since the start, or since the log was cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests to the SET endpoint.
    pub requests: u64,
    /// SETs that took effect.
    pub taken: u64,
    /// SETs whose `jti` had been taken before.
    pub repeats: u64,
    /// SETs that were judged and refused.
    pub refused: u64,
    /// Requests that got a scripted reply instead of a judgement.
    pub scripted: u64,
    /// Requests that ended without an answer.
    pub unanswered: u64,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    /// Oldest first, the newest `keep`.
    pub received: VecDeque<Received>,
    /// Counts; not bounded by `keep`.
    pub tally: Tally,
}

impl Log {
    /// The SETs that took effect, oldest first.
    pub fn taken(&self) -> impl Iterator<Item = &Received> {
        self.received.iter().filter(|received| received.taken)
    }

    /// All requests that carried this `jti`, oldest first.
    pub fn with_jti<'a>(&'a self, jti: &'a str) -> impl Iterator<Item = &'a Received> {
        self.received
            .iter()
            .filter(move |received| received.jti() == Some(jti))
    }
}

/// Hashes of the `jti`s that were taken, newest [`KNOWN_JTIS`].
#[derive(Default)]
struct Known {
    hasher: RandomState,
    hashes: HashSet<u64>,
    order: VecDeque<u64>,
}

#[derive(Default)]
struct Book {
    log: Log,
    known: Known,
}

pub(super) struct ReceivedBook {
    keep: usize,
    book: Mutex<Book>,
    changed: Notify,
}

impl ReceivedBook {
    pub(super) fn new(keep: usize) -> Self {
        Self {
            keep,
            book: Mutex::new(Book::default()),
            changed: Notify::new(),
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.keep > 0
    }

    /// Takes a SET: true = its `jti` is new.
    pub(super) fn take(&self, jti: &str) -> bool {
        let known = &mut self.book().known;
        let hash = known.hasher.hash_one(jti);
        if !known.hashes.insert(hash) {
            return false;
        }
        known.order.push_back(hash);
        if known.order.len() > KNOWN_JTIS
            && let Some(oldest) = known.order.pop_front()
        {
            known.hashes.remove(&oldest);
        }
        true
    }

    /// A number for a new request.
    pub(super) fn begin(&self) -> u64 {
        let tally = &mut self.book().log.tally;
        tally.requests += 1;
        tally.requests
    }

    /// Counts and, if wanted, keeps a request that has been decided.
    pub(super) fn note(&self, count: impl FnOnce(&mut Tally), received: Option<Received>) {
        {
            let log = &mut self.book().log;
            count(&mut log.tally);
            if let Some(received) = received {
                if log.received.len() == self.keep {
                    log.received.pop_front();
                }
                log.received.push_back(received);
            }
        }
        self.changed.notify_waiters();
    }

    pub(super) fn look<R>(&self, look: impl FnOnce(&Log) -> R) -> R {
        look(&self.book().log)
    }

    pub(super) async fn wait_for(&self, mut until: impl FnMut(&Log) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that nothing slips in between.
            changed.as_mut().enable();
            if self.look(&mut until) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn clear(&self) {
        self.book().log = Log::default();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
