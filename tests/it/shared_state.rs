//! What a partition's state is worth to its next owner: with a file of one's own it is dropped where it may be wrong,
//! and that is said; in a Redis it goes along.

use std::time::Duration;

use setbridge::okta::simulator::Reply;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{Broker, apache, brokers};
use crate::support::configuration::{Configuration, record, user};
use crate::support::group::Group;
use crate::support::numbered::{
    all_taken, assert_levels_follow, assert_whole_and_in_order, level_of, member, number_of,
    numbered, sharing, wave,
};
use crate::support::one_stream::OneStream;
use crate::support::receipts::{arrived, is_about};
use crate::support::redis_server::RedisServer;
use crate::support::replays::unguarded;

const HANDOVERS: &str = "setbridge_state_handovers_total";

impl Group {
    /// One process after the other has the partition, each gets the record of this number.
    async fn turn(&self, configuration: &Configuration, number: usize) -> f64 {
        let mut bridge = Bridge::start(configuration).await;
        bridge
            .metric("setbridge_partitions_assigned", &[], |n| n == 1.0)
            .await;
        let next = record(&numbered(&user(0), number));
        self.wire.produce_all(&self.topic, [next]).await;
        all_taken(&self.org, number + 1, || bridge.log_text()).await;
        let handovers = bridge.metrics().await.sum(HANDOVERS, &[]);
        bridge.drain().await;
        handovers
    }

    fn previous_levels(&self) -> Vec<String> {
        self.org.log(|log| {
            let mut levels: Vec<_> = log.taken().collect();
            levels.sort_by_key(|received| number_of(received).1);
            let previous = |received: &&setbridge::okta::simulator::Received| {
                let (_, event) = received.event().expect("one event");
                event["previous_level"].as_str().expect("text").to_owned()
            };
            levels.iter().map(previous).collect()
        })
    }
}

#[tokio::test]
async fn a_file_of_ones_own_drops_levels_after_others_worked() {
    for broker in brokers() {
        let group = Group::new(&broker, 1).await;
        let [a, b] = ["a", "b"].map(|kid| member(&group.common, kid));
        assert_eq!(group.turn(&a, 0).await, 0.0);
        // It has never seen the partition, so there is nothing to drop.
        assert_eq!(group.turn(&b, 1).await, 0.0);
        // Its "low" is no longer the last level.
        assert_eq!(group.turn(&a, 2).await, 1.0);
        // Nobody else worked since.
        assert_eq!(group.turn(&a, 3).await, 0.0);
        let expected = ["none", "none", "none", level_of(2)];
        assert_eq!(group.previous_levels(), expected, "{}", broker.name());
        assert_whole_and_in_order(&group.org, 1, 4);
    }
}

#[tokio::test]
async fn in_redis_levels_go_along() {
    let server = RedisServer::shared();
    for broker in brokers() {
        let mut group = Group::new(&broker, 1).await;
        group.common = group.common.redis(server);
        let [a, b] = ["a", "b"].map(|kid| sharing(&group.common, kid));
        for (number, member) in [&a, &b, &a, &a].into_iter().enumerate() {
            assert_eq!(group.turn(member, number).await, 0.0, "{}", broker.name());
        }
        assert_levels_follow(&group.org);
        assert_whole_and_in_order(&group.org, 1, 4);
    }
}

/// In the Redis these partitions of the topic have another owner from now on.
fn given_away(server: &RedisServer, topic: &str, partitions: i32) {
    let keys = server.cli(&["KEYS", "*{okta}:stream"]);
    let tenures = keys.trim().replace(":stream", ":p");
    for partition in 0..partitions {
        let place = format!("{topic}:{partition}");
        let zombie = format!("{:019} - 0 0 {:032x}", 0, 7);
        server.cli(&["HSET", &tenures, &place, &zombie]);
    }
}

