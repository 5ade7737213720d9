//! `max_event_age` over the wire: what is too old to act on is a dead letter, and no hold makes anything older.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use setbridge::okta::simulator::{Reply, Simulator};
use tokio::time::timeout;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver, record, risk};
use crate::support::fresh;
use crate::support::receipts::{answered, dead_letters, is_about, requests, taken_by_user};
use crate::support::wire::{ANSWER, Message, Wire};

const MAX_AGE: Duration = Duration::from_secs(4);

fn configuration(wire: &Wire, topic: &str, org: &Simulator) -> Configuration {
    Configuration::new(wire)
        .stream("okta", topic, org)
        .set("streams.0.max_event_age", format!("{}s", MAX_AGE.as_secs()))
}

/// Something that happened so many seconds ago.
fn happened(ago: i64, id: &str, user: &str) -> Message {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut detection = risk(id, user, "high");
    detection["time"] = (since.as_secs() as i64 - ago).into();
    record(&detection)
}

/// What the state file says, when no process has it.
fn held_since(configuration: &Configuration) -> Option<i64> {
    let file = configuration.folder().join("state.sqlite");
    let state = rusqlite::Connection::open(file).expect("a SQLite file");
    let sql = "SELECT held_since FROM streams WHERE name = 'okta'";
    let row = state.query_row(sql, [], |row| row.get(0));
    row.expect("the stream's row")
}

/// Probes go on for longer than a SET may grow old.
async fn held_for_longer_than_the_age(org: &Simulator) {
    let held_from = requests(org)[0].at;
    let long = org.wait_for(|log| {
        let last = log.received.back().map(|last| last.at - held_from);
        last.is_some_and(|held| held > MAX_AGE + Duration::from_secs(2))
    });
    timeout(SOON, long).await.expect("probes go on");
}

#[tokio::test]
async fn what_is_too_old_at_its_turn_is_a_dead_letter() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = configuration(wire, &topic, &org)
            .set("streams.0.max_event_age", "1h")
            .sqlite();
        let mut bridge = Bridge::start(&configuration).await;
        let old = happened(7_200, "1", "a@example.com");
        let new = happened(1_800, "2", "a@example.com");
        wire.produce_all(&topic, [old, new]).await;
        let group = configuration.group("okta");
        wire.wait_committed(&group, &topic, 2, ANSWER).await;

        let letters = dead_letters(wire, &topic, "okta").await;
        assert_eq!(letters.len(), 1, "{name}");
        let header = |name: &str| letters[0].header(&format!("setbridge-{name}"));
        assert_eq!(header("stage"), Some("push"), "{name}");
        assert_eq!(header("reason"), Some("expired"), "{name}");
        assert_eq!(header("attempts"), Some("0"), "{name}");
        assert_eq!(header("http-status"), None, "{name}");
        assert_eq!(header("origin-offset"), Some("0"), "{name}");
        assert!(header("jti").is_some(), "{name}");
        assert_eq!(org.tally().requests, 1, "{name}: only the new one was sent");
        let metrics = bridge.metrics().await;
        let expired = [("stream", "okta"), ("reason", "expired")];
        let counted = metrics.sum("setbridge_dead_letters_total", &expired);
        assert_eq!(counted, 1.0, "{name}");
        // An expired SET is no refusal: not even before the first acceptance does it hold the stream.
        let holds = metrics.sum("setbridge_stream_holds_total", &[]);
        assert_eq!(holds, 0.0, "{name}");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn what_grows_too_old_between_attempts_is_a_dead_letter() {
    let broker = &brokers()[0];
    let (topic, wire) = (fresh("detections"), broker.wire());
    broker.create_source(&topic, 1, &["okta"]).await;
    let org = receiver().await;
    let configuration = configuration(wire, &topic, &org);
    let rule = org.answer_when(None, |_| true, Reply::status(503));
    let mut bridge = Bridge::start(&configuration).await;
    // Joining the group takes seconds, in which it would grow too old before its first attempt.
    bridge
        .metric("setbridge_partitions_assigned", &[], |n| n == 1.0)
        .await;
    wire.produce(&topic, happened(0, "1", "a@example.com"))
        .await;
    bridge.outcomes("okta", "dead_lettered", 1).await;
    let tries = requests(&org);
    org.withdraw(rule);
    wire.produce(&topic, happened(0, "2", "a@example.com"))
        .await;
    bridge.outcomes("okta", "delivered", 1).await;

    let letters = dead_letters(wire, &topic, "okta").await;
    let header = |name: &str| letters[0].header(&format!("setbridge-{name}"));
    assert_eq!(header("reason"), Some("expired"));
    assert_eq!(header("http-status"), Some("503"));
    assert_eq!(header("attempts"), Some(&*tries.len().to_string()));
    assert!(tries.len() > 1, "it was tried again before");
    bridge.drain().await;
}

