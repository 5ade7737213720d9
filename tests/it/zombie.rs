//! A member that was stopped until the group gave its partitions away, and then goes on: it must not send what it still
//! has in memory, for the new owner may have sent newer SETs about the same subjects.

use std::time::{Duration, SystemTime};

use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{Broker, apache, own_apache};
use crate::support::configuration::{Configuration, receiver};
use crate::support::fresh;
use crate::support::group::Group;
use crate::support::numbered::{
    all_taken, assert_levels_follow, assert_whole_and_in_order, member, register, sharing, wave,
};
use crate::support::redis_server::RedisServer;

const USERS: usize = 40;

fn sent_by(org: &Simulator, kid: &str, since: SystemTime) -> usize {
    org.log(|log| {
        let theirs = log
            .received
            .iter()
            .filter(|r| r.kid.as_deref() == Some(kid));
        theirs.filter(|r| r.wall > since).count()
    })
}

/// `settled`: the stopped member has delivered and committed something before.
async fn woken(settled: bool, consumer_protocol: bool) {
    let Some(kafka) = apache() else { return };
    let (wire, topic) = (kafka.wire(), fresh("detections"));
    wire.create_topic(&topic, 1, &[]).await;
    let org = receiver().await;
    let mut common = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .set("kafka.session_timeout", "2s");
    if consumer_protocol {
        common = common.consumer_protocol();
    }
    register(&org, &common, &["a", "b"]);
    let group = common.group("okta");
    let assigned = [("stream", "okta")];
    let mut a = Bridge::start(&member(&common, "a")).await;
    a.metric("setbridge_partitions_assigned", &assigned, |n| n == 1.0)
        .await;
    let mut numbers = 0;
    if settled {
        wire.produce_all(&topic, wave(USERS, 0..1)).await;
        let all = i64::try_from(USERS).unwrap();
        wire.wait_committed(&group, &topic, all, SOON).await;
        numbers = 1;
    }
    // Some are on the wire, some wait for a place there, some behind one about their subject. None is just between its
    // last check and the wire: there a stop can always be, and what it lets through is on the wire already.
    org.answer_when(
        None,
        |_| true,
        Reply::status(503).after(Duration::from_secs(1)),
    );
    wire.produce_all(&topic, wave(USERS, numbers..numbers + 2))
        .await;
    a.metric("setbridge_requests_in_flight", &assigned, |n| n == 32.0)
        .await;
    a.stop();
    org.recover();
    let mut b = Bridge::start(&member(&common, "b")).await;
    b.metric("setbridge_partitions_assigned", &assigned, |n| n == 1.0)
        .await;
    numbers += 2;
    all_taken(&org, numbers * USERS, || b.log_text()).await;
    wire.produce_all(&topic, wave(USERS, numbers..numbers + 1))
        .await;
    numbers += 1;
    all_taken(&org, numbers * USERS, || b.log_text()).await;
    let all = i64::try_from(numbers * USERS).unwrap();
    wire.wait_committed(&group, &topic, all, SOON).await;
    let woken = SystemTime::now();
    a.cont();
    let lost = [("stream", "okta"), ("kind", "lost")];
    a.metric("setbridge_rebalances_total", &lost, |n| n == 1.0)
        .await;
    // It is a member again once it takes over from the other one.
    wire.produce_all(&topic, wave(USERS, numbers..numbers + 1))
        .await;
    numbers += 1;
    all_taken(&org, numbers * USERS, || b.log_text()).await;
    assert_eq!(sent_by(&org, "a", woken), 0, "{}", a.log_text());
    let all = i64::try_from(numbers * USERS).unwrap();
    wire.wait_committed(&group, &topic, all, SOON).await;
    b.drain().await;
    a.metric("setbridge_partitions_assigned", &assigned, |n| n == 1.0)
        .await;
    wire.produce_all(&topic, wave(USERS, numbers..numbers + 1))
        .await;
    numbers += 1;
    all_taken(&org, numbers * USERS, || a.log_text()).await;
    assert_whole_and_in_order(&org, USERS, numbers);
    a.drain().await;
}

#[tokio::test]
async fn a_woken_member_sends_nothing() {
    woken(true, false).await;
}

#[tokio::test]
async fn a_woken_member_that_never_settled_anything_sends_nothing() {
    woken(false, false).await;
}

#[tokio::test]
async fn a_woken_member_of_the_consumer_protocol_sends_nothing() {
    woken(true, true).await;
}

