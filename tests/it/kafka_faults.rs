//! Kafka itself is not there, or not yet: the process stays up, the stream waits, and goes on by itself.

use std::time::Duration;

use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{apache, own_apache};
use crate::support::configuration::{Configuration, receiver};
use crate::support::fresh;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::wire::Wire;

/// The promise; the group's own settling comes on top of it.
const PICKED_UP: Duration = Duration::from_secs(10);

async fn assert_healthy(bridge: &Bridge) {
    for path in ["/livez", "/readyz"] {
        let (status, body) = bridge.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
}

/// Twelve records arrive, in order, and nothing holds the stream.
async fn flows(wire: &Wire, topic: &str, org: &Simulator, bridge: &mut Bridge) {
    wire.produce_all(topic, wave(4, 0..3)).await;
    all_taken(org, 12, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    assert_whole_and_in_order(org, 4, 3);
    bridge.drain().await;
}

#[tokio::test]
async fn a_topic_that_is_created_later_is_picked_up() {
    let Some(kafka) = apache() else { return };
    let (wire, topic) = (kafka.wire(), fresh("detections"));
    let org = receiver().await;
    let configuration = Configuration::new(wire).stream("okta", &topic, &org);
    let mut bridge = Bridge::start(&configuration).await;
    bridge.held("okta", Some("kafka_unknown_topic")).await;
    assert_healthy(&bridge).await;
    // It is a lasting hold, not one that comes and goes with each look at the cluster.
    let stream = [("stream", "okta"), ("kind", "kafka_unknown_topic")];
    bridge
        .metric("setbridge_kafka_errors_total", &stream, |n| n >= 2.0)
        .await;
    let reason = [("reason", "kafka_unknown_topic")];
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_stream_holds_total", &reason), 1.0);
    wire.create_topic(&topic, 2, &[]).await;
    let assigned = "setbridge_partitions_assigned";
    bridge
        .metric_within(PICKED_UP, assigned, &[], |n| n == 2.0)
        .await;
    flows(wire, &topic, &org, &mut bridge).await;
}

#[tokio::test]
async fn a_broker_that_is_down_at_the_start_is_waited_for() {
    let Some(mut node) = own_apache() else { return };
    let (wire, topic) = (node.plain().clone(), fresh("detections"));
    let org = receiver().await;
    let configuration = Configuration::new(&wire).stream("okta", &topic, &org);
    let mut bridge = Bridge::start(&configuration).await;
    let unreachable = [("stream", "okta"), ("kind", "kafka_unreachable")];
    bridge
        .metric("setbridge_kafka_errors_total", &unreachable, |n| n >= 1.0)
        .await;
    assert_healthy(&bridge).await;
    node.start().expect("a broker");
    wire.create_topic(&topic, 2, &[]).await;
    flows(&wire, &topic, &org, &mut bridge).await;
}

#[tokio::test]
async fn a_broker_that_restarts_loses_and_repeats_nothing() {
    let Some(mut node) = own_apache() else { return };
    node.start().expect("a broker");
    let (wire, topic) = (node.plain().clone(), fresh("detections"));
    wire.create_topic(&topic, 3, &[]).await;
    let org = receiver().await;
    let slow = Reply::Judge.after(Duration::from_millis(100));
    org.answer_when(None, |_| true, slow);
    let configuration = Configuration::new(&wire)
        .stream("okta", &topic, &org)
        .sqlite();
    let group = configuration.group("okta");
    let mut bridge = Bridge::start(&configuration).await;
    wire.produce_all(&topic, wave(10, 0..20)).await;
    all_taken(&org, 20, || bridge.log_text()).await;
    node.stop();
    let unreachable = [("stream", "okta"), ("kind", "kafka_unreachable")];
    bridge
        .metric("setbridge_kafka_errors_total", &unreachable, |n| n >= 1.0)
        .await;
    assert_healthy(&bridge).await;
    node.start().expect("the same broker");
    wire.produce_all(&topic, wave(10, 20..25)).await;
    all_taken(&org, 250, || bridge.log_text()).await;
    wire.wait_committed(&group, &topic, 250, SOON).await;
    assert_whole_and_in_order(&org, 10, 25);
    bridge.drain().await;
}