/// A wrong key over a weekend that is mended by a restart: what waited is as young as if keys had been reloaded.
#[tokio::test]
async fn nothing_expires_by_a_hold_that_a_restart_ends() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = configuration(wire, &topic, &org).sqlite();
        let mut bridge = Bridge::start(&configuration).await;
        let refusal = Reply::refusal("invalid_key", "not that one");
        org.answer_when(None, |_| true, refusal);
        // The one that brings the hold about is no older than nothing, however slow this machine is.
        wire.produce(&topic, happened(-3_600, "0", "first@example.com"))
            .await;
        bridge.held("okta", Some("invalid_key")).await;
        wire.produce(&topic, happened(0, "1", "kept@example.com"))
            .await;
        wire.produce(&topic, happened(60, "2", "old@example.com"))
            .await;
        held_for_longer_than_the_age(&org).await;
        bridge.drain().await;
        assert!(held_since(&configuration).is_some(), "{name}");
        org.recover();
        let mut mended = Bridge::start(&configuration).await;
        let group = configuration.group("okta");
        wire.wait_committed(&group, &topic, 3, ANSWER).await;

        let by_user = taken_by_user(&org);
        let taken: Vec<&str> = by_user.keys().map(String::as_str).collect();
        assert_eq!(taken, ["first@example.com", "kept@example.com"], "{name}");
        let letters = dead_letters(wire, &topic, "okta").await;
        assert_eq!(letters.len(), 1, "{name}: only what was old before");
        let reason = letters[0].header("setbridge-reason");
        assert_eq!(reason, Some("expired"), "{name}");
        mended.drain().await;
        assert_eq!(held_since(&configuration), None, "{name}: it was accepted");
    }
}

#[tokio::test]
async fn nothing_expires_by_a_hold() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        // Room for one SET besides the one that the stream is held by: the other waits in Kafka.
        let configuration = configuration(wire, &topic, &org)
            .set("limits.max_requests_in_flight", 1)
            .set("limits.max_unsettled", 2)
            .set("streams.0.guard.refusals.subjects", 1);
        let mut bridge = Bridge::start(&configuration).await;
        org.answer_when(None, |_| true, Reply::status(403));
        // The one that brings the hold about is no older than nothing, however slow this machine is.
        wire.produce(&topic, happened(-3_600, "0", "first@example.com"))
            .await;
        bridge.held("okta", Some("forbidden")).await;
        let users = ["read@example.com", "kept@example.com"];
        wire.produce_all(&topic, users.map(|user| happened(0, user, user)))
            .await;
        // What is too old already does not become young by a hold.
        wire.produce(&topic, happened(60, "old", "old@example.com"))
            .await;
        held_for_longer_than_the_age(&org).await;
        let asked = requests(&org).len();
        answered(&org, asked + 1).await;
        assert_eq!(dead_letters(wire, &topic, "okta").await, [], "{name}");
        org.recover();
        let group = configuration.group("okta");
        wire.wait_committed(&group, &topic, 4, ANSWER).await;

        let by_user = taken_by_user(&org);
        let taken: Vec<&str> = by_user.keys().map(String::as_str).collect();
        let wanted = ["first@example.com", "kept@example.com", "read@example.com"];
        assert_eq!(taken, wanted, "{name}");
        let letters = dead_letters(wire, &topic, "okta").await;
        assert_eq!(letters.len(), 1, "{name}");
        let reason = letters[0].header("setbridge-reason");
        assert_eq!(reason, Some("expired"), "{name}");
        let log = requests(&org);
        let sent = |user: &str| {
            log.iter()
                .filter(|r| is_about(r.claims.as_ref().unwrap(), user))
                .count()
        };
        assert_eq!(sent("old@example.com"), 0, "{name}");
        bridge.drain().await;
    }
}
