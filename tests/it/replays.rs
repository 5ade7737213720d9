//! Dead letters that come back through the side topic. The records of it are produced here as `setbridge dlq replay` does.

use std::time::Duration;

use serde_json::{Value, json};
use setbridge::okta::simulator::Reply;

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{record, user};
use crate::support::numbered::{all_taken, number_of, numbered};
use crate::support::one_stream::OneStream;
use crate::support::receipts::{arrived, email, is_about, requests, taken};
use crate::support::replays::{Replays, unguarded};
use crate::support::wire::{Message, Seen};

fn no() -> Reply {
    Reply::refusal("invalid_request", "not this one")
}

/// A stream whose receiver refuses `user001`, with its side topic.
async fn refusing(broker: &Broker) -> (OneStream, Replays) {
    let one = unguarded(OneStream::on(broker, 1).await);
    one.org
        .answer_when(None, |claims| is_about(claims, "user001"), no());
    let replays = Replays::on(broker, &one, 1).await;
    // The first acceptance proves the set-up.
    one.produce([record(&numbered(&user(0), 0))]).await;
    (one, replays)
}

/// The only dead letter.
async fn the_letter(one: &OneStream) -> Seen {
    let mut letters = one.dead_letters().await;
    assert_eq!(letters.len(), 1, "{}", one.name);
    letters.remove(0)
}

#[tokio::test]
async fn a_replay_is_delivered_once_under_the_same_jti() {
    for broker in brokers() {
        let (one, replays) = refusing(&broker).await;
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(1), 5))]).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        one.all_committed(2).await;
        let letter = the_letter(&one).await;
        let jti = letter.header("setbridge-jti").expect("a jti").to_owned();

        one.org.recover();
        replays.replay([&letter]).await;
        let told = replays.last(1, &["outcome", "jti", "replay_of"]).await;
        let wanted =
            json!({"outcome": "delivered", "jti": jti, "replay_of": replays.place(&letter)});
        assert_eq!(told, wanted, "{}", one.name);
        replays.all_committed(1).await;

        // A live one behind it is sent as ever: the replay has moved no mark, and its level is the level before.
        one.produce([record(&numbered(&user(1), 6))]).await;
        one.all_committed(3).await;
        replays.replay([&letter]).await;
        let told = replays.last(2, &["outcome", "jti", "replay_of"]).await;
        let wanted =
            json!({"outcome": "duplicate", "jti": jti, "replay_of": replays.place(&letter)});
        assert_eq!(told, wanted, "{}", one.name);
        replays.all_committed(2).await;

        let taken = taken(&one.org).split_off(1);
        let levels: Vec<_> = taken.iter().map(|r| (&*r.level, &*r.previous)).collect();
        assert_eq!(
            levels,
            [("medium", "none"), ("low", "medium")],
            "{}",
            one.name
        );
        assert_eq!(taken[0].jti, jti);
        assert_eq!(requests(&one.org).len(), 4, "{}", one.name);
        let metrics = bridge.metrics().await;
        let of = [("stream", "okta")];
        assert_eq!(metrics.sum("setbridge_replay_records_total", &of), 2.0);
        assert_eq!(metrics.sum("setbridge_records_consumed_total", &of), 3.0);
        // What is committed no longer counts against `max_uncommitted`.
        bridge
            .metric("setbridge_uncommitted_records", &of, |n| n == 0.0)
            .await;
        let lag = [("topic", &*replays.side)];
        bridge
            .metric("setbridge_lag_records", &lag, |lag| lag == 0.0)
            .await;
        let status = bridge.status().await;
        let of = &status["streams"][0];
        assert_eq!(of["replays"][0]["topic"], json!(replays.side), "{status:#}");
        assert_eq!(
            of["partitions"].as_array().map(Vec::len),
            Some(1),
            "{status:#}"
        );
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_stale_replay_is_sent_only_by_force() {
    for broker in brokers() {
        let (one, replays) = refusing(&broker).await;
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(1), 5))]).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        one.all_committed(2).await;
        let letter = the_letter(&one).await;
        one.org.recover();
        one.produce([record(&numbered(&user(1), 7))]).await;
        one.all_committed(3).await;

        replays.replay([&letter]).await;
        let told = replays.last(1, &["outcome", "attempts"]).await;
        assert_eq!(told, json!({"outcome": "stale", "attempts": 0}));
        bridge.outcomes("okta", "stale", 1).await;
        replays.all_committed(1).await;
        assert_eq!(replays.committed().await.len(), 1);
        assert_eq!(requests(&one.org).len(), 3, "{}", one.name);

        replays.force(&letter).await;
        let told = replays.last(2, &["outcome", "attempts"]).await;
        assert_eq!(told, json!({"outcome": "delivered", "attempts": 1}));
        replays.all_committed(2).await;
        let forced = taken(&one.org).pop().expect("the forced one");
        assert_eq!(Some(&*forced.jti), letter.header("setbridge-jti"));
        // What is newer stays the level before.
        one.produce([record(&numbered(&user(1), 8))]).await;
        one.all_committed(4).await;
        let last = taken(&one.org).pop().expect("the live one");
        assert_eq!(
            (&*last.previous, &*last.level),
            ("high", "medium"),
            "{}",
            one.name
        );
        bridge.drain().await;
    }
}

