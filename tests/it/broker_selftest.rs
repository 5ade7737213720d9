//! Shows that the brokers under the other tests do what those tests take for granted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::acl::{Operation, Resource, deny};
use crate::support::broker::{apache, brokers, own_apache, secure_apache};
use crate::support::fresh;
use crate::support::mock::Mock;
use crate::support::node::USER;
use crate::support::wire::{ANSWER, Message, Wire};

#[tokio::test]
async fn a_record_comes_back_as_it_was_produced() {
    for broker in brokers() {
        let (topic, wire) = (fresh("orders"), broker.wire());
        broker.create_topic(&topic, 2).await;
        let message = Message::new("value")
            .key("key")
            .header("name", Some(b"text"))
            .header("nothing", None)
            .partition(1)
            .timestamp_ms(1_700_000_000_123);
        assert_eq!(
            wire.produce(&topic, message).await,
            (1, 0),
            "{}",
            broker.name()
        );
        wire.produce(&topic, Message::tombstone().key("key").partition(0))
            .await;

        let mut seen = wire.read(&topic, 2, ANSWER).await;
        seen.sort_by_key(|s| s.partition);
        assert_eq!(seen[0].value, None, "{}", broker.name());
        assert_eq!(seen[1].key.as_deref(), Some(&b"key"[..]));
        assert_eq!(seen[1].value.as_deref(), Some(&b"value"[..]));
        assert_eq!(seen[1].header("name"), Some("text"));
        assert_eq!(seen[1].header("nothing"), None);
        assert_eq!(seen[1].timestamp_ms, Some(1_700_000_000_123));
        assert_eq!(wire.watermarks(&topic, 1).await, (0, 1));
        assert_eq!(wire.partitions(&topic).await, [0, 1]);
    }
}

#[tokio::test]
async fn a_topic_that_nobody_created_does_not_exist() {
    let Some(apache) = apache() else { return };
    let topic = fresh("absent");
    assert_eq!(apache.wire().partitions(&topic).await, [0; 0]);
}

#[tokio::test]
async fn ten_thousand_records_over_six_partitions_are_all_read() {
    for broker in brokers() {
        let topic = fresh("many");
        broker.create_topic(&topic, 6).await;
        let messages = (0..10_000).map(|i| Message::new(format!("{i}")).partition(i % 6));
        broker.wire().produce_all(&topic, messages).await;
        let seen = broker.wire().read_all(&topic).await;
        assert_eq!(seen.len(), 10_000, "{}", broker.name());
        let last = seen.iter().rfind(|s| s.partition == 5).unwrap();
        assert_eq!(last.value.as_deref(), Some(&b"9995"[..]));
    }
}

#[tokio::test]
async fn committed_offsets_are_seen() {
    for broker in brokers() {
        let (topic, group, wire) = (fresh("read"), fresh("group"), broker.wire());
        broker.create_topic(&topic, 2).await;
        assert_eq!(wire.committed(&group, &topic).await, BTreeMap::new());
        commit(wire, &group, &topic, &[(0, 3), (1, 4)]).await;
        wire.wait_committed(&group, &topic, 7, ANSWER).await;
        let committed = wire.committed(&group, &topic).await;
        assert_eq!(
            committed,
            BTreeMap::from([(0, 3), (1, 4)]),
            "{}",
            broker.name()
        );
    }
}

/// As an operator's reset would: without a member in the group.
async fn commit(wire: &Wire, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .unwrap();
    }
    let consumer: StreamConsumer = wire.client().set("group.id", group).create().unwrap();
    tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn both_group_protocols_work() {
    let Some(apache) = apache() else { return };
    let topic = fresh("groups");
    apache.wire().create_topic(&topic, 2, &[]).await;
    apache
        .wire()
        .produce(&topic, Message::new("first").partition(1))
        .await;
    for protocol in ["classic", "consumer"] {
        let consumer: StreamConsumer = apache
            .wire()
            .client()
            .set("group.id", fresh(protocol))
            .set("group.protocol", protocol)
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&[&topic]).unwrap();
        let first = tokio::time::timeout(ANSWER, consumer.recv()).await;
        assert_eq!(
            rdkafka::Message::payload(&first.unwrap().unwrap()),
            Some(&b"first"[..]),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn an_operator_changes_topics() {
    let Some(apache) = apache() else { return };
    let (topic, wire) = (fresh("changed"), apache.wire());
    apache
        .wire()
        .create_topic(&topic, 1, &[("max.message.bytes", "1000")])
        .await;
    let big = || [Message::new(vec![b'x'; 20_000])];
    let refused = wire.try_produce(&topic, big()).await.unwrap_err();
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge)
    );

    apache
        .wire()
        .set_topic(&topic, &[("max.message.bytes", "100000")])
        .await;
    wire.produce_all(&topic, big()).await;
    wire.produce(&topic, Message::new("second")).await;
    apache.wire().delete_records(&topic, 0, 1).await;
    assert_eq!(wire.watermarks(&topic, 0).await, (1, 2));
    assert_eq!(
        wire.read_all(&topic).await[0].value.as_deref(),
        Some(&b"second"[..])
    );

    apache.wire().grow_topic(&topic, 3).await;
    assert_eq!(wire.partitions(&topic).await, [0, 1, 2]);
    apache.wire().delete_topic(&topic).await;
    assert_eq!(wire.partitions(&topic).await, [0; 0]);
}

