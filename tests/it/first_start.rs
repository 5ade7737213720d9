//! The first start of a group: where it begins, when several members begin at once or the group takes no commits.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;
use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::apache;
use crate::support::configuration::{Configuration, receiver, record, user};
use crate::support::fresh;
use crate::support::mock::Mock;
use crate::support::numbered::{all_taken, member, number_of, numbered, register, taken};
use crate::support::wire::Wire;

/// Many, so that looking at the ends of their logs takes a while.
const PARTITIONS: usize = 60;

async fn assigned(bridge: &Bridge, partitions: usize) {
    #[allow(clippy::cast_precision_loss, reason = "a few")]
    let wanted = partitions as f64;
    bridge
        .metric("setbridge_partitions_assigned", &[], |n| n == wanted)
        .await;
}

/// One record on each partition, of a user of its own.
async fn produce(wire: &Wire, topic: &str, number: usize) {
    let each = (0..PARTITIONS).map(|of| {
        let message = record(&numbered(&user(of), number));
        message.partition(i32::try_from(of).unwrap())
    });
    wire.produce_all(topic, each).await;
}

/// The first number that was read of each user.
fn first_read(org: &Simulator) -> BTreeMap<String, usize> {
    org.log(|log| {
        let mut first = BTreeMap::new();
        for (user, number) in log.received.iter().map(number_of) {
            let entry = first.entry(user).or_insert(number);
            *entry = number.min(*entry);
        }
        first
    })
}

/// Two members, held together by another topic, are there before the topic is, so they are assigned its partitions in one moment, while records come in.
/// What either has begun to read is read again after a crash.
async fn begin_at_once(protocol: &str) {
    let Some(kafka) = apache() else { return };
    let (wire, topic, other) = (kafka.wire(), fresh("detections"), fresh("other"));
    wire.create_topic(&other, 2, &[]).await;
    let org = receiver().await;
    let mut common = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .set("streams.0.topics", json!([topic, other]))
        .set("kafka.properties.topic.metadata.refresh.interval.ms", "500")
        .set("streams.0.start_at", "latest")
        .set("streams.0.limits.max_requests_in_flight", PARTITIONS);
    if protocol == "consumer" {
        common = common.consumer_protocol();
    }
    register(&org, &common, &["a", "b"]);
    let never = org.answer_when(None, |_| true, Reply::Never);
    let members = [member(&common, "a"), member(&common, "b")];
    let mut a = Bridge::start(&members[0]).await;
    let mut b = Bridge::start(&members[1]).await;
    tokio::join!(assigned(&a, 1), assigned(&b, 1));
    let partitions = i32::try_from(PARTITIONS).unwrap();
    wire.create_topic(&topic, partitions, &[]).await;
    let number = {
        let mut number = 0;
        let both = async {
            tokio::join!(
                assigned(&a, 1 + PARTITIONS / 2),
                assigned(&b, 1 + PARTITIONS / 2),
                org.wait_for(|log| log.received.len() >= PARTITIONS)
            )
        };
        tokio::pin!(both);
        loop {
            produce(wire, &topic, number).await;
            number += 1;
            let pause = tokio::time::sleep(Duration::from_millis(5));
            tokio::select! {
                _ = &mut both => break number,
                () = pause => {}
            }
        }
    };
    let first = first_read(&org);
    assert_eq!(first.len(), PARTITIONS);
    a.crash().await;
    b.crash().await;
    org.withdraw(never);
    let mut again = Bridge::start(&members[0]).await;
    let wanted: usize = first.values().map(|first| number - first).sum();
    all_taken(&org, wanted, || again.log_text()).await;
    for (user, numbers) in org.log(taken) {
        // What nobody had begun to read may come as well: the members began one after the other.
        let wanted: Vec<usize> = (first[&user]..number).collect();
        assert!(numbers.ends_with(&wanted), "{user}: {wanted:?} {numbers:?}");
    }
    again.drain().await;
}

#[tokio::test]
async fn members_that_begin_at_once_skip_nothing() {
    begin_at_once("classic").await;
}

#[tokio::test]
async fn members_that_begin_at_once_skip_nothing_in_the_consumer_protocol() {
    begin_at_once("consumer").await;
}

/// A group that takes no commits costs repeats after a restart, not the reading.
#[tokio::test]
async fn reading_starts_although_the_group_takes_no_commit() {
    let mock = Mock::start();
    let (wire, topic) = (mock.wire(), fresh("detections"));
    mock.create_topic(&topic, 1);
    mock.create_topic(&format!("{topic}.okta.dlq"), 1);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 100];
    mock.with(move |cluster| cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refused));
    let org = receiver().await;
    let configuration = Configuration::new(wire).stream("okta", &topic, &org);
    let mut bridge = Bridge::start(&configuration).await;
    assigned(&bridge, 1).await;
    wire.produce(&topic, record(&numbered(&user(0), 0))).await;
    all_taken(&org, 1, || bridge.log_text()).await;
    let told = |line: &serde_json::Value| {
        let message = line["message"].as_str();
        message.is_some_and(|m| m.starts_with("the group does not take the commit"))
    };
    assert_eq!(bridge.lines().iter().filter(|line| told(line)).count(), 1);
    bridge
        .metric("setbridge_commit_errors_total", &[], |n| n >= 2.0)
        .await;
    mock.with(|cluster| cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit));
    wire.wait_committed(&configuration.group("okta"), &topic, 1, SOON)
        .await;
    bridge.drain().await;
}
