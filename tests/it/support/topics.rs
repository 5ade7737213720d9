//! What an operator does to topics. The mock cluster answers none of these requests.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::timeout;

use super::wire::{ANSWER, Wire};

impl Wire {
    /// Creates a topic with these topic settings and as many replicas as the brokers make by default.
    pub(crate) async fn create_topic(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let new = settings
            .iter()
            .fold(new, |new, (key, value)| new.set(key, value));
        let made = admin(self).create_topics([&new], &options()).await;
        for result in made.expect("an answer to CreateTopics") {
            result.unwrap_or_else(|(topic, e)| panic!("creating {topic}: {e}"));
        }
    }

    /// Deletes a topic and returns when it is gone.
    pub(crate) async fn delete_topic(&self, topic: &str) {
        let gone = admin(self).delete_topics(&[topic], &options()).await;
        for result in gone.expect("an answer to DeleteTopics") {
            result.unwrap_or_else(|(topic, e)| panic!("deleting {topic}: {e}"));
        }
        let gone = async {
            while !self.partitions(topic).await.is_empty() {
                // Kafka has no event for it; this is the pause between two questions.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let gone = timeout(ANSWER, gone).await;
        gone.unwrap_or_else(|_| panic!("{topic} is still there"));
    }

    /// Grows a topic to this many partitions.
    pub(crate) async fn grow_topic(&self, topic: &str, partitions: usize) {
        let grown = NewPartitions::new(topic, partitions);
        let grown = admin(self).create_partitions([&grown], &options()).await;
        for result in grown.expect("an answer to CreatePartitions") {
            result.unwrap_or_else(|(topic, e)| panic!("growing {topic}: {e}"));
        }
    }

    /// Sets topic settings; those not named go back to the broker's defaults.
    pub(crate) async fn set_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        let altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let altered = settings
            .iter()
            .fold(altered, |all, (key, value)| all.set(key, value));
        let altered = admin(self).alter_configs([&altered], &options()).await;
        for result in altered.expect("an answer to AlterConfigs") {
            result.unwrap_or_else(|(_, e)| panic!("settings of {topic}: {e}"));
        }
    }

    /// The value of one topic setting.
    pub(crate) async fn setting(&self, topic: &str, key: &str) -> Option<String> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let told = admin(self).describe_configs(&asked, &options()).await;
        let told = told.expect("an answer to DescribeConfigs").remove(0);
        let told = told.unwrap_or_else(|e| panic!("settings of {topic}: {e}"));
        told.get(key)?.value.clone()
    }

    /// Deletes the records of one partition before `offset`, as retention would.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("an offset");
        let left = admin(self).delete_records(&before, &options()).await;
        for element in left.expect("an answer to DeleteRecords").elements() {
            element
                .error()
                .unwrap_or_else(|e| panic!("records of {topic}: {e}"));
        }
    }
}

fn admin(wire: &Wire) -> AdminClient<DefaultClientContext> {
    wire.client().create().expect("an admin client")
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .operation_timeout(Some(ANSWER))
}