/// What is on the wire when it is stopped is accepted, and the next owner sends it once more. It hears of that when it
/// wakes, and must not write it over what the owner has written since.
#[tokio::test]
async fn a_woken_member_fences_nobody_in_redis() {
    let Some(kafka) = apache() else { return };
    let (wire, topic) = (kafka.wire(), fresh("detections"));
    wire.create_topic(&topic, 1, &[]).await;
    let org = receiver().await;
    let common = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .set("kafka.session_timeout", "2s")
        .redis(RedisServer::shared());
    register(&org, &common, &["a", "b"]);
    let (group, assigned) = (common.group("okta"), [("stream", "okta")]);
    let mut a = Bridge::start(&sharing(&common, "a")).await;
    wire.produce_all(&topic, wave(8, 0..1)).await;
    wire.wait_committed(&group, &topic, 8, SOON).await;
    org.answer_when(None, |_| true, Reply::Judge.after(Duration::from_secs(2)));
    wire.produce_all(&topic, wave(8, 1..2)).await;
    a.metric("setbridge_requests_in_flight", &assigned, |n| n == 8.0)
        .await;
    a.stop();
    all_taken(&org, 16, || a.log_text()).await;
    org.recover();
    let mut b = Bridge::start(&sharing(&common, "b")).await;
    wire.produce_all(&topic, wave(8, 2..4)).await;
    all_taken(&org, 32, || b.log_text()).await;
    wire.wait_committed(&group, &topic, 32, SOON).await;
    a.cont();
    let lost = [("stream", "okta"), ("kind", "lost")];
    a.metric("setbridge_rebalances_total", &lost, |n| n == 1.0)
        .await;
    wire.produce_all(&topic, wave(8, 4..5)).await;
    all_taken(&org, 40, || b.log_text()).await;
    wire.wait_committed(&group, &topic, 40, SOON).await;
    assert_whole_and_in_order(&org, 8, 5);
    assert_levels_follow(&org);
    let metrics = b.metrics().await;
    for undisturbed in [
        "setbridge_state_fenced_total",
        "setbridge_state_handovers_total",
    ] {
        assert_eq!(metrics.sum(undisturbed, &[]), 0.0, "{}", b.log_text());
    }
    b.drain().await;
    a.drain().await;
}

/// It was stopped while it waited for the state of its new partition. When it wakes, the present owner has settled more
/// than was in the log at its own assignment: that is no topic that was made anew. Kafka is away at that moment, so nobody
/// tells it that it has lost the partition.
#[tokio::test]
async fn a_woken_member_takes_nothing_over() {
    let Some(mut kafka) = own_apache() else {
        return;
    };
    kafka.start().expect("a broker");
    let (wire, topic) = (&kafka.plain().clone(), fresh("detections"));
    wire.create_topic(&topic, 1, &[]).await;
    let (org, server) = (receiver().await, RedisServer::start(&[]));
    let common = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .set("kafka.session_timeout", "2s")
        .redis(&server);
    register(&org, &common, &["a", "b", "c"]);
    let (group, assigned) = (common.group("okta"), [("stream", "okta")]);
    let mut before = Bridge::start(&sharing(&common, "c")).await;
    wire.produce_all(&topic, wave(8, 0..1)).await;
    wire.wait_committed(&group, &topic, 8, SOON).await;
    before.drain().await;
    server.cli(&["config", "set", "maxmemory", "1"]);
    let mut a = Bridge::start(&sharing(&common, "a")).await;
    a.metric("setbridge_partitions_assigned", &assigned, |n| n == 1.0)
        .await;
    a.held("okta", Some("state_store")).await;
    a.stop();
    server.cli(&["config", "set", "maxmemory", "0"]);
    let mut b = Bridge::start(&sharing(&common, "b")).await;
    wire.produce_all(&topic, wave(8, 1..3)).await;
    all_taken(&org, 24, || b.log_text()).await;
    wire.wait_committed(&group, &topic, 24, SOON).await;
    kafka.stop();
    a.cont();
    kafka.start().expect("the same broker");
    a.message("partition lost: nothing more is sent or stored for it")
        .await;
    wire.produce_all(&topic, wave(8, 3..4)).await;
    all_taken(&org, 32, || b.log_text()).await;
    wire.wait_committed(&group, &topic, 32, SOON).await;
    assert_whole_and_in_order(&org, 8, 4);
    assert_levels_follow(&org);
    for bridge in [&a, &b] {
        let metrics = bridge.metrics().await;
        let dropped = metrics.sum("setbridge_state_handovers_total", &[]);
        assert_eq!(dropped, 0.0, "{}", bridge.log_text());
    }
    b.drain().await;
    a.drain().await;
}

/// A stop within the session of this length: nothing is lost, and nothing sent again. Who is asked is told by the log.
async fn stopped_for(stop: Duration, session: &str) -> Option<(Bridge, Group)> {
    let mut group = Group::new(&Broker::Apache(apache()?), 1).await;
    group.common = group.common.set("kafka.session_timeout", session);
    let bridge = group.start("a").await;
    group.produce(5, 0..1).await;
    group.taken(5, &[&bridge]).await;
    bridge.stop();
    group.produce(5, 1..2).await;
    tokio::time::sleep(stop).await;
    bridge.cont();
    group.taken(10, &[&bridge]).await;
    Some((bridge, group))
}

async fn nothing_was_lost(mut bridge: Bridge, group: Group) {
    let metrics = bridge.metrics().await;
    let lost = [("kind", "lost")];
    assert_eq!(metrics.sum("setbridge_rebalances_total", &lost), 0.0);
    assert_eq!(group.org.tally().repeats, 0);
    bridge.drain().await;
}

/// A stop that is shorter than the session changes nothing.
#[tokio::test]
async fn a_short_stop_costs_nothing() {
    let short = stopped_for(Duration::from_millis(500), "30s");
    let Some((bridge, group)) = short.await else {
        return;
    };
    nothing_was_lost(bridge, group).await;
}

/// After a stop of more than half a session the group is asked, and says that all is as it was.
#[tokio::test]
async fn a_longer_stop_within_the_session_only_asks() {
    let longer = stopped_for(Duration::from_secs(11), "20s");
    let Some((bridge, group)) = longer.await else {
        return;
    };
    let asked = "the poller was silent for half a session; asking the group whether the partitions are still ours";
    bridge.message(asked).await;
    nothing_was_lost(bridge, group).await;
}
