//! The set-up's faults over the wire: the stream is held, nothing is lost, nothing but probes leaves, and it resumes.

use std::time::Duration;

use serde_json::json;
use setbridge::okta::simulator::{Answered, JwksSource, Received, Reply, Simulator, jwks_at};
use tokio::time::timeout;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, ISSUER, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{answered, dead_letters, is_about, requests, taken, taken_by_user};
use crate::support::wire::{ANSWER, Message, Wire};

const OTHER_KEY: &str = include_str!("../fixtures/keys/rsa-3072.pkcs1.pem");
const USERS: usize = 5;
const LEVELS: [&str; 3] = ["low", "medium", "high"];

/// Three detections about each of five users.
fn detections() -> Vec<Message> {
    let all = (0..USERS * LEVELS.len()).map(|n| {
        let detection = risk(&n.to_string(), &user(n % USERS), LEVELS[n / USERS]);
        record(&detection)
    });
    all.collect()
}

fn assert_all_delivered_in_order(org: &Simulator, what: &str) {
    let by_user = taken_by_user(org);
    assert_eq!(by_user.len(), USERS, "{what}");
    for (user, receipts) in by_user {
        let levels: Vec<_> = receipts.iter().map(|r| r.level.as_str()).collect();
        assert_eq!(levels, LEVELS, "{what}: {user}");
    }
}

/// The first user's detection was tried, and no offset moved.
async fn assert_nothing_settled(wire: &Wire, group: &str, topic: &str, id: &str, what: &str) {
    let committed = wire.committed(group, topic).await;
    assert_eq!(committed.values().sum::<i64>(), 0, "{what}: {committed:?}");
    assert_eq!(dead_letters(wire, topic, id).await, [], "{what}");
}

#[tokio::test]
async fn invalid_key_holds_until_the_right_key_is_loaded() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 2).await;
        let (org, name) = (&one.org, one.name);
        // The org knows only a key that we do not sign with yet.
        register_other_key(org);
        let mut bridge = one.start().await;
        one.produce(detections()).await;
        bridge.held("okta", Some("invalid_key")).await;
        let asked = org.tally().requests as usize;
        answered(org, asked + 3).await;

        assert_eq!(org.tally().taken, 0, "{name}");
        assert!(
            requests(org)
                .iter()
                .all(|r| r.err.as_deref() == Some("invalid_key"))
        );
        assert_eq!(bridge.get("/readyz").await.0, 200, "{name}");
        assert_eq!(bridge.get("/livez").await.0, 200, "{name}");
        let first = kids(&bridge).await;
        assert_eq!(first.len(), 1, "{name}: the JWKS stays served");
        assert_nothing_settled(&one.wire, &one.group(), &one.topic, "okta", name).await;

        std::fs::write(one.configuration.folder().join("signing.pem"), OTHER_KEY).unwrap();
        bridge.hup();
        bridge.outcomes("okta", "delivered", 15).await;
        bridge.held("okta", None).await;
        assert_all_delivered_in_order(org, name);
        let now = kids(&bridge).await;
        assert_ne!(first, now, "{name}");
        let last = requests(org).pop().unwrap();
        assert_eq!(last.kid, now.first().cloned(), "{name}");
        one.all_committed(15).await;
        assert_eq!(one.dead_letters().await, [], "{name}");
        bridge.drain().await;
    }
}

/// A rotation as docs/operations.md has it: the new key signs, the old one stays published.
#[tokio::test]
async fn all_that_waited_are_signed_anew_when_the_old_key_stays_published() {
    let broker = &brokers()[0];
    let keys = json!([{"file": "signing.pem"}, {"file": "other.pem", "published_only": true}]);
    let one = OneStream::on(broker, 1)
        .await
        .set("signing.keys", keys)
        .set("streams.0.hold.initial_probe_delay", "1h")
        .set("streams.0.hold.max_probe_delay", "1h");
    let org = &one.org;
    let (signing, other) = ["signing.pem", "other.pem"]
        .map(|name| one.configuration.folder().join(name))
        .into();
    std::fs::write(&other, OTHER_KEY).unwrap();
    register_other_key(org);
    // So late that the first one's answer holds none of the others back.
    let late = Reply::refusal("invalid_key", "").after(Duration::from_secs(2));
    let rule = org.answer_when(None, |_| true, late);
    one.produce(detections()).await;
    let mut bridge = one.start().await;
    bridge.held("okta", Some("invalid_key")).await;
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_requests_in_flight", &stream, |sets| sets == 0.0)
        .await;
    org.withdraw(rule);
    let refused = requests(org).len();
    assert!(refused > 1, "{refused}");

    std::fs::rename(&signing, one.configuration.folder().join("old.pem")).unwrap();
    std::fs::rename(&other, &signing).unwrap();
    std::fs::rename(one.configuration.folder().join("old.pem"), &other).unwrap();
    bridge.hup();
    bridge.outcomes("okta", "delivered", 15).await;
    assert_all_delivered_in_order(org, "rotated");
    let kids = kids(&bridge).await;
    assert_eq!(kids.len(), 2, "the old one is still published");
    let after = requests(org).split_off(refused);
    assert_eq!(after.len(), 15, "one probe, then each once");
    assert!(after.iter().all(|sent| sent.kid.as_ref() == kids.first()));
    bridge.drain().await;
}

