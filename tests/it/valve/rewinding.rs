//! `rewind`: what was sent goes out once more, exactly as often as announced, under the same jtis; only on a held stream.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use setbridge::okta::simulator::{Received, Reply};

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{record, risk};
use crate::support::numbered::{level_of, member, number_of, numbered, register, sharing, wave};
use crate::support::one_stream::OneStream;
use crate::support::operator::{Operator, Said};
use crate::support::receipts::{answered, arrived, is_about, requests};
use crate::support::redis_server::RedisServer;

const STREAM: [(&str, &str); 1] = [("stream", "okta")];

fn rewound(said: &Said) -> Value {
    said.answers().pop().expect("one bridge")["rewound"].clone()
}

/// How often each jti was sent.
fn sent(received: &[Received]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for sent in received {
        let jti = sent.jti().expect("a jti").to_owned();
        *times.entry(jti).or_insert(0) += 1;
    }
    times
}

async fn delivers_again(broker: &Broker, sqlite: bool) {
    let mut one = OneStream::on(broker, 1).await;
    if sqlite {
        one = one.sqlite();
    }
    let operator = Operator::of(&mut one.configuration);
    let name = one.name;
    let mut bridge = one.start().await;
    one.produce(wave(5, 0..4)).await;
    // One is a duplicate of the first, one a dead letter.
    one.produce(wave(1, 0..1)).await;
    let bad = |claims: &Value| is_about(claims, "bad@example.com");
    one.org
        .answer_when(None, bad, Reply::refusal("invalid_request", "no"));
    one.produce([record(&risk("b", "bad@example.com", "low"))])
        .await;
    bridge.outcomes("okta", "delivered", 20).await;
    answered(&one.org, 21).await;
    one.produce(wave(1, 4..5)).await;
    one.all_committed(23).await;
    let before = requests(&one.org);

    let to = format!("{}:0:10", one.topic);
    let refused = operator.tell("rewind", &[&bridge], &["--to", &to]).await;
    assert_eq!(refused.code, 65, "{name}: only a held stream: {refused:?}");
    assert!(refused.err.contains("stream hold"), "{refused:?}");
    operator.does("hold", &bridge, &[]).await;
    let dry = operator
        .does("rewind", &bridge, &["--to", &to, "--dry-run", "--json"])
        .await;
    let announced = rewound(&dry);
    // 10 of the waves, the duplicate's jti, the dead letter, the last one.
    assert_eq!(announced["again"], 13, "{name}: {announced}");
    assert_eq!(announced["not_delivered"], 1, "{name}: {announced}");
    assert_eq!(announced["waiting"], 0, "{name}: {announced}");
    assert_eq!(one.committed().await, 23, "{name}: a dry run does nothing");
    let acts = [("act", "rewind")];
    let count = async |bridge: &Bridge| {
        let metrics = bridge.metrics().await;
        metrics.sum("setbridge_operator_acts_total", &acts)
    };
    assert_eq!(count(&bridge).await, 0.0);

    let said = operator
        .does("rewind", &bridge, &["--to", &to, "--json"])
        .await;
    assert_eq!(rewound(&said), announced, "{name}");
    assert_eq!(count(&bridge).await, 1.0);
    assert_eq!(one.committed().await, 10, "{name}: the group knows");
    one.org.recover();
    one.org.clear_log();
    // It holds over a crash.
    if sqlite {
        bridge.crash().await;
        bridge = one.start().await;
        bridge.held("okta", Some("operator")).await;
    }
    assert_eq!(one.org.tally().requests, 0, "{name}: it is held");
    operator.does("resume", &bridge, &[]).await;
    one.all_committed(23).await;
    let after = sent(&requests(&one.org));
    assert_eq!(after.len(), 13, "{name}: {after:?}");
    assert!(after.values().all(|times| *times == 1), "{name}: each once");
    let known = sent(&before);
    assert!(
        after.keys().all(|jti| known.contains_key(jti)),
        "{name}: the same jtis"
    );
    assert_eq!(
        one.dead_letters().await.len(),
        1,
        "{name}: it was accepted this time"
    );
    let handovers = bridge
        .metrics()
        .await
        .sum("setbridge_state_handovers_total", &STREAM);
    assert_eq!(handovers, 0.0, "{name}");
    bridge.drain().await;
}

