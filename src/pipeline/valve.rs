//! The release valve of one stream: what an operator may do to it while it runs.
//!
//! Each act is logged and counted by whoever lets operators in (`crate::admin`); here stands what it does.

use std::sync::Arc;
use std::time::Duration;

use super::stream::Stream;
use crate::state::{Flushed, StateError};
use crate::telemetry::chain;

/// So long an act waits for the state to be durable before the operator is told that it is not yet.
const DURABLE: Duration = Duration::from_secs(5);

/// The acts, as metrics, logs and routes name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing leaves until it is resumed.
    Hold,
    /// Ends an operator's hold.
    Resume,
}

impl Act {
    /// Every act, so that metrics can start each label at 0.
    pub const ALL: [Self; 2] = [Self::Hold, Self::Resume];

    /// The label, and the last part of the route.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Resume => "resume",
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
}

/// The valve of one stream.
#[derive(Clone)]
pub struct Valve {
    stream: Arc<Stream>,
}

impl Valve {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self { stream }
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
