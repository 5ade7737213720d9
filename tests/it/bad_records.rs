//! Records that cannot become a SET: a dead letter that says why, and the next record goes on.

use std::time::Duration;

use setbridge::kafka::dead_letter::sha256_hex;

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{Configuration, receiver, record, risk};
use crate::support::fresh;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{dead_letters, taken};
use crate::support::wire::{ANSWER, Message, Seen};

/// `(value, stage, reason)`
fn poison() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let risk_with = |member: &str| {
        let text = format!(r#"{{"id": "1", "kind": "user-risk-change", {member}}}"#);
        text.into_bytes()
    };
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(10_000), close.repeat(10_000));
        format!("{open}{close}")
    };
    vec![
        (b"{this is not JSON".to_vec(), "decode", "invalid_json"),
        (b"{\"id\": \"\xff\"}".to_vec(), "decode", "invalid_utf8"),
        (nested("[", "]").into_bytes(), "decode", "too_deep"),
        (
            risk_with(&format!(r#""user": {}"#, nested("{\"a\":", "}"))),
            "decode",
            "too_deep",
        ),
        (b"42".to_vec(), "decode", "not_an_object"),
        (b"  ".to_vec(), "decode", "empty_value"),
        (b"{}".to_vec(), "map", "no_rule"),
        (
            risk_with(r#""user": "a@example.com", "level": "purple""#),
            "map",
            "bad_level",
        ),
        (
            risk_with(r#""user": "a@example.com""#),
            "map",
            "missing_value",
        ),
        (
            risk_with(r#""user": "jdoe", "level": "low""#),
            "map",
            "bad_email",
        ),
        (risk_with(r#""level": "low""#), "map", "no_subject"),
        (
            // Microseconds, which read as milliseconds are the year 57456.
            risk_with(r#""user": "a@example.com", "level": "low", "time": 1750980770643000"#),
            "map",
            "time_out_of_range",
        ),
    ]
}

#[tokio::test]
async fn poison_is_a_dead_letter_and_the_next_record_is_delivered() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let mut bridge = one.start().await;
        let poison = poison();
        let records = poison.iter().zip(0..).map(|((value, _, _), n)| {
            Message::new(value.clone())
                .key(format!("key {n}"))
                .header("tenant", Some(b"acme"))
                .header("nothing", None)
                .header("tenant", Some(b"\xff\x00"))
                .timestamp_ms(1_750_000_000_000 + n)
        });
        let good = record(&risk("good", "good@example.com", "high"));
        one.produce(records.chain([good])).await;
        let count = poison.len() as i64 + 1;
        one.all_committed(count).await;

        assert_eq!(taken(&one.org).len(), 1, "{}", broker.name());
        assert_eq!(one.org.tally().requests, 1, "nothing raw was pushed");
        let mut letters = one.dead_letters().await;
        assert_eq!(letters.len(), poison.len(), "{}", broker.name());
        letters.sort_by_key(offset_of);
        for ((offset, letter), (value, stage, reason)) in (0_i64..).zip(&letters).zip(&poison) {
            assert_eq!(letter.value.as_deref(), Some(&value[..]), "{reason}");
            assert_eq!(letter.key, Some(format!("key {offset}").into_bytes()));
            let mut expected = vec![
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("stream", "okta".to_owned()),
                ("origin-topic", one.topic.clone()),
                ("origin-partition", "0".to_owned()),
                ("origin-offset", offset.to_string()),
                (
                    "origin-timestamp-ms",
                    (1_750_000_000_000 + offset).to_string(),
                ),
                ("stage", (*stage).to_owned()),
                ("reason", (*reason).to_owned()),
                ("attempts", "0".to_owned()),
            ];
            if value.starts_with(b"[") {
                let hash = sha256_hex(&value[1..value.len() - 1]);
                let element = [("element", "0".to_owned()), ("element-sha256", hash)];
                expected.splice(8..8, element);
            }
            assert_headers(letter, &expected);
        }
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_record_of_five_megabytes_leaves_a_dead_letter_without_its_value() {
    const SIZE: usize = 5_000_000;
    for broker in brokers() {
        let (topic, wire) = (fresh("detections"), broker.wire());
        match &broker {
            Broker::Apache(apache) => {
                let large = [("max.message.bytes", "10000000")];
                apache.wire().create_topic(&topic, 2, &large).await;
            }
            Broker::Mock(_) => broker.create_source(&topic, 2, &["okta"]).await,
        }
        let org = receiver().await;
        let configuration = Configuration::new(wire).stream("okta", &topic, &org);
        let mut bridge = Bridge::start(&configuration).await;
        let large = vec![b'x'; SIZE];
        wire.produce(&topic, Message::new(large.clone()).key("big").partition(1))
            .await;
        let read = ("setbridge_records_consumed_total", [("stream", "okta")]);
        bridge.metric(read.0, &read.1, |sum| sum == 1.0).await;
        // That another record can be mapped shows that the mapping is not at fault.
        let good = record(&risk("good", "good@example.com", "high"));
        wire.produce(&topic, good.partition(0)).await;
        wire.wait_committed(&configuration.group("okta"), &topic, 2, ANSWER)
            .await;

        let letters = dead_letters(wire, &topic, "okta").await;
        assert_eq!(letters.len(), 1, "{}", broker.name());
        let letter = &letters[0];
        assert_eq!(letter.key.as_deref(), Some(&b"big"[..]));
        let header = |name: &str| letter.header(&format!("setbridge-{name}"));
        assert_eq!(header("reason"), Some("too_large"));
        match &broker {
            Broker::Apache(_) => {
                assert_eq!(letter.value, None);
                assert_eq!(header("value-omitted"), Some("true"));
                assert_eq!(header("value-bytes"), Some(SIZE.to_string().as_str()));
                assert_eq!(header("value-sha256"), Some(sha256_hex(&large).as_str()));
            }
            // It takes records of any size.
            Broker::Mock(_) => assert!(letter.value.as_ref() == Some(&large)),
        }
        assert_eq!(header("origin-partition"), Some("1"));
        assert_eq!(taken(&org).len(), 1);
        bridge.drain().await;
    }
}

#[tokio::test]
async fn one_bad_element_is_a_dead_letter_of_its_own_and_the_others_go() {
    let good = |n: u32| risk(&n.to_string(), &format!("user{n}@example.com"), "high").to_string();
    let bad_level = risk("bad", "bad@example.com", "purple").to_string();
    // (the record, its bad element, that element's place and reason)
    let cases = [
        (
            format!("[{}, {bad_level} ,{}]", good(1), good(2)),
            bad_level.clone(),
            ("1", "bad_level"),
        ),
        (
            format!("[{}, 7, {}]", good(3), good(4)),
            "7".to_owned(),
            ("1", "not_an_object"),
        ),
        (
            format!("{}\n{}\n{{broken\n", good(5), good(6)),
            "{broken".to_owned(),
            ("2", "invalid_json"),
        ),
    ];
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let mut bridge = one.start().await;
        let records = cases.iter().map(|(value, _, _)| {
            let key = sha256_hex(value.as_bytes());
            Message::new(value.as_str()).key(key)
        });
        let last = record(&risk("good", "good@example.com", "high"));
        one.produce(records.chain([last])).await;
        one.all_committed(4).await;

        let name = broker.name();
        assert_eq!(taken(&one.org).len(), 7, "{name}");
        let mut letters = one.dead_letters().await;
        letters.sort_by_key(offset_of);
        assert_eq!(letters.len(), 3, "{name}");
        for (letter, (value, element, (place, reason))) in letters.iter().zip(&cases) {
            assert_eq!(letter.value.as_deref(), Some(value.as_bytes()), "{name}");
            let header = |name: &str| letter.header(&format!("setbridge-{name}"));
            assert_eq!(header("reason"), Some(*reason), "{name}");
            assert_eq!(header("element"), Some(*place), "{name}: {reason}");
            let hash = sha256_hex(element.as_bytes());
            assert_eq!(
                header("element-sha256"),
                Some(hash.as_str()),
                "{name}: {reason}"
            );
        }
        bridge.drain().await;
    }
}

#[tokio::test]
async fn tombstones_and_empty_arrays_settle_without_a_dead_letter() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let mut bridge = one.start().await;
        let tombstone = Message::tombstone().key("a@example.com");
        let empty = Message::new("[]").key("b@example.com");
        one.produce([tombstone, empty]).await;
        one.all_committed(2).await;
        let metrics = bridge.metrics().await;
        let stream = [("stream", "okta")];
        let sum = |name: &str| metrics.sum(name, &stream);
        assert_eq!(sum("setbridge_tombstones_total"), 1.0, "{}", broker.name());
        assert_eq!(sum("setbridge_dead_letters_total"), 0.0);
        assert_eq!(one.org.tally().requests, 0);
        assert_eq!(one.dead_letters().await, []);
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_bad_record_alone_is_a_dead_letter_when_its_wait_is_over() {
    // Nobody's success explains the fault, so the mapping guard waits: 30 s, which are not configurable.
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let mut bridge = one.start().await;
    one.produce([Message::new("{broken").key("a")]).await;
    let labels = [("stream", "okta"), ("reason", "invalid_json")];
    let name = "setbridge_dead_letters_total";
    bridge
        .metric_within(Duration::from_secs(90), name, &labels, |sum| sum == 1.0)
        .await;
    one.all_committed(1).await;
    bridge.drain().await;
}

fn offset_of(letter: &Seen) -> i64 {
    let offset = letter.header("setbridge-origin-offset");
    offset.expect("an offset").parse().expect("a number")
}

/// The original headers first and untouched, then ours and no others; the detail names no value of the record.
fn assert_headers(letter: &Seen, expected: &[(&str, String)]) {
    let (theirs, ours) = letter.headers.split_at(3);
    let bytes = |text: &[u8]| Some(text.to_vec());
    assert_eq!(
        theirs,
        [
            ("tenant".to_owned(), bytes(b"acme")),
            ("nothing".to_owned(), None),
            ("tenant".to_owned(), bytes(b"\xff\x00")),
        ]
    );
    let mut found: Vec<(&str, String)> = ours
        .iter()
        .map(|(name, value)| {
            let name = name.strip_prefix("setbridge-").expect("our prefix");
            let value = String::from_utf8(value.clone().expect("a value"));
            (name, value.expect("a text"))
        })
        .collect();
    let at = found.iter().position(|(name, _)| *name == "detail");
    let (_, detail) = found.remove(at.expect("a detail"));
    for value in ["purple", "jdoe", "a@example.com", "1750980770643000"] {
        assert!(!detail.contains(value), "{detail}");
    }
    assert_eq!(found, expected);
}
