//! `hold` and `resume`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use setbridge::okta::simulator::Reply;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::brokers;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, member, register, wave};
use crate::support::one_stream::OneStream;
use crate::support::operator::Operator;
use crate::support::receipts::{answered, arrived};
use crate::support::token_endpoint::TokenEndpoint;

const USERS: usize = 5;
const STREAM: [(&str, &str); 1] = [("stream", "okta")];

/// All records of the second wave wait in this process, and none has left.
async fn waits(bridge: &Bridge, sets: f64) {
    bridge
        .metric("setbridge_unsettled_sets", &STREAM, |unsettled| {
            unsettled == sets
        })
        .await;
}

#[tokio::test]
async fn a_hold_keeps_all_in_place_over_a_restart_until_it_is_resumed() {
    for broker in brokers() {
        let mut one = OneStream::on(&broker, 2).await.sqlite();
        let operator = Operator::of(&mut one.configuration);
        let name = one.name;
        let mut bridge = one.start().await;
        one.produce(wave(USERS, 0..1)).await;
        one.all_committed(5).await;
        let said = operator
            .does("hold", &bridge, &["--reason", "the org moves"])
            .await;
        assert!(said.out.ends_with("held: operator\n"), "{said:?}");
        assert!(said.err.contains("--admin"), "the state is local: {said:?}");
        one.produce(wave(USERS, 1..4)).await;
        waits(&bridge, 15.0).await;
        bridge.crash().await;

        let mut bridge = one.start().await;
        waits(&bridge, 15.0).await;
        bridge.held("okta", Some("operator")).await;
        let held =
            |status: &serde_json::Value| status["streams"][0]["held"][0]["note"] == "the org moves";
        bridge.status_is("why it is held", held).await;
        assert_eq!(one.org.tally().requests, 5, "{name}: nothing left");
        assert_eq!(one.committed().await, 5, "{name}");
        assert_eq!(one.dead_letters().await, [], "{name}");
        assert_eq!(bridge.get("/readyz").await.0, 200, "{name}");
        assert_eq!(bridge.get("/livez").await.0, 200, "{name}");
        assert!(
            bridge.fetch(&bridge.jwks_url()).await.contains("\"kid\""),
            "{name}"
        );

        let said = operator.does("resume", &bridge, &[]).await;
        assert!(said.out.ends_with("the stream flows\n"), "{said:?}");
        all_taken(&one.org, 20, || bridge.log_text()).await;
        assert_whole_and_in_order(&one.org, USERS, 4);
        one.all_committed(20).await;
        assert_eq!(one.org.tally().requests, 20, "{name}: each once");
        let acts = |metrics: &crate::support::exposition::Exposition, act| {
            metrics.sum("setbridge_operator_acts_total", &[("act", act)])
        };
        let metrics = bridge.metrics().await;
        assert_eq!(
            (acts(&metrics, "hold"), acts(&metrics, "resume")),
            (0.0, 1.0)
        );
        bridge.drain().await;

        let mut bridge = one.start().await;
        one.produce(wave(USERS, 4..5)).await;
        all_taken(&one.org, 25, || bridge.log_text()).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn with_local_state_each_replica_is_told() {
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
    let said = operator.tell("hold", &[&a, &b], &["--json"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let answers = said.answers();
    assert_eq!(answers.len(), 2, "{said:?}");
    for (answer, bridge) in answers.iter().zip([&a, &b]) {
        assert_eq!(answer["address"], format!("http://{}", bridge.admin));
        assert_eq!(answer["held"], serde_json::json!(["operator"]));
        assert_eq!(answer["shared_state"], false);
    }
    one.produce(wave(20, 0..3)).await;
    let unsettled = async |bridge: &Bridge| {
        let metrics = bridge.metrics().await;
        metrics.sum("setbridge_unsettled_sets", &STREAM)
    };
    while unsettled(&a).await + unsettled(&b).await < 60.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one.org.tally().requests, 0);
    operator.tell("resume", &[&a], &[]).await;
    a.outcomes("okta", "delivered", 1).await;
    assert_eq!(
        b.metrics()
            .await
            .sum("setbridge_push_attempts_total", &STREAM),
        0.0
    );
    operator.tell("resume", &[&b], &[]).await;
    all_taken(&one.org, 60, || a.log_text()).await;
    assert_whole_and_in_order(&one.org, 20, 3);
    a.drain().await;
    b.drain().await;
}

/// The receiver's own hold goes on under the operator's, without probes, and is not lifted by `resume`.
#[tokio::test]
async fn an_operators_resume_does_not_lift_the_receivers_hold() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1)
        .await
        .set("streams.0.hold.initial_probe_delay", "20ms")
        .set("streams.0.hold.max_probe_delay", "20ms");
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    one.org.answer_when(None, |_| true, Reply::status(403));
    one.produce(wave(USERS, 0..2)).await;
    bridge.held("okta", Some("forbidden")).await;
    answered(&one.org, USERS + 3).await;
    operator.does("hold", &bridge, &[]).await;
    let in_flight = "setbridge_requests_in_flight";
    bridge
        .metric(in_flight, &STREAM, |requests| requests == 0.0)
        .await;
    // What was on the wire when it was held is answered by now; a probe would come every 20 ms.
    let before = one.org.tally().requests;
    let attempts = bridge
        .metrics()
        .await
        .sum("setbridge_push_attempts_total", &STREAM);
    assert_eq!(attempts, before as f64);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        one.org.tally().requests,
        before,
        "no probe during an operator's hold"
    );

    let said = operator.does("resume", &bridge, &[]).await;
    assert!(
        said.out.ends_with("resumed, but still held: forbidden\n"),
        "{said:?}"
    );
    arrived(&one.org, before + 3).await;
    assert_eq!(one.org.tally().taken, 0);
    one.org.recover();
    all_taken(&one.org, 10, || bridge.log_text()).await;
    assert_whole_and_in_order(&one.org, USERS, 2);
    bridge.held("okta", None).await;
    bridge.drain().await;
}

