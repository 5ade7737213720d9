//! The moment's faults over the wire: the same bytes again, later, as long as it takes.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver, record, risk};
use crate::support::fresh;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{answered, requests};
use crate::support::wire::{ANSWER, Wire};

#[tokio::test]
async fn after_503_twice_the_same_bytes_are_accepted() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let mut bridge = one.start().await;
        one.org.answer_next(2, Reply::status(503));
        one.produce([record(&risk("1", "a@example.com", "high"))])
            .await;
        bridge.outcomes("okta", "delivered", 1).await;

        assert_same_bytes(&one.org, 3, broker.name());
        assert_eq!(one.org.tally().taken, 1);
        let retries = [("stream", "okta"), ("fault", "server_error")];
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_push_retries_total", &retries), 2.0);
        let signed = metrics.sum("setbridge_sets_signed_total", &[("stream", "okta")]);
        assert_eq!(signed, 1.0, "one signature for all attempts");
        one.all_committed(1).await;
        bridge.drain().await;
    }
}

/// `(what, reply, whether the org takes the SET the first time)`
fn moments() -> Vec<(&'static str, Reply, bool)> {
    vec![
        ("408", Reply::status(408), false),
        ("425", Reply::status(425), false),
        ("429 without a time", Reply::status(429), false),
        ("500", Reply::status(500), false),
        ("502", Reply::status(502), false),
        ("504", Reply::status(504), false),
        ("no HTTP status", Reply::status(600), false),
        ("reset before reading", Reply::ResetUnread, false),
        ("reset after reading", Reply::ResetRead, false),
        ("no answer", Reply::Never, false),
        ("a 202 that got lost", Reply::TakeThenReset, true),
    ]
}

#[tokio::test]
async fn every_fault_of_the_moment_is_followed_by_the_same_bytes() {
    let broker = &brokers()[0];
    let wire = broker.wire();
    let mut configuration = Configuration::new(wire);
    let mut streams = Vec::new();
    for (number, (what, reply, taken)) in moments().into_iter().enumerate() {
        let (id, topic) = (format!("s{number}"), fresh("detections"));
        broker.create_source(&topic, 1, &[&id]).await;
        let org = receiver().await;
        org.answer_next(2, reply);
        let at = format!("streams.{number}.receiver");
        configuration = configuration
            .stream(&id, &topic, &org)
            .set(&format!("{at}.connect_timeout"), "1s")
            .set(&format!("{at}.request_timeout"), "2s");
        streams.push((what, id, topic, org, taken));
    }
    for (_, _, topic, _, _) in &streams {
        wire.produce(topic, record(&risk("1", "a@example.com", "high")))
            .await;
    }
    let mut bridge = Bridge::start(&configuration).await;
    for (what, id, topic, org, taken) in &streams {
        bridge.outcomes(id, "delivered", 1).await;
        let tally = org.tally();
        assert_eq!(tally.requests, 3, "{what}");
        assert_eq!((tally.taken, tally.repeats > 0), (1, *taken), "{what}");
        if *what != "reset before reading" {
            assert_same_bytes(org, 3, what);
        }
        wire.wait_committed(&configuration.group(id), topic, 1, ANSWER)
            .await;
    }
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
    assert_eq!(metrics.sum("setbridge_dead_letters_total", &[]), 0.0);
    bridge.drain().await;
}

#[tokio::test]
async fn a_429_with_retry_after_pauses_every_stream_to_that_origin() {
    for broker in brokers() {
        let (wire, org) = (broker.wire(), receiver().await);
        let (configuration, topics) = two_streams_to(&org, wire).await;
        for (topic, stream) in topics.iter().zip(["one", "two"]) {
            broker.create_source(topic, 1, &[stream]).await;
        }
        let mut bridge = Bridge::start(&configuration).await;
        org.answer_next(1, Reply::too_many_requests(2));
        wire.produce(&topics[0], record(&risk("1", "a@example.com", "high")))
            .await;
        answered(&org, 1).await;
        wire.produce(&topics[0], record(&risk("2", "b@example.com", "high")))
            .await;
        wire.produce(&topics[1], record(&risk("3", "c@example.com", "high")))
            .await;
        bridge.outcomes("one", "delivered", 2).await;
        bridge.outcomes("two", "delivered", 1).await;

        let requests = requests(&org);
        let name = broker.name();
        assert_eq!(requests.len(), 4, "{name}");
        for later in &requests[1..] {
            let waited = later.at - requests[0].at;
            assert!(waited >= Duration::from_secs(2), "{name}: {waited:?}");
        }
        let again = requests[1..].iter().find(|r| r.raw == requests[0].raw);
        assert!(again.is_some(), "{name}: the same bytes came again");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_429_with_a_reset_time_waits_until_then() {
    let broker = &brokers()[0];
    let (wire, org) = (broker.wire(), receiver().await);
    let topic = fresh("detections");
    broker.create_source(&topic, 1, &["okta"]).await;
    let configuration = Configuration::new(wire).stream("okta", &topic, &org);
    let mut bridge = Bridge::start(&configuration).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // The simulator sends no Date header of its own making, so our clock counts. Whole seconds: 2 to 3 from now.
    let reset = now.as_secs() as i64 + 3;
    org.answer_next(1, Reply::rate_limited(100, 0, reset));
    wire.produce(&topic, record(&risk("1", "a@example.com", "high")))
        .await;
    bridge.outcomes("okta", "delivered", 1).await;
    let second = requests(&org)[1].wall.duration_since(UNIX_EPOCH).unwrap();
    assert!(second.as_secs() as i64 >= reset, "{second:?} < {reset}");
    bridge.drain().await;
}

async fn two_streams_to(org: &Simulator, wire: &Wire) -> (Configuration, [String; 2]) {
    let topics = [fresh("detections"), fresh("detections")];
    let configuration = Configuration::new(wire)
        .stream("one", &topics[0], org)
        .stream("two", &topics[1], org);
    (configuration, topics)
}

fn assert_same_bytes(org: &Simulator, count: usize, what: &str) {
    let requests = requests(org);
    assert_eq!(requests.len(), count, "{what}");
    let bodies: BTreeSet<_> = requests.iter().map(|r| r.raw.clone()).collect();
    assert_eq!(bodies.len(), 1, "{what}: every attempt has the same bytes");
    let jtis: BTreeSet<_> = requests.iter().filter_map(|r| r.jti()).collect();
    assert_eq!(jtis.len(), 1, "{what}");
    for request in &requests {
        let header = |name| request.header(name);
        assert_eq!(header("content-type"), Some("application/secevent+jwt"));
        assert_eq!(header("accept"), Some("application/json"));
        let agent = header("user-agent").unwrap_or_default();
        assert!(agent.starts_with("setbridge/"), "{agent}");
        assert_eq!(header("accept-encoding"), None);
    }
}
