//! Where reading starts and goes on: `start_at`, new partitions, retention that was faster, topics made anew.

use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{Broker, apache, brokers};
use crate::support::configuration::{Configuration, receiver, record, user};
use crate::support::fresh;
use crate::support::numbered::{all_taken, numbered, taken};
use crate::support::wire::{Message, Wire};

struct Set {
    wire: Wire,
    topic: String,
    org: Simulator,
    configuration: Configuration,
}

async fn set_up(broker: &Broker, partitions: i32) -> Set {
    let topic = fresh("detections");
    broker.create_topic(&topic, partitions).await;
    broker
        .create_topic(&format!("{topic}.okta.dlq"), partitions)
        .await;
    let org = receiver().await;
    let configuration = Configuration::new(broker.wire())
        .stream("okta", &topic, &org)
        .set("kafka.properties.topic.metadata.refresh.interval.ms", "500")
        .sqlite();
    Set {
        wire: broker.wire().clone(),
        topic,
        org,
        configuration,
    }
}

impl Set {
    async fn produce(&self, partition: i32, numbers: std::ops::Range<usize>) {
        let who = user(usize::try_from(partition).unwrap());
        let messages = numbers.map(|n| message(&who, n).partition(partition));
        self.wire.produce_all(&self.topic, messages).await;
    }

    fn taken(&self, partition: usize) -> Vec<usize> {
        let mut all = self.org.log(taken);
        all.remove(&user(partition)).unwrap_or_default()
    }
}

fn message(who: &str, number: usize) -> Message {
    record(&numbered(who, number))
}

fn numbers(range: std::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}

async fn assigned(bridge: &Bridge, partitions: f64) {
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_partitions_assigned", &stream, |n| {
            n == partitions
        })
        .await;
}

#[tokio::test]
async fn start_at_latest_is_applied_once() {
    for broker in brokers() {
        let mut set = set_up(&broker, 2).await;
        set.configuration = set.configuration.set("streams.0.start_at", "latest");
        set.produce(0, 0..3).await;
        let mut bridge = Bridge::start(&set.configuration).await;
        assigned(&bridge, 2.0).await;
        // Read, but never settled: the group's only commits are those of the start.
        let never = set.org.answer_when(None, |_| true, Reply::Never);
        set.produce(0, 3..4).await;
        set.produce(1, 0..1).await;
        let stream = [("stream", "okta")];
        bridge
            .metric("setbridge_requests_in_flight", &stream, |n| n == 2.0)
            .await;
        bridge.crash().await;
        set.org.withdraw(never);
        set.produce(0, 4..6).await;
        let mut again = Bridge::start(&set.configuration).await;
        all_taken(&set.org, 4, || again.log_text()).await;
        assert_eq!(set.taken(0), numbers(3..6), "{}", broker.name());
        assert_eq!(set.taken(1), numbers(0..1));
        again.drain().await;
    }
}

#[tokio::test]
async fn start_at_a_time_reads_from_there() {
    let Some(kafka) = apache() else { return };
    let mut set = set_up(&Broker::Apache(kafka), 2).await;
    // The records are older than what a broker keeps by default.
    set.wire
        .set_topic(&set.topic, &[("retention.ms", "-1")])
        .await;
    let at = "2026-01-31T08:00:00Z";
    let ms = 1_769_846_400_000;
    set.configuration = set.configuration.set("streams.0.start_at", at);
    for (number, offset_ms) in [-2_000, -1, 0, 5_000].into_iter().enumerate() {
        let message = message(&user(0), number).partition(0);
        set.wire
            .produce(&set.topic, message.timestamp_ms(ms + offset_ms))
            .await;
    }
    let old = message(&user(1), 0).partition(1).timestamp_ms(ms - 5_000);
    set.wire.produce(&set.topic, old).await;
    let mut bridge = Bridge::start(&set.configuration).await;
    all_taken(&set.org, 2, || bridge.log_text()).await;
    set.produce(1, 1..2).await;
    all_taken(&set.org, 3, || bridge.log_text()).await;
    assert_eq!((set.taken(0), set.taken(1)), (numbers(2..4), numbers(1..2)));
    bridge.drain().await;
}

#[tokio::test]
async fn a_partition_that_appears_later_starts_at_its_first_record() {
    let Some(kafka) = apache() else { return };
    let mut set = set_up(&Broker::Apache(kafka), 1).await;
    set.configuration = set.configuration.set("streams.0.start_at", "latest");
    let mut bridge = Bridge::start(&set.configuration).await;
    assigned(&bridge, 1.0).await;
    set.produce(0, 0..1).await;
    all_taken(&set.org, 1, || bridge.log_text()).await;
    set.wire.grow_topic(&set.topic, 2).await;
    set.produce(1, 0..3).await;
    all_taken(&set.org, 4, || bridge.log_text()).await;
    assert_eq!(set.taken(1), numbers(0..3));
    bridge.drain().await;
}

async fn lost(bridge: &Bridge, records: f64) {
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_records_lost_total", &stream, |n| n == records)
        .await;
}

