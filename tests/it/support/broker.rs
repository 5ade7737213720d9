//! The brokers that a test runs on: "over the wire, on the mock cluster and on Apache Kafka" is a loop over
//! [`brokers`]. A test that needs what only a real Kafka has asks for it: [`apache`], [`secure_apache`], [`own_apache`].
//!
//! Where there is no Apache Kafka, that is written down for the last lines of `make test`.

use super::apache::{Apache, separate_node};
use super::mock::Mock;
use super::node::Node;
use super::used::{Fact, write_down};
use super::wire::Wire;

/// One broker, with what every broker can do.
pub(crate) enum Broker {
    /// Shared by all tests, so topics and groups need fresh names
    Apache(&'static Apache),
    /// For this test alone
    Mock(Mock),
}

/// The mock cluster, and Apache Kafka when there is one.
///
/// # Panics
/// When Apache Kafka is there but does not start, or `SETBRIDGE_REQUIRE_KAFKA=1` and it is not there.
pub(crate) fn brokers() -> Vec<Broker> {
    let mut all = vec![Broker::Mock(Mock::start())];
    match Apache::shared() {
        Some(apache) => all.push(Broker::Apache(apache)),
        None => write_down(&Fact::MockOnly),
    }
    all
}

/// The shared Apache Kafka. `None`: the test returns, and that it was left out is written down.
pub(crate) fn apache() -> Option<&'static Apache> {
    said(Apache::shared())
}

/// The shared Apache Kafka with its TLS listener and its ACLs. `None` as for [`apache`].
pub(crate) fn secure_apache() -> Option<(&'static Apache, &'static Node)> {
    // With KAFKA_BOOTSTRAP the reason is another one and was written down already.
    Apache::shared_node().or_else(|| said(Apache::shared()).and(None))
}

/// An Apache Kafka that does not run yet, for this test alone to start and stop. `None` as for [`apache`].
pub(crate) fn own_apache() -> Option<Node> {
    said(separate_node())
}

fn said<T>(found: Option<T>) -> Option<T> {
    if found.is_none() {
        write_down(&Fact::LeftOut("needs Apache Kafka"));
    }
    found
}

impl Broker {
    /// Which one, for the messages of assertions.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Broker::Apache(_) => "Apache Kafka",
            Broker::Mock(_) => "the mock cluster",
        }
    }

    /// The cluster as a client sees it.
    pub(crate) fn wire(&self) -> &Wire {
        match self {
            Broker::Apache(apache) => apache.wire(),
            Broker::Mock(mock) => mock.wire(),
        }
    }

    /// Creates a topic for these streams to consume. The mock cluster answers no CreateTopics, so their dead-letter
    /// topics are made here too; on Apache Kafka the bridge makes them.
    pub(crate) async fn create_source(&self, topic: &str, partitions: i32, streams: &[&str]) {
        self.create_topic(topic, partitions).await;
        if let Broker::Mock(mock) = self {
            for stream in streams {
                mock.create_topic(&format!("{topic}.{stream}.dlq"), partitions);
            }
        }
    }

    /// Creates a topic with the broker's default settings.
    pub(crate) async fn create_topic(&self, topic: &str, partitions: i32) {
        match self {
            Broker::Apache(apache) => apache.wire().create_topic(topic, partitions, &[]).await,
            Broker::Mock(mock) => mock.create_topic(topic, partitions),
        }
    }
}
