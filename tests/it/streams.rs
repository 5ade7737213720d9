//! What a stream can be besides the plain one: with an outcome topic, in shadow mode, beside a stream in trouble.

use std::collections::BTreeMap;

use serde_json::Value;
use setbridge::okta::simulator::Reply;

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{Configuration, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::receipts::{dead_letters, is_about, taken};
use crate::support::wire::{ANSWER, Message};

#[tokio::test]
async fn each_set_leaves_one_outcome_record_without_its_subject() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let outcomes = fresh("outcomes");
        if let Broker::Mock(mock) = &broker {
            mock.create_topic(&outcomes, 1);
        }
        let org = receiver().await;
        let configuration = Configuration::new(wire)
            .stream("okta", &topic, &org)
            .set("streams.0.outcome_topic", outcomes.as_str());
        let mut bridge = Bridge::start(&configuration).await;
        let refused = |claims: &_| is_about(claims, "bad@example.com");
        org.answer_when(None, refused, Reply::refusal("invalid_request", "no"));
        wire.produce(&topic, record(&risk("1", "a@example.com", "low")))
            .await;
        bridge.outcomes("okta", "delivered", 1).await;
        org.answer_next(1, Reply::status(503));
        let more = [
            risk("2", "b@example.com", "low"),
            risk("3", "bad@example.com", "low"),
            risk("1", "a@example.com", "low"),
            risk("4", "c@example.com", "low"),
        ];
        for detection in &more {
            wire.produce(&topic, record(detection)).await;
        }
        wire.wait_committed(&configuration.group("okta"), &topic, 5, ANSWER)
            .await;

        // What is committed was acknowledged in the outcome topic before.
        let records = wire.read_all(&outcomes).await;
        let mut by_offset = BTreeMap::new();
        for record in &records {
            let value = record.value.clone().unwrap();
            let text = String::from_utf8(value).unwrap();
            assert!(!text.contains('@'), "{name}: {text}");
            let outcome: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                record.key.as_deref(),
                outcome["jti"].as_str().map(str::as_bytes)
            );
            assert_eq!(outcome["stream"], "okta");
            assert_eq!(outcome["topic"], topic);
            assert_eq!(outcome["partition"], 0);
            assert!(
                outcome["event"]
                    .as_str()
                    .unwrap()
                    .ends_with("user-risk-change")
            );
            assert!(outcome["decided_ms"].as_i64() >= outcome["received_ms"].as_i64());
            let offset = outcome["offset"].as_i64().unwrap();
            assert!(by_offset.insert(offset, outcome).is_none(), "{name}");
        }
        let of = |offset: i64| {
            let outcome = &by_offset[&offset];
            let text = |name: &str| outcome[name].as_str().map(str::to_owned);
            let number = |name: &str| outcome[name].as_u64();
            (
                text("outcome").unwrap(),
                text("reason"),
                number("status"),
                number("attempts"),
            )
        };
        let expected = |outcome: &str, reason: Option<&str>, status, attempts| {
            let reason = reason.map(str::to_owned);
            (outcome.to_owned(), reason, status, Some(attempts))
        };
        assert_eq!(of(0), expected("delivered", None, Some(202), 1), "{name}");
        assert_eq!(of(1), expected("delivered", None, Some(202), 2), "{name}");
        let dead = expected("dead_lettered", Some("invalid_request"), Some(400), 1);
        assert_eq!(of(2), dead, "{name}");
        assert_eq!(of(3), expected("duplicate", None, None, 0), "{name}");
        assert_eq!(of(4), expected("delivered", None, Some(202), 1), "{name}");
        assert_eq!(by_offset[&0]["jti"], by_offset[&3]["jti"], "{name}");
        let jtis: Vec<_> = taken(&org).into_iter().map(|r| r.jti).collect();
        assert!(jtis.iter().any(|jti| by_offset[&0]["jti"] == **jti));
        bridge.drain().await;
    }
}