#[tokio::test]
async fn exactly_the_announced_number_goes_out_again() {
    for broker in brokers() {
        delivers_again(&broker, true).await;
    }
    delivers_again(&brokers()[0], false).await;
}

/// A process that crashed had delivered what lies behind an open SET, so that none of it was committed, and the next one
/// has not read so far when it is rewound. All of it goes out again, or a user's older level would be the last to arrive.
#[tokio::test]
async fn what_the_process_before_had_delivered_goes_out_again_as_well() {
    const USERS: usize = 5;
    for broker in brokers() {
        let mut one = OneStream::on(&broker, 1).await.sqlite();
        let operator = Operator::of(&mut one.configuration);
        let mut before = one.start().await;
        one.produce(wave(USERS, 0..1)).await;
        one.all_committed(5).await;
        let open = |claims: &Value| is_about(claims, "open@example.com");
        one.org.answer_when(None, open, Reply::Never);
        one.produce([record(&numbered("open@example.com", 0))])
            .await;
        one.produce(wave(USERS, 1..9)).await;
        before.outcomes("okta", "delivered", 45).await;
        operator.does("hold", &before, &[]).await;
        before.crash().await;
        one.org.recover();
        one.org.clear_log();

        let one = one
            .set("limits.max_requests_in_flight", 4)
            .set("limits.max_unsettled", 10);
        let mut bridge = one.start().await;
        bridge.held("okta", Some("operator")).await;
        let assigned = "setbridge_partitions_assigned";
        bridge.metric(assigned, &STREAM, |n| n == 1.0).await;
        let to = format!("{}:0:3", one.topic);
        let said = operator
            .does("rewind", &bridge, &["--to", &to, "--json"])
            .await;
        assert_eq!(rewound(&said)["again"], 42, "two were settled: {said:?}");
        operator.does("resume", &bridge, &[]).await;
        one.all_committed(46).await;
        let after = sent(&requests(&one.org));
        assert_eq!(after.len(), 43, "and the open one");
        assert!(after.values().all(|times| *times == 1), "each once");
        one.org.log(|log| {
            let mut last: BTreeMap<String, usize> = BTreeMap::new();
            for received in &log.received {
                let (user, number) = number_of(received);
                // The first one of each user follows what was accepted last before the rewind.
                let known = if user.starts_with("open") {
                    "none"
                } else {
                    level_of(8)
                };
                let wanted = last.get(&user).map_or(known, |before| level_of(*before));
                let (_, event) = received.event().expect("one event");
                assert_eq!(event["previous_level"], wanted, "{user} {number}");
                assert!(last.insert(user, number).is_none_or(|n| n + 1 == number));
            }
        });
        bridge.drain().await;
    }
}

#[tokio::test]
async fn what_cannot_be_rewound_is_refused_clearly() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    one.produce(wave(2, 0..1)).await;
    one.all_committed(2).await;
    operator.does("hold", &bridge, &[]).await;
    let topic = &one.topic;
    let cases = [
        (format!("{topic}:0:2"), 65, "stands at offset 2"),
        (format!("{topic}:0:99"), 65, "stands at offset 2"),
        (format!("{topic}:7:0"), 66, "does not have that partition"),
        (
            "elsewhere:0:0".to_owned(),
            66,
            "does not have that partition",
        ),
        (format!("{topic}:0"), 64, "topic:partition:offset"),
    ];
    for (to, code, why) in cases {
        let said = operator.tell("rewind", &[&bridge], &["--to", &to]).await;
        assert_eq!(said.code, code, "{to}: {said:?}");
        assert!(said.err.contains(why), "{to}: {said:?}");
    }
    let said = operator.tell("rewind", &[&bridge], &[]).await;
    assert_eq!(said.code, 64, "{said:?}");
    let later = ["--since", "2100-01-01T00:00:00Z", "--json"];
    let said = operator.does("rewind", &bridge, &later).await;
    assert_eq!(rewound(&said)["again"], 0, "{said:?}");
    assert_eq!(one.committed().await, 2);
    assert_eq!(one.org.tally().requests, 2);
    bridge.drain().await;
}

