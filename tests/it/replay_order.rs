//! Live records and replays: what was in the source topic when a replay was read goes first.

use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use serde_json::{Value, json};
use setbridge::okta::simulator::Reply;

use crate::support::broker::{Broker, apache, brokers};
use crate::support::configuration::{record, user};
use crate::support::fresh;
use crate::support::numbered::{all_taken, number_of, numbered, taken, wave};
use crate::support::one_stream::OneStream;
use crate::support::receipts::requests;
use crate::support::replays::{Replays, unguarded};
use crate::support::wire::ANSWER;

const STREAM: [(&str, &str); 1] = [("stream", "okta")];
const USERS: usize = 40;

/// The room is full and the partition paused: when it is drained, replays must not take the place of live records.
#[tokio::test]
async fn a_replay_waits_for_live_records_that_are_not_read_yet() {
    for broker in brokers() {
        let one = unguarded(OneStream::on(&broker, 1).await)
            .set("limits.max_requests_in_flight", 4)
            .set("limits.max_unsettled", 8)
            .set("streams.0.replay", json!({"rate": 1000}));
        let replays = Replays::on(&broker, &one, 1).await;
        let mut bridge = one.start().await;
        // Its side topic is read before the rush.
        replays
            .write([replays.made(&numbered(&user(USERS), 0), 0)])
            .await;
        replays.all_committed(1).await;
        let busy = one.org.answer_when(None, |_| true, Reply::status(503));
        one.produce(wave(USERS, 2..3)).await;
        bridge
            .metric("setbridge_partitions_paused", &STREAM, |n| n == 1.0)
            .await;
        let made = (0..USERS).map(|n| replays.made(&numbered(&user(n), 1), 0));
        replays.write(made).await;
        one.org.withdraw(busy);
        let told = replays.told(1 + USERS).await;
        let stale = told.iter().filter(|told| told["outcome"] == "stale");
        assert_eq!(stale.count(), USERS, "{}: {told:?}", one.name);
        one.all_committed(USERS as i64).await;
        for (user, numbers) in one.org.log(taken) {
            assert!(numbers == [2] || numbers == [0], "{user}: {numbers:?}");
        }
        bridge.drain().await;
    }
}

/// Live records that come all the time keep no replay for ever: it waits for those before it only.
#[tokio::test]
async fn a_replay_does_not_wait_for_live_records_that_come_later() {
    for broker in brokers() {
        let one = unguarded(OneStream::on(&broker, 1).await);
        let replays = Replays::on(&broker, &one, 1).await;
        let mut bridge = one.start().await;
        one.produce([record(&numbered(&user(0), 0))]).await;
        one.all_committed(1).await;
        replays
            .write([replays.made(&numbered(&user(1), 1), 0)])
            .await;
        let mut number = 1;
        while !requests(&one.org)
            .iter()
            .any(|sent| number_of(sent).0 == user(1))
        {
            one.produce([record(&numbered(&user(0), number))]).await;
            number += 1;
            all_taken(&one.org, number, || bridge.log_text()).await;
        }
        replays.all_committed(1).await;
        bridge.drain().await;
    }
}

/// A log that ends with markers of transactions, and with records that were aborted, has been read to its end although its
/// last offset never comes. Before and behind them, as `start_first` has it, the bridge starts.
async fn behind_transactions(broker: &Broker, start_first: bool) {
    let one = unguarded(OneStream::on(broker, 1).await);
    let replays = Replays::on(broker, &one, 1).await;
    let mut bridge = None;
    if start_first {
        bridge = Some(one.start().await);
    }
    let mut config = one.wire.client();
    config.set("transactional.id", fresh("transaction"));
    let topic = one.topic.clone();
    let written = tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<_> = config.create().expect("a producer");
        producer.init_transactions(ANSWER).unwrap();
        for (number, commit) in [(1, true), (2, true), (3, false)] {
            producer.begin_transaction().unwrap();
            let value = numbered(&user(1), number).to_string();
            let record = BaseRecord::to(&topic).key("k").payload(&value);
            assert!(producer.send(record).is_ok());
            producer.flush(ANSWER).unwrap();
            match commit {
                true => producer.commit_transaction(ANSWER).unwrap(),
                false => producer.abort_transaction(ANSWER).unwrap(),
            }
        }
    });
    written.await.expect("written");
    // Four markers and records behind the last that counts.
    assert_eq!(one.wire.watermarks(&one.topic, 0).await.1, 6);
    replays
        .write([
            replays.made(&numbered(&user(1), 0), 0),
            replays.made(&numbered(&user(2), 1), 0),
        ])
        .await;
    let mut bridge = match bridge {
        Some(bridge) => bridge,
        None => one.start().await,
    };
    let told = replays.told(2).await;
    let outcomes: Vec<&Value> = told.iter().map(|told| &told["outcome"]).collect();
    assert_eq!(outcomes, ["stale", "delivered"], "{}", bridge.log_text());
    replays.all_committed(2).await;
    let taken = one.org.log(taken);
    assert_eq!(taken[&user(1)], [1, 2], "live ones first");
    bridge.drain().await;
}

#[tokio::test]
async fn a_log_that_ends_with_what_is_no_record_keeps_no_replay() {
    let Some(kafka) = apache() else { return };
    let broker = Broker::Apache(kafka);
    behind_transactions(&broker, false).await;
    behind_transactions(&broker, true).await;
}
