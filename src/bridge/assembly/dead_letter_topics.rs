//! The topics that a stream writes to, made ready before they are needed.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::config::DeadLetterConfig;
use crate::kafka::client::KafkaClient;
use crate::kafka::topics;
use crate::pipeline::Prepare;

/// Makes dead-letter topics ready.
pub(super) struct DeadLetterTopics {
    pub(super) client: KafkaClient,
    pub(super) config: DeadLetterConfig,
    pub(super) outcome_topic: Option<String>,
}

impl Prepare for DeadLetterTopics {
    fn dead_letter_topic(&self, source_topic: Arc<str>) -> BoxFuture<'static, Result<(), String>> {
        let client = self.client.clone();
        let name = self
            .config
            .topic
            .name_for(&source_topic)
            .map(|name| name.as_str().to_owned());
        let as_i32 = |n: Option<std::num::NonZeroU32>| n.and_then(|n| i32::try_from(n.get()).ok());
        let (create, partitions, replication) = (
            self.config.create,
            as_i32(self.config.partitions),
            as_i32(self.config.replication_factor),
        );
        let outcome = self.outcome_topic.clone();
        async move {
            let name = name.map_err(|error| error.to_string())?;
            for name in std::iter::once(name).chain(outcome) {
                let like = source_topic.to_string();
                let wanted = topics::Wanted { name: name.clone(), create, partitions, like, replication, kept_like: None };
                topics::ensure(client.clone(), wanted).await.map_err(|error| {
                    format!(
                        "{}; the stream is held until it is there. To make it: kafka-topics.sh --bootstrap-server … \
                         --create --topic {name} --partitions {}; to allow writing: kafka-acls.sh --bootstrap-server … \
                         --add --allow-principal User:… --operation Write --operation Describe --topic {name}",
                        crate::telemetry::chain(&error),
                        partitions.map_or_else(|| "…".to_owned(), |n| n.to_string()),
                    )
                })?;
            }
            Ok(())
        }
        .boxed()
    }
}
