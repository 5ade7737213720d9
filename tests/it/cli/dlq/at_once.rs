//! Commands that are killed, and two at once: no letter is replayed twice.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use setbridge::kafka::client::KafkaClient;
use setbridge::kafka::reader::Turn;

use super::{in_side_topic, many_letters, plain_stream};
use crate::cli::commands::{command, start};
use crate::support::acl;
use crate::support::bridge::SOON;
use crate::support::one_stream::OneStream;

/// Waits until more than 20 letters are replayed; says how many.
async fn begun(one: &OneStream) -> usize {
    let deadline = Instant::now() + SOON;
    loop {
        let begun = in_side_topic(one).await.len();
        assert!(Instant::now() < deadline, "nothing is replayed");
        if begun > 20 {
            return begun;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_command_that_is_killed_in_the_middle_leaves_no_double() {
    const COUNT: usize = 1500;
    let Some(one) = plain_stream().await else {
        return;
    };
    many_letters(&one, COUNT as i64).await;
    // Too few partitions: it grows.
    let side = format!("{}.okta.replay", one.topic);
    one.wire.create_topic(&side, 1, &[]).await;
    let args = ["dlq", "replay", "--wait", "0", "--json"];
    let mut child = start(&one.configuration, &args, Stdio::null());
    let begun = begun(&one).await;
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
async fn while_one_has_the_turn_another_is_refused() {
    let Some(one) = plain_stream().await else {
        return;
    };
    let letters = many_letters(&one, 3).await;
    let group = format!("{}.dlq", one.group());
    let kafka = KafkaClient::new(one.wire.bootstrap(), "test", []);
    let taken = tokio::task::spawn_blocking(move || Turn::take(&kafka, &group, &letters));
    let turn = taken.await.expect("no panic").expect("Kafka answers");
    let turn = turn.expect("nobody else has it");
    let args = ["dlq", "replay", "--wait", "0", "--json"];
    // Also one that means other letters: which those are is not known before both have looked.
    let by_topic = [&args[..], &["--topic", &one.topic]].concat();
    for args in [&args[..], &by_topic] {
        let second = command(&one.configuration, args).await;
        let said = (second.code, second.out.as_str());
        assert_eq!(said, (69, ""), "{}", second.err);
        assert!(second.err.contains("is at work"), "{}", second.err);
    }
    let look = command(&one.configuration, &["dlq", "replay", "--dry-run"]).await;
    assert_eq!(look.code, 0, "a look needs no turn: {}", look.err);
    assert_eq!(in_side_topic(&one).await.len(), 0);
    let ended = tokio::task::spawn_blocking(move || drop(turn));
    ended.await.expect("no panic");
    let report = command(&one.configuration, &args).await.json();
    assert_eq!(report["replayed"], json!(3));
}

#[tokio::test]
async fn of_three_commands_at_once_none_doubles_a_letter() {
    const COUNT: usize = 300;
    let Some(one) = plain_stream().await else {
        return;
    };
    many_letters(&one, COUNT as i64).await;
    let args = ["dlq", "replay", "--wait", "0", "--json"];
    let run = || command(&one.configuration, &args);
    let (a, b, c) = tokio::join!(run(), run(), run());
    let done: Vec<_> = [&a, &b, &c].into_iter().filter(|r| r.code == 0).collect();
    assert!(!done.is_empty(), "{} {} {}", a.err, b.err, c.err);
    for ran in [&a, &b, &c].into_iter().filter(|ran| ran.code != 0) {
        assert!(
            ran.code == 69 && ran.err.contains("is at work"),
            "{}",
            ran.err
        );
    }
    let replayed = in_side_topic(&one).await;
    assert_eq!(replayed.len(), COUNT);
    let places = replayed.iter().collect::<BTreeSet<_>>();
    assert_eq!(places.len(), COUNT, "none twice");
}

/// Takes the turn as a command would.
async fn take(one: &OneStream, topic: &str) -> Option<Turn> {
    let (group, topic) = (format!("{}.dlq", one.group()), topic.to_owned());
    let kafka = KafkaClient::new(one.wire.bootstrap(), "test", []);
    let taken = tokio::task::spawn_blocking(move || Turn::take(&kafka, &group, &topic));
    taken.await.expect("no panic").expect("Kafka answers")
}

/// A command that slept too long, or that the group put out: whoever comes next has the turn, so this one must know.
#[tokio::test]
async fn who_lost_the_turn_knows() {
    let Some(one) = plain_stream().await else {
        return;
    };
    let letters = many_letters(&one, 1).await;
    let turn = take(&one, &letters).await.expect("nobody else has it");
    assert!(turn.is_ours());
    let group = format!("{}.dlq", one.group());
    let members = one.wire.members(&group).await;
    acl::put_out(&one.wire, &group, &members[0]).await;
    let until = Instant::now() + SOON;
    while turn.is_ours() {
        assert!(Instant::now() < until, "it still believes so");
        sleep(Duration::from_millis(100)).await;
    }
    let ended = tokio::task::spawn_blocking(move || {
        let was = turn.is_ours();
        drop(turn);
        was
    });
    assert!(!ended.await.expect("no panic"), "what is lost stays lost");
}

/// Two commands whose topics differ: one started before the other's dead-letter topic was there.
#[tokio::test]
async fn there_is_one_turn_whatever_the_topic() {
    let Some(one) = plain_stream().await else {
        return;
    };
    many_letters(&one, 3).await;
    let other = format!("{}.another", one.topic);
    one.wire.create_topic(&other, 1, &[]).await;
    let turn = take(&one, &other).await.expect("nobody else has it");
    let args = ["dlq", "replay", "--wait", "0", "--json"];
    let second = command(&one.configuration, &args).await;
    assert_eq!(
        (second.code, second.out.as_str()),
        (69, ""),
        "{}",
        second.err
    );
    assert!(second.err.contains("is at work"), "{}", second.err);
    assert_eq!(in_side_topic(&one).await.len(), 0);
    assert!(turn.is_ours(), "the other one took nothing from it");
    let ended = tokio::task::spawn_blocking(move || drop(turn));
    ended.await.expect("no panic");
    let report = command(&one.configuration, &args).await.json();
    assert_eq!(report["replayed"], json!(3));
}

/// It stops in the middle, and says why; what is left is for the next one.
#[tokio::test]
async fn a_command_that_lost_its_turn_stops() {
    const COUNT: usize = 6000;
    let Some(one) = plain_stream().await else {
        return;
    };
    many_letters(&one, COUNT as i64).await;
    let args = ["dlq", "replay", "--wait", "0", "--json"];
    let first = command(&one.configuration, &args);
    let put_out = async {
        begun(&one).await;
        let group = format!("{}.dlq", one.group());
        let members = one.wire.members(&group).await;
        acl::put_out(&one.wire, &group, &members[0]).await;
    };
    let (first, ()) = tokio::join!(first, put_out);
    assert_eq!((first.code, first.out.as_str()), (69, ""), "{}", first.err);
    assert!(
        first.err.contains("has put this command out"),
        "{}",
        first.err
    );
    let produced = in_side_topic(&one).await.len();
    assert!((1..COUNT).contains(&produced), "in the middle");
    assert!(
        first.err.contains(&format!("after {produced} replays")),
        "{}",
        first.err
    );
    let report = command(&one.configuration, &args).await.json();
    assert_eq!(report["replayed"], json!(COUNT - produced));
}