/// A hold that comes while a probe is on the wire: the probe's acceptance ends the receiver's hold, not the operator's.
#[tokio::test]
async fn a_probe_that_is_accepted_under_an_operators_hold_lets_nothing_follow() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1)
        .await
        .set("streams.0.hold.initial_probe_delay", "20ms")
        .set("streams.0.hold.max_probe_delay", "20ms");
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    let refused = one.org.answer_when(None, |_| true, Reply::status(403));
    one.produce(wave(USERS, 0..2)).await;
    bridge.held("okta", Some("forbidden")).await;
    // All heads were refused, and a probe.
    answered(&one.org, USERS + 1).await;
    let slowly = Reply::Judge.after(Duration::from_secs(3));
    let came = Arc::new(Notify::new());
    let tell = Arc::clone(&came);
    let probe = move |_: &serde_json::Value| {
        tell.notify_one();
        true
    };
    one.org.answer_when(None, probe, slowly);
    one.org.withdraw(refused);
    timeout(SOON, came.notified()).await.expect("a probe");
    operator.does("hold", &bridge, &[]).await;
    bridge.outcomes("okta", "delivered", 1).await;
    let in_flight = "setbridge_requests_in_flight";
    bridge
        .metric(in_flight, &STREAM, |requests| requests == 0.0)
        .await;
    let metrics = bridge.metrics().await;
    let held = |reason| metrics.sum("setbridge_stream_held", &[("reason", reason)]);
    assert_eq!((held("operator"), held("forbidden")), (1.0, 0.0));
    assert_eq!(one.org.tally().taken, 1);
    one.org.recover();
    operator.does("resume", &bridge, &[]).await;
    all_taken(&one.org, 10, || bridge.log_text()).await;
    assert_whole_and_in_order(&one.org, USERS, 2);
    bridge.drain().await;
}

#[tokio::test]
async fn a_shadow_stream_is_held_as_well() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1)
        .await
        .set("streams.0.mode", "shadow");
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    operator.does("hold", &bridge, &[]).await;
    one.produce(wave(USERS, 0..2)).await;
    waits(&bridge, 10.0).await;
    assert_eq!(
        bridge
            .metrics()
            .await
            .sum("setbridge_outcomes_total", &STREAM),
        0.0
    );
    operator.does("resume", &bridge, &[]).await;
    bridge.outcomes("okta", "shadowed", 10).await;
    bridge.drain().await;
}

/// `retry.max_attempts`: a SET that fails for ever gives its lane free; what is tried while the stream is held is not counted.
#[tokio::test]
async fn enough_attempts_make_a_dead_letter_and_probes_are_none() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1)
            .await
            .set("streams.0.retry.max_attempts", 4)
            .set("streams.0.hold.initial_probe_delay", "20ms")
            .set("streams.0.hold.max_probe_delay", "20ms");
        let mut bridge = one.start().await;
        // Held at first; ten probes meet a fault of the moment.
        one.org.answer_next(1, Reply::status(403));
        one.org.answer_next(10, Reply::status(503));
        one.produce(wave(1, 0..1)).await;
        all_taken(&one.org, 1, || bridge.log_text()).await;
        assert_eq!(one.org.tally().requests, 12, "{}", one.name);
        assert_eq!(one.dead_letters().await, []);

        let first =
            |claims: &serde_json::Value| claims["events"].to_string().contains("1760000001");
        one.org.answer_when(None, first, Reply::status(503));
        one.produce(wave(1, 1..3)).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        all_taken(&one.org, 2, || bridge.log_text()).await;
        assert_eq!(one.org.tally().requests, 12 + 4 + 1, "{}", one.name);
        let letters = one.dead_letters().await;
        let header = |name| letters[0].header(name);
        assert_eq!(header("setbridge-reason"), Some("max_attempts"));
        assert_eq!(header("setbridge-attempts"), Some("4"));
        one.all_committed(3).await;
        bridge.drain().await;
    }
}

/// A SET that fetches its token when the hold is told has not left, and does not.
#[tokio::test]
async fn what_fetches_its_token_when_it_is_held_is_not_sent() {
    for broker in brokers() {
        let mut one = OneStream::on(&broker, 1).await;
        let operator = Operator::of(&mut one.configuration);
        let tokens = TokenEndpoint::start().await;
        let auth = json!({"oauth2": {
            "token_url": tokens.url(), "client_id": "bridge", "client_secret": "hunter2",
        }});
        let one = one.set("streams.0.receiver.auth", auth);
        let mut bridge = one.start().await;
        let stall = tokens.stall();
        one.produce(wave(3, 0..1)).await;
        let asked = async {
            while tokens.asked().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, asked).await.expect("a token is asked for");
        operator.does("hold", &bridge, &[]).await;
        drop(stall);
        let in_flight = "setbridge_requests_in_flight";
        bridge.metric(in_flight, &STREAM, |n| n == 0.0).await;
        waits(&bridge, 3.0).await;
        assert_eq!(one.org.tally().requests, 0, "{}", one.name);
        operator.does("resume", &bridge, &[]).await;
        all_taken(&one.org, 3, || bridge.log_text()).await;
        assert_eq!(tokens.asked().len(), 1, "{}", one.name);
        bridge.drain().await;
    }
}
