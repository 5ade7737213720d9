//! Whether Kafka lets a stream work at present: what ends a hold for Kafka's reasons.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::consumer::ASK;
use super::context::Context;
use super::settings::ConsumerSettings;
use crate::ffi::{self, Doing};

impl ConsumerSettings {
    /// Every topic is there and may be read, and the group answers.
    ///
    /// # Errors
    /// The first thing that is not well.
    pub(super) fn look(&self, consumer: &BaseConsumer<Context>) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for topic in self.topics.iter().filter(|topic| !topic.starts_with('^')) {
            there(consumer, topic)?;
            list.add_partition(topic, 0);
        }
        if list.count() == 0 {
            // A pattern: the group is asked about a partition that nobody has.
            list.add_partition(&self.group, 0);
        }
        consumer.committed_offsets(list, ASK)?;
        Ok(())
    }
}

fn there(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<()> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let error = match found {
        None => RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        Some(found) => match found.error() {
            Some(error) => error,
            // A broker that does not tell does not refuse either.
            None => match ffi::may(consumer.client(), Doing::Read, topic, ASK) {
                Ok(Some(false)) => RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                _ => return Ok(()),
            },
        },
    };
    Err(KafkaError::MetadataFetch(Code::from(error)))
}
