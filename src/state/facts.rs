//! What is asked of the state, what it answers, and what it is told.

use std::{sync::Arc, time::Duration};

use crate::set::{EventType, Jti, Level, SubjectKey, Timestamp};

/// The place of a SET within one partition of a topic: the record, the element of it, the SET made
/// from that. Ordered as SETs about one subject leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The record's offset.
    pub offset: i64,
    /// The element's index in the record.
    pub element: u32,
    /// The SET's index among those of the element.
    pub set: u32,
}

/// Which SET somebody asks about.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its jti: `(&jti).into()`.
    pub jti: JtiKey,
    /// Its subject; for identifier-changed, the old identifier.
    pub subject: SubjectKey,
    /// Its event type.
    pub event: EventType,
    /// The record's topic.
    pub topic: Arc<str>,
    /// The record's partition.
    pub partition: i32,
}

/// What the state knows about a SET's jti and subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The jti was accepted within the window: a duplicate.
    pub delivered: bool,
    /// It was accepted by an owner of the partition that had lost it by then, so mark and level do not know of it: whoever
    /// finds it delivered remembers it as accepted.
    pub delivered_late: bool,
    /// The newest SET about the subject from this partition that had a final outcome. A SET that
    /// is not newer was decided before.
    pub mark: Option<Position>,
    /// The level of the last accepted SET of this event type about the subject.
    pub level: Option<Level>,
    /// The event time of that SET, whether or not it had a level. `None`: nothing accepted yet, as
    /// far as the state knows; filters that depend on the last level are off then.
    pub level_event_time: Option<Timestamp>,
    /// Where that SET stands, if its record was on the partition that is asked about.
    pub accepted_at: Option<Position>,
    /// The subject was seen on another partition too: order across them is not promised.
    pub other_partition: bool,
    /// Nobody could be asked, and the stream goes on all the same: nothing here is known.
    pub bypassed: bool,
}

/// A SET that has its final outcome.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Which SET.
    pub question: Question,
    /// Its place.
    pub position: Position,
    /// For identifier-changed, the new identifier: its mark moves as well, and on acceptance the
    /// levels of the old subject become its levels.
    pub other_subject: Option<SubjectKey>,
    /// The outcome.
    pub decision: Decision,
}

impl Facts {
    /// Whether what was accepted last about the subject is newer than a SET that is replayed: by its event time, or, at
    /// the same time, by its origin on the same partition (DESIGN "replay of an old dead letter").
    #[must_use]
    pub fn outdates(&self, event_time: Timestamp, position: Position) -> bool {
        self.level_event_time.is_some_and(|last| {
            let behind = self.accepted_at.is_some_and(|at| at > position);
            last > event_time || (last == event_time && behind)
        })
    }
}

/// The final outcome of a SET, as far as the state cares. The mark moves, but not for what was replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The receiver accepted it: the jti is remembered, the level is the last one.
    Accepted {
        /// The level that the SET reported, if its event type has one.
        level: Option<Level>,
        /// Its event time.
        event_time: Timestamp,
    },
    /// The receiver accepted it when it was replayed: the jti is remembered, the mark stays. The level is the last one
    /// unless [`Facts::outdates`] says that it is not. The levels that identifier-changed takes along replace no newer ones.
    Replayed {
        /// As for [`Self::Accepted`].
        level: Option<Level>,
        /// As for [`Self::Accepted`].
        event_time: Timestamp,
    },
    /// Anything else: dead-lettered, duplicate, filtered. The jti is not remembered, so a replay
    /// of a dead letter is not swallowed.
    Final,
}

/// What an assignment found about the partition (DESIGN "State goes with the partition").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handover {
    /// Nobody else committed since: levels and marks are valid.
    Continued,
    /// Somebody else committed past what this process settled: levels and marks that stem from the
    /// partition are dropped.
    TakenOver,
    /// The state has never seen the partition.
    First,
    /// The log ends at or below something that was decided or settled, so it is another log: its marks are
    /// cleared, and its levels too when the group has a commit on it.
    Recreated,
}

/// A snapshot for metrics. Counts include what is past the window but not yet swept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateStats {
    /// Remembered jtis.
    pub jtis: u64,
    /// Last accepted levels, by (subject, event type).
    pub levels: u64,
    /// Marks, by (subject, partition).
    pub marks: u64,
    /// Batches written since the start; 0 in memory.
    pub flushes: u64,
    /// How long the last batch took to become durable, from its end; 0 in memory.
    pub last_flush: Duration,
    /// Batches that could not be written or synced since the start.
    pub failed_flushes: u64,
}

/// How the state names a jti: the first 16 bytes of the SHA-256 that it is. Among 2^32 different
/// jtis, two share a name with probability 2^-65.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JtiKey(pub(super) [u8; 16]);

impl From<&Jti> for JtiKey {
    fn from(jti: &Jti) -> Self {
        let mut key = [0; 16];
        let (first, _) = jti.digest().split_at(key.len());
        key.copy_from_slice(first);
        Self(key)
    }
}
