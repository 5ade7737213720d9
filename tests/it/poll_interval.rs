//! A receiver that is away for longer than `max_poll_interval`: the room is full, nothing settles, and the member must
//! poll all the same, else the group takes its partitions and what it delivers afterwards is sent again by others.

use std::time::Duration;

use setbridge::okta::simulator::Reply;
use tokio::time::sleep;

use crate::support::configuration::Configuration;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;

const USERS: usize = 10;
/// As long as the session, which is shorter nowhere: on busy cores a short session ends by itself.
const POLL_INTERVAL: Duration = Duration::from_secs(6);

/// `down`: what the receiver says meanwhile.
async fn keeps_its_partitions(down: Reply, protocol: fn(Configuration) -> Configuration) {
    let Some(mut stream) = OneStream::on_apache(2).await else {
        return;
    };
    stream.configuration = protocol(stream.configuration);
    let stream = stream
        .sqlite()
        .set("kafka.max_poll_interval", "6s")
        .set("shutdown.drain_deadline", "2s")
        .set("streams.0.receiver.connect_timeout", "500ms")
        .set("streams.0.receiver.request_timeout", "1s")
        .set("limits.max_requests_in_flight", 4)
        .set("limits.max_unsettled", 12)
        .set("limits.max_elements", 12)
        .set("limits.max_uncommitted", 100);
    stream.org.answer_when(None, |_| true, down);
    let mut bridge = stream.start().await;
    stream.produce(wave(USERS, 0..10)).await;
    let paused = [("stream", "okta")];
    bridge
        .metric("setbridge_partitions_paused", &paused, |n| n == 2.0)
        .await;
    // No event: what must not come has this long to come.
    sleep(POLL_INTERVAL + Duration::from_secs(4)).await;
    stream.org.recover();
    all_taken(&stream.org, USERS * 10, || bridge.log_text()).await;
    stream.all_committed(100).await;
    let metrics = bridge.metrics().await;
    let lost = metrics.sum("setbridge_rebalances_total", &[("kind", "lost")]);
    let assigned = metrics.sum("setbridge_rebalances_total", &[("kind", "assigned")]);
    assert_eq!((lost, assigned), (0.0, 2.0), "{}", bridge.log_text());
    assert_eq!(stream.org.tally().repeats, 0);
    assert_whole_and_in_order(&stream.org, USERS, 10);
    bridge.drain().await;
}

fn classic(configuration: Configuration) -> Configuration {
    configuration
}

#[tokio::test]
async fn a_long_hold_keeps_the_partitions() {
    keeps_its_partitions(Reply::status(401), classic).await;
}

#[tokio::test]
async fn a_receiver_that_is_down_for_long_keeps_the_partitions() {
    keeps_its_partitions(Reply::status(503), classic).await;
}

#[tokio::test]
async fn a_long_hold_keeps_the_partitions_of_the_consumer_protocol() {
    keeps_its_partitions(Reply::status(401), Configuration::consumer_protocol).await;
}
