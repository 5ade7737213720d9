//! Replays from the command to the receiver and back.

use serde_json::json;

use super::{KEPT, lines, mapping, plain_stream, stream, three_letters};
use crate::cli::commands::command;
use crate::support::bridge::Bridge;
use crate::support::configuration::user;
use crate::support::numbered::numbered;
use crate::support::receipts::taken;
use crate::support::wire::{Message, Seen};

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

/// A letter of a record that could not be read names no SET: all that it makes by now are told.
#[tokio::test]
async fn all_sets_of_a_letter_without_a_jti_are_told() {
    const SETS: usize = 40;
    let Some(one) = plain_stream().await else {
        return;
    };
    let strict = one.configuration.clone().set("limits.max_elements", 5);
    let mut bridge = Bridge::start(&strict).await;
    let many: Vec<_> = (0..SETS).map(|n| numbered(&user(n), 1)).collect();
    let many = serde_json::to_vec(&many).expect("JSON");
    one.produce([Message::new(many)]).await;
    bridge.outcomes("okta", "dead_lettered", 1).await;
    one.all_committed(1).await;
    bridge.drain().await;
    let mut bridge = one.start().await;
    let ran = command(&one.configuration, &["dlq", "replay", "--json"]).await;
    let report = ran.json();
    assert_eq!(
        report["outcomes"],
        json!({"delivered": SETS}),
        "{}",
        ran.err
    );
    assert_eq!(
        (ran.code, &report["replayed"]),
        (0, &json!(1)),
        "{}",
        ran.err
    );
    bridge.drain().await;
}
