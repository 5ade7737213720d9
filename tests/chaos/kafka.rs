//! What the driver itself reads of Kafka: what the group commits, dead letters, replays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::load::{KEYED, LOOSE};
use super::oracle::{Committed, Letter, Place, Replay, Told};
use super::receiver::{fingerprint, now_ms};
use super::support::wire::{Seen as Read, Wire};

/// Id of the stream.
pub(crate) const STREAM: &str = "chaos";
/// Between two questions about what is committed.
const WATCH: Duration = Duration::from_millis(400);

/// The two source topics.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) keyed: String,
    pub(crate) loose: String,
}

impl Topics {
    pub(crate) fn name(&self, keyed: bool) -> &str {
        if keyed { &self.keyed } else { &self.loose }
    }

    fn partitions(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.keyed, 0, KEYED - 1);
        list.add_partition_range(&self.loose, 0, LOOSE - 1);
        list
    }
}

/// What the group had committed, as it was seen.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Committed>>>);

impl Seen {
    /// All that was committed at that moment or before.
    pub(crate) fn at(&self, at_ms: u64) -> Option<Committed> {
        let seen = self.0.lock().expect("no panic");
        seen.iter().rev().find(|one| one.at_ms <= at_ms).cloned()
    }

    /// The next offset of this partition, when it was looked at last.
    pub(crate) fn committed(&self, keyed: bool, partition: i32) -> Option<i64> {
        let seen = self.0.lock().expect("no panic");
        seen.last()?.next.get(&(keyed, partition)).copied()
    }
}

/// Where the next record of the partition comes. Asked until a broker tells.
pub(crate) async fn log_end(wire: &Wire, topic: &str, partition: i32) -> i64 {
    let (client, topic) = (wire.client(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let asking: BaseConsumer = client.create().expect("a consumer");
        loop {
            let found = asking.fetch_watermarks(&topic, partition, Duration::from_secs(5));
            if let Ok((_, end)) = found {
                return end;
            }
            std::thread::sleep(WATCH);
        }
    });
    asked.await.expect("it only asks")
}

/// Asks again and again what the group has committed.
pub(crate) struct Watch {
    seen: Seen,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(wire: &Wire, group: &str, topics: &Topics) -> Watch {
        let seen = Seen::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut config = wire.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500");
        let asking: BaseConsumer = config.create().expect("a consumer");
        let (to, end, topics) = (seen.clone(), Arc::clone(&stop), topics.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // What is told was committed when it was asked, or later.
                let at_ms = now_ms();
                if let Some(next) = committed(&asking, &topics) {
                    to.0.lock()
                        .expect("no panic")
                        .push(Committed { at_ms, next });
                }
                std::thread::sleep(WATCH);
            }
        });
        Watch {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// For who wants to know it, too.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// The sum over all partitions: how many records are done.
    pub(crate) fn total(&self) -> u64 {
        let seen = self.seen.0.lock().expect("no panic");
        let sum = seen.last().map_or(0, |last| last.next.values().sum());
        u64::try_from(sum).unwrap_or(0)
    }

    pub(crate) fn end(mut self) -> Vec<Committed> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a thread");
        thread.join().expect("the watch does not panic");
        std::mem::take(&mut self.seen.0.lock().expect("no panic"))
    }
}

fn committed(asking: &BaseConsumer, topics: &Topics) -> Option<BTreeMap<(bool, i32), i64>> {
    let list = asking
        .committed_offsets(topics.partitions(), Duration::from_secs(5))
        .ok()?;
    let elements = list.elements();
    if elements.iter().any(|element| element.error().is_err()) {
        return None;
    }
    let next = elements
        .iter()
        .filter_map(|element| match element.offset() {
            Offset::Offset(next) => {
                Some(((element.topic() == topics.keyed, element.partition()), next))
            }
            _ => None,
        });
    Some(next.collect())
}