#[tokio::test]
async fn since_a_time_each_replica_rewinds_its_partitions() {
    let Some(mut one) = OneStream::on_apache(2).await else {
        return;
    };
    let operator = Operator::of(&mut one.configuration);
    register(&one.org, &one.configuration, &["a", "b"]);
    let mut a = Bridge::start(&member(&one.configuration, "a")).await;
    let mut b = Bridge::start(&member(&one.configuration, "b")).await;
    for bridge in [&a, &b] {
        let assigned = "setbridge_partitions_assigned";
        bridge
            .metric(assigned, &STREAM, |partitions| partitions == 1.0)
            .await;
    }
    one.produce(wave(20, 0..2)).await;
    one.all_committed(40).await;
    operator.tell("hold", &[&a, &b], &[]).await;
    let since = ["--since", "2020-01-01T00:00:00Z", "--json"];
    let said = operator
        .tell("rewind", &[&a], &[&since[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(said.code, 69, "b has the other partition: {said:?}");
    assert!(said.err.contains("not reached"), "{said:?}");
    one.org.clear_log();
    let said = operator.tell("rewind", &[&a, &b], &since).await;
    assert_eq!(said.code, 0, "{said:?}");
    let again: u64 = said
        .answers()
        .iter()
        .filter_map(|answer| answer["rewound"]["again"].as_u64())
        .sum();
    assert_eq!(again, 40, "{said:?}");
    operator.tell("resume", &[&a, &b], &[]).await;
    a.outcomes("okta", "delivered", 1).await;
    one.all_committed(40).await;
    let after = sent(&requests(&one.org));
    assert_eq!(after.len(), 40);
    assert!(after.values().all(|times| *times == 1));
    a.drain().await;
    b.drain().await;
}

/// A member joins while a rewind is asked for: what leaves is not rewound here and that is said, the rest is; nothing is
/// lost, and a second rewind at both does the whole.
#[tokio::test]
async fn a_rewind_while_a_member_joins_tells_what_it_did_not_reach() {
    const USERS: usize = 20;
    let Some(mut one) = OneStream::on_apache(4).await else {
        return;
    };
    let operator = Operator::of(&mut one.configuration);
    let one = one.redis(RedisServer::shared());
    register(&one.org, &one.configuration, &["a", "b"]);
    let mut a = Bridge::start(&sharing(&one.configuration, "a")).await;
    one.produce(wave(USERS, 0..2)).await;
    one.all_committed(40).await;
    // On each partition one is on the wire, so that none leaves before it is answered.
    let late = Reply::Judge.after(Duration::from_secs(4));
    one.org.answer_when(Some(4), |_| true, late);
    let last = |partition: i32| {
        let user = format!("last{partition}@example.com");
        record(&numbered(&user, 0)).partition(partition)
    };
    one.produce((0..4).map(last)).await;
    arrived(&one.org, 44).await;
    operator.does("hold", &a, &[]).await;
    let mut b = Bridge::start(&sharing(&one.configuration, "b")).await;
    let revoked = [("stream", "okta"), ("kind", "revoked")];
    a.metric("setbridge_rebalances_total", &revoked, |n| n == 2.0)
        .await;
    let since = ["--since", "2020-01-01T00:00:00Z", "--json"];
    let said = operator.tell("rewind", &[&a], &since).await;
    assert_eq!(said.code, 69, "two are on their way: {said:?}");
    assert!(said.err.contains("not reached"), "{said:?}");
    let reached = rewound(&said)["partitions"].as_array().map(Vec::len);
    assert_eq!(reached, Some(2), "{said:?}");
    for bridge in [&a, &b] {
        let assigned = "setbridge_partitions_assigned";
        bridge.metric(assigned, &STREAM, |n| n == 2.0).await;
    }
    answered(&one.org, 44).await;
    one.org.clear_log();
    let said = operator.tell("rewind", &[&a, &b], &since).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(one.committed().await, 0, "both begin anew");
    operator.tell("resume", &[&a], &[]).await;
    one.all_committed(44).await;
    let after = sent(&requests(&one.org));
    assert_eq!(after.len(), 44, "all of them");
    assert!(after.values().all(|times| *times == 1), "each once");
    a.drain().await;
    b.drain().await;
}
