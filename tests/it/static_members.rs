//! Members with a `group.instance.id`: a restart moves nothing, and two with the same one meet a fatal error of librdkafka.

use rdkafka::consumer::{Consumer, StreamConsumer};

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{Broker, apache};
use crate::support::configuration::Configuration;
use crate::support::group::Group;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, member};

const USERS: usize = 12;

async fn set_up(partitions: i32) -> Option<Group> {
    let mut group = Group::new(&Broker::Apache(apache()?), partitions).await;
    group.common = group.common.set("kafka.session_timeout", "40s");
    Some(group)
}

impl Group {
    fn member(&self, id: &str) -> Configuration {
        member(&self.common, id).set("kafka.properties.group.instance.id", id)
    }

    /// Joins as the same member as `bridge`, which is fenced by that, until it says so.
    async fn fence(&self, bridge: &Bridge, id: &str, says: &str) {
        let intruder: StreamConsumer = self
            .wire
            .client()
            .set("group.id", self.common.group("okta"))
            .set("group.instance.id", id)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "40000")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        intruder.subscribe(&[&self.topic]).expect("a subscription");
        let polls = async {
            loop {
                // It is fenced itself when the bridge comes back.
                let _ = intruder.recv().await;
            }
        };
        tokio::select! {
            () = polls => {}
            _ = bridge.line(says, |line| line.to_string().contains(says)) => {}
        }
        tokio::task::spawn_blocking(move || drop(intruder))
            .await
            .expect("it goes");
    }
}

async fn assigned(bridge: &Bridge, partitions: f64) {
    bridge
        .metric("setbridge_partitions_assigned", &[], |n| n == partitions)
        .await;
}

#[tokio::test]
async fn a_restart_of_a_static_member_moves_no_partition() {
    let Some(group) = set_up(4).await else { return };
    let (one, two) = (group.member("a"), group.member("b"));
    let mut a = Bridge::start(&one).await;
    assigned(&a, 4.0).await;
    let mut b = Bridge::start(&two).await;
    assigned(&b, 2.0).await;
    assigned(&a, 2.0).await;
    group.produce(USERS, 0..2).await;
    all_taken(&group.org, 2 * USERS, || a.log_text() + &b.log_text()).await;
    let rebalances = "setbridge_rebalances_total";
    let before = b.metrics().await.sum(rebalances, &[]);
    a.drain().await;
    group.produce(USERS, 2..3).await;
    let mut a = Bridge::start(&one).await;
    assigned(&a, 2.0).await;
    all_taken(&group.org, 3 * USERS, || a.log_text() + &b.log_text()).await;
    assert_eq!(b.metrics().await.sum(rebalances, &[]), before);
    assert_whole_and_in_order(&group.org, USERS, 3);
    assert_eq!(group.org.tally().repeats, 0);
    a.drain().await;
    b.drain().await;
}

#[tokio::test]
async fn a_fatal_error_makes_the_consumer_anew_once() {
    let Some(group) = set_up(2).await else { return };
    let mut bridge = Bridge::start(&group.member("a")).await;
    assigned(&bridge, 2.0).await;
    group.produce(USERS, 0..1).await;
    all_taken(&group.org, USERS, || bridge.log_text()).await;
    group.fence(&bridge, "a", "it is made anew once").await;
    group.produce(USERS, 1..2).await;
    all_taken(&group.org, 2 * USERS, || bridge.log_text()).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
    group
        .fence(&bridge, "a", "failed twice within ten minutes")
        .await;
    assert_eq!(bridge.code(SOON).await, 70);
    // Nobody lost anything by it.
    group.produce(USERS, 2..3).await;
    let mut next = Bridge::start(&group.member("a")).await;
    all_taken(&group.org, 3 * USERS, || next.log_text()).await;
    assert_whole_and_in_order(&group.org, USERS, 3);
    next.drain().await;
}