/// What is in the dead-letter topics.
///
/// # Errors
/// When a dead letter does not say what the documentation promises.
pub(crate) async fn letters(wire: &Wire, topics: &Topics) -> Result<Vec<Letter>, String> {
    let mut letters = Vec::new();
    for keyed in [true, false] {
        let topic = format!("{}.{STREAM}.dlq", topics.name(keyed));
        if wire.partitions(&topic).await.is_empty() {
            continue;
        }
        for seen in wire.read_all(&topic).await {
            let letter = letter(&seen, keyed);
            letters.push(letter.ok_or_else(|| format!("no dead letter of ours: {seen:?}"))?);
        }
    }
    Ok(letters)
}

fn letter(seen: &Read, keyed: bool) -> Option<Letter> {
    let number = |name: &str| seen.header(name)?.parse::<i64>().ok();
    Some(Letter {
        place: place(seen, keyed),
        at_ms: at_ms(seen)?,
        origin: Place {
            keyed,
            partition: i32::try_from(number("setbridge-origin-partition")?).ok()?,
            offset: number("setbridge-origin-offset")?,
        },
        element: number("setbridge-element").and_then(|n| u32::try_from(n).ok()),
        jti: seen
            .header("setbridge-jti")
            .map(|jti| fingerprint(jti.as_bytes())),
        reason: seen.header("setbridge-reason")?.to_owned(),
    })
}

pub(crate) fn place(seen: &Read, keyed: bool) -> Place {
    Place {
        keyed,
        partition: seen.partition,
        offset: seen.offset,
    }
}

fn at_ms(seen: &Read) -> Option<u64> {
    u64::try_from(seen.timestamp_ms?).ok()
}

/// What was brought back, and what the bridges told about it.
///
/// # Errors
/// When one of them is not as the documentation promises.
pub(crate) async fn replays(
    wire: &Wire,
    topics: &Topics,
) -> Result<(Vec<Replay>, Vec<Told>), String> {
    let (mut replays, mut told) = (Vec::new(), Vec::new());
    for keyed in [true, false] {
        let side = format!("{}.{STREAM}.replay", topics.name(keyed));
        let outcomes = format!("{side}.outcomes");
        if wire.partitions(&side).await.is_empty() {
            continue;
        }
        for seen in wire.read_all(&side).await {
            let replay = replay(&seen, keyed);
            replays.push(replay.ok_or_else(|| format!("no replay of ours: {seen:?}"))?);
        }
        for seen in wire.read_all(&outcomes).await {
            let one = told_of(&seen, keyed);
            told.push(one.ok_or_else(|| format!("no outcome of a replay: {seen:?}"))?);
        }
    }
    Ok((replays, told))
}

fn replay(seen: &Read, keyed: bool) -> Option<Replay> {
    Some(Replay {
        of: letter_of(seen.header("setbridge-replay-of")?, keyed)?,
        at_ms: at_ms(seen)?,
        forced: seen.header("setbridge-replay-force") == Some("true"),
    })
}

fn told_of(seen: &Read, keyed: bool) -> Option<Told> {
    let told: serde_json::Value = serde_json::from_slice(seen.value.as_deref()?).ok()?;
    Some(Told {
        of: letter_of(told["replay_of"].as_str()?, keyed)?,
        outcome: told["outcome"].as_str()?.to_owned(),
        at_ms: at_ms(seen)?,
    })
}

/// `topic/partition/offset`
fn letter_of(text: &str, keyed: bool) -> Option<Place> {
    let mut parts = text.rsplit('/');
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some(Place {
        keyed,
        partition,
        offset,
    })
}

/// How many replays are not settled yet.
pub(crate) async fn open_replays(wire: &Wire, group: &str, topics: &Topics) -> i64 {
    let mut open = 0;
    for keyed in [true, false] {
        let side = format!("{}.{STREAM}.replay", topics.name(keyed));
        let settled = wire.committed(&format!("{group}.replay"), &side).await;
        for partition in wire.partitions(&side).await {
            let (_, end) = wire.watermarks(&side, partition).await;
            open += end - settled.get(&partition).copied().unwrap_or(0);
        }
    }
    open
}