#[tokio::test]
async fn a_held_stream_resumes_by_itself_when_the_org_is_mended() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 2).await;
        let (org, name) = (&one.org, one.name);
        let audience = format!("http://{}", org.address());
        org.register("https://somebody.else", &audience, one.configuration.jwks());
        let mut bridge = one.start().await;
        one.produce(detections()).await;
        bridge.held("okta", Some("invalid_issuer")).await;
        assert_nothing_settled(&one.wire, &one.group(), &one.topic, "okta", name).await;

        // Now the org fetches the keys from us, as Okta does.
        org.register(ISSUER, &audience, jwks_at(&bridge.jwks_url()).unwrap());
        bridge.outcomes("okta", "delivered", 15).await;
        assert_all_delivered_in_order(org, name);
        one.all_committed(15).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_held_stream_sends_one_probe_at_a_time() {
    const ANSWER_AFTER: Duration = Duration::from_millis(200);
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("streams.0.hold.initial_probe_delay", "20ms")
        .set("streams.0.hold.max_probe_delay", "20ms");
    let org = &one.org;
    org.answer_when(None, |_| true, Reply::status(403).after(ANSWER_AFTER));
    let mut bridge = one.start().await;
    one.produce(detections()).await;
    bridge.held("okta", Some("forbidden")).await;
    // What was on the wire when the first 403 came.
    answered(org, USERS).await;
    answered(org, USERS + 6).await;
    let probes: Vec<_> = requests(org).split_off(USERS);
    for pair in probes.windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(
            between >= ANSWER_AFTER,
            "a probe {between:?} after the one before"
        );
    }
    let probed: std::collections::BTreeSet<_> = probes.iter().filter_map(|p| p.jti()).collect();
    assert_eq!(probed.len(), USERS, "probes rotate over the subjects");
    bridge.drain().await;
}

/// `(reply, the reason of the hold)`
fn set_up_verdicts(elsewhere: &str) -> Vec<(Reply, &'static str)> {
    let named = [
        "invalid_key",
        "invalid_issuer",
        "invalid_audience",
        "authentication_failed",
        "access_denied",
        "invalid_state",
    ];
    let statuses = [
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (410, "gone"),
        (415, "unsupported_media_type"),
    ];
    let redirects = [301, 302, 303, 307, 308];
    let named = named.map(|err| (Reply::refusal(err, "who knows"), err));
    let statuses = statuses.map(|(status, reason)| (Reply::status(status), reason));
    let redirects = redirects.map(|status| {
        let reply = Reply::status(status).with_header("Location", elsewhere);
        (reply, "redirect")
    });
    named.into_iter().chain(statuses).chain(redirects).collect()
}

#[tokio::test]
async fn every_set_up_verdict_holds_and_no_redirect_is_followed() {
    let broker = &brokers()[0];
    let wire = broker.wire();
    let elsewhere = receiver().await;
    let mut configuration = Configuration::new(wire);
    let mut streams = Vec::new();
    for (number, (reply, reason)) in set_up_verdicts(&elsewhere.url()).into_iter().enumerate() {
        let (id, topic, org) = (format!("s{number}"), fresh("detections"), receiver().await);
        broker.create_source(&topic, 1, &[&id]).await;
        org.answer_when(None, |_| true, reply);
        configuration = configuration.stream(&id, &topic, &org);
        wire.produce_all(&topic, detections()).await;
        streams.push((id, topic, org, reason));
    }
    let mut bridge = Bridge::start(&configuration).await;
    for (id, topic, org, reason) in &streams {
        bridge.held(id, Some(reason)).await;
        answered(org, USERS + 1).await;
        assert_eq!(org.tally().taken, 0, "{reason}");
        let group = configuration.group(id);
        assert_nothing_settled(wire, &group, topic, id, reason).await;
    }
    assert_eq!(
        elsewhere.tally().requests,
        0,
        "no redirect was ever followed"
    );
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_dead_letters_total", &[]), 0.0);
    let held = metrics.sum("setbridge_stream_held", &[]);
    assert_eq!(held, streams.len() as f64, "one reason a stream");
    assert_eq!(bridge.get("/readyz").await.0, 200);

    for (id, topic, org, reason) in &streams {
        org.recover();
        bridge.outcomes(id, "delivered", 15).await;
        bridge.held(id, None).await;
        assert_all_delivered_in_order(org, reason);
        wire.wait_committed(&configuration.group(id), topic, 15, ANSWER)
            .await;
    }
    assert_eq!(elsewhere.tally().requests, 0);
    bridge.drain().await;
}

