//! The reader that joins no group: what is where, and what is not.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use setbridge::kafka::client::{KafkaClient, Trouble};
use setbridge::kafka::reader::{ReadError, Reader};
use setbridge::record::{Origin, Record};

use crate::support::broker::{apache, secure_apache};
use crate::support::fresh;
use crate::support::wire::{ANSWER, Message, Wire};

/// Asks a reader on a thread where it may block.
async fn reading<T: Send + 'static>(
    wire: &Wire,
    ask: impl FnOnce(&Reader) -> T + Send + 'static,
) -> T {
    let properties = wire.properties().clone();
    let client = KafkaClient::new(wire.bootstrap(), "reader-test", properties);
    let reader = move || ask(&Reader::new(&client, &fresh("no-group")).expect("a reader"));
    tokio::task::spawn_blocking(reader)
        .await
        .expect("an answer")
}

fn at(topic: &str, partition: i32, offset: i64) -> Origin {
    Origin {
        topic: Arc::from(topic),
        partition,
        offset,
    }
}

fn values(records: &[Record]) -> Vec<&str> {
    let values = records.iter().map(|r| r.value.as_deref().unwrap_or(b"-"));
    values
        .map(|value| std::str::from_utf8(value).expect("text"))
        .collect()
}

/// Partition 0 has a to c, partition 1 has 0 to 9, both at times in between each other.
async fn two_partitions(wire: &Wire) -> String {
    let topic = fresh("read");
    wire.create_topic(&topic, 2, &[]).await;
    let stamped = |value: String, partition, ms: i64| {
        let message = Message::new(value).partition(partition);
        message.timestamp_ms(1_760_000_000_000 + ms)
    };
    let tens = (0..10).map(|n| stamped(n.to_string(), 1, n * 10));
    let letters = [("a", 5), ("b", 15), ("c", 85)].map(|(v, ms)| stamped(v.to_owned(), 0, ms));
    wire.produce_all(&topic, tens.chain(letters)).await;
    topic
}

#[tokio::test]
async fn records_are_found_by_their_place() {
    let Some(kafka) = apache() else { return };
    let (wire, topic) = (kafka.wire(), two_partitions(kafka.wire()).await);
    let whole = Message::tombstone().partition(0).key("k").header("h", None);
    let last = wire.produce(&topic, whole).await;
    wire.delete_records(&topic, 1, 4).await;
    let name = topic.clone();
    reading(wire, move |reader| {
        assert_eq!(reader.partitions(&name).unwrap(), [0, 1]);
        assert!(reader.topics().unwrap().contains(&name));
        assert_eq!(reader.bounds(&name, 1).unwrap(), 4..10);
        let one = |partition, offset| reader.one(&at(&name, partition, offset));
        let found = one(1, 7).unwrap();
        assert_eq!(found.value.as_deref(), Some(&b"7"[..]));
        assert_eq!(found.timestamp_ms, Some(1_760_000_000_070));
        let found = one(last.0, last.1).unwrap();
        assert_eq!((found.key.as_deref(), found.value), (Some(&b"k"[..]), None));
        assert_eq!(found.headers, [("h".to_owned(), None)]);
        assert!(matches!(one(1, 3), Err(ReadError::Gone { first: 4, .. })));
        assert!(matches!(one(1, 10), Err(ReadError::NotYet { end: 10, .. })));
        assert!(matches!(
            one(2, 0),
            Err(ReadError::NoPartition { count: 2, .. })
        ));
        let nowhere = reader.one(&at("no-such-topic", 0, 0)).unwrap_err();
        assert_eq!(nowhere.to_string(), "topic no-such-topic does not exist");
        let since = reader.since(&name, &[0, 1], 1_760_000_000_081).unwrap();
        assert_eq!(since, BTreeMap::from([(0, 2), (1, 9)]));
    })
    .await;
}