#[tokio::test]
async fn tls_and_every_sasl_mechanism_work() {
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let topic = fresh("secure");
    apache.wire().create_topic(&topic, 1, &[]).await;
    let listeners = [
        node.secure("SCRAM-SHA-256"),
        node.secure("SCRAM-SHA-512"),
        node.secure("PLAIN"),
        node.bearer(),
    ];
    for (offset, wire) in listeners.iter().enumerate() {
        let mechanism = &wire.properties()["sasl.mechanism"];
        let message = Message::new(mechanism.as_bytes());
        assert_eq!(
            wire.produce(&topic, message).await.1,
            offset as i64,
            "{mechanism}"
        );
        let seen = wire.read_all(&topic).await;
        assert_eq!(seen[offset].value.as_deref(), Some(mechanism.as_bytes()));
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_strange_authority_are_refused() {
    let Some((_, node)) = secure_apache() else {
        return;
    };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let wrong = node.secure(mechanism).with("sasl.password", "not it");
        assert_eq!(
            code(&wrong.first_error().await),
            RDKafkaErrorCode::Authentication,
            "{mechanism}"
        );
    }
    let stranger = node
        .secure("PLAIN")
        .with("ssl.ca.location", &node.stranger_ca().to_string_lossy());
    assert_eq!(code(&stranger.first_error().await), RDKafkaErrorCode::SSL);
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap()
}

#[tokio::test]
async fn what_is_denied_is_refused() {
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let (topic, group) = (fresh("denied"), fresh("denied-group"));
    apache.wire().create_topic(&topic, 1, &[]).await;
    let wire = node.secure("SCRAM-SHA-256");
    wire.produce(&topic, Message::new("allowed so far")).await;

    deny(
        apache.wire(),
        USER,
        Operation::Write,
        Resource::Topic(&topic),
    )
    .await;
    let refused = wire
        .try_produce(&topic, [Message::new("no")])
        .await
        .unwrap_err();
    assert_eq!(code(&refused), RDKafkaErrorCode::TopicAuthorizationFailed);
    assert_eq!(
        wire.read_all(&topic).await.len(),
        1,
        "reading is still allowed"
    );

    deny(
        apache.wire(),
        USER,
        Operation::Read,
        Resource::Topic(&topic),
    )
    .await;
    deny(
        apache.wire(),
        USER,
        Operation::Read,
        Resource::Group(&group),
    )
    .await;
    let consumer: StreamConsumer = wire
        .client()
        .set("group.id", &group)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let refused = tokio::time::timeout(ANSWER, consumer.recv())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(code(&refused), RDKafkaErrorCode::GroupAuthorizationFailed);

    deny(
        apache.wire(),
        USER,
        Operation::Describe,
        Resource::Topic(&topic),
    )
    .await;
    let refused = wire
        .try_produce(&topic, [Message::new("no")])
        .await
        .unwrap_err();
    assert_eq!(code(&refused), RDKafkaErrorCode::TopicAuthorizationFailed);
}

#[tokio::test]
async fn a_broker_of_its_own_stops_and_comes_back_with_its_records() {
    let Some(mut node) = own_apache() else { return };
    let down = node.plain().first_error().await;
    assert_eq!(code(&down), RDKafkaErrorCode::BrokerTransportFailure);
    node.start().unwrap();
    node.start().unwrap();
    let wire = node.plain().clone();
    wire.create_topic("kept", 1, &[]).await;
    wire.produce("kept", Message::new("acknowledged")).await;
    node.stop();
    let down = wire.first_error().await;
    assert_eq!(code(&down), RDKafkaErrorCode::BrokerTransportFailure);
    node.start().unwrap();
    let kept = wire.read_all("kept").await;
    assert_eq!(kept[0].value.as_deref(), Some(&b"acknowledged"[..]));
}

#[test]
fn nothing_outlives_the_pipe() {
    let tied = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/tied.sh");
    let mut child = Command::new(&tied)
        .args(["sh", "-c", "echo $$; exec sleep 600"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null()) // the shell says "Killed"
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let sleeper = Path::new("/proc").join(line.trim());
    assert!(sleeper.exists());
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 9));
    assert!(!sleeper.exists());

    let mut ends_first = Command::new(&tied)
        .args(["sh", "-c", "exit 7"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // `wait` would close the pipe.
    let pipe = ends_first.stdin.take();
    let own_code = ends_first.wait().unwrap().code();
    assert_eq!(own_code, Some(7), "the command's own code comes through");
    drop(pipe);
}

#[tokio::test]
async fn the_mock_cluster_can_be_told_to_fail() {
    let mock = Mock::start();
    mock.create_topic("flaky", 1);
    mock.with(|cluster| cluster.broker_round_trip_time(1, Duration::from_millis(1)))
        .unwrap();
    let denied = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.with(move |cluster| {
        cluster.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[denied]);
    });
    let refused = mock
        .wire()
        .try_produce("flaky", [Message::new("no")])
        .await
        .unwrap_err();
    assert_eq!(code(&refused), RDKafkaErrorCode::TopicAuthorizationFailed);
}
