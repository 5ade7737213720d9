//! What a process holds is bounded, whatever the backlog; and one subject is never on the wire twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;
use setbridge::okta::simulator::{JwksSource, Reply, Simulator, SimulatorSettings};

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{apache, brokers};
use crate::support::configuration::{Configuration, ISSUER, receiver, record, user};
use crate::support::exposition::Exposition;
use crate::support::fresh;
use crate::support::numbered::{all_taken, number_of, numbered};

const BACKLOG: usize = 50_000;

/// Counts only, so that the test's own memory and CPU stay out of it.
async fn counting_receiver() -> Simulator {
    let nobody = JwksSource::Given(Box::new(JwkSet { keys: Vec::new() }));
    let mut settings = SimulatorSettings::new(ISSUER, "", nobody);
    settings.verify_every = 1000;
    settings.keep = 0;
    Simulator::start(settings).await.expect("a simulated org")
}

#[tokio::test]
async fn a_long_backlog_while_the_receiver_is_down_is_bounded() {
    let Some(kafka) = apache() else { return };
    let (wire, topic) = (kafka.wire(), fresh("detections"));
    wire.create_topic(&topic, 4, &[]).await;
    let padding = "x".repeat(700);
    for chunk in 0..10 {
        let numbers = chunk * BACKLOG / 10..(chunk + 1) * BACKLOG / 10;
        let messages = numbers.map(|n| {
            let mut detection = numbered(&user(n % 500), n / 500);
            detection["reason"] = Value::from(padding.as_str());
            record(&detection)
        });
        wire.produce_all(&topic, messages).await;
    }
    let org = counting_receiver().await;
    org.answer_next(1_000_000, Reply::status(503));
    let configuration = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .sqlite()
        .set("streams.0.receiver.request_timeout", "2s")
        .set("streams.0.receiver.connect_timeout", "1s")
        .set("streams.0.limits.max_unsettled", 1000)
        .set("streams.0.limits.max_uncommitted", 2000)
        .set("shutdown.drain_deadline", "4s")
        .set("kafka.max_poll_interval", "7s");
    let group = configuration.group("okta");
    let mut bridge = Bridge::start(&configuration).await;
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_partitions_paused", &stream, |n| n == 4.0)
        .await;
    let bounded = |metrics: &Exposition| {
        // One SET may be made when the room is full of records.
        assert!(metrics.sum("setbridge_unsettled_sets", &stream) <= 1001.0);
        assert!(metrics.sum("setbridge_uncommitted_records", &stream) <= 2000.0);
        let resident = bridge.resident_bytes();
        assert!(resident < 200 << 20, "{resident} bytes");
    };
    // Paused for longer than a member may be silent.
    let oldest = "setbridge_oldest_unsettled_seconds";
    bridge
        .watch(SOON, oldest, |metrics| {
            bounded(metrics);
            metrics.sum(oldest, &stream) > 9.0
        })
        .await;
    assert_eq!(bridge.get("/livez").await.0, 200);
    org.recover();
    let outcomes = "setbridge_outcomes_total";
    bridge
        .watch(Duration::from_secs(240), outcomes, |metrics| {
            bounded(metrics);
            metrics.sum(outcomes, &stream) == BACKLOG as f64
        })
        .await;
    let committed = i64::try_from(BACKLOG).unwrap();
    wire.wait_committed(&group, &topic, committed, SOON).await;
    let metrics = bridge.metrics().await;
    let lost = [("kind", "lost")];
    assert_eq!(metrics.sum("setbridge_rebalances_total", &lost), 0.0);
    assert_eq!(org.tally().taken, BACKLOG as u64);
    assert_eq!(org.tally().repeats, 0);
    bridge.drain().await;
}

#[tokio::test]
async fn a_room_smaller_than_one_batch_moves_on() {
    for broker in brokers() {
        let (topic, wire) = (fresh("detections"), broker.wire());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = Configuration::new(wire)
            .stream("okta", &topic, &org)
            .set("streams.0.limits.max_unsettled", 10)
            .set("streams.0.limits.max_requests_in_flight", 10);
        let messages = (0..200).map(|n| record(&numbered(&user(n % 20), n / 20)));
        wire.produce_all(&topic, messages).await;
        let mut bridge = Bridge::start(&configuration).await;
        all_taken(&org, 200, || bridge.log_text()).await;
        bridge.drain().await;
    }
}

/// Records without keys: one subject is on every partition.
#[tokio::test]
async fn one_subject_on_several_partitions_is_never_on_the_wire_twice() {
    const WAIT: Duration = Duration::from_millis(40);
    for broker in brokers() {
        let (topic, wire) = (fresh("detections"), broker.wire());
        broker.create_source(&topic, 4, &["okta"]).await;
        let org = receiver().await;
        org.answer_when(None, |_| true, Reply::Judge.after(WAIT));
        let configuration = Configuration::new(wire).stream("okta", &topic, &org);
        let messages = (0..120).map(|n: usize| {
            let partition = i32::try_from(n % 4).unwrap();
            record(&numbered(&user(n % 3), n / 3)).partition(partition)
        });
        wire.produce_all(&topic, messages).await;
        let mut bridge = Bridge::start(&configuration).await;
        all_taken(&org, 120, || bridge.log_text()).await;
        let mut of: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
        org.log(|log| {
            for received in &log.received {
                of.entry(number_of(received).0)
                    .or_default()
                    .push(received.at);
            }
        });
        for (who, mut arrivals) in of {
            arrivals.sort();
            let closest = arrivals.windows(2).map(|pair| pair[1] - pair[0]).min();
            assert!(
                closest > Some(WAIT),
                "{who}: {closest:?}, {}",
                broker.name()
            );
        }
        let stream = [("stream", "okta")];
        let metrics = bridge.metrics().await;
        let spread = metrics.sum("setbridge_subjects_on_several_partitions_total", &stream);
        assert!(spread > 0.0, "{}", broker.name());
        bridge.drain().await;
    }
}

#[tokio::test]
async fn subjects_on_one_partition_each_are_not_counted_as_spread() {
    for broker in brokers() {
        let (topic, wire) = (fresh("detections"), broker.wire());
        broker.create_source(&topic, 4, &["okta"]).await;
        let org = receiver().await;
        let configuration = Configuration::new(wire).stream("okta", &topic, &org);
        let messages = (0..60).map(|n| record(&numbered(&user(n % 12), n / 12)));
        wire.produce_all(&topic, messages).await;
        let mut bridge = Bridge::start(&configuration).await;
        all_taken(&org, 60, || bridge.log_text()).await;
        let name = "setbridge_subjects_on_several_partitions_total";
        assert_eq!(bridge.metrics().await.sum(name, &[]), 0.0);
        bridge.drain().await;
    }
}
