//! The refusal guard and the mapping guard over the wire: one bad record is a dead letter, many in a row are a hold.

use setbridge::okta::simulator::Reply;

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{answered, dead_letters, is_about, requests, taken};
use crate::support::wire::{ANSWER, Message};

fn detection(id: &str, user: &str) -> Message {
    record(&risk(id, user, "high"))
}

fn no() -> Reply {
    Reply::refusal("invalid_request", "nobody@example.com is too long")
}

#[tokio::test]
async fn refusals_hold_before_the_first_acceptance_and_are_dead_letters_after_it() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let name = one.name;
        one.org
            .answer_when(None, |claims| is_about(claims, "bad"), no());
        let mut bridge = one.start().await;

        one.produce([detection("1", "bad-1@example.com")]).await;
        bridge.held("okta", Some("refusals")).await;
        answered(&one.org, 3).await;
        assert_eq!(one.dead_letters().await, [], "{name}");

        // The first acceptance proves the set-up; the refused one is judged again, by what it is.
        one.produce([detection("2", "good-1@example.com")]).await;
        bridge.outcomes("okta", "delivered", 1).await;
        bridge.held("okta", None).await;
        one.produce([detection("3", "good-2@example.com")]).await;
        bridge.outcomes("okta", "delivered", 2).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;

        // From now on a single refusal waits only for the next acceptance.
        one.org.clear_log();
        one.produce([detection("4", "bad-2@example.com")]).await;
        answered(&one.org, 1).await;
        one.produce([detection("5", "good-3@example.com")]).await;
        bridge.outcomes("okta", "dead_lettered", 2).await;
        one.all_committed(5).await;

        let refused = requests(&one.org).remove(0);
        let letters = one.dead_letters().await;
        assert_eq!(letters.len(), 2, "{name}");
        let last = &letters[1];
        let header = |name: &str| last.header(&format!("setbridge-{name}"));
        assert_eq!(header("stage"), Some("push"), "{name}");
        assert_eq!(header("reason"), Some("invalid_request"), "{name}");
        assert_eq!(header("http-status"), Some("400"), "{name}");
        assert_eq!(header("err"), Some("invalid_request"), "{name}");
        assert_eq!(header("attempts"), Some("1"), "{name}");
        assert_eq!(header("jti"), refused.jti(), "{name}");
        assert_eq!(header("origin-offset"), Some("3"), "{name}");
        assert!(header("first-attempt-ms").is_some() && header("last-attempt-ms").is_some());
        let ours = last.headers.iter().filter_map(|(_, value)| value.as_ref());
        let described = ours.filter(|value| String::from_utf8_lossy(value).contains("nobody"));
        assert_eq!(described.count(), 0, "{name}: no description is repeated");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn ten_subjects_refused_in_a_row_hold_and_nothing_is_a_dead_letter() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let name = one.name;
        let mut bridge = one.start().await;
        one.produce([detection("first", "first@example.com")]).await;
        bridge.outcomes("okta", "delivered", 1).await;

        one.org.answer_when(None, |_| true, no());
        let detections = (0..12).map(|n| detection(&n.to_string(), &user(n)));
        one.produce(detections).await;
        bridge.held("okta", Some("refusals")).await;
        let asked = one.org.tally().requests as usize;
        answered(&one.org, asked + 3).await;
        assert_eq!(one.dead_letters().await, [], "{name}");

        one.org.recover();
        bridge.outcomes("okta", "delivered", 13).await;
        bridge.held("okta", None).await;
        assert_eq!(taken(&one.org).len(), 13, "{name}");
        assert_eq!(one.dead_letters().await, [], "{name}");
        one.all_committed(13).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_set_that_always_holds_is_a_dead_letter_after_its_second_chance() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let mut bridge = one.start().await;
    one.org
        .answer_when(None, |claims| is_about(claims, "bad"), Reply::status(400));
    one.produce([detection("0", "bad@example.com")]).await;
    for n in 1..=2 {
        bridge.held("okta", Some("refusals")).await;
        one.produce([detection(&n.to_string(), &user(n))]).await;
        bridge.outcomes("okta", "delivered", n as u64).await;
    }
    bridge.outcomes("okta", "dead_lettered", 1).await;
    bridge.held("okta", None).await;
    let holds = ("setbridge_stream_holds_total", [("reason", "refusals")]);
    bridge.metric(holds.0, &holds.1, |sum| sum == 2.0).await;
    one.all_committed(3).await;
    bridge.drain().await;
}

#[tokio::test]
async fn a_400_without_a_readable_body_holds_at_once() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let mut bridge = one.start().await;
    one.produce([detection("1", "a@example.com")]).await;
    bridge.outcomes("okta", "delivered", 1).await;
    one.org.answer_when(None, |_| true, Reply::status(400));
    one.produce([detection("2", "b@example.com")]).await;
    bridge.held("okta", Some("refusals")).await;
    assert_eq!(one.dead_letters().await, []);
    one.org.recover();
    bridge.outcomes("okta", "delivered", 2).await;
    bridge.held("okta", None).await;
    bridge.drain().await;
}

#[tokio::test]
async fn a_refused_set_is_a_dead_letter_when_nobody_is_accepted_for_long_enough() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("streams.0.guard.refusals.wait", "1s");
    let mut bridge = one.start().await;
    one.produce([detection("1", "a@example.com")]).await;
    bridge.outcomes("okta", "delivered", 1).await;
    one.org
        .answer_when(None, |claims| is_about(claims, "bad"), no());
    one.produce([detection("2", "bad@example.com")]).await;
    bridge.outcomes("okta", "dead_lettered", 1).await;
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
    assert_eq!(one.org.tally().requests, 2);
    one.all_committed(2).await;
    bridge.drain().await;
}

