//! What the poller tells the desk, and what the desk tells the poller.

use std::sync::Arc;

use crate::record::Record;

use super::client::Trouble;

/// One assignment of one partition to this member. A partition that leaves and comes back gets a new seat,
/// so whatever still refers to the old one (records in a channel, outcomes in flight) is known to be stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat(pub u64);

/// A record and the assignment under which it was read.
#[derive(Debug)]
pub struct Seated {
    /// The assignment.
    pub seat: Seat,
    /// The record.
    pub record: Record,
}

/// The topic through which dead letters of a source topic come back, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideTopic {
    /// The topic that the dead letters come from in the end.
    pub source: Arc<str>,
    /// Where the outcome of each replay is told.
    pub outcomes: Arc<str>,
}

/// A partition that was just assigned, or one of a side topic whose source partition is ours.
#[derive(Debug, Clone)]
pub struct NewSeat {
    /// Its seat.
    pub seat: Seat,
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// It is a partition of a side topic: its records are dead letters that come back.
    pub side: Option<SideTopic>,
    /// The group's committed offset (the next to read), if there is one.
    pub committed: Option<i64>,
    /// The offset of the first record to be read.
    pub start: i64,
    /// The offset after the last record in the log at this moment.
    pub log_end: i64,
}

/// From the poller to the desk, apart from records. Always read before records.
#[derive(Debug)]
pub enum Notice {
    /// Partitions are ours; records follow.
    Assigned(Vec<NewSeat>),
    /// Partitions shall leave: finish what is on the wire, answer with [`Order::Release`].
    Revoking(Vec<Seat>),
    /// Partitions are already somebody else's: stop at once, store nothing, answer with [`Order::Stopped`]. Until then
    /// nothing at all is sent.
    Lost(Vec<Seat>),
    /// The broker acknowledged a commit: per seat the next offset to read.
    Committed(Vec<(Seat, i64)>),
    /// The broker refused a commit.
    CommitFailed(String),
    /// Retention removed records that were never read, or they went with a topic that was made anew, or with a
    /// log's lost end, before they were settled.
    RecordsLost {
        /// Topic name.
        topic: Arc<str>,
        /// Partition number.
        partition: i32,
        /// How many (but for retention: at most).
        records: u64,
    },
    /// Records between the log's end and the first one still there per partition.
    Lag {
        /// Seat of the partition.
        seat: Seat,
        /// High watermark: the offset after the last record.
        log_end: i64,
    },
    /// The partition of this seat has a new one, which begins where the operator wants it.
    Rewound {
        /// The old seat.
        seat: Seat,
        /// The group has the new place, too.
        committed: bool,
    },
    /// The partition of this seat stays as it is, or is not ours any more.
    NotRewound {
        /// The seat.
        seat: Seat,
        /// Why.
        why: String,
    },
    /// The client cannot do its work.
    Trouble(Trouble, String),
    /// It can again.
    Recovered,
    /// How many partitions are paused because the room is full.
    Paused(usize),
    /// librdkafka gave up for good; the consumer is rebuilt once, then the process ends.
    Fatal {
        /// librdkafka's words.
        error: String,
        /// This is the second one within ten minutes.
        final_one: bool,
    },
}

/// From the desk to the poller.
#[derive(Debug)]
pub enum Order {
    /// Everything before `next` of this seat is settled.
    Store {
        /// The assignment.
        seat: Seat,
        /// The next offset to read.
        next: i64,
    },
    /// These seats are done: hand their partitions over.
    Release(Vec<Seat>),
    /// The shared state has another owner for the partition of these seats, its side partition's among them. They are done;
    /// ask the group whose it is. If it is ours, it gets a new seat, from what was ordered to be stored on, told by
    /// [`Notice::Lost`] and [`Notice::Assigned`].
    Confirm(Vec<Seat>),
    /// Read this seat's partition once more from this offset on, under a new seat: answered by [`Notice::Lost`],
    /// [`Notice::Assigned`] and [`Notice::Rewound`], in this order, or by [`Notice::NotRewound`].
    Rewind {
        /// The assignment.
        seat: Seat,
        /// The first offset to be read again; not beyond what is settled.
        from: i64,
    },
    /// Nothing more is sent about seats that were lost.
    Stopped,
    /// Store what was ordered before, leave the group, end.
    Stop,
}
