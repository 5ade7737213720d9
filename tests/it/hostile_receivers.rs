//! Receivers that answer to hurt: without an end, slowly, brokenly. Nothing is lost, nothing overtakes, nothing is taken
//! for an acceptance that is none, and what a process holds is bounded. (What each answer means is tested beside the
//! client, in src/delivery/receiver/tests.)

use std::collections::BTreeSet;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver};
use crate::support::fresh;
use crate::support::hostile::{Answer, Hostile};
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::receipts::dead_letters;
use crate::support::wire::{ANSWER, Wire};

const USERS: usize = 40;
const EACH: usize = 5;
const SETS: usize = USERS * EACH;
/// Of a debug build with librdkafka, its buffers full.
const MEMORY: usize = 200 << 20;

const JSON: &str = "Content-Type: application/json\r\n";

fn head(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n").into()
}

/// Answers that are no answer.
fn of_the_moment() -> Vec<Answer> {
    let hint = b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
    let many: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
    let chunked = format!("{JSON}Transfer-Encoding: chunked\r\n");
    vec![
        Answer::Cut(Vec::new()),
        Answer::Cut(b"HTTP/1.1 202 Acc".to_vec()),
        Answer::Cut(head(
            "400 Bad Request",
            &format!("{JSON}Content-Length: 50\r\n"),
        )),
        Answer::Bytes(head("202 Accepted", &many)),
        Answer::Bytes([head("400 Bad Request", &chunked), b"zz\r\n".to_vec()].concat()),
        Answer::Bytes(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
        Answer::Endless(b"HTTP/1.1 202 ".to_vec(), vec![b'x'; 8192]),
        Answer::Endless(
            b"HTTP/1.1 202 OK\r\n".to_vec(),
            b"Set-Cookie: a=b\r\n".repeat(500),
        ),
        Answer::Drip(Vec::new(), hint),
        Answer::Drip(b"HTTP/1.1 202 OK\r\nX: ".to_vec(), b"x".to_vec()),
        Answer::Drip(
            head(
                "400 Bad Request",
                &format!("{JSON}Content-Length: 9999\r\n"),
            ),
            b" ".to_vec(),
        ),
        Answer::Endless(head("503 Busy", "Retry-After: 0\r\n"), vec![b'x'; 8192]),
    ]
}

/// A stream over a fresh topic, to a front with this script, with all records in the topic.
async fn set_up(
    wire: &Wire,
    topic: &str,
    org: &setbridge::okta::simulator::Simulator,
    front: &Hostile,
) -> Configuration {
    wire.produce_all(topic, wave(USERS, 0..EACH)).await;
    Configuration::new(wire)
        .stream("okta", topic, org)
        .set("streams.0.audience", format!("http://{}", org.address()))
        .set("streams.0.receiver.url", front.url())
        .set("streams.0.receiver.request_timeout", "2s")
        .set("streams.0.receiver.connect_timeout", "500ms")
}

#[tokio::test]
async fn answers_that_are_none_lose_nothing_and_cost_bounded_memory() {
    const ROUNDS: usize = 8;
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 2, &["okta"]).await;
        let org = receiver().await;
        let script = of_the_moment();
        let count = script.len() * ROUNDS;
        let front = Hostile::start(script, ROUNDS, org.address()).await;
        let configuration = set_up(wire, &topic, &org, &front).await;
        let mut bridge = Bridge::start(&configuration).await;
        let outcomes = "setbridge_outcomes_total";
        bridge
            .watch(2 * SOON, outcomes, |metrics| {
                let resident = bridge.resident_bytes();
                assert!(resident < MEMORY, "{name}: {resident} bytes");
                metrics.sum(outcomes, &[("outcome", "delivered")]) == SETS as f64
            })
            .await;
        assert_eq!(front.bodies().len(), count, "{name}: the whole script");
        let metrics = bridge.metrics().await;
        let retries = |labels: &[_]| metrics.sum("setbridge_push_retries_total", labels);
        // A machine that is busy with the rest of them times out more often than the script says.
        assert!(retries(&[]) >= count as f64, "{name}: each was no answer");
        for fault in ["timeout", "reset", "unparsable", "server_error"] {
            assert!(retries(&[("fault", fault)]) >= 1.0, "{name}: {fault}");
        }
        assert_eq!(
            metrics.sum("setbridge_stream_holds_total", &[]),
            0.0,
            "{name}"
        );
        assert_whole_and_in_order(&org, USERS, EACH);
        assert_eq!(dead_letters(wire, &topic, "okta").await, [], "{name}");
        wire.wait_committed(&configuration.group("okta"), &topic, SETS as i64, ANSWER)
            .await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn an_acceptance_with_an_endless_body_is_one() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 2, &["okta"]).await;
        let org = receiver().await;
        let script = [
            Answer::Endless(head("202 Accepted", ""), vec![b'x'; 8192]),
            Answer::Drip(head("202 Accepted", ""), b"x".to_vec()),
            Answer::Cut(head("202 Accepted", "Content-Length: 50\r\n")),
            Answer::Bytes(head(
                "202 Accepted",
                "Content-Length: 9223372036854775807\r\n",
            )),
        ];
        let front = Hostile::start(script.to_vec(), SETS, org.address()).await;
        let configuration = set_up(wire, &topic, &org, &front).await;
        let mut bridge = Bridge::start(&configuration).await;
        let outcomes = "setbridge_outcomes_total";
        bridge
            .watch(SOON, outcomes, |metrics| {
                let resident = bridge.resident_bytes();
                assert!(resident < MEMORY, "{name}: {resident} bytes");
                metrics.sum(outcomes, &[("outcome", "delivered")]) == SETS as f64
            })
            .await;
        let bodies = front.bodies();
        let unique: BTreeSet<&String> = bodies.iter().collect();
        assert_eq!(
            (bodies.len(), unique.len()),
            (SETS, SETS),
            "{name}: each went once"
        );
        wire.wait_committed(&configuration.group("okta"), &topic, SETS as i64, ANSWER)
            .await;
        bridge.drain().await;
    }
}

/// A 400 that nobody can read says nothing about the record: before the first acceptance it holds, whatever it costs.
#[tokio::test]
async fn refusals_that_cannot_be_read_hold_and_lose_nothing() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 2, &["okta"]).await;
        let org = receiver().await;
        let deep = format!("{{\"err\": {}", "[".repeat(50_000));
        let script = [
            Answer::Endless(head("400 Bad Request", JSON), vec![b' '; 8192]),
            Answer::Endless(
                head("400 Bad Request", "Content-Type: text/html\r\n"),
                vec![b'x'; 8192],
            ),
            Answer::Cut(
                [
                    head("400 Bad Request", JSON),
                    b"{\"err\": \"\xff\"}".to_vec(),
                ]
                .concat(),
            ),
            Answer::Cut([head("400 Bad Request", JSON), deep.into()].concat()),
        ];
        let front = Hostile::start(script.to_vec(), 12, org.address()).await;
        let configuration = set_up(wire, &topic, &org, &front).await;
        let mut bridge = Bridge::start(&configuration).await;
        bridge.held("okta", Some("refusals")).await;
        all_taken(&org, SETS, || bridge.log_text()).await;
        bridge.held("okta", None).await;
        assert!(bridge.resident_bytes() < MEMORY, "{name}");
        assert_eq!(front.bodies().len(), 48, "{name}: the whole script");
        assert_whole_and_in_order(&org, USERS, EACH);
        assert_eq!(dead_letters(wire, &topic, "okta").await, [], "{name}");
        bridge.drain().await;
    }
}
