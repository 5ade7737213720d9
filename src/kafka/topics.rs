//! Whether a topic that setbridge writes to exists, and making it when it does not.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use thiserror::Error;

use crate::ffi::{self, Doing};

use super::client::{KafkaClient, Trouble, code_of};

const ASK: Duration = Duration::from_secs(10);
/// The property of a topic that says for how long its records are kept, in ms.
const RETENTION: &str = "retention.ms";
/// For ever.
const FOR_EVER: &str = "-1";

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
    /// The topic whose records are kept as long; [`None`]: the broker's default. When that topic's retention cannot be
    /// read, records are kept for ever.
    pub kept_like: Option<String>,
}

/// Why a topic is not there.
#[derive(Debug, Error)]
pub enum TopicError {
    /// It does not exist, and the configuration says not to make it.
    #[error("topic {0} does not exist and dead_letter.create is off")]
    Missing(String),
    /// It exists, but an ACL forbids writing to it.
    #[error("topic {0} exists, but this principal may not write to it")]
    Forbidden(String),
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

/// A client that asks. Never creates a topic by asking about it, as a producer would.
fn asker(client: &KafkaClient) -> Result<BaseConsumer<DefaultConsumerContext>, KafkaError> {
    let asker: BaseConsumer<DefaultConsumerContext> = client.config().create()?;
    client.authenticate(asker.client())?;
    Ok(asker)
}

/// The partition count of a topic, or [`None`] when it does not exist.
fn partitions(
    asker: &BaseConsumer<DefaultConsumerContext>,
    topic: &str,
) -> Result<Option<usize>, KafkaError> {
    let metadata = asker.fetch_metadata(Some(topic), ASK)?;
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

/// What the broker says about a topic that is to be there.
enum Found {
    /// It is there; whether we may write to it, if the broker tells.
    Here(Option<bool>),
    /// It is not there; so many partitions has the topic that it is to be like.
    Absent(Option<usize>),
}

fn look(client: &KafkaClient, wanted: &Wanted) -> Result<Found, KafkaError> {
    let asker = asker(client)?;
    if partitions(&asker, &wanted.name)?.is_none() {
        let like = if wanted.like.is_empty() {
            None
        } else {
            partitions(&asker, &wanted.like)?
        };
        return Ok(Found::Absent(like));
    }
    // A broker too old to tell is no reason to hold: the first dead letter will show.
    Ok(Found::Here(
        ffi::may(asker.client(), Doing::Write, &wanted.name, ASK).unwrap_or(None),
    ))
}

/// Makes sure that the topic is there and that we may write to it.
///
/// # Errors
/// See [`TopicError`].
pub async fn ensure(client: KafkaClient, wanted: Wanted) -> Result<(), TopicError> {
    let (asked, what) = (client.clone(), wanted.clone());
    let found = tokio::task::spawn_blocking(move || look(&asked, &what))
        .await
        .unwrap_or(Err(KafkaError::Canceled))
        .map_err(|error| refused(&wanted.name, error))?;
    match found {
        Found::Here(Some(false)) => Err(TopicError::Forbidden(wanted.name)),
        Found::Here(_) => Ok(()),
        Found::Absent(_) if !wanted.create => Err(TopicError::Missing(wanted.name)),
        Found::Absent(like) => {
            let like = like.and_then(|count| i32::try_from(count).ok());
            make(&client, &wanted, wanted.partitions.or(like).unwrap_or(1)).await
        }
    }
}

/// Makes sure that the topic is there, that it has so many partitions at least, and that we may write to it. The others:
/// see [`Wanted`].
///
/// # Errors
/// See [`TopicError`].
pub async fn ensure_partitions(
    client: KafkaClient,
    name: &str,
    count: i32,
    replication: Option<i32>,
    kept_like: Option<String>,
) -> Result<(), TopicError> {
    let wanted = Wanted {
        kept_like,
        name: name.to_owned(),
        create: true,
        partitions: Some(count),
        like: String::new(),
        replication,
    };
    ensure(client.clone(), wanted).await?;
    let (asked, topic) = (client.clone(), name.to_owned());
    let there = tokio::task::spawn_blocking(move || partitions(&asker(&asked)?, &topic))
        .await
        .unwrap_or(Err(KafkaError::Canceled))
        .map_err(|error| refused(name, error))?;
    // One that was made just now may not be known to every broker.
    match (there, usize::try_from(count)) {
        (Some(there), Ok(count)) if there < count => grow(&client, name, count).await,
        _ => Ok(()),
    }
}

/// A client that changes topics.
fn admin(client: &KafkaClient) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    let admin: AdminClient<DefaultClientContext> = client.config().create()?;
    client.authenticate(admin.inner())?;
    Ok(admin)
}

fn patience() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(ASK))
        .request_timeout(Some(ASK))
}

async fn grow(client: &KafkaClient, name: &str, count: usize) -> Result<(), TopicError> {
    let admin = admin(client).map_err(|error| refused(name, error))?;
    let more = NewPartitions::new(name, count);
    match admin.create_partitions([&more], &patience()).await {
        Ok(results) => match results.into_iter().next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(refused(name, KafkaError::AdminOp(code))),
        },
        Err(error) => Err(refused(name, error)),
    }
}

async fn make(client: &KafkaClient, wanted: &Wanted, partitions: i32) -> Result<(), TopicError> {
    let name = wanted.name.as_str();
    let admin = admin(client).map_err(|error| refused(name, error))?;
    let retention = match &wanted.kept_like {
        Some(like) => Some(retention(&admin, like).await),
        None => None,
    };
    let replication = TopicReplication::Fixed(wanted.replication.unwrap_or(-1));
    let mut topic = NewTopic::new(name, partitions, replication);
    if let Some(ms) = &retention {
        topic = topic.set(RETENTION, ms);
    }
    match admin.create_topics([&topic], &patience()).await {
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

/// How long a topic keeps its records, in ms as the broker writes it; for ever, when it does not tell.
async fn retention(admin: &AdminClient<DefaultClientContext>, topic: &str) -> String {
    let options = AdminOptions::new().request_timeout(Some(ASK));
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = admin.describe_configs(&asked, &options).await;
    let told = told.ok().and_then(|told| told.into_iter().next()?.ok());
    let kept = told.and_then(|told| told.get(RETENTION)?.value.clone());
    kept.unwrap_or_else(|| FOR_EVER.to_owned())
}
