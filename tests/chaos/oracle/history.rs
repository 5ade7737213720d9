//! Everything that happened in a run, as the driver, the receiver and the topics tell it.

use std::collections::BTreeMap;

use super::super::load::{Expected, Unit};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// In the topic that is keyed by person?
    pub(crate) keyed: bool,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// One request with a SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When it was there, in ms since 1970.
    pub(crate) at_ms: u64,
    /// Which process sent it.
    pub(crate) process: u16,
    /// Which key signed it.
    pub(crate) kid: u16,
    pub(crate) jti: u64,
    /// Of all bytes
    pub(crate) bytes: u64,
    /// Of the claims but for `iat` and `previous_level`
    pub(crate) claims: u64,
    /// What it says; `None`: no SET of ours, or its signature or schema is wrong.
    pub(crate) said: Option<Said>,
    /// The receiver took it.
    pub(crate) accepted: bool,
    /// Its answer was sent.
    pub(crate) seen: bool,
}

/// The claims that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Number of the SET, from `txn`
    pub(crate) set: u32,
    pub(crate) person: u32,
    pub(crate) version: u16,
    /// From `event_timestamp`
    pub(crate) number: u32,
    /// Index in [`super::super::load::LEVELS`]; `None`: the person moves.
    pub(crate) level: Option<u8>,
    pub(crate) previous: u8,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Where it lies in its dead-letter topic.
    pub(crate) place: Place,
    /// When it was written.
    pub(crate) at_ms: u64,
    pub(crate) origin: Place,
    pub(crate) element: Option<u32>,
    pub(crate) jti: Option<u64>,
    pub(crate) reason: String,
}

/// A process had to let go: it was killed, its partitions were taken, or it gave them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forced {
    pub(crate) process: u16,
    /// Of which topic (keyed?) and partition; `None`: of all that it had.
    pub(crate) partition: Option<(bool, i32)>,
    /// It could commit what it had settled, so nothing of that may be sent again.
    pub(crate) in_order: bool,
    /// Since when nothing that it stored may count.
    pub(crate) from_ms: u64,
    /// When it was back; what it sent later is another matter.
    pub(crate) until_ms: u64,
}

/// What the group had committed at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) at_ms: u64,
    /// By topic (keyed?) and partition.
    pub(crate) next: BTreeMap<(bool, i32), i64>,
}

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) sets: Vec<Expected>,
    /// In the order in which they were produced.
    pub(crate) records: Vec<(Place, Vec<Unit>)>,
    /// In the order in which the receiver took or refused them.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) forced: Vec<Forced>,
    /// Oldest first.
    pub(crate) committed: Vec<Committed>,
    /// No hand-over loses a level or a jti.
    pub(crate) whole_state: bool,
    /// The jti that each SET ought to have; empty: only those of attempts are known.
    pub(crate) jtis: Vec<u64>,
    pub(crate) acts: Acts,
}

/// What operators did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acts {
    /// What is in the side topics.
    pub(crate) replays: Vec<Replay>,
    /// What the bridge told about them.
    pub(crate) told: Vec<Told>,
    pub(crate) rewinds: Vec<Rewind>,
    pub(crate) skips: Vec<Skip>,
    pub(crate) holds: Vec<Hold>,
    /// Since when the receiver takes what it refused before, by the number of the SET.
    pub(crate) mended: BTreeMap<u32, u64>,
}

/// A dead letter that was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Where the dead letter lies.
    pub(crate) of: Place,
    pub(crate) at_ms: u64,
    pub(crate) forced: bool,
}

/// What became of a replay, by the bridge's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The dead letter.
    pub(crate) of: Place,
    pub(crate) outcome: String,
    pub(crate) at_ms: u64,
}

/// A partition that was read once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewind {
    pub(crate) partition: (bool, i32),
    pub(crate) from: i64,
    /// Nothing was there from here on when it was over.
    pub(crate) to: i64,
    /// When it was asked for.
    pub(crate) at_ms: u64,
    /// When it was over: the bridge said that it was done, or the hold ended without which there is none.
    pub(crate) until_ms: u64,
    /// The bridge said so; else nobody knows whether it was done.
    pub(crate) done: bool,
}

/// An operator wanted to be rid of a SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) at_ms: u64,
    /// Which; `None`: that which blocked, and whoever chose it was not heard.
    pub(crate) jti: Option<u64>,
    pub(crate) end: SkipEnd,
}

/// What the bridge answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SkipEnd {
    /// It is a dead letter.
    Skipped,
    /// It has another outcome, or nobody has it.
    Not,
    /// Not yet, or there was no answer.
    Unknown,
}

/// An operator held the stream, and this process knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) process: u16,
    /// What was on the wire has come by then.
    pub(crate) from_ms: u64,
    /// When somebody asked it to resume.
    pub(crate) until_ms: u64,
}
