//! Why something could not be read.

use rdkafka::error::KafkaError;
use thiserror::Error;

use crate::kafka::client::{Trouble, code_of};
use crate::record::Origin;

/// Why something could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No such topic.
    #[error("topic {0} does not exist")]
    NoTopic(String),
    /// No such partition.
    #[error("topic {topic} has no partition {partition}: it has {count}, counted from 0")]
    NoPartition {
        /// The topic.
        topic: String,
        /// Which was asked for.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// The log begins behind it.
    #[error("record {origin} is no longer in the log: the partition begins at offset {first}")]
    Gone {
        /// Which was asked for.
        origin: Origin,
        /// The oldest offset.
        first: i64,
    },
    /// The log ends before it.
    #[error("record {origin} is not there yet: the partition ends before offset {end}")]
    NotYet {
        /// Which was asked for.
        origin: Origin,
        /// The offset of the next record to come.
        end: i64,
    },
    /// There is no record with this offset.
    #[error(
        "there is no record {0}: it was compacted away, is not committed, or a marker of a transaction has this offset"
    )]
    Hole(Origin),
    /// Kafka does not answer, or says no.
    #[error("{doing}: {hint}")]
    Kafka {
        /// What was to be done.
        doing: String,
        /// What librdkafka said, or what it had said before it fell silent.
        hint: String,
        /// Whose fault it is.
        trouble: Trouble,
        /// librdkafka's error.
        source: Box<KafkaError>,
    },
}

impl ReadError {
    /// Whose fault it is, when it is Kafka's or the way there.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Kafka { trouble, .. } => Some(*trouble),
            _ => None,
        }
    }
}

/// A broker that cannot be reached is an effect more often than a cause: what librdkafka said before tells more.
pub(super) fn failed(
    doing: &str,
    said: Option<(Trouble, String)>,
    source: KafkaError,
) -> ReadError {
    let own = code_of(&source).map_or(Trouble::Other, Trouble::of);
    let (trouble, hint) = match said {
        Some((trouble, reason)) if !own.is_set_up() => (trouble, reason),
        _ => (own, source.to_string()),
    };
    ReadError::Kafka {
        doing: doing.to_owned(),
        hint,
        trouble,
        source: Box::new(source),
    }
}
