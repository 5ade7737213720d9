//! Several processes in one group: they come and go, orderly and not; nothing is lost and no subject goes back.

use std::time::Duration;

use setbridge::okta::simulator::Reply;

use crate::support::broker::{Broker, apache, brokers};
use crate::support::configuration::{record, user};
use crate::support::group::Group;
use crate::support::numbered::{assert_whole_and_in_order, numbered};

#[tokio::test]
async fn a_member_without_partitions_takes_over() {
    let Some(kafka) = apache() else { return };
    let group = Group::new(&Broker::Apache(kafka), 1).await;
    let mut a = group.start("a").await;
    group.assigned(&a, 1.0).await;
    group.produce(3, 0..2).await;
    group.taken(6, &[&a]).await;
    let mut b = group.start("b").await;
    group
        .wire
        .wait_members(&group.common.group("okta"), 2)
        .await;
    group.produce(3, 2..4).await;
    group.taken(12, &[&a, &b]).await;
    a.drain().await;
    group.produce(3, 4..6).await;
    group.taken(18, &[&a, &b]).await;
    assert_whole_and_in_order(&group.org, 3, 6);
    assert_eq!(group.org.tally().repeats, 0);
    b.drain().await;
}

/// A member joins while SETs are on the wire, leaves again, and what it had comes back.
async fn come_and_go(broker: &Broker, protocol: &str) {
    const USERS: usize = 24;
    let mut group = Group::new(broker, 6).await;
    if protocol == "consumer" {
        group.common = group.common.consumer_protocol();
    }
    let slow = Reply::Judge.after(Duration::from_millis(40));
    group.org.answer_when(None, |_| true, slow);
    let mut a = group.start("a").await;
    group.assigned(&a, 6.0).await;
    group.produce(USERS, 0..10).await;
    group.taken(USERS, &[&a]).await;
    // Joins while work is in flight.
    let mut b = group.start("b").await;
    group.assigned(&b, 3.0).await;
    group.assigned(&a, 3.0).await;
    group.produce(USERS, 10..20).await;
    group.taken(12 * USERS, &[&a, &b]).await;
    // Leaves in order while work is in flight.
    a.drain().await;
    group.assigned(&b, 6.0).await;
    group.produce(USERS, 20..25).await;
    group.taken(22 * USERS, &[&a, &b]).await;
    // A third one comes, the second one is gone as by a power cut.
    let mut c = group.start("c").await;
    group.assigned(&c, 3.0).await;
    group.produce(USERS, 25..35).await;
    group.taken(27 * USERS, &[&b, &c]).await;
    b.crash().await;
    group.assigned(&c, 6.0).await;
    group.taken(35 * USERS, &[&b, &c]).await;
    assert_whole_and_in_order(&group.org, USERS, 35);
    let total = i64::try_from(35 * USERS).unwrap();
    let of = group.common.group("okta");
    let deadline = crate::support::bridge::SOON;
    group
        .wire
        .wait_committed(&of, &group.topic, total, deadline)
        .await;
    c.drain().await;
}

#[tokio::test]
async fn members_come_and_go_in_the_classic_protocol() {
    for broker in brokers() {
        come_and_go(&broker, "classic").await;
    }
}

#[tokio::test]
async fn members_come_and_go_in_the_consumer_protocol() {
    let Some(kafka) = apache() else { return };
    come_and_go(&Broker::Apache(kafka), "consumer").await;
}

/// A partition that left and came back is read again, also when it was paused on the way out.
#[tokio::test]
async fn partitions_that_come_back_are_read() {
    for broker in brokers() {
        let group = Group::new(&broker, 4).await;
        let mut a = group.start("a").await;
        group.assigned(&a, 4.0).await;
        group.produce(12, 0..2).await;
        group.taken(24, &[&a]).await;
        let mut b = group.start("b").await;
        group.assigned(&b, 2.0).await;
        group.produce(12, 2..4).await;
        group.taken(48, &[&a, &b]).await;
        b.drain().await;
        group.assigned(&a, 4.0).await;
        group.produce(12, 4..6).await;
        group.taken(72, &[&a, &b]).await;
        assert_whole_and_in_order(&group.org, 12, 6);
        a.drain().await;
    }
}

/// While a SET of a leaving partition is on the wire, nobody else gets any partition of the same revoke.
#[tokio::test]
async fn a_revoke_is_answered_when_all_of_it_is_done() {
    let Some(kafka) = apache() else { return };
    let group = Group::new(&Broker::Apache(kafka), 4).await;
    // One user a partition, each answered a second later than the one before, so whichever two partitions leave are
    // not done at the same time.
    for of in 0..4 {
        let late = Reply::Judge.after(Duration::from_secs(2 + of));
        let who = user(usize::try_from(of).unwrap());
        let is_theirs = move |claims: &serde_json::Value| claims.to_string().contains(&who);
        group.org.answer_when(Some(1), is_theirs, late);
    }
    let mut a = group.start("a").await;
    group.assigned(&a, 4.0).await;
    let each = |number| (0..4).map(move |of: i32| (number, of));
    let messages = (0..2).flat_map(each).map(|(number, of)| {
        let who = user(usize::try_from(of).unwrap());
        record(&numbered(&who, number)).partition(of)
    });
    group.wire.produce_all(&group.topic, messages).await;
    let in_flight = "setbridge_requests_in_flight";
    a.metric(in_flight, &[], |n| n == 4.0).await;
    let mut b = group.start("b").await;
    group.assigned(&b, 2.0).await;
    group.taken(8, &[&a, &b]).await;
    assert_whole_and_in_order(&group.org, 4, 2);
    assert_eq!(
        group.org.tally().repeats,
        0,
        "b sent what a had on the wire"
    );
    let by_b = group.org.log(|log| {
        let theirs = log
            .received
            .iter()
            .filter(|r| r.kid.as_deref() == Some("b"));
        theirs.count()
    });
    assert_eq!(by_b, 2, "what waited behind it left with its partition");
    a.drain().await;
    b.drain().await;
}
