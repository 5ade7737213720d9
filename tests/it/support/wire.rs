//! A cluster as any other client sees it: produce, read back, look at committed offsets.
//!
//! Everything here is async and lets other tasks run while it waits, because the bridge under test may share the
//! test's runtime. Each wait is for an event and has a deadline; past it the test fails and says what did come.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::fresh;

/// For one question to a broker that is up. Generous: two cores may be busy with other tests.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How clients reach one listener of one cluster.
#[derive(Clone)]
pub(crate) struct Wire {
    bootstrap: String,
    properties: BTreeMap<String, String>,
}

/// A record to produce.
#[derive(Clone, Default)]
pub(crate) struct Message {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
}

impl Message {
    /// A record with this value, no key, no headers, on any partition, stamped by the producer.
    pub(crate) fn new(value: impl Into<Vec<u8>>) -> Message {
        Message {
            value: Some(value.into()),
            ..Message::default()
        }
    }

    /// A record without a value. With a key it deletes that key from a compacted topic.
    pub(crate) fn tombstone() -> Message {
        Message::default()
    }

    pub(crate) fn key(mut self, key: impl Into<Vec<u8>>) -> Message {
        self.key = Some(key.into());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: Option<&[u8]>) -> Message {
        self.headers
            .push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    pub(crate) fn partition(mut self, partition: i32) -> Message {
        self.partition = Some(partition);
        self
    }

    pub(crate) fn timestamp_ms(mut self, timestamp_ms: i64) -> Message {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }
}

/// A record that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

impl Seen {
    /// The value of the last header of this name, as text. `None` when there is no such header or it is null.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(n, _)| n == name)?;
        value
            .as_deref()
            .map(|v| std::str::from_utf8(v).expect("a header of text"))
    }

    fn of(message: &BorrowedMessage<'_>) -> Seen {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
                .collect()
        });
        Seen {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp_ms: message.timestamp().to_millis(),
        }
    }
}

impl Wire {
    /// A plain-text listener.
    pub(crate) fn to(bootstrap: &str) -> Wire {
        Wire {
            bootstrap: bootstrap.to_owned(),
            properties: BTreeMap::new(),
        }
    }

    /// The same with one more librdkafka property.
    pub(crate) fn with(mut self, property: &str, value: &str) -> Wire {
        self.properties
            .insert(property.to_owned(), value.to_owned());
        self
    }

