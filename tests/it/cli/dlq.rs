//! `setbridge dlq`: what is listed and shown, and replays from end to end.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use setbridge::okta::simulator::Reply;
use tokio::time::{Instant, sleep};

use super::commands::{command, start};
use crate::support::acl::{self, Operation, Resource};
use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::{own_apache, secure_apache};
use crate::support::configuration::{Configuration, receiver, record, user};
use crate::support::fresh;
use crate::support::node::USER;
use crate::support::numbered::numbered;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{is_about, taken};
use crate::support::wire::{Message, Seen};

/// A mapping that knows these levels.
fn mapping(levels: &[&str]) -> Value {
    let table: serde_json::Map<_, _> = levels
        .iter()
        .map(|level| {
            (
                (*level).to_owned(),
                json!(if *level == "severe" { "high" } else { level }),
            )
        })
        .collect();
    json!({"rules": [{
        "name": "risk", "event": "user-risk-change", "subject": {"email": "$.user"}, "id": ["$.id"],
        "time": "$.time", "claims": {"current_level": {"lookup": {"of": "$.level", "table": table}}},
    }]})
}

/// How long the dead-letter topic keeps records, in ms.
const KEPT: &str = "1234567890";

/// A stream whose dead-letter topic takes no large records.
async fn stream() -> Option<OneStream> {
    let one = plain_stream().await?;
    let letters = format!("{}.okta.dlq", one.topic);
    let small = [("max.message.bytes", "3000"), ("retention.ms", KEPT)];
    one.wire.create_topic(&letters, 1, &small).await;
    Some(one)
}

/// A stream on three partitions whose guards are off.
async fn plain_stream() -> Option<OneStream> {
    let one = OneStream::on_apache(3).await?;
    let guard = json!({"refusals": {"enabled": false}, "records": {"enabled": false}});
    let one = one.set("streams.0.guard", guard);
    Some(one.set("streams.0.mapping", mapping(&["low", "medium", "high"])))
}

fn severe(id: &str, padding: usize) -> Message {
    let padding = "x".repeat(padding);
    record(&json!({
        "id": id, "user": user(2), "level": "severe", "time": 1_760_000_000, "padding": padding,
    }))
}

/// One dead letter by a refused SET, two by the mapping, one of them too large for the topic.
async fn three_letters(one: &OneStream, bridge: &Bridge) {
    let no = Reply::refusal("invalid_request", "not this one");
    one.org
        .answer_when(None, |claims| is_about(claims, "user001"), no);
    let records = [
        record(&numbered(&user(0), 0)),
        record(&numbered(&user(1), 0)),
        severe("small", 0),
        severe("large", 5000),
    ];
    one.produce(records).await;
    bridge.outcomes("okta", "delivered", 1).await;
    one.all_committed(4).await;
}

