//! Replays while members come, go, crash and are stopped: none is lost, none overtakes, and how far a side topic is settled
//! is never told by who does not own it.

use std::time::Duration;

use serde_json::json;
use setbridge::okta::simulator::Reply;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{Broker, apache};
use crate::support::configuration::{record, user};
use crate::support::numbered::{all_taken, member, numbered, register, sharing, taken};
use crate::support::one_stream::OneStream;
use crate::support::redis_server::RedisServer;
use crate::support::replays::Replays;

const USERS: usize = 40;

struct Members {
    one: OneStream,
    replays: Replays,
    /// The state is in one Redis for all.
    shared: bool,
}

impl Members {
    /// Two partitions, a side topic, and members `a` and `b` with a state each.
    async fn new(session: Option<&str>) -> Option<Members> {
        let broker = Broker::Apache(apache()?);
        let mut one = OneStream::on(&broker, 2)
            .await
            .set("streams.0.replay", json!({"rate": 100}));
        if let Some(session) = session {
            one = one.set("kafka.session_timeout", session);
        }
        register(&one.org, &one.configuration, &["a", "b"]);
        let replays = Replays::on(&broker, &one, 2).await;
        let shared = false;
        Some(Members {
            one,
            replays,
            shared,
        })
    }

    /// The same in the consumer protocol.
    fn consumer_protocol(mut self) -> Members {
        self.one.configuration = self.one.configuration.consumer_protocol();
        self
    }

    /// The same with one state for all, in Redis.
    fn sharing(mut self) -> Members {
        self.one = self.one.redis(RedisServer::shared());
        self.shared = true;
        self
    }

    async fn start(&self, kid: &str) -> Bridge {
        let configuration = &self.one.configuration;
        let configuration = match self.shared {
            true => sharing(configuration, kid),
            false => member(configuration, kid),
        };
        Bridge::start(&configuration).await
    }

    /// A replay of number 1 for each user, and a live number 2 behind it, on the same partition.
    async fn produce(&self) {
        let place = |n: usize| i32::try_from(n % 2).expect("0 or 1");
        let made = (0..USERS).map(|n| self.replays.made(&numbered(&user(n), 1), place(n)));
        self.replays.write(made).await;
        let live = (0..USERS).map(|n| record(&numbered(&user(n), 2)).partition(place(n)));
        self.one.produce(live).await;
    }

