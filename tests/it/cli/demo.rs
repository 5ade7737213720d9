//! `setbridge demo`: its numbers, and its ends.

use std::sync::{Mutex, PoisonError};

use serde_json::json;
use setbridge::okta::simulator::{Reply, Simulator};
use tempfile::TempDir;

use super::{Ran, empty, setbridge};
use crate::support::broker::apache;
use crate::support::configuration::{Configuration, ISSUER, receiver};
use crate::support::wire::Wire;

/// One demo at a time: each takes the usual ports if they are free when it looks.
fn played(folder: &TempDir, args: &[&str]) -> Ran {
    static STAGE: Mutex<()> = Mutex::new(());
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    setbridge(folder, args)
}

#[test]
fn the_demo_ends_with_one_object_whose_numbers_add_up() {
    let ran = played(&empty(), &["demo", "--exit", "--count", "300", "--json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out.lines().count(), 1);
    let report = ran.json();
    let names = [
        "consumed",
        "sets",
        "delivered",
        "duplicates",
        "filtered",
        "dead_lettered",
        "unsettled",
        "seconds",
        "sets_per_second",
        "latency_ms",
    ];
    let places = names.map(|name| ran.out.find(&format!("\"{name}\":")));
    assert!(places.iter().all(Option::is_some), "{}", ran.out);
    assert!(places.is_sorted(), "{}", ran.out);
    assert_eq!(report.as_object().unwrap().len(), names.len());
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(number("consumed"), 300);
    assert_eq!((number("delivered"), number("duplicates")), (294, 3));
    assert_eq!((number("filtered"), number("unsettled")), (0, 0));
    assert_eq!(
        report["dead_lettered"],
        json!({"bad_email": 1, "bad_level": 1, "invalid_json": 1})
    );
    let latency = &report["latency_ms"];
    assert_eq!(latency.as_object().unwrap().len(), 2);
    assert!(
        latency["p50"].as_f64() <= latency["p99"].as_f64(),
        "{latency}"
    );
}

#[test]
fn a_broker_that_is_down_ends_the_demo_with_69() {
    let args = [
        "demo",
        "--exit",
        "--count",
        "10",
        "--bootstrap",
        "127.0.0.1:1",
    ];
    let ran = played(&empty(), &args);
    assert_eq!((ran.code, ran.out.as_str()), (69, ""), "{}", ran.err);
}

/// Between a Kafka and a receiver that are not the demo's own.
async fn between(wire: &Wire, org: &Simulator, count: &str) -> (Ran, TempDir) {
    let folder = empty();
    let keys = Configuration::new(wire);
    let key = folder.path().join("known.pem");
    std::fs::copy(keys.folder().join("signing.pem"), &key).unwrap();
    org.register(ISSUER, &format!("http://{}", org.address()), keys.jwks());
    let bootstrap = wire.bootstrap().to_owned();
    let (url, count) = (org.url(), count.to_owned());
    let ran = tokio::task::spawn_blocking(move || {
        let mut args = vec!["demo", "--exit", "--json", "--count", &count];
        args.extend(["--bootstrap", &bootstrap, "--receiver", &url]);
        args.extend(["--key", "known.pem", "--issuer", ISSUER]);
        (played(&folder, &args), folder)
    });
    ran.await.unwrap()
}

#[tokio::test]
async fn it_works_between_a_kafka_and_a_receiver_of_the_users() {
    let Some(kafka) = apache() else { return };
    let org = receiver().await;
    let (ran, _folder) = between(kafka.wire(), &org, "300").await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let report = ran.json();
    assert_eq!(report["consumed"], 300);
    assert_eq!(report["delivered"], 294);
    // What the demo says was delivered is what the receiver has verified and taken, each once.
    let tally = org.tally();
    assert_eq!((tally.taken, tally.repeats), (294, 0), "{tally:?}");
    assert_eq!(tally.requests, 294, "{tally:?}");
}

#[tokio::test]
async fn numbers_that_do_not_add_up_are_70() {
    let Some(kafka) = apache() else { return };
    let org = receiver().await;
    org.answer_when(
        Some(1),
        |claims| claims.to_string().contains("demo-000250"),
        Reply::refusal("invalid_request", "no"),
    );
    let (ran, _folder) = between(kafka.wire(), &org, "300").await;
    assert_eq!(ran.code, 70, "{}{}", ran.out, ran.err);
    assert_eq!(ran.json()["dead_lettered"]["invalid_request"], 1);
    for line in [
        "does not add up: SETs delivered: 293, but 294 were expected\n",
        "does not add up: dead letters: 4, but 3 were expected\n",
    ] {
        assert!(ran.err.contains(line), "{}", ran.err);
    }
}
