//! `setbridge dlq`: what is listed and shown. Replays, each in a file of its own.

mod at_once;
mod end_to_end;
mod refusals;

use serde_json::{Value, json};
use setbridge::okta::simulator::Reply;

use super::commands::command;
use crate::support::bridge::Bridge;
use crate::support::configuration::{record, user};
use crate::support::numbered::numbered;
use crate::support::one_stream::OneStream;
use crate::support::receipts::is_about;
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