    /// `host:port` for `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The librdkafka properties that this listener needs beside `bootstrap.servers`: what a test writes into the
    /// configuration of the bridge. Empty for plain text.
    pub(crate) fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// A configuration with all of them.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        for (property, value) in &self.properties {
            config.set(property, value);
        }
        config
    }

    /// Produces one record and returns its partition and offset once the broker has acknowledged it.
    pub(crate) async fn produce(&self, topic: &str, message: Message) -> (i32, i64) {
        self.produce_all(topic, [message]).await[0]
    }

    /// Produces the records in order and returns their partitions and offsets once all are acknowledged.
    ///
    /// # Panics
    /// When the broker refuses one; [`Wire::try_produce`] returns the error.
    pub(crate) async fn produce_all(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<(i32, i64)> {
        self.try_produce(topic, messages)
            .await
            .unwrap_or_else(|e| panic!("producing to {topic}: {e}"))
    }

    /// As [`Wire::produce_all`], for tests of a refusal.
    pub(crate) async fn try_produce(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<(i32, i64)>, KafkaError> {
        let producer: FutureProducer = self
            .client()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("message.max.bytes", "20000000")
            .set("message.timeout.ms", ANSWER.as_millis().to_string())
            .create()?;
        let mut acknowledgements = Vec::new();
        for message in messages {
            let sent = producer.send_result(record(topic, &message));
            acknowledgements.push(sent.map_err(|(e, _)| e)?);
        }
        let mut places = Vec::with_capacity(acknowledgements.len());
        for acknowledgement in acknowledgements {
            let delivery = acknowledgement.await.expect("the producer lives");
            places.push(
                delivery
                    .map(|d| (d.partition, d.offset))
                    .map_err(|(e, _)| e)?,
            );
        }
        Ok(places)
    }

    /// Reads the topic from its beginning until `count` records came, in the order of each partition.
    ///
    /// # Panics
    /// When fewer came before the deadline, with what did come.
    pub(crate) async fn read(&self, topic: &str, count: usize, deadline: Duration) -> Vec<Seen> {
        let consumer = self.reader(topic).await;
        let until = Instant::now() + deadline;
        let mut seen = Vec::with_capacity(count);
        while seen.len() < count {
            match timeout_at(until, consumer.recv()).await {
                Ok(Ok(message)) => seen.push(Seen::of(&message)),
                Ok(Err(KafkaError::PartitionEOF(_))) => {}
                Ok(Err(e)) => panic!("reading {topic}: {e}"),
                Err(_) => panic!(
                    "{} of {count} records in {topic} after {deadline:?}: {seen:?}",
                    seen.len()
                ),
            }
        }
        seen
    }

    /// Reads all that is in the topic now: every partition up to its end.
    pub(crate) async fn read_all(&self, topic: &str) -> Vec<Seen> {
        let consumer = self.reader(topic).await;
        let mut open = self.partitions(topic).await;
        let mut seen = Vec::new();
        while !open.is_empty() {
            let next = timeout(ANSWER, consumer.recv()).await;
            match next.unwrap_or_else(|_| panic!("{topic}: no end of partitions {open:?}")) {
                Ok(message) => seen.push(Seen::of(&message)),
                Err(KafkaError::PartitionEOF(partition)) => open.retain(|p| *p != partition),
                Err(e) => panic!("reading {topic}: {e}"),
            }
        }
        seen
    }

    /// The ids of the topic's partitions; empty when there is no such topic.
    pub(crate) async fn partitions(&self, topic: &str) -> Vec<i32> {
        let name = topic.to_owned();
        self.ask(move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&name), ANSWER)?;
            Ok(metadata.topics().first().map_or_else(Vec::new, |t| {
                t.partitions().iter().map(|p| p.id()).collect()
            }))
        })
        .await
        .unwrap_or_else(|e| panic!("metadata of {topic}: {e}"))
    }

    /// The first offset that is still kept, and the offset that the next record will get.
    pub(crate) async fn watermarks(&self, topic: &str, partition: i32) -> (i64, i64) {
        let name = topic.to_owned();
        self.ask(move |consumer| consumer.fetch_watermarks(&name, partition, ANSWER))
            .await
            .unwrap_or_else(|e| panic!("watermarks of {topic}:{partition}: {e}"))
    }

    /// The committed offset of each partition of the topic for which the group has one.
    pub(crate) async fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let mut wanted = TopicPartitionList::new();
        for partition in self.partitions(topic).await {
            wanted.add_partition(topic, partition);
        }
        let of_group = self.clone().with("group.id", group);
        of_group
            .ask(move |consumer| {
                let committed = consumer.committed_offsets(wanted, ANSWER)?;
                let elements = committed.elements();
                let offsets = elements.iter().filter_map(|e| match e.offset() {
                    Offset::Offset(offset) => Some((e.partition(), offset)),
                    _ => None,
                });
                Ok(offsets.collect())
            })
            .await
            .unwrap_or_else(|e| panic!("offsets of {group} on {topic}: {e}"))
    }

    /// Waits until the committed offsets of all partitions add up to `total`.
    ///
    /// # Panics
    /// When they do not before the deadline, with what is committed then.
    pub(crate) async fn wait_committed(
        &self,
        group: &str,
        topic: &str,
        total: i64,
        deadline: Duration,
    ) {
        let until = Instant::now() + deadline;
        loop {
            let committed = self.committed(group, topic).await;
            if committed.values().sum::<i64>() == total {
                return;
            }
            assert!(
                Instant::now() < until,
                "{group} committed {committed:?} on {topic}, not {total} in all, after {deadline:?}"
            );
            // Kafka has no event for a commit; this is the pause between two questions.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the group (of the classic protocol) is stable with so many members. The mock cluster cannot tell.
    ///
    /// # Panics
    /// When it is not before [`ANSWER`] is over.
    pub(crate) async fn wait_members(&self, group: &str, count: usize) {
        let until = Instant::now() + ANSWER;
        loop {
            let name = group.to_owned();
            let found = self.ask(move |consumer| {
                let list = consumer.fetch_group_list(Some(&name), ANSWER)?;
                let found = list.groups().iter().find(|found| found.name() == name);
                Ok(found.map(|found| (found.state().to_owned(), found.members().len())))
            });
            let found = found
                .await
                .unwrap_or_else(|e| panic!("members of {group}: {e}"));
            if found
                .as_ref()
                .is_some_and(|(state, n)| state == "Stable" && *n == count)
            {
                return;
            }
            assert!(
                Instant::now() < until,
                "{group}: {found:?}, not {count} members"
            );
            // Kafka has no event for it; this is the pause between two questions.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The ids of a group's members (of the classic protocol).
    pub(crate) async fn members(&self, group: &str) -> Vec<String> {
        let name = group.to_owned();
        let found = self.ask(move |consumer| {
            let list = consumer.fetch_group_list(Some(&name), ANSWER)?;
            let of = list.groups().iter().filter(|found| found.name() == name);
            let members = of.flat_map(|found| found.members());
            Ok(members.map(|member| member.id().to_owned()).collect())
        });
        found
            .await
            .unwrap_or_else(|e| panic!("members of {group}: {e}"))
    }

    /// The first error that a client of this listener is told, for tests of a refused TLS or SASL handshake.
    ///
    /// # Panics
    /// When none came within [`ANSWER`].
    pub(crate) async fn first_error(&self) -> KafkaError {
        let (told, mut errors) = mpsc::unbounded_channel();
        let consumer: StreamConsumer<Listening> = self
            .client()
            .set("group.id", fresh("first-error"))
            .create_with_context(Listening(told))
            .expect("a consumer");
        consumer.subscribe(&["nothing"]).expect("a subscription");
        let first = timeout(ANSWER, async {
            tokio::select! {
                Some(error) = errors.recv() => error,
                Err(error) = consumer.recv() => error,
            }
        });
        first.await.expect("an error from the listener")
    }

    /// A consumer of every partition of the topic from its first offset on. It commits nothing.
    async fn reader(&self, topic: &str) -> StreamConsumer {
        let partitions = self.partitions(topic).await;
        assert!(!partitions.is_empty(), "there is no topic {topic}");
        let mut all = TopicPartitionList::new();
        for partition in partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
        let consumer: StreamConsumer = self
            .client()
            .set("group.id", fresh("reading"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer");
        consumer.assign(&all).expect("an assignment");
        consumer
    }

    /// Asks a question that librdkafka answers only by blocking, on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let config = self.client();
        tokio::task::spawn_blocking(move || question(&config.create()?))
            .await
            .expect("the question does not panic")
    }
}

/// Passes on what librdkafka says outside of any call.
struct Listening(mpsc::UnboundedSender<KafkaError>);

impl ClientContext for Listening {
    fn error(&self, error: KafkaError, _reason: &str) {
        // Nobody listens any more once the first error was taken.
        let _ = self.0.send(error);
    }
}

impl ConsumerContext for Listening {}

fn record<'a>(topic: &'a str, message: &'a Message) -> FutureRecord<'a, [u8], [u8]> {
    let headers = message
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: value.as_deref(),
            })
        });
    FutureRecord {
        topic,
        partition: message.partition,
        payload: message.value.as_deref(),
        key: message.key.as_deref(),
        timestamp: message.timestamp_ms,
        headers: (!message.headers.is_empty()).then_some(headers),
    }
}
