//! Whether a topic that setbridge writes to exists, and making it when it does not.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use thiserror::Error;

use super::client::{KafkaClient, Trouble, code_of};

const ASK: Duration = Duration::from_secs(10);

/// A topic that is to be there.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Whether we may make it.
    pub create: bool,
    /// With how many partitions; [`None`]: as many as `like` has.
    pub partitions: Option<i32>,
    /// The topic whose partition count is taken.
    pub like: String,
    /// With how many replicas; [`None`]: the broker's default.
    pub replication: Option<i32>,
}

/// Why a topic is not there.
#[derive(Debug, Error)]
pub enum TopicError {
    /// It does not exist, and the configuration says not to make it.
    #[error("topic {0} does not exist and dead_letter.create is off")]
    Missing(String),
    /// The broker refused to describe or make it.
    #[error("topic {name} could not be made ready")]
    Refused {
        /// The topic.
        name: String,
        /// Whose fault it is.
        trouble: Trouble,
        /// What the broker said.
        source: KafkaError,
    },
}

fn refused(name: &str, source: KafkaError) -> TopicError {
    let trouble = code_of(&source).map_or(Trouble::Other, Trouble::of);
    TopicError::Refused {
        name: name.to_owned(),
        trouble,
        source,
    }
}

/// The partition count of a topic, or [`None`] when it does not exist. Never creates it: asked as a consumer.
fn partitions(client: &KafkaClient, topic: &str) -> Result<Option<usize>, KafkaError> {
    let consumer: BaseConsumer<DefaultConsumerContext> = client.config().create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
        return Ok(None);
    };
    match found.error() {
        None => Ok(Some(found.partitions().len())),
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        ) => Ok(None),
        Some(error) => Err(KafkaError::MetadataFetch(error.into())),
    }
}

/// Makes sure that the topic is there. Blocks for the metadata request, so it runs on a blocking thread.
///
/// # Errors
/// See [`TopicError`].
pub async fn ensure(client: KafkaClient, wanted: Wanted) -> Result<(), TopicError> {
    let name = wanted.name.clone();
    let asked = client.clone();
    let (here, like) = tokio::task::spawn_blocking(move || {
        let here = partitions(&asked, &wanted.name)?;
        let like = if here.is_some() {
            None
        } else {
            partitions(&asked, &wanted.like)?
        };
        Ok((here, like))
    })
    .await
    .unwrap_or(Err(KafkaError::Canceled))
    .map_err(|error| refused(&name, error))?;
    if here.is_some() {
        return Ok(());
    }
    if !wanted.create {
        return Err(TopicError::Missing(name));
    }
    let count = wanted
        .partitions
        .or_else(|| like.and_then(|n| i32::try_from(n).ok()))
        .unwrap_or(1);
    make(&client, &name, count, wanted.replication.unwrap_or(-1)).await
}

async fn make(
    client: &KafkaClient,
    name: &str,
    partitions: i32,
    replication: i32,
) -> Result<(), TopicError> {
    let admin: AdminClient<DefaultClientContext> = client
        .config()
        .create()
        .map_err(|error| refused(name, error))?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    let options = AdminOptions::new()
        .operation_timeout(Some(ASK))
        .request_timeout(Some(ASK));
    match admin.create_topics([&topic], &options).await {
        Ok(results) => match results.into_iter().next() {
            None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {
                tracing::info!(topic = name, partitions, "topic made");
                Ok(())
            }
            Some(Err((_, code))) => Err(refused(name, KafkaError::AdminOp(code))),
        },
        // librdkafka's mock cluster knows no CreateTopics; it makes topics as they are written to.
        Err(error) if code_of(&error) == Some(Code::UnsupportedFeature) => Ok(()),
        Err(error) => Err(refused(name, error)),
    }
}
