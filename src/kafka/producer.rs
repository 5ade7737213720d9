//! An acknowledged write: a record counts as written when all in-sync replicas have it (`acks=all`, idempotent).
//!
//! Used for dead letters and outcome records. One attempt returns what it came to; whoever calls decides about again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, FutureProducer, FutureRecord, Producer};
use thiserror::Error;

use super::client::{self, KafkaClient, Trouble, code_of};
use super::token;

/// A record to write.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Key, as bytes.
    pub key: Option<&'a [u8]>,
    /// Value, as bytes.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a record was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The broker or the client refuses records of this size.
    #[error("the record is too large for topic {topic}")]
    TooLarge {
        /// The topic.
        topic: String,
    },
    /// Anything else: the caller waits and tries again.
    #[error("the record could not be written to topic {topic}")]
    Failed {
        /// The topic.
        topic: String,
        /// Whose fault it is.
        trouble: Trouble,
        /// librdkafka's error.
        source: KafkaError,
    },
}

#[derive(Clone)]
struct ProducerContext {
    token_file: Option<std::path::PathBuf>,
}

impl ClientContext for ProducerContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }

    fn generate_oauth_token(
        &self,
        _configuration: Option<&str>,
    ) -> Result<rdkafka::client::OAuthToken, Box<dyn std::error::Error>> {
        Ok(token::read(self.token_file.as_deref())?)
    }
}

/// One producer per process, made at its first use and made anew after a fatal error of librdkafka.
pub struct AckedProducer {
    client: KafkaClient,
    /// Sends what is waiting together.
    together: Slot,
    /// Sends each record by itself: librdkafka does not divide records that are too large only together.
    alone: Slot,
}

/// A place for one producer.
struct Slot {
    alone: bool,
    producer: Mutex<Option<FutureProducer<ProducerContext>>>,
}

impl Slot {
    fn new(alone: bool) -> Self {
        Self {
            alone,
            producer: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<FutureProducer<ProducerContext>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for AckedProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AckedProducer")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl AckedProducer {
    /// A producer for this cluster; does not connect yet.
    #[must_use]
    pub fn new(client: KafkaClient) -> Self {
        Self {
            client,
            together: Slot::new(false),
            alone: Slot::new(true),
        }
    }

    /// Writes one record and waits for the acknowledgement of all in-sync replicas.
    ///
    /// # Errors
    /// See [`WriteError`]. After an error the record may have been written all the same.
    pub async fn write(&self, record: Outgoing<'_>) -> Result<(), WriteError> {
        match self.write_by(&self.together, None, &record).await {
            Err(WriteError::TooLarge { .. }) => self.write_by(&self.alone, None, &record).await,
            result => result,
        }
        .map(drop)
    }

    /// As [`Self::write`], to this partition; returns the record's offset.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub async fn write_to(&self, partition: i32, record: Outgoing<'_>) -> Result<i64, WriteError> {
        self.write_by(&self.alone, Some(partition), &record).await
    }

    async fn write_by(
        &self,
        slot: &Slot,
        partition: Option<i32>,
        record: &Outgoing<'_>,
    ) -> Result<i64, WriteError> {
        let topic = record.topic;
        let failed = |source: KafkaError| match code_of(&source) {
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => WriteError::TooLarge {
                topic: topic.to_owned(),
            },
            code => WriteError::Failed {
                topic: topic.to_owned(),
                trouble: code.map_or(Trouble::Other, Trouble::of),
                source,
            },
        };
        let producer = self.producer(slot).map_err(failed)?;
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_ref(),
            });
        }
        let mut outgoing = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        outgoing.key = record.key;
        outgoing.payload = record.value;
        outgoing.partition = partition;
        match producer.send(outgoing, Duration::from_secs(5)).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((error, _)) => {
                if producer.client().fatal_error().is_some() {
                    *slot.lock() = None;
                }
                Err(failed(error))
            }
        }
    }

    /// Whether librdkafka takes the properties together. No network.
    ///
    /// # Errors
    /// librdkafka's words.
    pub fn try_out(&self) -> Result<(), KafkaError> {
        let mut config = self.config(false);
        config.set("bootstrap.servers", "");
        config.create::<BaseProducer>().map(drop)
    }

    fn config(&self, alone: bool) -> ClientConfig {
        let mut config = self.client.config();
        let mut default = |name: &str, value: &str| {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        };
        // The broker's limit decides, not the client's.
        default("message.max.bytes", "67108864");
        default("message.timeout.ms", "30000");
        default("linger.ms", "2");
        config.set("acks", "all").set("enable.idempotence", "true");
        if alone {
            config.set("batch.num.messages", "1");
        }
        config
    }

    fn producer(&self, slot: &Slot) -> Result<FutureProducer<ProducerContext>, KafkaError> {
        let mut made = slot.lock();
        if let Some(producer) = made.as_ref() {
            return Ok(producer.clone());
        }
        let config = self.config(slot.alone);
        let producer: FutureProducer<ProducerContext> =
            config.create_with_context(ProducerContext {
                token_file: self.client.token_file(),
            })?;
        *made = Some(producer.clone());
        Ok(producer)
    }
}
