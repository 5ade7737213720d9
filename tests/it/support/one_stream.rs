//! What most tests begin with: a topic that nobody used before, a simulated org, and one stream `okta` between them.

use std::collections::BTreeMap;

use serde_json::Value;
use setbridge::okta::simulator::Simulator;

use super::bridge::{Bridge, SOON};
use super::broker::{Broker, apache};
use super::configuration::{Configuration, receiver};
use super::fresh;
use super::receipts::dead_letters;
use super::redis_server::RedisServer;
use super::wire::{Message, Seen, Wire};

/// The id of the stream.
const ID: &str = "okta";

/// A stream that can be started, and the world around it.
pub(crate) struct OneStream {
    /// Which broker, for the messages of assertions
    pub(crate) name: &'static str,
    pub(crate) wire: Wire,
    pub(crate) topic: String,
    pub(crate) org: Simulator,
    pub(crate) configuration: Configuration,
}

impl OneStream {
    /// Over a topic with so many partitions. The state is in memory. A mock cluster ends with `broker`: keep it.
    pub(crate) async fn on(broker: &Broker, partitions: i32) -> OneStream {
        let topic = fresh("detections");
        broker.create_source(&topic, partitions, &[ID]).await;
        OneStream::over(broker.wire(), broker.name(), topic).await
    }

    /// As [`OneStream::on`] for tests that need what only Apache Kafka has. `None` as for [`apache`].
    pub(crate) async fn on_apache(partitions: i32) -> Option<OneStream> {
        let wire = apache()?.wire();
        let topic = fresh("detections");
        wire.create_topic(&topic, partitions, &[]).await;
        Some(OneStream::over(wire, "Apache Kafka", topic).await)
    }

    async fn over(wire: &Wire, name: &'static str, topic: String) -> OneStream {
        let org = receiver().await;
        OneStream {
            name,
            wire: wire.clone(),
            configuration: Configuration::new(wire).stream(ID, &topic, &org),
            topic,
            org,
        }
    }

    /// The same with another value of this key; see [`Configuration::set`].
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> OneStream {
        self.configuration = self.configuration.set(key, value);
        self
    }

    /// The same with its state in a file.
    pub(crate) fn sqlite(mut self) -> OneStream {
        self.configuration = self.configuration.sqlite();
        self
    }

    /// The same with its state in this Redis.
    pub(crate) fn redis(mut self, server: &RedisServer) -> OneStream {
        self.configuration = self.configuration.redis(server);
        self
    }

    /// A process of it.
    pub(crate) async fn start(&self) -> Bridge {
        Bridge::start(&self.configuration).await
    }

    pub(crate) async fn produce(&self, records: impl IntoIterator<Item = Message>) {
        self.wire.produce_all(&self.topic, records).await;
    }

    /// The consumer group.
    pub(crate) fn group(&self) -> String {
        self.configuration.group(ID)
    }

    /// What the group has committed, over all partitions.
    pub(crate) async fn committed(&self) -> i64 {
        let committed: BTreeMap<i32, i64> = self.wire.committed(&self.group(), &self.topic).await;
        committed.values().sum()
    }

    /// Waits until the group has committed so many records, over all partitions.
    pub(crate) async fn all_committed(&self, total: i64) {
        let group = self.group();
        self.wire
            .wait_committed(&group, &self.topic, total, SOON)
            .await;
    }

    /// What is in the dead-letter topic.
    pub(crate) async fn dead_letters(&self) -> Vec<Seen> {
        dead_letters(&self.wire, &self.topic, ID).await
    }
}
