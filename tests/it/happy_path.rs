//! The main job over the wire: every detection is delivered once, in order, and its offset is committed after that.

use serde_json::json;

use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::one_stream::OneStream;
use crate::support::receipts::{requests, taken, taken_by_user};

const RECORDS: usize = 10_000;
const USERS: usize = 500;
const LEVELS: [&str; 3] = ["low", "medium", "high"];
/// In June 2025; each detection is a second younger than the one before it.
const FIRST: i64 = 1_750_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_records_over_six_partitions_are_delivered_once_and_in_order() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 6).await;
        let detections = (0..RECORDS).map(|n| {
            let mut detection = risk(&n.to_string(), &user(n % USERS), LEVELS[n / USERS % 3]);
            detection["time"] = json!(FIRST + n as i64);
            record(&detection)
        });
        one.produce(detections).await;
        let mut bridge = one.start().await;
        bridge.outcomes("okta", "delivered", RECORDS as u64).await;

        let tally = one.org.tally();
        let name = broker.name();
        assert_eq!(tally.taken, RECORDS as u64, "{name}: {tally:?}");
        assert_eq!(tally.requests, RECORDS as u64, "{name}: {tally:?}");
        let by_user = taken_by_user(&one.org);
        assert_eq!(by_user.len(), USERS);
        for (user, receipts) in by_user {
            assert_eq!(receipts.len(), RECORDS / USERS, "{user}");
            let mut previous = "none".to_owned();
            for (turn, receipt) in receipts.iter().enumerate() {
                assert_eq!(receipt.level, LEVELS[turn % 3], "{user} at {turn}");
                assert_eq!(receipt.previous, previous, "{user} at {turn}");
                previous.clone_from(&receipt.level);
            }
            let times: Vec<i64> = receipts.iter().map(|r| r.time).collect();
            assert!(times.is_sorted(), "{user} out of order: {times:?}");
        }
        one.all_committed(RECORDS as i64).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_duplicate_is_not_sent_and_an_update_is() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let mut bridge = one.start().await;
        let (low, high) = (
            risk("7", "a@example.com", "low"),
            risk("7", "a@example.com", "high"),
        );
        let about_another = risk("7", "b@example.com", "low");
        let detections = [&low, &low, &high, &low, &about_another];
        one.produce(detections.map(record)).await;
        one.all_committed(5).await;

        let levels: Vec<(String, String)> = taken(&one.org)
            .into_iter()
            .map(|r| (r.user, r.level))
            .collect();
        let of = |user: &str| -> Vec<&str> {
            let levels = levels.iter().filter(|(u, _)| u == user);
            levels.map(|(_, level)| level.as_str()).collect()
        };
        let name = broker.name();
        assert_eq!(of("a@example.com"), ["low", "high"], "{name}");
        assert_eq!(of("b@example.com"), ["low"], "{name}");
        assert_eq!(one.org.tally().requests, 3, "{name}: no duplicate was sent");
        bridge.outcomes("okta", "duplicate", 2).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_new_address_takes_the_level_of_the_old_one_along() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let mut bridge = one.start().await;
        let renamed = json!({
            "id": "2", "kind": "identifier-changed",
            "user": "old@example.com", "new_value": "new@example.com",
        });
        let detections = [
            risk("1", "old@example.com", "high"),
            renamed,
            risk("3", "new@example.com", "low"),
        ];
        one.produce(detections.iter().map(record)).await;
        bridge.outcomes("okta", "delivered", 3).await;

        let requests = requests(&one.org);
        let events: Vec<_> = requests.iter().filter_map(|r| r.event()).collect();
        let name = broker.name();
        assert_eq!(events.len(), 3, "{name}");
        assert_eq!(events[0].1["previous_level"], "none", "{name}");
        assert!(events[1].0.ends_with("identifier-changed"), "{name}");
        assert_eq!(events[1].1["new-value"], "new@example.com", "{name}");
        assert_eq!(events[2].1["previous_level"], "high", "{name}");
        bridge.drain().await;
    }
}
