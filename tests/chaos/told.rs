//! What happened, as far as the driver did it or heard of it.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::oracle::Forced;
use super::receiver::now_ms;

/// A broker that was started again leads its partitions by then, and a group has found its coordinator.
const SETTLED_MS: u64 = 12_000;

/// What may be out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Broker(usize),
    /// The network to this broker
    Way(usize),
    /// The network of this member
    Member(usize),
    Redis,
    /// Where leaders are
    Leaders,
}

/// What happened, as far as the driver did it or heard of it.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) kills: AtomicU64,
    pub(crate) broker_faults: AtomicU64,
    pub(crate) rebalances: AtomicU64,
    pub(crate) max_rss: AtomicU64,
    pub(crate) network_faults: AtomicU64,
    pub(crate) leader_moves: AtomicU64,
    pub(crate) forced: Mutex<Vec<Forced>>,
    /// Of whom, from, and until when it counts.
    outages: Mutex<Vec<(Part, u64, Option<u64>)>>,
    /// Which member got a new process, and when.
    pub(crate) started: Mutex<Vec<(usize, u16, u64)>>,
    /// Which process was stopped, and when.
    pub(crate) paused: Mutex<Vec<(u16, u64)>>,
    /// In words: what no member may do.
    pub(crate) breaches: Mutex<Vec<String>>,
}

impl Told {
    pub(crate) fn breach(&self, what: String) {
        println!("BREACH {what}");
        self.breaches.lock().expect("no panic").push(what);
    }

    /// All that the process had.
    pub(super) fn force(&self, process: u16, from_ms: u64, until_ms: u64) {
        self.let_go(Forced {
            process,
            partition: None,
            in_order: false,
            from_ms,
            until_ms,
        });
    }

    pub(super) fn let_go(&self, forced: Forced) {
        self.forced.lock().expect("no panic").push(forced);
    }

    pub(super) fn outage_begins(&self, of: Part) {
        let mut outages = self.outages.lock().expect("no panic");
        outages.push((of, now_ms(), None));
    }

    /// Since when it was out.
    pub(super) fn outage_ends(&self, of: Part) -> Option<u64> {
        let mut outages = self.outages.lock().expect("no panic");
        let mut open = outages
            .iter_mut()
            .filter(|(part, _, until)| *part == of && until.is_none());
        let (_, from, until) = open.next()?;
        *until = Some(now_ms() + SETTLED_MS);
        Some(*from)
    }

    /// A commit at this moment may have failed for want of a broker, or the state may not have been durable.
    pub(super) fn is_outage(&self, at_ms: u64) -> bool {
        let outages = self.outages.lock().expect("no panic");
        let within = |(_, from, until): &(Part, u64, Option<u64>)| {
            *from <= at_ms + 1000 && until.is_none_or(|until| at_ms <= until)
        };
        outages.iter().any(within)
    }
}
