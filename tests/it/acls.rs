//! ACLs where the set-up is more than one topic: a pattern, an outcome topic. What is missing holds the stream and loses
//! nothing; what is granted lets it go on.

use serde_json::json;
use setbridge::okta::simulator::Simulator;

use crate::support::acl::{self, Operation, Resource};
use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::own_apache;
use crate::support::configuration::{Configuration, receiver};
use crate::support::fresh;
use crate::support::node::{Node, USER};
use crate::support::numbered::{all_taken, wave};
use crate::support::wire::Wire;

/// A broker of its own, on which everybody but the bridge may do everything.
struct Guarded {
    plain: Wire,
    org: Simulator,
    configuration: Configuration,
    topic: String,
    _node: Node,
}

impl Guarded {
    /// With a topic for the stream `okta`, which may be read like its group, and its dead-letter topic, which may be written.
    async fn new() -> Option<Guarded> {
        let mut node = own_apache()?;
        node.start().expect("a broker");
        let (plain, topic) = (node.plain().clone(), fresh("detections"));
        let org = receiver().await;
        let secure = node.secure("SCRAM-SHA-256");
        let configuration = Configuration::new(&secure).stream("okta", &topic, &org);
        let guarded = Guarded {
            plain,
            org,
            configuration,
            topic,
            _node: node,
        };
        let group = guarded.configuration.group("okta");
        acl::allow(
            &guarded.plain,
            USER,
            Operation::Read,
            Resource::Group(&group),
        )
        .await;
        guarded.readable(&guarded.topic).await;
        Some(guarded)
    }

    /// A topic that the bridge may read, and its dead-letter topic.
    async fn readable(&self, topic: &str) {
        self.plain.create_topic(topic, 2, &[]).await;
        let letters = format!("{topic}.okta.dlq");
        self.plain.create_topic(&letters, 2, &[]).await;
        self.allow(Operation::Read, topic).await;
        self.allow(Operation::Write, &letters).await;
    }

    async fn allow(&self, operation: Operation, topic: &str) {
        acl::allow(&self.plain, USER, operation, Resource::Topic(topic)).await;
    }

    async fn withdraw(&self, operation: Operation, topic: &str) {
        acl::withdraw(&self.plain, USER, operation, Resource::Topic(topic)).await;
    }

    async fn committed(&self, topic: &str) -> i64 {
        let group = self.configuration.group("okta");
        self.plain
            .committed(&group, topic)
            .await
            .values()
            .sum::<i64>()
    }
}

/// Held for this reason, and still so after it has been looked at again.
async fn stays_held(bridge: &Bridge, reason: &str, errors: &str) {
    bridge.held("okta", Some(reason)).await;
    let before = bridge.metrics().await.sum(errors, &[]);
    bridge.metric(errors, &[], |n| n >= before + 2.0).await;
    bridge.held("okta", Some(reason)).await;
}

#[tokio::test]
async fn a_pattern_waits_for_the_right_to_read_each_topic_that_matches() {
    let Some(guarded) = Guarded::new().await else {
        return;
    };
    // The second one may be seen, not read.
    let second = format!("{}-second", guarded.topic);
    guarded.readable(&second).await;
    guarded.withdraw(Operation::Read, &second).await;
    guarded.allow(Operation::Describe, &second).await;
    let pattern = format!("^{}(-second)?$", guarded.topic);
    let configuration = guarded
        .configuration
        .clone()
        .set("streams.0.topics", json!(null))
        .set("streams.0.topic_pattern", pattern);
    guarded
        .plain
        .produce_all(&guarded.topic, wave(5, 0..1))
        .await;
    guarded.plain.produce_all(&second, wave(5, 1..2)).await;
    let mut bridge = Bridge::start(&configuration).await;
    stays_held(&bridge, "kafka_acl", "setbridge_kafka_errors_total").await;
    assert_eq!(guarded.committed(&second).await, 0);
    assert_eq!(bridge.get("/readyz").await.0, 200);
    guarded.allow(Operation::Read, &second).await;
    all_taken(&guarded.org, 10, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    let group = guarded.configuration.group("okta");
    guarded.plain.wait_committed(&group, &second, 5, SOON).await;
    bridge.drain().await;
}

#[tokio::test]
async fn an_outcome_topic_that_may_not_be_written_holds_the_stream() {
    let Some(guarded) = Guarded::new().await else {
        return;
    };
    let outcomes = fresh("outcomes");
    guarded.plain.create_topic(&outcomes, 1, &[]).await;
    guarded.allow(Operation::Describe, &outcomes).await;
    let configuration = guarded
        .configuration
        .clone()
        .set("streams.0.outcome_topic", outcomes.as_str());
    let (topic, group) = (&guarded.topic, guarded.configuration.group("okta"));
    guarded.plain.produce_all(topic, wave(5, 0..1)).await;
    let mut bridge = Bridge::start(&configuration).await;
    let (reason, errors) = (
        "kafka_dead_letter_topic",
        "setbridge_dead_letter_errors_total",
    );
    bridge.held("okta", Some(reason)).await;
    let mend = format!("--operation Write --operation Describe --topic {outcomes}");
    bridge
        .line("the mend", |line| line.to_string().contains(&mend))
        .await;
    assert_eq!(guarded.committed(topic).await, 0);
    assert_eq!(bridge.get("/readyz").await.0, 200);
    guarded.allow(Operation::Write, &outcomes).await;
    all_taken(&guarded.org, 5, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    guarded.plain.wait_committed(&group, topic, 5, SOON).await;
    assert_eq!(guarded.plain.read_all(&outcomes).await.len(), 5);

    // Forbidden while running: what cannot be announced does not settle.
    guarded.withdraw(Operation::Write, &outcomes).await;
    guarded.plain.produce_all(topic, wave(5, 1..2)).await;
    stays_held(&bridge, reason, errors).await;
    assert_eq!(guarded.committed(topic).await, 5);
    guarded.allow(Operation::Write, &outcomes).await;
    all_taken(&guarded.org, 10, || bridge.log_text()).await;
    guarded.plain.wait_committed(&group, topic, 10, SOON).await;
    bridge.held("okta", None).await;
    // One outcome a SET, however often it was tried.
    let announced = guarded.plain.read_all(&outcomes).await;
    let jtis: std::collections::BTreeSet<_> = announced.iter().map(|r| r.key.clone()).collect();
    assert_eq!((announced.len(), jtis.len()), (10, 10));
    bridge.drain().await;
}
