//! A lasting 5xx about one SET is the record's fault only while others are accepted.

use std::time::Duration;

use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::receipts::{dead_letters, is_about, requests, taken};
use crate::support::wire::{ANSWER, Wire};

const ATTEMPTS: usize = 4;
const AFTER: Duration = Duration::from_millis(300);
const OTHERS: usize = 3;

fn configuration(wire: &Wire, topic: &str, org: &Simulator) -> Configuration {
    let rule = "streams.0.receiver_error";
    Configuration::new(wire)
        .stream("okta", topic, org)
        .set(&format!("{rule}.attempts"), ATTEMPTS)
        .set(&format!("{rule}.after"), format!("{}ms", AFTER.as_millis()))
        .set(&format!("{rule}.other_subjects"), OTHERS)
        .set("streams.0.retry.max_delay", "50ms")
}

#[tokio::test]
async fn a_set_that_alone_always_fails_is_a_dead_letter() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = configuration(wire, &topic, &org);
        let about_it = |claims: &_| is_about(claims, "trips@example.com");
        org.answer_when(None, about_it, Reply::status(500));
        let mut bridge = Bridge::start(&configuration).await;
        wire.produce(&topic, record(&risk("1", "trips@example.com", "high")))
            .await;
        // The others have to be accepted after its first attempt.
        org.wait_for(|log| log.tally.scripted >= 1).await;
        let others = (0..OTHERS).map(|n| record(&risk("2", &user(n), "low")));
        wire.produce_all(&topic, others).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;

        let letters = dead_letters(wire, &topic, "okta").await;
        assert_eq!(letters.len(), 1, "{name}");
        let header = |name: &str| letters[0].header(&format!("setbridge-{name}"));
        assert_eq!(header("reason"), Some("receiver_error"), "{name}");
        assert_eq!(header("http-status"), Some("500"), "{name}");
        let number = |name: &str| -> usize { header(name).unwrap().parse().unwrap() };
        let tries = requests(&org)
            .iter()
            .filter(|r| about_it(r.claims.as_ref().unwrap()))
            .count();
        assert_eq!(number("attempts"), tries, "{name}");
        assert!(tries >= ATTEMPTS, "{name}: {tries}");
        let lasted = number("last-attempt-ms") - number("first-attempt-ms");
        // The header has whole milliseconds of another clock.
        assert!(
            lasted + 50 >= AFTER.as_millis() as usize,
            "{name}: {lasted} ms"
        );
        assert_eq!(taken(&org).len(), OTHERS, "{name}");
        let committed = OTHERS as i64 + 1;
        wire.wait_committed(&configuration.group("okta"), &topic, committed, ANSWER)
            .await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_receiver_that_fails_for_everybody_never_makes_a_dead_letter() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = configuration(wire, &topic, &org);
        org.answer_when(None, |_| true, Reply::status(503));
        let detections = (0..6).map(|n| record(&risk("1", &user(n), "low")));
        wire.produce_all(&topic, detections).await;
        let mut bridge = Bridge::start(&configuration).await;
        // Far beyond what the rule asks for, for each of them.
        org.wait_for(|log| {
            let first = log.received.front();
            let long = first.is_some_and(|first| first.at.elapsed() > 4 * AFTER);
            long && log.tally.requests as usize > 6 * 4 * ATTEMPTS
        })
        .await;
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_outcomes_total", &[]), 0.0, "{name}");
        assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
        org.recover();
        bridge.outcomes("okta", "delivered", 6).await;
        assert_eq!(dead_letters(wire, &topic, "okta").await, [], "{name}");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn other_faults_of_the_moment_never_count() {
    let broker = &brokers()[0];
    let (topic, wire) = (fresh("detections"), broker.wire());
    broker.create_source(&topic, 1, &["okta"]).await;
    let org = receiver().await;
    let configuration = configuration(wire, &topic, &org);
    let about_it = |claims: &_| is_about(claims, "trips@example.com");
    let rule = org.answer_when(None, about_it, Reply::ResetRead);
    let mut bridge = Bridge::start(&configuration).await;
    wire.produce(&topic, record(&risk("1", "trips@example.com", "high")))
        .await;
    org.wait_for(|log| log.tally.unanswered >= 1).await;
    let others = (0..OTHERS + 1).map(|n| record(&risk("2", &user(n), "low")));
    wire.produce_all(&topic, others).await;
    org.wait_for(|log| {
        let first = log.received.front();
        let long = first.is_some_and(|first| first.at.elapsed() > 3 * AFTER);
        long && log.tally.unanswered as usize > 3 * ATTEMPTS
    })
    .await;
    org.withdraw(rule);
    bridge
        .outcomes("okta", "delivered", OTHERS as u64 + 2)
        .await;
    assert_eq!(dead_letters(wire, &topic, "okta").await, []);
    bridge.drain().await;
}
