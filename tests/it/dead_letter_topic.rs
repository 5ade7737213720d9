//! The topic that dead letters go to: made like its source, waited for when it is missing, and small ones.

use serde_json::json;

use crate::support::bridge::Bridge;
use crate::support::broker::apache;
use crate::support::configuration::{Configuration, receiver, record};
use crate::support::fresh;
use crate::support::numbered::{all_taken, numbered, wave};
use crate::support::one_stream::OneStream;
use crate::support::wire::{ANSWER, Message};

#[tokio::test]
async fn it_is_made_with_the_partitions_of_its_source() {
    let Some(one) = OneStream::on_apache(6).await else {
        return;
    };
    let mut bridge = one.start().await;
    bridge.message("topic made").await;
    let letters = format!("{}.okta.dlq", one.topic);
    assert_eq!(one.wire.partitions(&letters).await.len(), 6);
    bridge.drain().await;
}

#[tokio::test]
async fn a_missing_one_that_must_not_be_made_holds_the_stream() {
    let Some(one) = OneStream::on_apache(2).await else {
        return;
    };
    let one = one.set("streams.0.dead_letter", json!({"create": false}));
    let mut bridge = one.start().await;
    bridge.held("okta", Some("kafka_dead_letter_topic")).await;
    let letters = format!("{}.okta.dlq", one.topic);
    let command = format!("--create --topic {letters}");
    bridge
        .line("the command to run", |line| {
            line.to_string().contains(&command)
        })
        .await;
    let bad = ["k", "l", "m"].map(|key| Message::new("not JSON").key(key));
    one.produce(bad).await;
    one.produce(wave(4, 0..1)).await;
    let stream = [("stream", "okta")];
    bridge
        .metric("setbridge_unsettled_sets", &stream, |n| n == 7.0)
        .await;
    bridge
        .metric("setbridge_dead_letter_errors_total", &stream, |n| n >= 6.0)
        .await;
    assert_eq!(one.org.tally().requests, 0);
    assert_eq!(one.committed().await, 0);
    assert_eq!(one.wire.partitions(&letters).await.len(), 0);
    one.wire.create_topic(&letters, 2, &[]).await;
    all_taken(&one.org, 4, || bridge.log_text()).await;
    one.all_committed(7).await;
    assert_eq!(one.wire.read_all(&letters).await.len(), 3);
    bridge.held("okta", None).await;
    let lines = bridge.lines();
    let told = |text: &str| {
        let of = |line: &&serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains(text) && line["level"] != "DEBUG"
        };
        lines.iter().filter(of).count()
    };
    assert_eq!(told("was not acknowledged"), 1, "not once a letter and try");
    assert_eq!(told("hold ended"), 1);
    bridge.drain().await;
}

/// What a topic lacks holds the stream only as long as the stream reads from that topic.
#[tokio::test]
async fn a_missing_one_no_longer_holds_when_its_source_has_left() {
    let Some(kafka) = apache() else { return };
    let (wire, stays, leaves) = (kafka.wire(), fresh("stays"), fresh("leaves"));
    for topic in [&stays, &leaves, &format!("{stays}.okta.dlq")] {
        wire.create_topic(topic, 2, &[]).await;
    }
    let org = receiver().await;
    let configuration = Configuration::new(wire)
        .stream("okta", &stays, &org)
        .set("kafka.properties.topic.metadata.refresh.interval.ms", "500")
        .set("streams.0.topics", json!([stays, leaves]))
        .set("streams.0.dead_letter", json!({"create": false}));
    let mut bridge = Bridge::start(&configuration).await;
    bridge.held("okta", Some("kafka_dead_letter_topic")).await;
    wire.produce_all(&stays, wave(4, 0..1)).await;
    wire.delete_topic(&leaves).await;
    all_taken(&org, 4, || bridge.log_text()).await;
    let reason = [("reason", "kafka_dead_letter_topic")];
    let held = "setbridge_stream_held";
    bridge.metric(held, &reason, |n| n == 0.0).await;
    // It is made ready anew when its source comes back.
    wire.create_topic(&leaves, 2, &[]).await;
    bridge.metric(held, &reason, |n| n == 1.0).await;
    bridge.drain().await;
}

#[tokio::test]
async fn a_letter_too_large_for_it_is_written_without_its_value() {
    let Some(one) = OneStream::on_apache(1).await else {
        return;
    };
    let letters = format!("{}.okta.dlq", one.topic);
    let small = [("max.message.bytes", "3000")];
    one.wire.create_topic(&letters, 1, &small).await;
    let mut bridge = one.start().await;
    let value = "x".repeat(5000);
    one.produce([Message::new(value).key("k")]).await;
    one.produce([record(&numbered("a@example.com", 0))]).await;
    let written = one.wire.read(&letters, 1, ANSWER).await.remove(0);
    assert_eq!(written.value, None);
    assert_eq!(written.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(written.header("setbridge-value-omitted"), Some("true"));
    assert_eq!(written.header("setbridge-value-bytes"), Some("5000"));
    // printf 'x%.0s' $(seq 5000) | sha256sum
    let sha256 = "c59d3c0480cc2d71d8f646e735e92da65450311eec46e81a5db8c7e6e8a92054";
    assert_eq!(written.header("setbridge-value-sha256"), Some(sha256));
    assert_eq!(written.header("setbridge-origin-offset"), Some("0"));
    // A dead letter that is read again: what it brings under our names is the record's own, and left out.
    let again = Message::new("not JSON")
        .key("k".repeat(2000))
        .header("setbridge-detail", Some("x".repeat(2000).as_bytes()));
    one.produce([again]).await;
    one.produce([record(&numbered("b@example.com", 0))]).await;
    let written = one.wire.read(&letters, 2, ANSWER).await.remove(1);
    assert_eq!(written.header("setbridge-headers-omitted"), Some("1"));
    assert_eq!(written.header("setbridge-key-bytes"), Some("2000"));
    let detail = written.header("setbridge-detail").unwrap();
    assert!(detail.starts_with("not JSON"), "ours: {detail}");
    assert_eq!(written.header("setbridge-origin-offset"), Some("2"));
    bridge.drain().await;
}

/// librdkafka sends letters together; together they may be larger than the topic allows, each by itself is not.
#[tokio::test]
async fn many_small_letters_at_once_keep_their_values() {
    let Some(one) = OneStream::on_apache(1).await else {
        return;
    };
    let letters = format!("{}.okta.dlq", one.topic);
    let small = [("max.message.bytes", "3000")];
    one.wire.create_topic(&letters, 1, &small).await;
    // All bad ones wait for the good one behind them, and are then written at once.
    let bad = (0..50).map(|n| Message::new("x".repeat(1000)).key(format!("k{}", n % 5)));
    one.produce(bad).await;
    one.produce([record(&numbered("a@example.com", 0))]).await;
    let mut bridge = one.start().await;
    let written = one.wire.read(&letters, 50, ANSWER).await;
    let whole = written
        .iter()
        .filter(|letter| letter.value.is_some())
        .count();
    assert_eq!(whole, 50, "letters that kept their value");
    bridge.drain().await;
}
