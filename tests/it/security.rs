//! TLS, SASL and ACLs of the Kafka side: with the right ones everything works, dead letters too; with wrong ones the
//! stream is held and says which.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use setbridge::okta::simulator::Simulator;

use crate::support::acl::{self, Operation, Resource};
use crate::support::bridge::Bridge;
use crate::support::broker::{own_apache, secure_apache};
use crate::support::configuration::{Configuration, receiver, record};
use crate::support::fresh;
use crate::support::node::{Node, USER};
use crate::support::numbered::{all_taken, numbered, wave};
use crate::support::wire::{ANSWER, Message, Wire};

/// A bad record and a good one: the good one is delivered, the bad one becomes a dead letter.
async fn delivers_and_writes_dead_letters(
    bridge: &Bridge,
    plain: &Wire,
    topic: &str,
    org: &Simulator,
) {
    let before = usize::try_from(org.tally().taken).unwrap();
    plain
        .produce(topic, Message::new("not JSON").key("k"))
        .await;
    let good = record(&numbered("user001@example.com", before));
    plain.produce(topic, good).await;
    all_taken(org, before + 1, || bridge.log_text()).await;
    bridge.outcomes("okta", "dead_lettered", 1).await;
    let letters = plain.read(&format!("{topic}.okta.dlq"), 1, ANSWER).await;
    assert_eq!(letters[0].header("setbridge-reason"), Some("invalid_json"));
}

async fn delivers(plain: &Wire, secure: &Wire, token: Option<&str>) {
    let topic = fresh("detections");
    plain.create_topic(&topic, 2, &[]).await;
    let org = receiver().await;
    let mut configuration = Configuration::new(secure).stream("okta", &topic, &org);
    if let Some(token) = token {
        let file = configuration.folder().join("token");
        std::fs::write(&file, token).expect("a token file");
        let file = file.display().to_string();
        configuration = configuration.set("kafka.oauthbearer_token_file", file);
    }
    let mut bridge = Bridge::start(&configuration).await;
    delivers_and_writes_dead_letters(&bridge, plain, &topic, &org).await;
    bridge.held("okta", None).await;
    bridge.drain().await;
}

#[tokio::test]
async fn tls_with_scram_or_a_plain_password_delivers() {
    let Some((kafka, node)) = secure_apache() else {
        return;
    };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        delivers(kafka.wire(), &node.secure(mechanism), None).await;
    }
}

#[tokio::test]
async fn a_bearer_token_from_a_file_delivers() {
    let Some((kafka, node)) = secure_apache() else {
        return;
    };
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let claims = format!(r#"{{"sub":"{USER}","iat":{now},"exp":{}}}"#, now + 3600);
    let token = format!("{}.{}.", part(r#"{"alg":"none"}"#.to_owned()), part(claims));
    delivers(kafka.wire(), &node.secure("OAUTHBEARER"), Some(&token)).await;
}

async fn held_for(node: &Node, secure: Wire, reason: &str) {
    let topic = fresh("detections");
    node.plain().create_topic(&topic, 1, &[]).await;
    let org = receiver().await;
    let configuration = Configuration::new(&secure).stream("okta", &topic, &org);
    let mut bridge = Bridge::start(&configuration).await;
    bridge.held("okta", Some(reason)).await;
    let kind = [("stream", "okta"), ("kind", reason)];
    bridge
        .metric("setbridge_kafka_errors_total", &kind, |n| n >= 3.0)
        .await;
    bridge.held("okta", Some(reason)).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
    let log = bridge.log_text();
    assert!(!log.contains("test-password"), "{log}");
    bridge.drain().await;
}

#[tokio::test]
async fn a_wrong_password_holds_the_stream() {
    let Some((_, node)) = secure_apache() else {
        return;
    };
    let secure = node.secure("SCRAM-SHA-256");
    let wrong = secure.with("sasl.password", "another-test-password");
    held_for(node, wrong, "kafka_auth").await;
}

#[tokio::test]
async fn an_untrusted_certificate_holds_the_stream() {
    let Some((_, node)) = secure_apache() else {
        return;
    };
    let stranger = node.stranger_ca().to_string_lossy().into_owned();
    let wrong = node
        .secure("SCRAM-SHA-256")
        .with("ssl.ca.location", &stranger);
    held_for(node, wrong, "kafka_tls").await;
}

/// Every resource is closed at first, and what the documentation lists is granted one by one: nothing else is needed.
#[tokio::test]
async fn the_listed_acls_are_enough_and_each_is_needed() {
    let Some(mut node) = own_apache() else { return };
    node.start().expect("a broker");
    let (plain, topic) = (node.plain().clone(), fresh("detections"));
    plain.create_topic(&topic, 3, &[]).await;
    let org = receiver().await;
    let secure = node.secure("SCRAM-SHA-256");
    let configuration = Configuration::new(&secure).stream("okta", &topic, &org);
    let (group, letters) = (configuration.group("okta"), format!("{topic}.okta.dlq"));
    let (topic_of, group_of) = (Resource::Topic(&topic), Resource::Group(&group));
    let letters_of = Resource::Topic(&letters);
    for resource in [topic_of, group_of, letters_of, Resource::Cluster] {
        acl::close(&plain, resource).await;
    }
    let mut bridge = Bridge::start(&configuration).await;
    let stays_held = async |bridge: &Bridge| {
        let name = "setbridge_kafka_errors_total";
        let before = bridge.metrics().await.sum(name, &[]);
        bridge.metric(name, &[], |n| n >= before + 3.0).await;
        bridge.held("okta", Some("kafka_acl")).await;
    };
    bridge.held("okta", Some("kafka_acl")).await;
    acl::allow(&plain, USER, Operation::Read, topic_of).await;
    stays_held(&bridge).await;
    acl::allow(&plain, USER, Operation::Read, group_of).await;
    bridge.held("okta", Some("kafka_dead_letter_topic")).await;
    bridge
        .line("the mend", |line| {
            line.to_string().contains("kafka-acls.sh")
        })
        .await;
    // Write implies Describe, as Read does; Create implies nothing.
    acl::allow(&plain, USER, Operation::Write, letters_of).await;
    acl::allow(&plain, USER, Operation::Create, letters_of).await;
    bridge.message("topic made").await;
    bridge.held("okta", None).await;
    assert_eq!(plain.partitions(&letters).await.len(), 3);
    delivers_and_writes_dead_letters(&bridge, &plain, &topic, &org).await;
    // Reading is forbidden while running, and allowed again.
    acl::withdraw(&plain, USER, Operation::Read, topic_of).await;
    bridge.held("okta", Some("kafka_acl")).await;
    stays_held(&bridge).await;
    plain.produce_all(&topic, wave(3, 10..11)).await;
    acl::allow(&plain, USER, Operation::Read, topic_of).await;
    all_taken(&org, 4, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    // Writing dead letters is forbidden while running, and allowed again.
    acl::withdraw(&plain, USER, Operation::Write, letters_of).await;
    plain
        .produce(&topic, Message::new("not JSON").key("k"))
        .await;
    plain.produce_all(&topic, wave(3, 11..12)).await;
    bridge.held("okta", Some("kafka_dead_letter_topic")).await;
    acl::allow(&plain, USER, Operation::Write, letters_of).await;
    bridge.outcomes("okta", "dead_lettered", 2).await;
    all_taken(&org, 7, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    bridge.drain().await;
}