/// `(reply, reason)` of every refusal.
fn refusals() -> [(Reply, &'static str); 6] {
    [
        (no(), "invalid_request"),
        (Reply::refusal("jti_too_short", ""), "unknown_err"),
        (Reply::status(400), "unreadable_400"),
        (Reply::status(413), "too_large_413"),
        (Reply::status(422), "client_error"),
        (Reply::status(451), "client_error"),
    ]
}

#[tokio::test]
async fn with_the_guard_off_each_refusal_is_a_dead_letter_at_once() {
    let broker = &brokers()[0];
    let wire = broker.wire();
    let mut configuration = Configuration::new(wire);
    let mut streams = Vec::new();
    for (number, (reply, reason)) in refusals().into_iter().enumerate() {
        let (id, topic, org) = (format!("s{number}"), fresh("detections"), receiver().await);
        broker.create_source(&topic, 1, &[&id]).await;
        org.answer_when(None, |_| true, reply);
        let off = format!("streams.{number}.guard.refusals.enabled");
        configuration = configuration.stream(&id, &topic, &org).set(&off, false);
        let detections = (0..12).map(|n| detection(&n.to_string(), &user(n)));
        wire.produce_all(&topic, detections).await;
        streams.push((id, topic, org, reason));
    }
    let mut bridge = Bridge::start(&configuration).await;
    for (id, topic, org, reason) in &streams {
        wire.wait_committed(&configuration.group(id), topic, 12, ANSWER)
            .await;
        let letters = dead_letters(wire, topic, id).await;
        assert_eq!(letters.len(), 12, "{reason}");
        let of_reason = letters
            .iter()
            .filter(|l| l.header("setbridge-reason") == Some(reason));
        assert_eq!(of_reason.count(), 12, "{reason}");
        assert_eq!(org.tally().requests, 12, "{reason}: each was tried once");
    }
    bridge.drain().await;
}

#[tokio::test]
async fn a_hundred_bad_records_of_ten_keys_hold_the_mapping() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let name = one.name;
        let bad = (0..120).map(|n| {
            let detection = risk(&n.to_string(), &user(n % 10), "purple");
            record(&detection)
        });
        one.produce(bad).await;
        let mut bridge = one.start().await;
        bridge.held("okta", Some("mapping_suspect")).await;
        assert_eq!(one.dead_letters().await, [], "{name}");
        assert_eq!(bridge.get("/readyz").await.0, 200, "{name}");
        assert_eq!(one.committed().await, 0, "{name}");
        bridge.drain().await;
        assert_eq!(one.dead_letters().await, [], "{name}");

        // The operator looked: the records are bad indeed.
        let one = one.set("streams.0.guard.records.enabled", false);
        let mut bridge = one.start().await;
        one.all_committed(120).await;
        let letters = one.dead_letters().await;
        assert_eq!(letters.len(), 120, "{name}");
        assert_eq!(one.org.tally().requests, 0, "{name}");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn bad_records_of_one_key_alone_never_hold_the_mapping() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let bad = (0..150).map(|n| record(&risk(&n.to_string(), &user(1), "purple")));
    let good = detection("good", &user(2));
    one.produce(bad.chain([good])).await;
    let mut bridge = one.start().await;
    one.all_committed(151).await;
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
    assert_eq!(one.dead_letters().await.len(), 150);
    assert_eq!(taken(&one.org).len(), 1);
    bridge.drain().await;
}

#[tokio::test]
async fn what_a_rule_filters_does_not_prove_the_mapping() {
    let broker = &brokers()[0];
    let (topic, wire) = (fresh("detections"), broker.wire());
    broker.create_source(&topic, 1, &["okta"]).await;
    let org = receiver().await;
    // A slip in the only rule; everything else on the topic is filtered, as on a topic of many kinds.
    let slip = serde_json::json!({"rules": [{
        "name": "risk", "when": "detection.kind == \"user-risk-change\"", "event": "user-risk-change",
        "subject": {"email": "$.user"}, "claims": {"current_level": "$.levle"},
    }]});
    let configuration = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .set("streams.0.mapping", slip);
    let mixed = (0..120).flat_map(|n| {
        let other = serde_json::json!({"id": n, "kind": "heartbeat", "user": user(n)});
        [detection(&n.to_string(), &user(n % 12)), record(&other)]
    });
    wire.produce_all(&topic, mixed).await;
    let mut bridge = Bridge::start(&configuration).await;
    bridge.held("okta", Some("mapping_suspect")).await;
    assert_eq!(dead_letters(wire, &topic, "okta").await, []);
    bridge.drain().await;
}

#[tokio::test]
async fn a_suspect_mapping_is_tried_again_although_the_room_is_full() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("limits.max_requests_in_flight", 4)
        .set("limits.max_unsettled", 20)
        .set("streams.0.guard.records.faults", 20)
        .set("streams.0.guard.records.keys", 10);
    let bad = (0..23).map(|n| record(&risk(&format!("bad-{n}"), &user(n), "purple")));
    let good = (0..60).map(|n| detection(&format!("good-{n}"), &user(n)));
    one.produce(bad.chain(good)).await;
    let mut bridge = one.start().await;
    bridge.held("okta", Some("mapping_suspect")).await;
    bridge.outcomes("okta", "delivered", 60).await;
    bridge.outcomes("okta", "dead_lettered", 23).await;
    bridge.held("okta", None).await;
    bridge.drain().await;
}