#[tokio::test]
async fn the_last_records_and_ranges_of_them() {
    let Some(kafka) = apache() else { return };
    let name = two_partitions(kafka.wire()).await;
    reading(kafka.wire(), move |reader| {
        assert_eq!(
            values(&reader.last(&name, 4).unwrap()),
            ["7", "8", "c", "9"]
        );
        assert_eq!(reader.last(&name, 100).unwrap().len(), 13);
        assert_eq!(reader.last(&name, 0).unwrap().len(), 0);
        let range = |ranges: &[(i32, std::ops::Range<i64>)], most: usize| {
            let mut found = Vec::new();
            let take = |record| {
                found.push(record);
                match found.len() < most {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            };
            reader
                .each(&name, ranges.iter().cloned().collect(), take)
                .unwrap();
            found.sort_by_key(|record| (record.origin.partition, record.origin.offset));
            found
        };
        assert_eq!(
            values(&range(&[(0, 1..2), (1, 3..6)], 99)),
            ["b", "3", "4", "5"]
        );
        assert_eq!(
            values(&range(&[(1, 8..1000)], 99)),
            ["8", "9"],
            "to the end"
        );
        assert_eq!(
            values(&range(&[(1, 0..10)], 2)),
            ["0", "1"],
            "as many as wanted"
        );
        assert!(range(&[(1, 10..20), (0, 5..5)], 99).is_empty());
    })
    .await;
}

/// The marker of a transaction has an offset and is no record.
#[tokio::test]
async fn an_offset_without_a_record_is_a_hole() {
    let Some(kafka) = apache() else { return };
    let (wire, name) = (kafka.wire(), fresh("holes"));
    wire.create_topic(&name, 1, &[]).await;
    let mut config = wire.client();
    config.set("transactional.id", fresh("transaction"));
    let topic = name.clone();
    reading(wire, move |reader| {
        let producer: ThreadedProducer<_> = config.create().expect("a producer");
        producer.init_transactions(ANSWER).unwrap();
        for value in ["a", "b"] {
            producer.begin_transaction().unwrap();
            let sent = producer.send(BaseRecord::<(), str>::to(&topic).payload(value));
            assert!(sent.is_ok());
            producer.commit_transaction(ANSWER).unwrap();
        }
        assert!(matches!(
            reader.one(&at(&topic, 0, 1)),
            Err(ReadError::Hole(_))
        ));
        assert_eq!(values(&[reader.one(&at(&topic, 0, 2)).unwrap()]), ["b"]);
        assert_eq!(
            values(&reader.last(&topic, 2).unwrap()),
            ["a", "b"],
            "behind holes"
        );
    })
    .await;
}

#[tokio::test]
async fn who_is_at_fault_is_said() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = Wire::to(&closed.local_addr().unwrap().to_string());
    drop(closed);
    let down = reading(&nobody, |reader| reader.partitions("any").unwrap_err()).await;
    assert_eq!(down.trouble(), Some(Trouble::Unreachable), "{down}");
    let Some((_, node)) = secure_apache() else {
        return;
    };
    let stranger = node.secure("SCRAM-SHA-256").with("sasl.password", "wrong");
    let refused = reading(&stranger, |reader| reader.partitions("any").unwrap_err()).await;
    assert_eq!(refused.trouble(), Some(Trouble::Auth), "{refused}");
    let ca = node.stranger_ca().display().to_string();
    let untrusted = node.secure("SCRAM-SHA-256").with("ssl.ca.location", &ca);
    let refused = reading(&untrusted, |reader| reader.partitions("any").unwrap_err()).await;
    assert_eq!(refused.trouble(), Some(Trouble::Tls), "{refused}");
}

/// Nothing of the group is needed, not even the right to look it up.
#[tokio::test]
async fn no_right_on_a_group_is_needed() {
    use crate::support::acl::{self, Operation, Resource};
    use crate::support::node::USER;
    let Some((apache, node)) = secure_apache() else {
        return;
    };
    let topic = two_partitions(apache.wire()).await;
    let secure = node.secure("SCRAM-SHA-256");
    let name = topic.clone();
    acl::close(apache.wire(), Resource::Topic(&topic)).await;
    let refused = reading(&secure, move |reader| reader.last(&name, 1).unwrap_err()).await;
    assert_eq!(refused.trouble(), Some(Trouble::Acl), "{refused}");
    acl::allow(
        apache.wire(),
        USER,
        Operation::Read,
        Resource::Topic(&topic),
    )
    .await;
    let last = reading(&secure, move |reader| reader.last(&topic, 1).unwrap()).await;
    assert_eq!(values(&last), ["9"]);
}
