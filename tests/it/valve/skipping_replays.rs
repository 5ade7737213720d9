//! `skip` reaches a replay wherever it waits, but for what is on the wire.

use std::time::Duration;

use serde_json::{Value, json};
use setbridge::okta::simulator::Reply;

use crate::support::acl::{self, Operation, Resource};
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers, secure_apache};
use crate::support::configuration::{Configuration, record, user};
use crate::support::node::USER;
use crate::support::numbered::{all_taken, numbered};
use crate::support::one_stream::OneStream;
use crate::support::operator::Operator;
use crate::support::receipts::arrived;
use crate::support::redis_server::RedisServer;
use crate::support::replays::{Replays, unguarded};

const STREAM: [(&str, &str); 1] = [("stream", "okta")];

/// Waits until what came from here blocks.
async fn blocks(bridge: &Bridge, origin: &str) {
    let of_it = |status: &Value| status["streams"][0]["blocking"]["origin"] == origin;
    bridge.status_is("the replay blocks", of_it).await;
}

/// The state is down: whether the replay is stale is not known. It need not be, if nobody wants it sent.
#[tokio::test]
async fn a_replay_that_waits_for_the_state_is_skipped() {
    for broker in brokers() {
        let mut server = RedisServer::start(&[]);
        let mut one = unguarded(OneStream::on(&broker, 1).await).redis(&server);
        let operator = Operator::of(&mut one.configuration);
        let replays = Replays::on(&broker, &one, 1).await;
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(1), 1))]).await;
        one.all_committed(1).await;
        replays
            .write([replays.made(&numbered(&user(0), 0), 0)])
            .await;
        replays.all_committed(1).await;
        // A live one is on the wire, a replay waits behind it in its lane; then the state goes.
        let late = Reply::Judge.after(Duration::from_secs(3));
        one.org.answer_when(Some(1), |_| true, late);
        one.produce([record(&numbered(&user(1), 2))]).await;
        arrived(&one.org, 3).await;
        replays
            .write([replays.made(&numbered(&user(1), 3), 0)])
            .await;
        let waits = |status: &Value| status["streams"][0]["waiting_in_lanes"] == json!(1);
        bridge.status_is("the replay waits", waits).await;
        server.kill();
        blocks(&bridge, &format!("{}:0:0", one.topic)).await;
        let said = operator.does("skip", &bridge, &["--json"]).await;
        let answer = said.answers().pop().expect("one bridge");
        assert_eq!(answer["outcome"], "dead_lettered", "{said:?}");
        assert_eq!(answer["reason"], "skipped", "{said:?}");
        let letters = one.dead_letters().await;
        assert_eq!(letters.len(), 1, "{}", one.name);
        let reason = letters[0].header("setbridge-reason");
        assert_eq!(reason, Some("skipped"), "{}", one.name);
        let told = replays.last(2, &["outcome", "reason"]).await;
        let wanted = json!({"outcome": "dead_lettered", "reason": "skipped"});
        assert_eq!(told, wanted, "{}", one.name);
        server.start_again();
        replays.all_committed(2).await;
        one.produce([record(&numbered(&user(1), 4))]).await;
        all_taken(&one.org, 4, || bridge.log_text()).await;
        bridge.drain().await;
    }
}

/// Its outcome cannot be told: skipped, it settles with the outcome that it has, and its lane goes on.
#[tokio::test]
async fn a_replay_whose_outcome_cannot_be_told_is_skipped() {
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let broker = Broker::Apache(apache);
    let mut one = OneStream::on(&broker, 1).await;
    let secure = Configuration::new(&node.secure("SCRAM-SHA-256"));
    one.configuration = secure.stream("okta", &one.topic, &one.org);
    let mut one = unguarded(one);
    let operator = Operator::of(&mut one.configuration);
    let replays = Replays::on(&broker, &one, 1).await;
    let mut bridge = one.start().await;
    replays
        .write([replays.made(&numbered(&user(0), 0), 0)])
        .await;
    replays.all_committed(1).await;
    let outcomes = Resource::Topic(&replays.outcomes);
    acl::deny(apache.wire(), USER, Operation::Write, outcomes).await;
    replays
        .write([replays.made(&numbered(&user(1), 1), 0)])
        .await;
    all_taken(&one.org, 2, || bridge.log_text()).await;
    bridge
        .metric("setbridge_dead_letter_errors_total", &STREAM, |n| n >= 1.0)
        .await;
    one.produce([record(&numbered(&user(1), 2))]).await;
    let waits = |status: &Value| status["streams"][0]["waiting_in_lanes"] == json!(1);
    bridge.status_is("the live one waits", waits).await;
    blocks(&bridge, &format!("{}:0:0", one.topic)).await;
    let said = operator.does("skip", &bridge, &["--json"]).await;
    let answer = said.answers().pop().expect("one bridge");
    assert_eq!(answer["outcome"], "delivered", "{said:?}");
    all_taken(&one.org, 3, || bridge.log_text()).await;
    replays.all_committed(2).await;
    assert_eq!(replays.told(1).await.len(), 1);
    assert!(one.dead_letters().await.is_empty());
    bridge.drain().await;
}

/// Skipped while it waited for the state, and its outcome cannot be told for a while: that skip is not about the telling.
#[tokio::test]
async fn what_was_skipped_is_told_when_it_can_be() {
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let broker = Broker::Apache(apache);
    let mut server = RedisServer::start(&[]);
    let mut one = OneStream::on(&broker, 1).await;
    let secure = Configuration::new(&node.secure("SCRAM-SHA-256"));
    one.configuration = secure.stream("okta", &one.topic, &one.org);
    let mut one = unguarded(one).redis(&server);
    let operator = Operator::of(&mut one.configuration);
    let replays = Replays::on(&broker, &one, 1).await;
    let mut bridge = one.start().await;
    one.produce([record(&numbered(&user(1), 1))]).await;
    one.all_committed(1).await;
    replays
        .write([replays.made(&numbered(&user(0), 0), 0)])
        .await;
    replays.all_committed(1).await;
    let late = Reply::Judge.after(Duration::from_secs(3));
    one.org.answer_when(Some(1), |_| true, late);
    one.produce([record(&numbered(&user(1), 2))]).await;
    arrived(&one.org, 3).await;
    replays
        .write([replays.made(&numbered(&user(1), 3), 0)])
        .await;
    let waits = |status: &Value| status["streams"][0]["waiting_in_lanes"] == json!(1);
    bridge.status_is("the replay waits", waits).await;
    server.kill();
    blocks(&bridge, &format!("{}:0:0", one.topic)).await;
    let outcomes = Resource::Topic(&replays.outcomes);
    acl::close(apache.wire(), outcomes).await;
    let skip = operator.does("skip", &bridge, &["--json"]);
    let allow_again = async {
        bridge
            .metric("setbridge_dead_letter_errors_total", &STREAM, |n| n >= 2.0)
            .await;
        acl::allow(apache.wire(), USER, Operation::Write, outcomes).await;
    };
    let (said, ()) = tokio::join!(skip, allow_again);
    let answer = said.answers().pop().expect("one bridge");
    assert_eq!(answer["reason"], "skipped", "{said:?}");
    let told = replays.last(2, &["outcome", "reason"]).await;
    let wanted = json!({"outcome": "dead_lettered", "reason": "skipped"});
    assert_eq!(told, wanted);
    bridge.drain().await;
}