#[tokio::test]
async fn only_the_named_one_of_five_is_sent_again() {
    for broker in brokers() {
        let (one, replays) = refusing(&broker).await;
        let mut bridge = one.start().await;
        let five: Vec<_> = (0..5).map(|n| numbered(&user(n), 3)).collect();
        let five = Message::new(serde_json::to_vec(&five).expect("JSON"));
        one.produce([five]).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        one.all_committed(2).await;
        let letter = the_letter(&one).await;
        assert_eq!(letter.header("setbridge-element"), Some("1"));

        one.org.recover();
        one.org.clear_log();
        replays.replay([&letter]).await;
        let told = replays.last(1, &["outcome", "element", "offset"]).await;
        let wanted = json!({"outcome": "delivered", "element": 1, "offset": 1});
        assert_eq!(told, wanted, "{}", one.name);
        replays.all_committed(1).await;
        let sent = requests(&one.org);
        assert_eq!(sent.len(), 1, "{}", one.name);
        assert_eq!(email(&sent[0]), user(1));
        bridge.drain().await;
    }
}

#[tokio::test]
async fn what_fails_again_goes_back_with_its_attempts_added_up() {
    for broker in brokers() {
        let (one, replays) = refusing(&broker).await;
        let mut bridge = one.start().await;
        let own = record(&numbered(&user(1), 5)).header("tenant", Some(b"acme"));
        one.produce([own]).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        one.all_committed(2).await;
        let letter = the_letter(&one).await;

        for count in 2..4_u64 {
            let mut letters = one.dead_letters().await;
            letters.sort_by_key(|letter| letter.offset);
            replays.replay(letters.last()).await;
            bridge.outcomes("okta", "dead_lettered", count).await;
        }
        replays.all_committed(2).await;
        let told = replays.last(2, &["outcome", "reason", "attempts"]).await;
        let wanted =
            json!({"outcome": "dead_lettered", "reason": "invalid_request", "attempts": 1});
        assert_eq!(told, wanted, "{}", one.name);
        let mut letters = one.dead_letters().await;
        letters.sort_by_key(|letter| letter.offset);
        let last = letters.pop().expect("three");
        assert_eq!((&last.key, &last.value), (&letter.key, &letter.value));
        assert_eq!(last.header("setbridge-attempts"), Some("3"), "{}", one.name);
        for same in [
            "jti",
            "origin-topic",
            "origin-offset",
            "first-attempt-ms",
            "reason",
        ] {
            let same = format!("setbridge-{same}");
            assert_eq!(last.header(&same), letter.header(&same), "{same}");
        }
        let names = |letter: &Seen| -> Vec<String> {
            letter
                .headers
                .iter()
                .map(|(name, _)| name.clone())
                .collect()
        };
        assert_eq!(
            names(&last),
            names(&letter),
            "its own header, then ours, once"
        );

        one.org.recover();
        replays.replay([&last]).await;
        let told = replays.last(3, &["outcome", "jti"]).await;
        let jti = letter.header("setbridge-jti");
        assert_eq!(
            told,
            json!({"outcome": "delivered", "jti": jti}),
            "{}",
            one.name
        );
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_replay_and_a_live_set_about_one_subject_are_never_on_the_wire_together() {
    for broker in brokers() {
        let one = unguarded(OneStream::on(&broker, 1).await);
        let replays = Replays::on(&broker, &one, 1).await;
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(1), 1))]).await;
        all_taken(&one.org, 1, || bridge.log_text()).await;

        // A live one is tried again and again; an older replay waits behind it, and is stale when its turn comes.
        let busy = one.org.answer_when(None, |_| true, Reply::status(503));
        one.produce([record(&numbered(&user(1), 5))]).await;
        arrived(&one.org, 2).await;
        replays
            .write([replays.made(&numbered(&user(1), 3), 0)])
            .await;
        let waits = |status: &Value| status["streams"][0]["waiting_in_lanes"] == json!(1);
        bridge.status_is("the replay waits", waits).await;
        one.org.withdraw(busy);
        let told = replays.last(1, &["outcome"]).await;
        assert_eq!(told, json!({"outcome": "stale"}), "{}", one.name);

        // The other way round: a replay of something newer is tried, and the live one waits.
        let asked = one.org.tally().requests;
        let busy = one.org.answer_when(None, |_| true, Reply::status(503));
        replays
            .write([replays.made(&numbered(&user(1), 6), 0)])
            .await;
        arrived(&one.org, asked + 1).await;
        one.produce([record(&numbered(&user(1), 7))]).await;
        bridge.status_is("the live one waits", waits).await;
        one.org.withdraw(busy);
        let told = replays.last(2, &["outcome"]).await;
        assert_eq!(told, json!({"outcome": "delivered"}), "{}", one.name);
        one.all_committed(3).await;
        let mut sent: Vec<_> = requests(&one.org).iter().map(number_of).collect();
        sent.dedup();
        let numbers: Vec<_> = sent.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [1, 5, 6, 7], "{}", one.name);
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_record_that_is_no_replay_is_a_dead_letter_and_the_next_goes_on() {
    for broker in brokers() {
        let (one, replays) = refusing(&broker).await;
        broker
            .create_topic(&format!("{}-other", replays.side), 1)
            .await;
        let mut bridge = one.start().await;
        bridge.outcomes("okta", "delivered", 1).await;
        let good = || replays.made(&numbered(&user(3), 3), 0);
        let of = |detection: &Value| Message::new(detection.to_string()).partition(0);
        let bare = of(&numbered(&user(2), 2));
        let strange = good().header("setbridge-version", Some(b"9"));
        replays.write([bare, strange, good()]).await;
        replays.all_committed(3).await;
        let told: Vec<_> = replays.told(3).await;
        let mut told: Vec<_> = told.iter().map(|t| (&t["outcome"], &t["reason"])).collect();
        told.sort_by_key(|(outcome, _)| outcome.to_string());
        let malformed = (&json!("dead_lettered"), &json!("replay_malformed"));
        let delivered = (&json!("delivered"), &Value::Null);
        assert_eq!(told, [malformed, malformed, delivered], "{}", one.name);
        let letters = one.dead_letters().await;
        assert_eq!(letters.len(), 2, "{}", one.name);
        for letter in letters {
            assert_eq!(
                letter.header("setbridge-origin-topic"),
                Some(&*replays.side)
            );
            let detail = letter.header("setbridge-detail").expect("a detail");
            assert!(detail.contains("setbridge-"), "{detail}");
        }
        bridge.drain().await;
    }
}

