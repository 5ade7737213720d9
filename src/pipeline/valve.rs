//! The release valve of one stream: what an operator may do to it while it runs.
//!
//! Each act is logged and counted by whoever lets operators in (`crate::admin`); here stands what it does.

mod rewind;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::status::Blocking;
use super::stream::Stream;
use crate::kafka::events::Seat;
use crate::state::{Flushed, JtiKey, StateError};
use crate::telemetry::chain;

pub(crate) use rewind::Source;
pub use rewind::{Begins, RewindTo, Rewound};

/// So long an act waits for the state to be durable before the operator is told that it is not yet.
const DURABLE: Duration = Duration::from_secs(5);

/// So long a skip is waited for before the operator is told that it is asked for. Longer than the default of
/// `receiver.request_timeout`.
const SKIPPED: Duration = Duration::from_secs(15);
/// Wishes that may wait for the desk.
const WISHES: usize = 16;

/// The acts, as metrics, logs and routes name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing leaves until it is resumed.
    Hold,
    /// Ends an operator's hold.
    Resume,
    /// Makes one SET, or what should have become one, a dead letter.
    Skip,
    /// Sends once more what was sent before.
    Rewind,
}

impl Act {
    /// Every act, so that metrics can start each label at 0.
    pub const ALL: [Self; 4] = [Self::Hold, Self::Resume, Self::Skip, Self::Rewind];

    /// The label, and the last part of the route.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Skip => "skip",
            Self::Rewind => "rewind",
        }
    }
}

/// Why an act was not, or not wholly, done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It is in force in this process; other processes and the next start do not know of it yet.
    #[error(
        "in force in this process, but not yet written to the state ({0}): a restart now would not know of it"
    )]
    NotDurable(String),
    /// There is nothing to skip.
    #[error("nothing waits for an outcome here")]
    NothingWaits,
    /// No SET without an outcome has this jti. What was typed stays out of logs: it may be anything.
    #[error(
        "no SET with this jti waits for an outcome here: it has one, or its record was not read yet"
    )]
    UnknownJti,
    /// A rewind wants a held stream.
    #[error("a stream is rewound while an operator holds it: `setbridge stream hold` first")]
    NotHeld,
    /// The partition is another process's, or nobody's.
    #[error("this process does not have that partition of the stream")]
    NotHere,
    /// There is nothing to be read once more.
    #[error("the partition stands at offset {0}: a rewind leads back, not there or beyond")]
    NothingBefore(i64),
    /// More than one act may hold.
    #[error(
        "too much for one rewind (more than 1,000,000 SETs, or more than can be read in 4 minutes)"
    )]
    TooMuch,
    /// Kafka did not let us look.
    #[error("{0}")]
    Kafka(String),
    /// The state did not let us look.
    #[error("the state does not answer: {0}")]
    State(String),
    /// The partition stays as it is.
    #[error("not rewound: {0}")]
    NotRewound(String),
    /// It is read once more, but the group still has the old place.
    #[error(
        "it is read once more here, but the group does not show the new place: rewind it again"
    )]
    NotCommitted,
    /// The stream does not work any more, or does not answer.
    #[error("the stream is ending")]
    Ending,
}

impl ActError {
    /// What was asked for is in force all the same.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        matches!(self, Self::NotDurable(_) | Self::NotCommitted)
    }
}

/// What operators want of a desk.
#[derive(Debug)]
pub enum Wish {
    /// The one with this jti, else the oldest, shall be skipped.
    Skip {
        /// Its jti.
        jti: Option<String>,
        /// Which one it is, and how it ends.
        tell: oneshot::Sender<Result<Skipping, ActError>>,
    },
    /// Which partitions there are, and where they stand.
    Stand(oneshot::Sender<Vec<Standing>>),
    /// A partition is read once more.
    Rewind {
        /// Its assignment.
        seat: Seat,
        /// The first offset to be read again.
        from: i64,
        /// What is forgotten.
        jtis: Vec<JtiKey>,
        /// Whether it is.
        tell: oneshot::Sender<Result<(), ActError>>,
    },
}