    /// Everything is settled, and each replay was delivered unless something newer was first. Nothing went back, where
    /// `knows`: who sends knows what was sent before, also by others.
    async fn all_settled(&self, bridges: &[&Bridge], knows: bool) {
        let logs = || bridges.iter().map(|bridge| bridge.log_text()).collect();
        all_taken(&self.one.org, USERS, logs).await;
        self.one.all_committed(USERS as i64).await;
        self.replays.all_committed(USERS as i64).await;
        let taken = self.one.org.log(taken);
        assert_eq!(taken.len(), USERS);
        for (user, numbers) in taken {
            let is_right = numbers == [1, 2] || numbers == [2];
            // With a state of its own a member cannot know (docs/operations.md, Replays).
            let is_unknowing = !knows && numbers == [2, 1];
            assert!(is_right || is_unknowing, "{user}: {numbers:?}");
        }
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_replays_loses_none() {
    let Some(members) = Members::new(Some("6s")).await else {
        return;
    };
    let slow = Reply::Judge.after(Duration::from_millis(200));
    members.one.org.answer_when(None, |_| true, slow);
    let mut a = members.start("a").await;
    let read = [("stream", "okta")];
    a.metric("setbridge_partitions_assigned", &read, |n| n == 2.0)
        .await;
    members.produce().await;
    a.metric("setbridge_replay_records_total", &read, |n| n >= 10.0)
        .await;
    a.crash().await;
    // With the state of the one that was killed: another one would not know what is newer than a replay.
    let mut again = members.start("a").await;
    members.all_settled(&[&again], true).await;
    again.drain().await;
}

async fn change_hands(members: Members) {
    let slow = Reply::Judge.after(Duration::from_millis(200));
    members.one.org.answer_when(None, |_| true, slow);
    let mut a = members.start("a").await;
    let read = [("stream", "okta")];
    a.metric("setbridge_partitions_assigned", &read, |n| n == 2.0)
        .await;
    members.produce().await;
    a.metric("setbridge_replay_records_total", &read, |n| n >= 10.0)
        .await;
    let mut b = members.start("b").await;
    b.metric("setbridge_partitions_assigned", &read, |n| n == 1.0)
        .await;
    members.all_settled(&[&a, &b], members.shared).await;
    // Each reads the side partition of what it owns, and nothing else.
    for bridge in [&a, &b] {
        let one_each = |status: &serde_json::Value| {
            let of = &status["streams"][0];
            let number = |list: &str| of[list][0]["partition"].clone();
            of["replays"].as_array().is_some_and(|all| all.len() == 1)
                && number("replays") == number("partitions")
        };
        bridge.status_is("one side partition", one_each).await;
    }
    a.drain().await;
    b.metric("setbridge_partitions_assigned", &read, |n| n == 2.0)
        .await;
    b.drain().await;
}

#[tokio::test]
async fn replays_change_hands_with_their_source_partition() {
    if let Some(members) = Members::new(None).await {
        change_hands(members).await;
    }
}

#[tokio::test]
async fn replays_change_hands_in_the_consumer_protocol() {
    if let Some(members) = Members::new(None).await {
        change_hands(members.consumer_protocol().sharing()).await;
    }
}

#[tokio::test]
async fn replays_change_hands_with_their_state_in_redis() {
    if let Some(members) = Members::new(None).await {
        change_hands(members.sharing()).await;
    }
}

/// Who takes over from one that was killed knows by the Redis what is newer than a replay, and what was sent.
#[tokio::test]
async fn another_member_goes_on_with_replays_by_the_state_in_redis() {
    let Some(members) = Members::new(Some("6s")).await else {
        return;
    };
    let members = members.sharing();
    let slow = Reply::Judge.after(Duration::from_millis(200));
    members.one.org.answer_when(None, |_| true, slow);
    let mut a = members.start("a").await;
    let read = [("stream", "okta")];
    a.metric("setbridge_partitions_assigned", &read, |n| n == 2.0)
        .await;
    members.produce().await;
    a.metric("setbridge_replay_records_total", &read, |n| n >= 10.0)
        .await;
    a.crash().await;
    let mut b = members.start("b").await;
    members.all_settled(&[&b], true).await;
    let stale = b.metrics().await;
    assert_eq!(stale.sum("setbridge_state_handovers_total", &read), 0.0);
    // A replay of what was delivered is known as such by whoever has the partition.
    let made = (0..USERS).map(|n| {
        let place = i32::try_from(n % 2).expect("0 or 1");
        members.replays.made(&numbered(&user(n), 2), place)
    });
    members.replays.write(made).await;
    members.replays.all_committed(2 * USERS as i64).await;
    b.outcomes("okta", "duplicate", USERS as u64).await;
    b.drain().await;
}

/// Nothing fences a commit of a group without members; so who was stopped must not commit when it wakes.
#[tokio::test]
async fn a_woken_member_commits_nothing_for_the_side_topic() {
    let Some(members) = Members::new(Some("2s")).await else {
        return;
    };
    let (one, replays) = (&members.one, &members.replays);
    let mut a = members.start("a").await;
    let of = [("stream", "okta")];
    a.metric("setbridge_partitions_assigned", &of, |n| n == 2.0)
        .await;
    // What is settled already, and what is on the wire when it is stopped.
    let early = (0..10).map(|n| replays.made(&numbered(&user(n), 1), 0));
    replays.write(early).await;
    all_taken(&one.org, 10, || a.log_text()).await;
    replays.all_committed(10).await;
    let busy = one.org.answer_when(None, |_| true, Reply::status(503));
    let late = (10..20).map(|n| replays.made(&numbered(&user(n), 1), 0));
    replays.write(late).await;
    a.metric("setbridge_replay_records_total", &of, |n| n == 20.0)
        .await;
    a.stop();
    one.org.withdraw(busy);
    let mut b = members.start("b").await;
    all_taken(&one.org, 20, || b.log_text()).await;
    replays.all_committed(20).await;
    a.cont();
    let lost = [("stream", "okta"), ("kind", "lost")];
    a.metric("setbridge_rebalances_total", &lost, |n| n == 2.0)
        .await;
    let rejoined = |n: f64| n == 1.0;
    a.metric_within(SOON, "setbridge_partitions_assigned", &of, rejoined)
        .await;
    replays.all_committed(20).await;
    assert_eq!(one.org.tally().taken, 20, "{}", a.log_text());
    a.drain().await;
    b.drain().await;
    replays.all_committed(20).await;
}
