//! What `setbridge dlq replay` does, by hand: dead letters go to the side topic, outcomes come back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::bridge::SOON;
use super::broker::Broker;
use super::configuration::record;
use super::one_stream::OneStream;
use super::wire::{Message, Seen, Wire};

/// The side topic of one source topic of the stream `okta`.
pub(crate) struct Replays {
    wire: Wire,
    letters: String,
    pub(crate) side: String,
    pub(crate) outcomes: String,
    pub(crate) group: String,
}

impl Replays {
    /// The names; nothing is made.
    pub(crate) fn of(one: &OneStream) -> Replays {
        let side = format!("{}.okta.replay", one.topic);
        Replays {
            wire: one.wire.clone(),
            letters: format!("{}.okta.dlq", one.topic),
            outcomes: format!("{side}.outcomes"),
            side,
            group: format!("{}.replay", one.group()),
        }
    }

    /// Makes both topics.
    pub(crate) async fn on(broker: &Broker, one: &OneStream, partitions: i32) -> Replays {
        let replays = Replays::of(one);
        broker.create_topic(&replays.outcomes, 1).await;
        broker.create_topic(&replays.side, partitions).await;
        replays
    }

    /// The record of the side topic for this dead letter.
    pub(crate) fn record(&self, letter: &Seen, force: bool) -> Message {
        let value = letter.value.clone();
        let mut message = value.map_or_else(Message::tombstone, Message::new);
        if let Some(key) = &letter.key {
            message = message.key(key.clone());
        }
        for (name, value) in &letter.headers {
            message = message.header(name, value.as_deref());
        }
        let of = self.place(letter);
        message = message.header("setbridge-replay-of", Some(of.as_bytes()));
        if force {
            message = message.header("setbridge-replay-force", Some(b"true"));
        }
        let partition = letter.header("setbridge-origin-partition");
        let partition = partition.expect("an origin").parse().expect("a number");
        message
            .header("setbridge-replay-ms", Some(b"1760000000000"))
            .partition(partition)
    }

    /// A replay of a detection that was never in the source topic, as if record 0 of this partition were a dead letter as
    /// a whole.
    pub(crate) fn made(&self, detection: &Value, partition: i32) -> Message {
        let of = format!("{}/{partition}/0", self.letters);
        let partition_text = partition.to_string();
        let source = self.side.strip_suffix(".okta.replay").expect("our name");
        let headers = [
            ("version", "0.1.0"),
            ("stream", "okta"),
            ("origin-topic", source),
            ("origin-partition", &*partition_text),
            ("origin-offset", "0"),
            ("origin-timestamp-ms", "1760000000000"),
            ("stage", "push"),
            ("reason", "invalid_request"),
            ("attempts", "1"),
            ("replay-of", &of),
            ("replay-ms", "1760000000000"),
        ];
        let message = record(detection).partition(partition);
        headers.iter().fold(message, |message, (name, value)| {
            message.header(&format!("setbridge-{name}"), Some(value.as_bytes()))
        })
    }

    /// Writes records to the side topic.
    pub(crate) async fn write(&self, records: impl IntoIterator<Item = Message>) {
        self.wire.produce_all(&self.side, records).await;
    }

    /// How outcomes name this dead letter.
    pub(crate) fn place(&self, letter: &Seen) -> String {
        format!("{}/{}/{}", self.letters, letter.partition, letter.offset)
    }

    /// Replays these dead letters, in this order.
    pub(crate) async fn replay<'a>(&self, letters: impl IntoIterator<Item = &'a Seen>) {
        let each = letters.into_iter();
        self.write(each.map(|letter| self.record(letter, false)))
            .await;
    }

    /// Replays one though something newer is known.
    pub(crate) async fn force(&self, letter: &Seen) {
        self.write([self.record(letter, true)]).await;
    }

    /// So many outcomes, in the order in which they were told.
    pub(crate) async fn told(&self, count: usize) -> Vec<Value> {
        let seen = self.wire.read(&self.outcomes, count, SOON).await;
        let value = |seen: Seen| serde_json::from_slice(&seen.value.expect("a value"));
        seen.into_iter()
            .map(|seen| value(seen).expect("JSON"))
            .collect()
    }

    /// The last of so many outcomes: what it says under these names.
    pub(crate) async fn last(&self, count: usize, names: &[&str]) -> Value {
        let last = self.told(count).await.pop().expect("one at least");
        let of = |name: &&str| ((*name).to_owned(), last[*name].clone());
        names
            .iter()
            .map(of)
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Waits until so many records of the side topic are settled.
    pub(crate) async fn all_committed(&self, total: i64) {
        let (group, side) = (&self.group, &self.side);
        self.wire.wait_committed(group, side, total, SOON).await;
    }

    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        self.wire.committed(&self.group, &self.side).await
    }
}

/// No guard: a refusal is a dead letter at once.
pub(crate) fn unguarded(one: OneStream) -> OneStream {
    one.set(
        "streams.0.guard",
        json!({"refusals": {"enabled": false}, "records": {"enabled": false}}),
    )
}
