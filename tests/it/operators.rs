//! What operators see: metrics from the first moment, probes, the status, and logs that are quiet about people.

use std::collections::BTreeSet;

use serde_json::Value;
use setbridge::metrics::Metrics;
use setbridge::okta::simulator::Reply;
use setbridge::pipeline::label_values;

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, record, risk, user};
use crate::support::exposition::Exposition;
use crate::support::one_stream::OneStream;
use crate::support::receipts::{answered, is_about};
use crate::support::wire::{Message, Wire};

/// A port on which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn label_values_of(metrics: &Exposition, name: &str, label: &str) -> BTreeSet<String> {
    let samples = metrics.samples(name);
    samples.iter().map(|s| s.labels[label].clone()).collect()
}

#[tokio::test]
async fn every_metric_is_there_at_the_start_and_kafka_need_not_be() {
    let configuration = Configuration::new(&Wire::to(&nobody())).stream_to(
        "okta",
        "detections",
        &format!("http://{}/events", nobody()),
    );
    let mut bridge = Bridge::start(&configuration).await;
    assert_eq!(bridge.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(bridge.get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(bridge.get("/nothing").await.0, 404);
    let metrics = bridge.metrics().await;
    let names = metrics.names();
    for family in Metrics::new().unwrap().docs() {
        // Lag is shown for the partitions that are assigned; there are none.
        if family.name == "setbridge_lag_records" {
            continue;
        }
        // Vault's calls are shown to who has set it: `vault::without_vault_at_the_start_it_runs_but_is_not_ready`.
        if family.name.starts_with("setbridge_vault_call") {
            continue;
        }
        let sample = match family.kind {
            "histogram" => format!("{}_count", family.name),
            _ => family.name.clone(),
        };
        assert!(names.contains(sample.as_str()), "{sample} is not there");
    }
    let set = [
        "setbridge_build_info",
        "setbridge_config_hash",
        "setbridge_key_info",
        "setbridge_limit",
        "setbridge_kafka_errors_total",
        // 1 where the CPU can, and the library is there.
        "setbridge_sign_multi_buffer_on",
    ];
    for name in names {
        if !set.contains(&name) {
            assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
        }
    }
    assert_eq!(
        metrics.sum("setbridge_key_info", &[("state", "active")]),
        1.0
    );

    let known = label_values();
    for (name, label, values) in [
        ("setbridge_outcomes_total", "outcome", &known.outcomes),
        (
            "setbridge_dead_letters_total",
            "reason",
            &known.dead_letters,
        ),
        ("setbridge_stream_held", "reason", &known.holds),
        ("setbridge_stream_holds_total", "reason", &known.holds),
        ("setbridge_push_retries_total", "fault", &known.faults),
        ("setbridge_filtered_total", "reason", &known.filters),
        ("setbridge_kafka_errors_total", "kind", &known.kafka),
        ("setbridge_sets_mapped_total", "event", &known.events),
    ] {
        let values: BTreeSet<String> = values.iter().map(|v| (*v).to_owned()).collect();
        assert_eq!(label_values_of(&metrics, name, label), values, "{name}");
    }
    let status = bridge.status().await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["streams"][0]["id"], "okta");
    assert_eq!(status["keys"][0]["state"], "active");
    // A broker that is down is no reason to end, nor to end slowly.
    bridge.drain().await;
}

/// What must never be seen: addresses (and their local parts), the credential, a token.
const PRIVATE: [&str; 6] = [
    "@example.com",
    "user00",
    "jdoe",
    "purple",
    "s3cr3t-value",
    "eyJ",
];

fn assert_quiet(what: &str, text: &str) {
    for private in PRIVATE {
        let line = text.lines().find(|line| line.contains(private));
        assert_eq!(line, None, "{what} says {private}");
    }
}

#[tokio::test]
async fn logs_status_and_metrics_name_no_person_and_no_secret() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let name = one.name;
        let secret = one.configuration.folder().join("authorization");
        std::fs::write(&secret, "Bearer s3cr3t-value\n").unwrap();
        let one = one
            .set("streams.0.receiver.auth.header.name", "Authorization")
            .set(
                "streams.0.receiver.auth.header.value",
                format!("file:{}", secret.display()),
            );
        let mut bridge = one.start().await;

        // Deliveries, retries, duplicates, dead letters of every stage, a hold, a reload, and an end.
        let good = |n: usize| record(&risk("1", &user(n), "high"));
        one.org.answer_next(2, Reply::status(503));
        one.produce([good(1), good(2), good(2)]).await;
        bridge.outcomes("okta", "delivered", 2).await;
        let poison = [
            r#"{"user": "jdoe@example.com", "#,
            r#"{"id": "1", "kind": "user-risk-change", "user": "jdoe", "level": "low"}"#,
            r#"{"id": "1", "kind": "user-risk-change", "user": "jdoe@example.com", "level": "purple"}"#,
            r#"{"id": "1", "kind": "user-risk-change", "user": "jdoe@example.com", "level": "low", "time": "jdoe@example.com"}"#,
        ];
        let poison = poison.map(|value| Message::new(value).key("jdoe@example.com"));
        one.produce(poison).await;
        let refused = |claims: &Value| is_about(claims, &user(3));
        let why = format!("no user {}", user(3));
        one.org
            .answer_when(None, refused, Reply::refusal("invalid_request", &why));
        one.produce([good(3)]).await;
        answered(&one.org, 5).await;
        one.produce([good(4)]).await;
        bridge.outcomes("okta", "dead_lettered", 5).await;
        let why = Reply::refusal("access_denied", &format!("not about {}", user(5)));
        one.org.answer_when(None, |_| true, why);
        one.produce([good(5)]).await;
        bridge.held("okta", Some("access_denied")).await;
        let held = |status: &Value| status["streams"][0]["held"][0]["reason"] == "access_denied";
        let status = bridge.status_is("the hold is shown", held).await;
        assert_quiet("the status", &status.to_string());
        assert_eq!(
            status["streams"][0]["dead_letters"]["bad_level"], 1,
            "{name}"
        );
        assert_quiet("the metrics", &bridge.get("/metrics").await.1);
        one.org.recover();
        bridge.hup();
        bridge.message("keys reloaded").await;
        bridge.outcomes("okta", "delivered", 4).await;
        bridge.drain().await;

        let log = bridge.log_text();
        assert_quiet("the log", &log);
        let dead = bridge.lines();
        let dead = dead.iter().filter(|line| line["message"] == "dead letter");
        assert_eq!(dead.count(), 5, "{name}");
        assert!(bridge.lines().iter().all(Value::is_object), "{log}");
        let headers = one.org.log(|log| {
            log.received
                .iter()
                .all(|r| r.header("authorization") == Some("Bearer s3cr3t-value"))
        });
        assert!(headers, "{name}: the header was sent all the same");
    }
}