#[tokio::test]
async fn during_a_named_hold_an_invalid_request_proves_the_set_up_good() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let org = &one.org;
    let mut bridge = one.start().await;
    // An acceptance first, so that a refusal is the record's own.
    one.produce([record(&risk("0", "first@example.com", "low"))])
        .await;
    bridge.outcomes("okta", "delivered", 1).await;
    let hold = org.answer_when(None, |_| true, Reply::refusal("invalid_key", ""));
    let bad = record(&risk("1", "bad@example.com", "low"));
    let good = record(&risk("2", "good@example.com", "low"));
    one.produce([bad, good]).await;
    bridge.held("okta", Some("invalid_key")).await;
    org.answer_when(
        None,
        |claims| is_about(claims, "bad@example.com"),
        Reply::refusal("invalid_request", "no"),
    );
    org.withdraw(hold);
    bridge.outcomes("okta", "delivered", 2).await;
    bridge.outcomes("okta", "dead_lettered", 1).await;
    bridge.held("okta", None).await;
    assert_eq!(taken(org).len(), 2);
    one.all_committed(3).await;
    bridge.drain().await;
}

/// A refusal in a hold that no `err` named says nothing about the set-up: whatever let one SET through to its payload's
/// check may refuse the others still.
#[tokio::test]
async fn in_any_other_hold_a_refused_probe_proves_nothing() {
    const ANSWER_AFTER: Duration = Duration::from_millis(100);
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("streams.0.hold.initial_probe_delay", "20ms")
        .set("streams.0.hold.max_probe_delay", "20ms")
        .set("streams.0.guard.refusals.wait", "500ms");
    let org = &one.org;
    let mut bridge = one.start().await;
    one.produce([record(&risk("0", "first@example.com", "low"))])
        .await;
    bridge.outcomes("okta", "delivered", 1).await;
    let bad = |claims: &serde_json::Value| is_about(claims, &user(0));
    let forbidden = || Reply::status(403).after(ANSWER_AFTER);
    org.answer_when(None, move |claims| !bad(claims), forbidden());
    let also = org.answer_when(None, bad, forbidden());
    one.produce(detections()).await;
    bridge.held("okta", Some("forbidden")).await;
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_requests_in_flight", &stream, |sets| sets <= 1.0)
        .await;
    org.withdraw(also);
    let no = Reply::refusal("invalid_request", "").after(ANSWER_AFTER);
    org.answer_when(None, bad, no);
    let refused = |sent: &Received| sent.answered == Answered::Status(400);
    let tried = org.wait_for(|log| log.received.iter().filter(|sent| refused(sent)).count() >= 3);
    timeout(SOON, tried).await.expect("the bad one is probed");
    let log = requests(org);
    let first = log.iter().position(refused).unwrap();
    for pair in log[first..].windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between >= ANSWER_AFTER, "{between:?}: more than a probe");
    }
    assert_eq!(one.dead_letters().await, []);

    // Now the others are good, and the bad one is at fault itself: each SET about it is a dead letter.
    org.recover();
    org.answer_when(None, bad, Reply::refusal("invalid_request", ""));
    bridge.outcomes("okta", "delivered", 13).await;
    bridge.held("okta", None).await;
    bridge.outcomes("okta", "dead_lettered", 3).await;
    bridge.drain().await;
}

fn register_other_key(org: &Simulator) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.pem");
    std::fs::write(&file, OTHER_KEY).unwrap();
    let source = setbridge::signing::KeySource::new(&file);
    let ring = setbridge::signing::KeyRing::load(&[source]).unwrap();
    let set = serde_json::from_value(json!(&*ring.jwks())).unwrap();
    let audience = format!("http://{}", org.address());
    org.register(ISSUER, &audience, JwksSource::Given(Box::new(set)));
}

/// The kids in the JWKS that we serve.
async fn kids(bridge: &Bridge) -> Vec<String> {
    let answer = bridge.fetch(&bridge.jwks_url()).await;
    let set: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn what_waits_for_its_turn_is_not_sent_during_a_hold() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("limits.max_requests_in_flight", 2)
        .set("streams.0.hold.initial_probe_delay", "1h")
        .set("streams.0.hold.max_probe_delay", "1h");
    let org = &one.org;
    let slow = Duration::from_millis(200);
    org.answer_when(None, |_| true, Reply::status(403).after(slow));
    let many = (0..40).map(|n| record(&risk(&n.to_string(), &user(n), "high")));
    one.produce(many).await;
    let mut bridge = one.start().await;
    bridge.held("okta", Some("forbidden")).await;
    // All have been taken in, and nothing is on the wire any more: had they gone on, there would be.
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_unsettled_sets", &stream, |sets| sets == 40.0)
        .await;
    bridge
        .metric("setbridge_requests_in_flight", &stream, |sets| sets == 0.0)
        .await;
    assert_eq!(org.tally().requests, 2, "those that were on the wire");
    bridge.drain().await;
}