/// One partition of a desk.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Topic name.
    pub topic: Arc<str>,
    /// Number.
    pub partition: i32,
    /// Its assignment.
    pub seat: Seat,
    /// The next offset to be settled.
    pub settled: i64,
    /// The offset behind the last record received.
    pub read: i64,
}

/// One that is being skipped.
#[derive(Debug)]
pub struct Skipping {
    /// Which one.
    pub set: Blocking,
    pub(super) end: oneshot::Receiver<SkipEnd>,
}

/// How one that was to be skipped ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipEnd {
    /// Its outcome, and the reason when that is a dead letter: `skipped`, or what the receiver or the guard said first.
    Outcome(&'static str, Option<&'static str>),
    /// Its partition left before: it is its next owner's, undecided.
    Left,
    /// It has none yet: it is on the wire, waits behind another one about its subject, or for the state. It is skipped
    /// as soon as it can be.
    NotYet,
}

/// The valve of one stream.
#[derive(Clone)]
pub struct Valve {
    stream: Arc<Stream>,
    wishes: Sender<Wish>,
    source: Source,
}

impl Valve {
    /// The valve, and the desk's end of it.
    pub(crate) fn new(stream: Arc<Stream>, source: Source) -> (Self, Receiver<Wish>) {
        let (wishes, wished) = channel(WISHES);
        let valve = Self {
            stream,
            wishes,
            source,
        };
        (valve, wished)
    }

    async fn wish(&self, wish: Wish) -> Result<(), ActError> {
        self.wishes.send(wish).await.map_err(|_| ActError::Ending)
    }

    /// Id of the stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.stream.id()
    }

    /// The reasons that hold the stream now.
    #[must_use]
    pub fn held(&self) -> Vec<&'static str> {
        let reasons = self.stream.passage.holds();
        let mut reasons: Vec<_> = reasons.iter().map(|(reason, _)| reason.as_str()).collect();
        reasons.sort_unstable();
        reasons
    }

    /// One more act was done.
    pub fn count(&self, act: Act) {
        self.stream.parts.metrics.operator_acts.inc(act.as_str());
    }

    /// Holds the stream: offsets are kept, and nothing leaves, not even a probe, until [`Valve::resume`]. A second hold
    /// replaces the first one's reason.
    ///
    /// # Errors
    /// [`ActError::NotDurable`].
    pub async fn hold(&self, reason: &str) -> Result<(), ActError> {
        self.say(Some(reason)).await
    }

    /// Ends an operator's hold; any other stays.
    ///
    /// # Errors
    /// [`ActError::NotDurable`].
    pub async fn resume(&self) -> Result<(), ActError> {
        self.say(None).await
    }

    /// Makes a dead letter of exactly one SET, or of what should have become one: that with this jti, else the one that
    /// waits longest. What is on the wire is waited for, and an acceptance wins; so does what the state knows.
    ///
    /// # Errors
    /// [`ActError::NothingWaits`], [`ActError::UnknownJti`], [`ActError::Ending`].
    pub async fn skip(&self, jti: Option<String>) -> Result<(Blocking, SkipEnd), ActError> {
        let (tell, told) = oneshot::channel();
        self.wish(Wish::Skip { jti, tell }).await?;
        let Skipping { set, end } = told.await.map_err(|_| ActError::Ending)??;
        let end = match tokio::time::timeout(SKIPPED, end).await {
            Ok(end) => end.unwrap_or(SkipEnd::Left),
            Err(_) => SkipEnd::NotYet,
        };
        Ok((set, end))
    }

    async fn say(&self, reason: Option<&str>) -> Result<(), ActError> {
        let said = self.stream.operator.say(&self.stream.passage, reason);
        durable(said).await
    }
}

async fn durable(flushed: Flushed) -> Result<(), ActError> {
    match tokio::time::timeout(DURABLE, flushed).await {
        Ok(flushed) => flushed.map_err(|error: StateError| ActError::NotDurable(chain(&error))),
        Err(_) => Err(ActError::NotDurable("it does not answer".to_owned())),
    }
}