#[tokio::test]
async fn the_status_and_the_gauges_follow_the_work() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 2).await;
        let name = one.name;
        one.org.answer_when(None, |_| true, Reply::status(403));
        let detections = (0..20).map(|n| record(&risk(&n.to_string(), &user(n % 4), "low")));
        let detections = detections.enumerate();
        let spread = detections.map(|(n, record)| record.partition((n % 4 % 2) as i32));
        one.produce(spread).await;
        let mut bridge = one.start().await;
        let all_read = |status: &Value| status["streams"][0]["unsettled"] == 20;
        let status = bridge.status_is("all records are read", all_read).await;
        let stream = &status["streams"][0];
        assert_eq!(stream["mode"], "live", "{name}");
        assert_eq!(
            stream["waiting_in_lanes"], 16,
            "{name}: four heads, the rest behind"
        );
        let metrics = bridge.metrics().await;
        let of = [("stream", "okta")];
        assert_eq!(metrics.sum("setbridge_unsettled_sets", &of), 20.0, "{name}");
        assert_eq!(metrics.sum("setbridge_partitions_assigned", &of), 2.0);
        assert!(metrics.sum("setbridge_oldest_unsettled_seconds", &of) > 0.0);
        assert!(metrics.sum("setbridge_lag_seconds", &of) > 0.0);
        bridge
            .metric("setbridge_lag_records", &of, |lag| lag == 20.0)
            .await;

        one.org.recover();
        bridge.outcomes("okta", "delivered", 20).await;
        bridge
            .metric("setbridge_lag_records", &of, |lag| lag == 0.0)
            .await;
        bridge
            .metric("setbridge_unsettled_sets", &of, |n| n == 0.0)
            .await;
        bridge
            .metric("setbridge_uncommitted_records", &of, |n| n == 0.0)
            .await;
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_delivery_seconds_count", &of), 20.0);
        assert_eq!(metrics.sum("setbridge_requests_in_flight", &of), 0.0);
        assert_eq!(metrics.sum("setbridge_lag_seconds", &of), 0.0, "{name}");
        let idle = |status: &Value| {
            let stream = &status["streams"][0];
            stream["unsettled"] == 0 && stream["outcomes"]["delivered"] == 20
        };
        bridge.status_is("all is settled", idle).await;
        bridge.drain().await;
    }
}
