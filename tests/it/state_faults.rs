//! The state cannot be written while partitions come and go: the group is answered all the same, and nothing is lost.

use rusqlite::Connection;

use crate::support::bridge::SOON;
use crate::support::broker::{Broker, apache};
use crate::support::configuration::{record, user};
use crate::support::group::Group;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, numbered};
use crate::support::wire::Message;

/// Two partitions. What leaves has two seconds, far less than a test waits, which is far less than the group does.
async fn group() -> Option<Group> {
    let mut group = Group::new(&Broker::Apache(apache()?), 2).await;
    group.common = group
        .common
        .set("shutdown.drain_deadline", "2s")
        .set("streams.0.receiver.connect_timeout", "500ms")
        .set("streams.0.receiver.request_timeout", "1500ms");
    Some(group)
}

impl Group {
    fn state_of(&self, kid: &str) -> Connection {
        let file = self.common.folder().join(format!("{kid}.sqlite"));
        let connection = Connection::open(file).expect("the state file");
        connection
            .busy_timeout(SOON)
            .expect("a time-out of our own");
        connection
    }

    async fn settled(&self) -> i64 {
        let group = self.common.group("okta");
        self.wire
            .committed(&group, &self.topic)
            .await
            .values()
            .sum()
    }
}

/// One user a partition.
fn records(number: usize) -> impl Iterator<Item = Message> {
    (0..2).map(move |of| {
        let who = user(usize::try_from(of).unwrap());
        record(&numbered(&who, number)).partition(of)
    })
}

const BREAK: &str =
    "CREATE TRIGGER broken BEFORE INSERT ON delivered BEGIN SELECT RAISE(ABORT, 'broken'); END";
const MEND: &str = "DROP TRIGGER broken";

#[tokio::test]
async fn a_revoke_is_answered_although_nothing_can_be_made_durable() {
    let Some(group) = group().await else { return };
    let mut a = group.start("a").await;
    group.assigned(&a, 2.0).await;
    group.state_of("a").execute_batch(BREAK).expect("a trigger");
    group.wire.produce_all(&group.topic, records(0)).await;
    // The receiver has them, but the state does not know it for good, so their offsets may not be stored.
    all_taken(&group.org, 2, || a.log_text()).await;
    a.held("okta", Some("state_store")).await;
    assert_eq!(group.settled().await, 0);

    let mut b = group.start("b").await;
    group.assigned(&b, 1.0).await;
    group.assigned(&a, 1.0).await;
    // What a could not settle comes again, under the same jti.
    b.outcomes("okta", "delivered", 1).await;
    assert_eq!(group.org.tally().repeats, 1);
    group
        .wire
        .wait_committed(&group.common.group("okta"), &group.topic, 1, SOON)
        .await;

    group.state_of("a").execute_batch(MEND).expect("no trigger");
    a.held("okta", None).await;
    group
        .wire
        .wait_committed(&group.common.group("okta"), &group.topic, 2, SOON)
        .await;
    group.wire.produce_all(&group.topic, records(1)).await;
    all_taken(&group.org, 4, || a.log_text() + &b.log_text()).await;
    assert_whole_and_in_order(&group.org, 2, 2);
    assert_eq!(group.org.tally().repeats, 1);
    a.drain().await;
    b.drain().await;
}

#[tokio::test]
async fn a_partition_that_comes_while_nothing_can_be_made_durable_leaves_again() {
    let Some(group) = group().await else { return };
    let mut a = group.start("a").await;
    group.assigned(&a, 2.0).await;
    let mut b = group.start("b").await;
    group.assigned(&b, 1.0).await;
    group.assigned(&a, 1.0).await;
    group.state_of("a").execute_batch(BREAK).expect("a trigger");
    group.wire.produce_all(&group.topic, records(0)).await;
    all_taken(&group.org, 2, || a.log_text() + &b.log_text()).await;
    a.held("okta", Some("state_store")).await;

    // It goes to a, whose state cannot say what it knows about it, and has to leave again.
    b.drain().await;
    group.assigned(&a, 2.0).await;
    let mut b = group.start("b").await;
    group.assigned(&b, 1.0).await;
    group.assigned(&a, 1.0).await;

    group.state_of("a").execute_batch(MEND).expect("no trigger");
    a.held("okta", None).await;
    group.wire.produce_all(&group.topic, records(1)).await;
    all_taken(&group.org, 4, || a.log_text() + &b.log_text()).await;
    assert_whole_and_in_order(&group.org, 2, 2);
    a.drain().await;
    b.drain().await;
}
