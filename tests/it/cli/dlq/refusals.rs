//! What is not replayed, and who may not.

use serde_json::json;

use super::{lines, many_letters, plain_stream, stream};
use crate::cli::commands::command;
use crate::support::acl::{self, Operation, Resource};
use crate::support::broker::{own_apache, secure_apache};
use crate::support::configuration::{Configuration, receiver};
use crate::support::fresh;
use crate::support::node::USER;
use crate::support::wire::Message;

#[tokio::test]
async fn what_cannot_be_replayed_says_why() {
    let Some(one) = stream().await else { return };
    let shadow = one.configuration.clone().set("streams.0.mode", "shadow");
    let ran = command(&shadow, &["dlq", "replay"]).await;
    assert_eq!(ran.code, 64, "{}", ran.err);
    assert!(ran.err.contains("shadow mode"), "{}", ran.err);
    let ran = command(&one.configuration, &["dlq", "list", "--stream", "oktb"]).await;
    assert_eq!(ran.code, 64, "{}", ran.err);
    assert!(ran.err.contains("one of: okta"), "{}", ran.err);
    let ran = command(&one.configuration, &["dlq", "list", "--topic", "elsewhere"]).await;
    assert_eq!(ran.code, 64, "{}", ran.err);
    let nowhere = one
        .configuration
        .clone()
        .set("streams.0.topics", json!([fresh("nowhere")]));
    let ran = command(&nowhere, &["dlq", "list"]).await;
    assert_eq!(ran.code, 66, "{}", ran.err);
    assert!(ran.err.contains("has no dead letters"), "{}", ran.err);
    // Letters whose source has left, or lost the partition.
    let letters = many_letters(&one, 3).await;
    let letter = one.dead_letters().await.remove(0);
    let mut other = Message::new("{}");
    for (name, value) in &letter.headers {
        let value = match name.as_str() {
            "setbridge-origin-partition" => Some(&b"7"[..]),
            _ => value.as_deref(),
        };
        other = other.header(name, value);
    }
    one.wire.produce(&letters, other).await;
    let ran = command(
        &one.configuration,
        &["dlq", "replay", "--wait", "0", "--json"],
    )
    .await;
    let report = ran.json();
    assert_eq!(
        (&report["replayed"], &report["skipped"]),
        (&json!(3), &json!(1)),
        "{}",
        ran.err
    );
    let skipped = report["letters"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|l| l["skipped"].as_str());
    assert!(skipped.unwrap().contains("no such partition"), "{report}");
}

/// The rights that docs/operations.md lists, and no others.
#[tokio::test]
async fn a_replay_needs_these_rights_and_says_which_are_missing() {
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let Some(one) = plain_stream().await else {
        return;
    };
    let letters = many_letters(&one, 5).await;
    let wire = apache.wire();
    let secure = node.secure("SCRAM-SHA-256");
    let configuration = Configuration::new(&secure).stream("okta", &one.topic, &one.org);
    let group = configuration.group("okta");
    let [memory, bridge] = ["dlq", "replay"].map(|of| format!("{group}.{of}"));
    let (source, side) = (one.topic.clone(), format!("{}.okta.replay", one.topic));
    let outcomes = format!("{side}.outcomes");
    let topics = [&source, &letters, &side, &outcomes].map(|topic| Resource::Topic(topic));
    let groups = [&group, &memory, &bridge].map(|group| Resource::Group(group));
    for resource in topics.into_iter().chain(groups) {
        acl::close(wire, resource).await;
    }
    let ran = command(&configuration, &["dlq", "list"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{}", ran.err);
    assert!(ran.err.contains("an ACL is missing"), "{}", ran.err);
    let allow = |operation: Operation, resource: Resource<'static>| async move {
        acl::allow(wire, USER, operation, resource).await;
    };
    let topic = |name: &String| Resource::Topic(String::leak(name.clone()));
    let of_group = |name: &String| Resource::Group(String::leak(name.clone()));
    for (operation, resource) in [
        (Operation::Read, topic(&source)),
        (Operation::Read, topic(&letters)),
        (Operation::Read, topic(&side)),
        (Operation::Read, of_group(&memory)),
    ] {
        allow(operation, resource).await;
    }
    let ran = command(&configuration, &["dlq", "list", "--json"]).await;
    assert_eq!((ran.code, lines(&ran.out).len()), (0, 5), "{}", ran.err);
    let ran = command(&configuration, &["dlq", "replay", "--wait", "2"]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (78, ""),
        "nothing may be made: {}",
        ran.err
    );
    for (operation, resource) in [
        (Operation::Create, topic(&side)),
        (Operation::Write, topic(&side)),
        (Operation::Create, topic(&outcomes)),
        (Operation::Write, topic(&outcomes)),
        (Operation::Read, topic(&outcomes)),
        (Operation::Describe, of_group(&bridge)),
    ] {
        allow(operation, resource).await;
    }
    let ran = command(&configuration, &["dlq", "replay", "--wait", "2"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (69, ""), "{}", ran.out);
    assert!(!ran.out.contains("could not be followed"), "{}", ran.out);
    let report = command(&configuration, &["dlq", "replay", "--json"])
        .await
        .json();
    assert_eq!(report["replayed_before"], 5, "{report}");
}

#[tokio::test]
async fn a_kafka_that_is_down_is_69() {
    let Some(down) = own_apache() else { return };
    let configuration = Configuration::new(down.plain());
    let configuration = configuration.stream("okta", "detections", &receiver().await);
    let ran = command(&configuration, &["dlq", "list"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (69, ""), "{}", ran.err);
}
