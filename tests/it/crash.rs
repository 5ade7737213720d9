//! Ends without warning, and orderly ones: what comes again is the same as before, and nothing else comes again.

use std::time::Duration;

use serde_json::Value;
use setbridge::okta::simulator::{Received, Reply};

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{record, risk, user};
use crate::support::numbered::{all_taken, assert_whole_and_in_order, numbered, wave};
use crate::support::one_stream::OneStream;

fn is_about(claims: &Value, who: &str, level: &str) -> bool {
    let text = claims.to_string();
    text.contains(who) && text.contains(&format!("\"current_level\":\"{level}\""))
}

fn without_iat(received: &Received) -> Value {
    let mut claims = received.claims.clone().expect("claims");
    claims.as_object_mut().expect("an object").remove("iat");
    claims
}

fn previous_level(received: &Received) -> Value {
    received.event().expect("one event").1["previous_level"].clone()
}

/// The receiver has taken the SET and answered, but the process dies before it has read the answer.
async fn killed_between_the_answer_and_the_store(broker: &Broker, sqlite: bool) {
    let mut one = OneStream::on(broker, 1).await;
    let mut before = 0;
    if sqlite {
        one = one.sqlite();
    }
    let mut bridge = one.start().await;
    if sqlite {
        // A level that the crash must not lose.
        let low = record(&risk("1", &user(1), "low"));
        one.produce([low]).await;
        before = 1;
        one.all_committed(1).await;
    }
    let late = Reply::Judge.after(Duration::from_secs(1));
    one.org
        .answer_when(Some(1), |claims| is_about(claims, "user001", "high"), late);
    let high = record(&risk("2", &user(1), "high"));
    one.produce([high]).await;
    let in_flight = [("stream", "okta")];
    bridge
        .metric("setbridge_requests_in_flight", &in_flight, |n| n == 1.0)
        .await;
    bridge.stop();
    all_taken(&one.org, before + 1, || bridge.log_text()).await;
    bridge.crash().await;
    let mut again = one.start().await;
    again.outcomes("okta", "delivered", 1).await;
    let all = i64::try_from(before + 1).expect("a few");
    one.all_committed(all).await;
    one.org.log(|log| {
        let sent: Vec<_> = log.received.iter().skip(before).collect();
        assert_eq!(sent.len(), 2, "{}", broker.name());
        assert!(sent[0].taken && sent[1].repeat);
        assert_eq!(without_iat(sent[0]), without_iat(sent[1]));
        let previous = if sqlite { "low" } else { "none" };
        assert_eq!(previous_level(sent[1]), previous);
    });
    again.drain().await;
}

#[tokio::test]
async fn killed_between_the_answer_and_the_store_with_sqlite() {
    for broker in brokers() {
        killed_between_the_answer_and_the_store(&broker, true).await;
    }
}

#[tokio::test]
async fn killed_between_the_answer_and_the_store_with_memory() {
    for broker in brokers() {
        killed_between_the_answer_and_the_store(&broker, false).await;
    }
}

/// DESIGN "State": a dead-lettered "high" must not be sent after the "low" that came behind it, crash or not.
#[tokio::test]
async fn what_was_decided_stays_decided_after_a_crash() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let mut bridge = one.start().await;
        let (open, judged, other) = (user(1), user(2), user(3));
        let never = one
            .org
            .answer_when(None, |c| c.to_string().contains("user001"), Reply::Never);
        let refusal = Reply::refusal("invalid_request", "this one never");
        one.org
            .answer_when(None, |c| is_about(c, "user002", "high"), refusal);
        // The first acceptance proves the set-up; the second one frees the refused SET from the guard.
        for detection in [
            risk("0", &other, "low"),
            risk("1", &open, "high"),
            risk("2", &judged, "high"),
            risk("3", &judged, "low"),
        ] {
            one.produce([record(&detection)]).await;
        }
        bridge.outcomes("okta", "delivered", 1).await;
        let refused = [("stream", "okta"), ("verdict", "refused")];
        bridge
            .metric("setbridge_push_attempts_total", &refused, |n| n >= 1.0)
            .await;
        let releases = record(&risk("4", &other, "high"));
        one.produce([releases]).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        bridge.outcomes("okta", "delivered", 3).await;
        // Settled means durable: only the open one is not.
        bridge
            .metric("setbridge_unsettled_sets", &[("stream", "okta")], |n| {
                n == 1.0
            })
            .await;
        one.all_committed(1).await;
        bridge.crash().await;
        one.org.withdraw(never);
        one.org.clear_log();
        let mut again = one.start().await;
        one.all_committed(5).await;
        again.outcomes("okta", "already_decided", 1).await;
        again.outcomes("okta", "duplicate", 2).await;
        let sent: Vec<_> = one
            .org
            .log(|log| log.received.iter().map(|r| r.claims.clone()).collect());
        assert_eq!(sent.len(), 1, "{}: {sent:?}", broker.name());
        assert!(is_about(sent[0].as_ref().unwrap(), "user001", "high"));
        let letters = one.wire.read_all(&format!("{}.okta.dlq", one.topic)).await;
        assert_eq!(letters.len(), 1);
        again.drain().await;
    }
}

#[tokio::test]
async fn a_clean_restart_sends_nothing_twice() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let mut bridge = one.start().await;
        one.produce(wave(10, 0..5)).await;
        all_taken(&one.org, 20, || bridge.log_text()).await;
        bridge.drain().await;
        let mut again = one.start().await;
        all_taken(&one.org, 50, || again.log_text()).await;
        // The producer sends some of them once more.
        one.produce(wave(10, 3..5)).await;
        one.produce(wave(10, 5..6)).await;
        all_taken(&one.org, 60, || again.log_text()).await;
        one.all_committed(80).await;
        again.outcomes("okta", "duplicate", 20).await;
        assert_eq!(one.org.tally().requests, 60, "{}", broker.name());
        assert_whole_and_in_order(&one.org, 10, 6);
        one.org.log(|log| {
            for received in log.taken() {
                let (who, number) = crate::support::numbered::number_of(received);
                let before = number
                    .checked_sub(1)
                    .map(|n| numbered(&who, n)["level"].clone());
                let before = before.unwrap_or_else(|| "none".into());
                assert_eq!(previous_level(received), before, "{who} {number}");
            }
        });
        again.drain().await;
    }
}

#[tokio::test]
async fn one_process_for_one_state_file() {
    let broker = brokers().remove(0);
    let one = OneStream::on(&broker, 1).await.sqlite();
    let mut first = one.start().await;
    let refused = Bridge::try_start(&one.configuration).await.err();
    let refused = refused.expect("the file is in use");
    assert_eq!(refused.code, Some(74));
    assert!(refused.log.contains("another process"), "{}", refused.log);
    first.drain().await;
    let file = one.configuration.folder().join("state.sqlite");
    let newer = rusqlite::Connection::open(&file).expect("a SQLite file");
    newer
        .pragma_update(None, "user_version", 1_000_000)
        .expect("a version");
    drop(newer);
    let refused = Bridge::try_start(&one.configuration).await.err();
    let refused = refused.expect("nobody knows that schema");
    assert_eq!(refused.code, Some(74));
    assert!(
        refused.log.contains("schema version 1000000"),
        "{}",
        refused.log
    );
}
