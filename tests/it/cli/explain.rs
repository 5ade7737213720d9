//! `setbridge explain` beside a running bridge: what each record became or will become, and nothing is touched.

use serde_json::{Value, json};

use super::commands::command;
use crate::support::broker::own_apache;
use crate::support::configuration::{Configuration, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::one_stream::OneStream;
use crate::support::redis_server::RedisServer;
use crate::support::wire::Message;

/// The SETs of the only detection of a record.
fn sets(record: &Value) -> &Vec<Value> {
    record["elements"][0]["sets"].as_array().expect("SETs")
}

#[tokio::test]
async fn each_record_says_what_it_became_and_why() {
    let Some(one) = OneStream::on_apache(1).await else {
        return;
    };
    let one = one.sqlite().set("group_id", fresh("group"));
    let records = [
        record(&risk("a", &user(1), "high")),
        Message::tombstone().key("gone"),
        Message::new("no \u{1b}[2JJSON").key("k"),
        record(&risk("b", "nobody", "low")),
        // One that can be mapped says that the mapping is not at fault for the two before it.
        record(&risk("c", &user(1), "low")),
    ];
    let mut bridge = one.start().await;
    bridge.held("okta", None).await;
    one.produce(records).await;
    one.all_committed(5).await;
    let requests = one.org.tally().requests;

    let ran = command(&one.configuration, &["explain", "--last", "100", "--json"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let seen: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|record| record["settled"] == true && record["committed"] == 5)
    );
    assert_eq!(seen[0]["origin"], format!("{}:0:0", one.topic));
    let rules = seen[0]["elements"][0]["rules"].as_array().unwrap();
    assert!(
        rules
            .iter()
            .any(|rule| rule["verdict"] == "matched" && rule["sets"] == 1)
    );
    let first = &sets(&seen[0])[0];
    assert_eq!(first["verdict"], "duplicate");
    assert_eq!(
        first["known"]["mark"],
        json!([4, 0, 0]),
        "the newer SET about the user"
    );
    assert_eq!(first["known"]["level"], "low");
    assert_eq!(first["lanes"], sets(&seen[4])[0]["lanes"]);
    let sent = one
        .org
        .log(|log| log.taken().next().unwrap().claims.clone().unwrap());
    assert_eq!(first["claims"]["jti"], sent["jti"]);
    assert_eq!(seen[1]["contents"], "tombstone");
    assert_eq!(
        (&seen[2]["contents"], &seen[2]["reason"]),
        (&json!("dead_letter"), &json!("invalid_json"))
    );
    let bad = &sets(&seen[3])[0];
    assert_eq!(
        (&bad["verdict"], &bad["dead_letter"]["reason"]),
        (&json!("dead_letter"), &json!("bad_email"))
    );

    // For people, by place; a dead letter is explained as the record that it was.
    let at = format!("{}:0:0", one.topic);
    let letters = one.dead_letters().await;
    let letter = letters
        .iter()
        .find(|l| l.header("setbridge-reason") == Some("invalid_json"));
    let letter = format!("{}.okta.dlq:0:{}", one.topic, letter.expect("it").offset);
    let ran = command(
        &one.configuration,
        &["explain", "--at", &at, "--at", &letter],
    )
    .await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    for said in [
        "duplicate: the receiver accepted this jti",
        "last accepted level low",
        "\"current_level\": \"high\"",
        "it is a dead letter: invalid_json (decode)",
        "settled (the next offset is 5)",
    ] {
        assert!(ran.out.contains(said), "{said}\n{}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'), "nothing moves the cursor");
    assert_eq!(one.org.tally().requests, requests, "nothing is sent");
    assert_eq!(one.committed().await, 5);
    bridge.drain().await;
}

#[tokio::test]
async fn what_cannot_be_explained_says_why() {
    let Some(one) = OneStream::on_apache(1).await else {
        return;
    };
    one.produce([record(&risk("a", &user(1), "high"))]).await;
    let other = fresh("other");
    one.wire.create_topic(&other, 1, &[]).await;
    one.wire.produce(&other, Message::new("{}")).await;
    let (here, nowhere) = (format!("{}:0", one.topic), fresh("nowhere"));
    let wrong = [
        (format!("{here}:1"), 66, "is not there yet"),
        (format!("{}:7:0", one.topic), 66, "has no partition 7"),
        (format!("{nowhere}:0:0"), 66, "does not exist"),
        (format!("{other}:0:0"), 64, "does not read topic"),
        ("nonsense".to_owned(), 64, "TOPIC:PARTITION:OFFSET"),
    ];
    for (at, code, said) in wrong {
        let ran = command(&one.configuration, &["explain", "--at", &at]).await;
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (code, ""),
            "{at}: {}",
            ran.err
        );
        assert!(ran.err.contains(said), "{at}: {}", ran.err);
    }
    // State in memory: said, and the rest is explained.
    let ran = command(
        &one.configuration,
        &["explain", "--at", &format!("{here}:0")],
    )
    .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("state.backend is memory"), "{}", ran.out);
    assert!(
        ran.out.contains("unless the receiver has it already"),
        "{}",
        ran.out
    );
    let ran = command(
        &one.configuration,
        &["explain", "--stream", "oktb", "--last", "1"],
    )
    .await;
    assert_eq!(ran.code, 64);
    assert!(ran.err.contains("one of: okta"), "{}", ran.err);
}

#[tokio::test]
async fn a_kafka_that_is_down_is_69() {
    let Some(node) = own_apache() else { return };
    let org = receiver().await;
    // It has a port and does not run.
    let configuration = Configuration::new(node.plain()).stream("okta", "detections", &org);
    let ran = command(&configuration, &["explain", "--last", "1"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (69, ""), "{}", ran.err);
    assert!(ran.err.contains("is Kafka up"), "{}", ran.err);
}

#[tokio::test]
async fn a_state_in_redis_is_seen_and_one_that_is_down_is_said() {
    let Some(one) = OneStream::on_apache(1).await else {
        return;
    };
    let mut server = RedisServer::start(&[]);
    let one = one.redis(&server);
    let mut bridge = one.start().await;
    one.produce([record(&risk("a", &user(1), "high"))]).await;
    one.all_committed(1).await;
    let last = ["explain", "--last", "1", "--json"];
    let keys = server.cli(&["dbsize"]);
    let seen = command(&one.configuration, &last).await.json();
    let set = &sets(&seen)[0];
    assert_eq!(set["verdict"], "duplicate", "{seen}");
    assert_eq!(set["known"]["level"], "high", "{seen}");
    // As it would be sent now, also of one that will not be.
    let claims = set["claims"].to_string();
    assert!(claims.contains(r#""previous_level":"high""#), "{claims}");
    assert_eq!(server.cli(&["dbsize"]), keys, "nothing is written");
    server.kill();
    let ran = command(&one.configuration, &last).await;
    let seen = ran.json();
    assert_eq!(
        (ran.code, &sets(&seen)[0]["verdict"]),
        (0, &json!("unknown"))
    );
    let why = seen["state_unseen"].as_str().expect("why");
    assert!(why.contains(&server.port().to_string()), "{why}");
    bridge.crash().await;
}