/// Another process takes a partition in the Redis that is ours in the group: a zombie that believed in it long enough, as
/// it wakes. The group says that it is ours, so it is taken over again, and nothing shows at the receiver.
#[tokio::test]
async fn who_the_group_confirms_takes_its_partition_back() {
    for broker in brokers() {
        for loses_all in [false, true] {
            let server = RedisServer::start(&[]);
            let mut group = Group::new(&broker, 2).await;
            group.common = group.common.redis(&server);
            let mut bridge = Bridge::start(&sharing(&group.common, "a")).await;
            group.wire.produce_all(&group.topic, wave(6, 0..3)).await;
            all_taken(&group.org, 18, || bridge.log_text()).await;
            let id = group.common.group("okta");
            group.wire.wait_committed(&id, &group.topic, 18, SOON).await;
            if loses_all {
                server.cli(&["FLUSHALL"]);
            }
            given_away(&server, &group.topic, 2);
            group.wire.produce_all(&group.topic, wave(6, 3..6)).await;
            all_taken(&group.org, 36, || bridge.log_text()).await;
            group.wire.wait_committed(&id, &group.topic, 36, SOON).await;
            let fenced = bridge
                .metrics()
                .await
                .sum("setbridge_state_fenced_total", &[]);
            assert!((1.0..=2.0).contains(&fenced), "{fenced}: {}", broker.name());
            assert_whole_and_in_order(&group.org, 6, 6);
            assert_eq!(group.org.tally().repeats, 0, "{}", bridge.log_text());
            bridge.held("okta", None).await;
            bridge.drain().await;
        }
    }
}

/// Two SETs of one partition are on the wire when it gets another owner in the Redis, and both are refused. Of the first the
/// dead letter is written before that shows; of the second none is, for it is read again, and then it is accepted.
#[tokio::test]
async fn no_dead_letter_is_written_about_a_partition_that_is_known_to_be_fenced() {
    for broker in brokers() {
        let server = RedisServer::start(&[]);
        let one = unguarded(OneStream::on(&broker, 1).await).redis(&server);
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(0), 0))]).await;
        one.all_committed(1).await;
        for (of, seconds) in [(1, 1), (2, 4)] {
            let refused =
                Reply::refusal("invalid_request", "no").after(Duration::from_secs(seconds));
            let about_it = move |claims: &_| is_about(claims, &user(of));
            one.org.answer_when(Some(1), about_it, refused);
        }
        one.produce([1, 2].map(|of| record(&numbered(&user(of), 1))))
            .await;
        arrived(&one.org, 3).await;
        given_away(&server, &one.topic, 1);
        all_taken(&one.org, 3, || bridge.log_text()).await;
        one.all_committed(3).await;
        let letters = one.dead_letters().await;
        let origins: Vec<_> = letters
            .iter()
            .map(|letter| letter.header("setbridge-origin-offset"))
            .collect();
        assert_eq!(origins, [Some("1")], "{}: {}", one.name, bridge.log_text());
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_state_fenced_total", &[]), 1.0);
        bridge.drain().await;
    }
}

/// With SETs on the wire members join, leave and are killed: one Redis knows it all, so nothing is dropped, every level
/// before is right, and what was delivered is not sent by the next owner.
#[tokio::test]
async fn members_that_share_a_redis_lose_nothing_to_one_another() {
    let Some(kafka) = apache() else { return };
    const USERS: usize = 12;
    let server = RedisServer::shared();
    let mut group = Group::new(&Broker::Apache(kafka), 4).await;
    group.common = group.common.redis(server);
    let slow = Reply::Judge.after(Duration::from_millis(30));
    group.org.answer_when(None, |_| true, slow);
    let assigned = "setbridge_partitions_assigned";
    let mut a = Bridge::start(&sharing(&group.common, "a")).await;
    a.metric(assigned, &[], |n| n == 4.0).await;
    group
        .wire
        .produce_all(&group.topic, wave(USERS, 0..6))
        .await;
    all_taken(&group.org, USERS, || a.log_text()).await;
    let mut b = Bridge::start(&sharing(&group.common, "b")).await;
    b.metric(assigned, &[], |n| n == 2.0).await;
    a.metric(assigned, &[], |n| n == 2.0).await;
    group
        .wire
        .produce_all(&group.topic, wave(USERS, 6..12))
        .await;
    all_taken(&group.org, 8 * USERS, || a.log_text() + &b.log_text()).await;
    assert_eq!(a.metrics().await.sum(HANDOVERS, &[]), 0.0);
    a.crash().await;
    b.metric(assigned, &[], |n| n == 4.0).await;
    group
        .wire
        .produce_all(&group.topic, wave(USERS, 12..15))
        .await;
    all_taken(&group.org, 15 * USERS, || b.log_text()).await;
    assert_eq!(b.metrics().await.sum(HANDOVERS, &[]), 0.0);
    assert_whole_and_in_order(&group.org, USERS, 15);
    assert_levels_follow(&group.org);
    b.drain().await;
}