#[tokio::test]
async fn records_that_retention_removed_between_two_runs_are_counted() {
    let Some(kafka) = apache() else { return };
    let set = set_up(&Broker::Apache(kafka), 1).await;
    let group = set.configuration.group("okta");
    let mut bridge = Bridge::start(&set.configuration).await;
    set.produce(0, 0..4).await;
    set.wire.wait_committed(&group, &set.topic, 4, SOON).await;
    bridge.drain().await;
    set.produce(0, 4..10).await;
    set.wire.delete_records(&set.topic, 0, 8).await;
    let mut again = Bridge::start(&set.configuration).await;
    set.wire.wait_committed(&group, &set.topic, 10, SOON).await;
    lost(&again, 4.0).await;
    assert_eq!(set.taken(0), [0, 1, 2, 3, 8, 9]);
    again.drain().await;
}

/// What was read already is delivered, although it is gone from the log; only what was never read is lost.
#[tokio::test]
async fn records_that_retention_removed_while_running_are_counted() {
    let Some(kafka) = apache() else { return };
    let mut set = set_up(&Broker::Apache(kafka), 1).await;
    set.configuration = set
        .configuration
        .set("streams.0.limits.max_unsettled", 5)
        .set("streams.0.limits.max_requests_in_flight", 5)
        .set("streams.0.guard.refusals.subjects", 5);
    let group = set.configuration.group("okta");
    let down = set.org.answer_when(None, |_| true, Reply::status(503));
    let mut bridge = Bridge::start(&set.configuration).await;
    set.produce(0, 0..20).await;
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_partitions_paused", &stream, |n| n == 1.0)
        .await;
    set.wire.delete_records(&set.topic, 0, 15).await;
    set.org.withdraw(down);
    set.wire.wait_committed(&group, &set.topic, 20, SOON).await;
    let got = set.taken(0);
    let read = got.len() - 5;
    let wanted: Vec<usize> = (0..read).chain(15..20).collect();
    assert!(got == wanted && read >= 5, "{got:?}");
    #[allow(clippy::cast_precision_loss, reason = "a few")]
    lost(&bridge, (15 - read) as f64).await;
    bridge.drain().await;
}

/// `after`: so many records are in the new log before it is read.
async fn made_anew_under_a_running_bridge(after: usize) {
    let Some(kafka) = apache() else { return };
    let set = set_up(&Broker::Apache(kafka), 1).await;
    let mut bridge = Bridge::start(&set.configuration).await;
    set.produce(0, 0..5).await;
    all_taken(&set.org, 5, || bridge.log_text()).await;
    set.wire.delete_topic(&set.topic).await;
    bridge.held("okta", Some("kafka_unknown_topic")).await;
    set.wire.create_topic(&set.topic, 1, &[]).await;
    set.produce(0, 5..5 + after).await;
    all_taken(&set.org, 5 + after, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    assert_eq!(set.taken(0), numbers(0..5 + after));
    bridge.drain().await;
}

#[tokio::test]
async fn a_topic_made_anew_under_a_running_bridge_is_read_from_its_start() {
    made_anew_under_a_running_bridge(3).await;
}

#[tokio::test]
async fn a_longer_topic_made_anew_under_a_running_bridge_is_read_from_its_start() {
    made_anew_under_a_running_bridge(12).await;
}

/// The bridge sees nothing of it: when it looks, the new log is longer than what was read of the old one.
#[tokio::test]
async fn a_longer_topic_made_anew_in_a_moment_is_read_from_its_start() {
    let Some(kafka) = apache() else { return };
    let set = set_up(&Broker::Apache(kafka), 1).await;
    let group = set.configuration.group("okta");
    let mut bridge = Bridge::start(&set.configuration).await;
    set.produce(0, 0..5).await;
    set.wire.wait_committed(&group, &set.topic, 5, SOON).await;
    bridge.stop();
    set.wire.delete_topic(&set.topic).await;
    set.wire.create_topic(&set.topic, 1, &[]).await;
    set.produce(0, 5..17).await;
    bridge.cont();
    all_taken(&set.org, 17, || bridge.log_text()).await;
    let mut got = set.taken(0);
    got.sort_unstable();
    assert_eq!(got, numbers(0..17));
    set.produce(0, 17..18).await;
    set.wire.wait_committed(&group, &set.topic, 13, SOON).await;
    bridge.drain().await;
}

async fn made_anew_between_two_runs(after: usize) {
    let Some(kafka) = apache() else { return };
    let set = set_up(&Broker::Apache(kafka), 1).await;
    let mut bridge = Bridge::start(&set.configuration).await;
    set.produce(0, 0..5).await;
    let group = set.configuration.group("okta");
    set.wire.wait_committed(&group, &set.topic, 5, SOON).await;
    bridge.drain().await;
    set.wire.delete_topic(&set.topic).await;
    set.wire.create_topic(&set.topic, 1, &[]).await;
    set.produce(0, 5..5 + after).await;
    let mut again = Bridge::start(&set.configuration).await;
    all_taken(&set.org, 5 + after, || again.log_text()).await;
    assert_eq!(set.taken(0), numbers(0..5 + after));
    again.drain().await;
}

#[tokio::test]
async fn a_topic_made_anew_between_two_runs_is_read_from_its_start() {
    made_anew_between_two_runs(3).await;
}

#[tokio::test]
async fn a_longer_topic_made_anew_between_two_runs_is_read_from_its_start() {
    made_anew_between_two_runs(12).await;
}