fn lines(out: &str) -> Vec<Value> {
    let lines = out.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    let Some(one) = stream().await else { return };
    let mut bridge = one.start().await;
    three_letters(&one, &bridge).await;
    bridge.drain().await;
    let letters = format!("{}.okta.dlq", one.topic);
    let foreign = one.wire.produce(&letters, Message::new("not ours")).await;
    let at = |offset: i64| format!("{letters}:0:{offset}");
    let dlq = |args: &'static [&'static str]| {
        let configuration = one.configuration.clone();
        async move { command(&configuration, &[&["dlq"], args].concat()).await }
    };

    let ran = dlq(&["list", "--json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains(&at(foreign.1)), "{}", ran.err);
    let all = lines(&ran.out);
    let reasons: Vec<_> = all.iter().map(|l| l["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons.iter().filter(|r| **r == "bad_level").count(),
        2,
        "{reasons:?}"
    );
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|letter| letter["replayed"] == false));
    let refused = all
        .iter()
        .find(|l| l["reason"] == "invalid_request")
        .unwrap();
    assert_eq!(
        (&refused["status"], &refused["attempts"]),
        (&json!(400), &json!(1))
    );
    let large = all.iter().find(|l| l["value_omitted"] == true).unwrap();

    let some = lines(
        &dlq(&["list", "--json", "--reason", "bad_level", "--limit", "1"])
            .await
            .out,
    );
    assert_eq!((some.len(), &some[0]["reason"]), (1, &json!("bad_level")));
    assert_eq!(dlq(&["list", "--json", "--since", "0s"]).await.out, "");
    assert_eq!(
        lines(&dlq(&["list", "--json", "--until", "0s"]).await.out).len(),
        3
    );
    let text = dlq(&["list"]).await.out;
    assert!(text.contains("3: 2 bad_level, 1 invalid_request"), "{text}");

    let place = large["place"].as_str().unwrap();
    let ran = command(&one.configuration, &["dlq", "show", place, &at(foreign.1)]).await;
    assert_eq!(ran.code, 65, "one of them is none");
    assert!(
        ran.out.contains("the value was too large for the topic"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("setbridge-reason: bad_level"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains("no header setbridge-version"),
        "{}",
        ran.err
    );
    let ran = command(
        &one.configuration,
        &["dlq", "show", "--json", refused["place"].as_str().unwrap()],
    )
    .await;
    let shown = ran.json();
    assert!(
        shown["value"].as_str().unwrap().contains("user001"),
        "{shown}"
    );

    let ran = dlq(&["show", "--json", "--reason", "invalid_request"]).await;
    assert_eq!(
        ran.json()["place"],
        refused["place"],
        "by what it is about: {}",
        ran.err
    );

    let ran = dlq(&["replay", "--dry-run", "--reason", "bad_level"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("2 would be replayed"), "{}", ran.err);
    let side = format!("{}.okta.replay", one.topic);
    assert!(
        one.wire.partitions(&side).await.is_empty(),
        "nothing was made"
    );
}

#[tokio::test]
async fn a_dead_letter_is_replayed_once_and_its_outcome_told() {
    let Some(one) = stream().await else { return };
    let one = one.sqlite();
    let mut bridge = one.start().await;
    three_letters(&one, &bridge).await;
    let refused = one.dead_letters().await;
    let refused = refused
        .iter()
        .find_map(|letter| letter.header("setbridge-jti"));
    let jti = refused.expect("the jti of the refused SET").to_owned();
    bridge.drain().await;

    // Mended: the receiver takes the SET, the mapping knows the level.
    one.org.recover();
    let one = one.set(
        "streams.0.mapping",
        mapping(&["low", "medium", "high", "severe"]),
    );
    let mut bridge = one.start().await;
    let replay = |args: &'static [&'static str]| {
        let configuration = one.configuration.clone();
        async move {
            command(
                &configuration,
                &[&["dlq", "replay", "--json"], args].concat(),
            )
            .await
        }
    };
    let first = replay(&["--reason", "invalid_request"]).await;
    assert_eq!(
        first.code,
        0,
        "{}{}\n{}",
        first.out,
        first.err,
        bridge.log_text()
    );
    let report = first.json();
    assert_eq!(
        (&report["replayed"], &report["outcomes"]),
        (&json!(1), &json!({"delivered": 1}))
    );
    assert_eq!(report["letters"][0]["outcomes"][0]["jti"], jti);
    let ran = replay(&[]).await;
    assert_eq!(ran.code, 0, "{}{}\n{}", ran.out, ran.err, bridge.log_text());
    let report = ran.json();
    assert_eq!(
        report["outcomes"],
        json!({"delivered": 2}),
        "also the one whose value was left out"
    );
    assert_eq!(report["replayed_before"], 1);
    let jtis: Vec<String> = taken(&one.org)
        .into_iter()
        .map(|receipt| receipt.jti)
        .collect();
    assert_eq!(jtis.len(), 4);
    assert_eq!(jtis.iter().filter(|one| **one == jti).count(), 1);

    // Again: nothing. With --again: duplicates.
    let before = one.org.tally().requests;
    let report = replay(&[]).await.json();
    assert_eq!(
        (&report["replayed"], &report["replayed_before"]),
        (&json!(0), &json!(3))
    );
    let ran = replay(&["--again", "--limit", "2"]).await;
    assert_eq!(
        (ran.code, &ran.json()["outcomes"]),
        (0, &json!({"duplicate": 2}))
    );
    assert_eq!(one.org.tally().requests, before);
    let listed = command(&one.configuration, &["dlq", "list", "--json"]).await;
    assert!(
        lines(&listed.out)
            .iter()
            .all(|letter| letter["replayed"] == true)
    );
    bridge.drain().await;
}

#[tokio::test]
async fn one_that_fails_again_is_a_new_dead_letter() {
    let Some(one) = stream().await else { return };
    let mut bridge = one.start().await;
    three_letters(&one, &bridge).await;
    let replay = ["dlq", "replay", "--reason", "invalid_request"];
    let ran = command(&one.configuration, &replay).await;
    assert_eq!(
        ran.code,
        65,
        "{}{}\n{}",
        ran.out,
        ran.err,
        bridge.log_text()
    );
    assert!(
        ran.out.contains("dead_lettered, invalid_request"),
        "{}",
        ran.out
    );
    let attempts = |letters: Vec<Seen>| {
        let of = |l: &Seen| l.header("setbridge-attempts").unwrap().to_owned();
        let refused = letters
            .iter()
            .filter(|l| l.header("setbridge-jti").is_some());
        refused.map(of).collect::<Vec<_>>()
    };
    assert_eq!(attempts(one.dead_letters().await), ["1", "2"]);
    // What waits to be replayed expires no sooner than the letter.
    let side = format!("{}.okta.replay", one.topic);
    let kept = one.wire.setting(&side, "retention.ms").await;
    assert_eq!(kept.as_deref(), Some(KEPT));
    // It is another letter, so it can be replayed without --again.
    one.org.recover();
    let ran = command(&one.configuration, &replay).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("delivered"), "{}", ran.out);
    bridge.drain().await;
}

/// Copies of one dead letter, each of another origin; the source has three partitions.
async fn many_letters(one: &OneStream, count: i64) -> String {
    let mut bridge = one.start().await;
    one.produce([severe("first", 0)]).await;
    one.all_committed(1).await;
    bridge.drain().await;
    let letter = one.dead_letters().await.remove(0);
    let letters = format!("{}.okta.dlq", one.topic);
    let copies = (1..count).map(|number| {
        let mut copy = Message::new(letter.value.clone().unwrap());
        for (name, value) in &letter.headers {
            let number = match name.as_str() {
                "setbridge-origin-offset" => number.to_string(),
                "setbridge-origin-partition" => (number % 3).to_string(),
                _ => {
                    copy = copy.header(name, value.as_deref());
                    continue;
                }
            };
            copy = copy.header(name, Some(number.as_bytes()));
        }
        copy
    });
    one.wire.produce_all(&letters, copies).await;
    letters
}

async fn in_side_topic(one: &OneStream) -> Vec<String> {
    let side = format!("{}.okta.replay", one.topic);
    if one.wire.partitions(&side).await.is_empty() {
        return Vec::new();
    }
    let all = one.wire.read_all(&side).await;
    let of = |seen: &Seen| {
        let origin = seen.header("setbridge-origin-partition").unwrap();
        assert_eq!(origin, seen.partition.to_string(), "where its lanes are");
        seen.header("setbridge-replay-of").unwrap().to_owned()
    };
    all.iter().map(of).collect()
}

#[tokio::test]
async fn a_command_that_is_killed_in_the_middle_leaves_no_double() {
    const COUNT: usize = 1500;
    let Some(one) = plain_stream().await else {
        return;
    };
    many_letters(&one, 1500).await;
    // Too few partitions: it grows.
    let side = format!("{}.okta.replay", one.topic);
    one.wire.create_topic(&side, 1, &[]).await;
    let args = ["dlq", "replay", "--wait", "0", "--json"];
    let mut child = start(&one.configuration, &args, Stdio::null());
    let deadline = Instant::now() + SOON;
    let begun = loop {
        let begun = in_side_topic(&one).await.len();
        assert!(Instant::now() < deadline, "nothing is replayed");
        if begun > 20 {
            break begun;
        }
        sleep(Duration::from_millis(10)).await;
    };
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let killed = in_side_topic(&one).await.len();
    assert!(
        (begun..COUNT).contains(&killed),
        "{begun} to {killed}: in the middle"
    );

    // A filter in between changes nothing about what was replayed.
    let some = command(
        &one.configuration,
        &[&args[..], &["--limit", "100"]].concat(),
    )
    .await;
    assert_eq!(some.json()["replayed"], 100, "{}", some.err);
    let ran = command(&one.configuration, &args).await;
    assert_eq!(ran.code, 0, "nobody waited: {}", ran.err);
    assert_eq!(ran.json()["replayed"], COUNT - killed - 100);
    let replayed = in_side_topic(&one).await;
    assert_eq!(replayed.len(), COUNT);
    assert_eq!(
        replayed.iter().collect::<BTreeSet<_>>().len(),
        COUNT,
        "none twice"
    );
    assert_eq!(one.wire.partitions(&side).await.len(), 3);
    let ran = command(&one.configuration, &args).await;
    let report = ran.json();
    assert_eq!(
        (&report["replayed"], &report["replayed_before"]),
        (&json!(0), &json!(COUNT))
    );
    // The group remembers it, when the side topic's records are gone too.
    one.wire.delete_topic(&side).await;
    let report = command(&one.configuration, &args).await.json();
    assert_eq!(
        (&report["replayed"], &report["replayed_before"]),
        (&json!(0), &json!(COUNT))
    );
}

#[tokio::test]
async fn what_cannot_be_replayed_says_why() {
    let Some(one) = stream().await else { return };
    let shadow = one.configuration.clone().set("streams.0.mode", "shadow");
    let ran = command(&shadow, &["dlq", "replay"]).await;
    assert_eq!(ran.code, 64, "{}", ran.err);
    assert!(ran.err.contains("shadow mode"), "{}", ran.err);
    let ran = command(&one.configuration, &["dlq", "list", "--stream", "oktb"]).await;
    assert_eq!(ran.code, 64, "{}", ran.err);
    assert!(ran.err.contains("one of: okta"), "{}", ran.err);
    let ran = command(&one.configuration, &["dlq", "list", "--topic", "elsewhere"]).await;
    assert_eq!(ran.code, 64, "{}", ran.err);
    let nowhere = one
        .configuration
        .clone()
        .set("streams.0.topics", json!([fresh("nowhere")]));
    let ran = command(&nowhere, &["dlq", "list"]).await;
    assert_eq!(ran.code, 66, "{}", ran.err);
    assert!(ran.err.contains("has no dead letters"), "{}", ran.err);
    // Letters whose source has left, or lost the partition.
    let letters = many_letters(&one, 3).await;
    let letter = one.dead_letters().await.remove(0);
    let mut other = Message::new("{}");
    for (name, value) in &letter.headers {
        let value = match name.as_str() {
            "setbridge-origin-partition" => Some(&b"7"[..]),
            _ => value.as_deref(),
        };
        other = other.header(name, value);
    }
    one.wire.produce(&letters, other).await;
    let ran = command(
        &one.configuration,
        &["dlq", "replay", "--wait", "0", "--json"],
    )
    .await;
    let report = ran.json();
    assert_eq!(
        (&report["replayed"], &report["skipped"]),
        (&json!(3), &json!(1)),
        "{}",
        ran.err
    );
    let skipped = report["letters"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|l| l["skipped"].as_str());
    assert!(skipped.unwrap().contains("no such partition"), "{report}");
}

/// The rights that docs/operations.md lists, and no others.
#[tokio::test]
async fn a_replay_needs_these_rights_and_says_which_are_missing() {
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let Some(one) = plain_stream().await else {
        return;
    };
    let letters = many_letters(&one, 5).await;
    let wire = apache.wire();
    let secure = node.secure("SCRAM-SHA-256");
    let configuration = Configuration::new(&secure).stream("okta", &one.topic, &one.org);
    let group = configuration.group("okta");
    let [memory, bridge] = ["dlq", "replay"].map(|of| format!("{group}.{of}"));
    let (source, side) = (one.topic.clone(), format!("{}.okta.replay", one.topic));
    let outcomes = format!("{side}.outcomes");
    let topics = [&source, &letters, &side, &outcomes].map(|topic| Resource::Topic(topic));
    let groups = [&group, &memory, &bridge].map(|group| Resource::Group(group));
    for resource in topics.into_iter().chain(groups) {
        acl::close(wire, resource).await;
    }
    let ran = command(&configuration, &["dlq", "list"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{}", ran.err);
    assert!(ran.err.contains("an ACL is missing"), "{}", ran.err);
    let allow = |operation: Operation, resource: Resource<'static>| async move {
        acl::allow(wire, USER, operation, resource).await;
    };
    let topic = |name: &String| Resource::Topic(String::leak(name.clone()));
    let of_group = |name: &String| Resource::Group(String::leak(name.clone()));
    for (operation, resource) in [
        (Operation::Read, topic(&source)),
        (Operation::Read, topic(&letters)),
        (Operation::Read, topic(&side)),
        (Operation::Read, of_group(&memory)),
    ] {
        allow(operation, resource).await;
    }
    let ran = command(&configuration, &["dlq", "list", "--json"]).await;
    assert_eq!((ran.code, lines(&ran.out).len()), (0, 5), "{}", ran.err);
    let ran = command(&configuration, &["dlq", "replay", "--wait", "2"]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (78, ""),
        "nothing may be made: {}",
        ran.err
    );
    for (operation, resource) in [
        (Operation::Create, topic(&side)),
        (Operation::Write, topic(&side)),
        (Operation::Create, topic(&outcomes)),
        (Operation::Write, topic(&outcomes)),
        (Operation::Read, topic(&outcomes)),
        (Operation::Describe, of_group(&bridge)),
    ] {
        allow(operation, resource).await;
    }
    let ran = command(&configuration, &["dlq", "replay", "--wait", "2"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (69, ""), "{}", ran.out);
    assert!(!ran.out.contains("could not be followed"), "{}", ran.out);
    let report = command(&configuration, &["dlq", "replay", "--json"])
        .await
        .json();
    assert_eq!(report["replayed_before"], 5, "{report}");
}

#[tokio::test]
async fn a_kafka_that_is_down_is_69() {
    let Some(down) = own_apache() else { return };
    let configuration = Configuration::new(down.plain());
    let configuration = configuration.stream("okta", "detections", &receiver().await);
    let ran = command(&configuration, &["dlq", "list"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (69, ""), "{}", ran.err);
}