/// What could not become a SET can when its set-up was mended; and what it becomes has to be what the letter says.
#[tokio::test]
async fn a_replay_after_the_mapping_was_mended() {
    for broker in brokers() {
        let one = unguarded(OneStream::on(&broker, 1).await);
        let replays = Replays::on(&broker, &one, 1).await;
        let mapping = |level: &str| {
            let rules = json!({"rules": [{
                "name": "risk", "event": "user-risk-change",
                "subject": {"email": "$.user"}, "claims": {"current_level": level},
            }]});
            one.configuration.clone().set("streams.0.mapping", rules)
        };
        let mut bridge = Bridge::start(&mapping("$.levle")).await;
        one.produce([record(&numbered(&user(1), 1))]).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        one.all_committed(1).await;
        bridge.drain().await;
        let letter = the_letter(&one).await;
        assert_eq!(letter.header("setbridge-stage"), Some("map"));
        assert_eq!(letter.header("setbridge-jti"), None);

        let mut bridge = Bridge::start(&mapping("$.level")).await;
        replays.replay([&letter]).await;
        let told = replays.last(1, &["outcome"]).await;
        assert_eq!(told, json!({"outcome": "delivered"}), "{}", one.name);

        // A letter that names another SET than the mapping makes now.
        let named = replays.made(&numbered(&user(2), 2), 0);
        replays
            .write([named.header("setbridge-jti", Some(b"another"))])
            .await;
        let told = replays.last(2, &["outcome", "reason", "jti"]).await;
        let wanted =
            json!({"outcome": "dead_lettered", "reason": "replay_changed", "jti": "another"});
        assert_eq!(told, wanted, "{}", one.name);
        replays.all_committed(2).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn replays_keep_to_their_rate() {
    const COUNT: usize = 30;
    for broker in brokers() {
        let one =
            unguarded(OneStream::on(&broker, 1).await).set("streams.0.replay", json!({"rate": 10}));
        let replays = Replays::on(&broker, &one, 1).await;
        let made = (0..COUNT).map(|n| replays.made(&numbered(&user(n), 1), 0));
        replays.write(made).await;
        let mut bridge = one.start().await;
        all_taken(&one.org, COUNT, || bridge.log_text()).await;
        let at: Vec<_> = one
            .org
            .log(|log| log.received.iter().map(|r| r.at).collect());
        let took = at[COUNT - 1] - at[0];
        // Three at once, then ten a second: 2.7 s.
        assert!(took > Duration::from_millis(2000), "{}: {took:?}", one.name);
        assert!(took < Duration::from_secs(30), "{}: {took:?}", one.name);
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_side_topic_that_appears_later_is_picked_up_when_outcomes_can_be_told() {
    for broker in brokers() {
        let one = unguarded(OneStream::on(&broker, 1).await);
        let replays = Replays::of(&one);
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(1), 1))]).await;
        one.all_committed(1).await;
        broker.create_topic(&replays.side, 1).await;
        replays
            .write([replays.made(&numbered(&user(2), 2), 0)])
            .await;
        let waits = |line: &Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("replays wait") && message.contains(&replays.outcomes)
        };
        bridge.line("what is missing", waits).await;
        // The stream is not held for it.
        one.produce([record(&numbered(&user(1), 2))]).await;
        one.all_committed(2).await;
        assert_eq!(one.org.tally().taken, 2, "{}", one.name);
        broker.create_topic(&replays.outcomes, 1).await;
        let told = replays.last(1, &["outcome"]).await;
        assert_eq!(told, json!({"outcome": "delivered"}), "{}", one.name);
        replays.all_committed(1).await;
        bridge.drain().await;
    }
}