#[tokio::test]
async fn shadow_mode_does_everything_but_the_push() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_topic(&topic, 2).await;
        let org = receiver().await;
        let live = Configuration::new(wire).stream("okta", &topic, &org);
        let shadow = live.clone().set("streams.0.mode", "shadow");
        let good = (0..10).map(|n| record(&risk("1", &user(n), "low")));
        let bad = Message::new("{broken").key("bad");
        let repeated = record(&risk("1", &user(0), "low"));
        let last = record(&risk("1", &user(11), "low"));
        wire.produce_all(
            &topic,
            [bad].into_iter().chain(good).chain([repeated, last]),
        )
        .await;
        let mut bridge = Bridge::start(&shadow).await;
        bridge.outcomes("okta", "shadowed", 11).await;
        bridge.outcomes("okta", "duplicate", 1).await;
        bridge.outcomes("okta", "dead_lettered", 1).await;
        let group = format!("{}.shadow", live.group("okta"));
        wire.wait_committed(&group, &topic, 13, ANSWER).await;
        let metrics = bridge.metrics().await;
        let signed = metrics.sum("setbridge_sets_signed_total", &[("stream", "okta")]);
        assert_eq!(signed, 11.0, "{name}");
        assert_eq!(metrics.sum("setbridge_push_attempts_total", &[]), 0.0);
        assert_eq!(bridge.status().await["streams"][0]["mode"], "shadow");
        bridge.drain().await;

        assert_eq!(org.tally().requests, 0, "{name}: nothing was pushed");
        if let Broker::Apache(_) = &broker {
            let dead = format!("{topic}.okta.dlq");
            assert_eq!(wire.partitions(&dead).await, [0; 0], "no topic was made");
        }
        assert_eq!(dead_letters(wire, &topic, "okta").await, [], "{name}");
        assert!(wire.committed(&live.group("okta"), &topic).await.is_empty());

        // Live, it starts where live stopped: at the beginning.
        if let Broker::Mock(mock) = &broker {
            mock.create_topic(&format!("{topic}.okta.dlq"), 1);
        }
        let mut bridge = Bridge::start(&live).await;
        bridge.outcomes("okta", "delivered", 11).await;
        assert_eq!(taken(&org).len(), 11, "{name}");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_stream_in_trouble_holds_up_no_other() {
    for broker in brokers() {
        let (wire, name) = (broker.wire(), broker.name());
        let (held, down, well) = (fresh("held"), fresh("down"), fresh("well"));
        for (topic, stream) in [(&held, "held"), (&down, "down"), (&well, "well")] {
            broker.create_source(topic, 2, &[stream]).await;
            let detections = (0..50).map(|n| record(&risk("1", &user(n), "low")));
            wire.produce_all(topic, detections).await;
        }
        let (org_held, org_well) = (receiver().await, receiver().await);
        org_held.answer_when(None, |_| true, Reply::status(401));
        // A port on which nobody listens any more.
        let gone = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let configuration = Configuration::new(wire)
            .stream("held", &held, &org_held)
            .stream_to("down", &down, &format!("http://{gone}/events"))
            .stream("well", &well, &org_well);
        let mut bridge = Bridge::start(&configuration).await;
        bridge.held("held", Some("unauthorized")).await;
        let retries = [("stream", "down"), ("fault", "connect")];
        bridge
            .metric("setbridge_push_retries_total", &retries, |sum| sum > 50.0)
            .await;
        bridge.outcomes("well", "delivered", 50).await;
        wire.wait_committed(&configuration.group("well"), &well, 50, ANSWER)
            .await;
        assert_eq!(taken(&org_well).len(), 50, "{name}");
        bridge.held("down", None).await;
        assert_eq!(bridge.get("/readyz").await.0, 200, "{name}");
        for (stream, topic) in [("held", &held), ("down", &down)] {
            let committed = wire.committed(&configuration.group(stream), topic).await;
            assert_eq!(committed.values().sum::<i64>(), 0, "{name}: {stream}");
        }
        org_held.recover();
        bridge.outcomes("held", "delivered", 50).await;
        bridge.drain().await;
    }
}
