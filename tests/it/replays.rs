//! Dead letters that come back through the side topic. The records of it are produced here as `setbridge dlq replay` does.

use serde_json::json;
use setbridge::okta::simulator::Reply;

use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{record, user};
use crate::support::numbered::numbered;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{is_about, requests, taken};
use crate::support::replays::{Replays, unguarded};
use crate::support::wire::Seen;

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
