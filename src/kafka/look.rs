//! Whether Kafka lets a stream work at present: what ends a hold for Kafka's reasons.

use std::collections::BTreeSet;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::consumer::ASK;
use super::context::Context;
use super::settings::ConsumerSettings;
use crate::ffi::{self, Doing};

impl ConsumerSettings {
    /// Every topic is there and may be read, and the group answers. `assigned`: the topics of our partitions; of those
    /// that a pattern matches no more is known.
    ///
    /// # Errors
    /// The first thing that is not well.
    pub(super) fn look<'a>(
        &'a self,
        consumer: &BaseConsumer<Context>,
        assigned: impl Iterator<Item = &'a str>,
    ) -> KafkaResult<()> {
        let named = self.topics.iter().map(String::as_str);
        let named = named.filter(|topic| !topic.starts_with('^'));
        let mut list = TopicPartitionList::new();
        for topic in named.chain(assigned).collect::<BTreeSet<&str>>() {
            there(consumer, topic)?;
            list.add_partition(topic, 0);
        }
        if list.count() == 0 {
            // A pattern that matches nothing yet: the group is asked about a partition that nobody has.
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
