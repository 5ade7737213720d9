//! Side topics: through them dead letters of a source topic come back (DESIGN "Side topics").
//!
//! Who owns a partition of the source topic reads the same partition of its side topic, by manual assignment, on the
//! poller's thread. So there is one place that sends about a subject, and its lanes see replays and live SETs alike. A
//! consumer group that nobody joins keeps how far they are settled. Kafka cannot fence its commits, so they are made here
//! and not by librdkafka: only while the source partitions are ours beyond doubt, and before they are given back.
//!
//! It must never read a side partition whose source partition is not ours, and never commit what the desk did not order.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, TopicPartitionList};

use super::client::{KafkaClient, code_of};
use super::consumer::{Closing, Leaving, Poller, record_of};
use super::context::{Context, Said};
use super::events::{Notice, Seat, Seated};
use super::settings::ConsumerSettings;
use super::tail::Tail;
use crate::delivery::pacing::{Pacing, PacingSettings};
use crate::ffi::TopicId;

mod commits;
mod ends;
mod finding;
mod handing;
mod leaving;

use handing::{Source, Waiting};

/// Replays of one partition that are read and wait for their turn at most; by bytes at most [`WAITING_BYTES`] and one
/// record. Each partition has its own places, because one of them may wait long for its live records.
const WAITING: usize = 32;
/// See [`WAITING`].
const WAITING_BYTES: usize = 256 << 10;
/// Replays at work at most, counted from the oldest that is not settled: they must not take the room of live records.
const AHEAD: i64 = 500;
/// What is committed is committed once more after so long: Kafka forgets a group without commits
/// (`offsets.retention.minutes`), and that of a zombie may have come last.
const KEEP: Duration = Duration::from_secs(600);
/// What the log says when nothing is committed.
const UNCOMMITTED: &str =
    "replays wait until Kafka has acknowledged a commit of how far they are settled";
/// Steps of the client that are taken in one turn at most.
const STEPS: usize = 64;

/// The names of a source topic's side topic and of the topic for its outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideNames {
    /// The side topic.
    pub side: String,
    /// The topic for outcomes.
    pub outcomes: String,
}

/// The names by source topic.
pub type NamesBySource = Arc<dyn Fn(&str) -> Option<SideNames> + Send + Sync>;

/// Which side topics are read, and how.
#[derive(Clone)]
pub struct SideSettings {
    /// The group that keeps how far they are settled.
    pub group: String,
    /// Records a second, at most.
    pub rate: f64,
    /// The names by source topic; [`None`]: it has none.
    pub names: NamesBySource,
}

impl fmt::Debug for SideSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideSettings")
            .field("group", &self.group)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// One partition of a side topic.
struct SidePlace {
    seat: Seat,
    topic: Arc<str>,
    source: Source,
    leaving: Leaving,
    /// Where the reading started.
    start: i64,
    /// The next offset to read.
    next: i64,
    /// The offset behind the last record that the desk got.
    handed: i64,
    /// As the desk ordered; at first, where the reading started.
    settled: i64,
    ordered: bool,
    /// What the group has, as far as it told us.
    committed: Option<i64>,
    /// What is being committed, since when.
    asked: Option<(i64, Instant)>,
    /// How many of its replays wait, and their bytes.
    waiting: (usize, usize),
    /// So many wait that no more are read.
    paused: bool,
}

impl SidePlace {
    /// No more of it is read.
    fn is_full(&self) -> bool {
        self.waiting.0 >= WAITING || self.waiting.1 >= WAITING_BYTES
    }

    /// It is worth reading again: a pause throws away what was fetched ahead.
    fn has_ample_space(&self) -> bool {
        self.waiting.0 <= WAITING / 2 && self.waiting.1 <= WAITING_BYTES / 2
    }
}

/// The side topics of one stream.
pub(super) struct Side {
    settings: SideSettings,
    client: KafkaClient,
    config: ClientConfig,
    token_file: Option<std::path::PathBuf>,
    /// Made when the first side topic is found.
    reader: Option<Closing>,
    /// By side topic.
    places: HashMap<String, BTreeMap<i32, SidePlace>>,
    /// Which topics the names meant when their partitions were taken up.
    ids: HashMap<String, TopicId>,
    pace: Pacing,
    /// Read, and not handed over: the pace, or the room, does not let them.
    waiting: VecDeque<Waiting>,
    /// When to ask again where the log of a source partition ends that did not answer.
    ends_at: Instant,
    /// When to look what is left of the logs of the source topics.
    tails_at: Instant,
    /// Looks that.
    tail: Option<Tail>,
    look_at: Instant,
    /// A position is outside of its log.
    outside: bool,
    commit_at: Instant,
    keep_at: Instant,
    /// Until then a partition that leaves may wait for its last commit.
    go_at: Option<Instant>,
    /// Topics about which the log said what is wrong.
    told: HashSet<String>,
}

impl Side {
    pub(super) fn new(settings: SideSettings, of: &ConsumerSettings) -> Self {
        let now = Instant::now();
        // A quarter of a second's worth at once: the poller does not come by more often under load.
        let burst = (settings.rate / 4.0).ceil().clamp(1.0, 1e6);
        let pace = PacingSettings {
            rate: Some(settings.rate),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to 10^6"
            )]
            burst: burst as u32,
        };
        Self {
            client: of.client.clone(),
            config: of.side_config(&settings.group),
            token_file: of.client.token_file(),
            reader: None,
            places: HashMap::new(),
            ids: HashMap::new(),
            pace: Pacing::new(pace, now),
            waiting: VecDeque::new(),
            ends_at: now,
            tails_at: now,
            tail: None,
            look_at: now,
            outside: false,
            commit_at: now,
            keep_at: now + KEEP,
            go_at: None,
            told: HashSet::new(),
            settings,
        }
    }

    fn all(&self) -> impl Iterator<Item = (&str, i32, &SidePlace)> {
        self.places
            .iter()
            .flat_map(|(topic, of)| of.iter().map(move |(n, place)| (topic.as_str(), *n, place)))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut SidePlace> {
        self.places.values_mut().flat_map(BTreeMap::values_mut)
    }

    fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut SidePlace> {
        self.places.get_mut(topic)?.get_mut(&partition)
    }

    /// Reads a little; what it says is for the desk. `sure`: the source partitions are ours beyond doubt.
    pub(super) fn turn(&mut self, sure: bool) -> KafkaResult<Vec<Notice>> {
        self.read()?;
        let notices = self.hear()?;
        if sure && self.commit_at <= Instant::now() {
            self.commit();
        }
        Ok(notices)
    }

    fn read(&mut self) -> KafkaResult<()> {
        self.pause(false, |place| {
            place.paused && place.leaving == Leaving::No && place.has_ample_space()
        });
        for _ in 0..STEPS {
            let Some(reader) = &self.reader else { break };
            match reader.0.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let seated = take(&mut self.places, &message);
                    drop(message);
                    self.waits(seated);
                }
                Some(Err(error)) => {
                    if reader.0.client().fatal_error().is_some() {
                        return Err(error);
                    }
                    self.misfortune(&error);
                }
            }
        }
        Ok(())
    }

    /// This one was read and waits; perhaps it is the last of its partition for now.
    fn waits(&mut self, seated: Option<Seated>) {
        let Some(seated) = seated else { return };
        let origin = &seated.record.origin;
        let (topic, partition, size) = (
            Arc::clone(&origin.topic),
            origin.partition,
            seated.record.size(),
        );
        self.waiting.push_back(Waiting::new(seated));
        let Some(place) = self.get_mut(&topic, partition) else {
            return;
        };
        place.waiting = (place.waiting.0 + 1, place.waiting.1 + size);
        if place.is_full() {
            let seat = place.seat;
            self.pause(true, |place| place.seat == seat && !place.paused);
        }
    }

    /// librdkafka goes on by itself, but for a position outside of the log.
    fn misfortune(&mut self, error: &KafkaError) {
        match code_of(error) {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.outside = true;
                self.look_at = Instant::now();
            }
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
                if self.told.insert(error.to_string()) {
                    tracing::warn!(%error, group = self.settings.group, "replays wait: this principal needs Read and Describe on the side topic, and Read on the group");
                }
            }
            _ => tracing::debug!(%error, "Kafka, reading side topics"),
        }
    }

    /// Pauses these places, or resumes them.
    fn pause(&mut self, pause: bool, which: impl Fn(&SidePlace) -> bool) {
        let mut list = TopicPartitionList::new();
        for (topic, of) in &mut self.places {
            for (partition, place) in of.iter_mut().filter(|(_, place)| which(place)) {
                list.add_partition(topic, *partition);
                place.paused = pause;
            }
        }
        if let Some(reader) = self.reader.as_ref().filter(|_| list.count() > 0) {
            let result = match pause {
                true => reader.0.pause(&list),
                false => reader.0.resume(&list),
            };
            if let Err(error) = result {
                tracing::warn!(%error, pause, "side topics could not be paused or resumed");
            }
        }
    }

    fn hear(&mut self) -> KafkaResult<Vec<Notice>> {
        let mut notices = Vec::new();
        while let Some(said) = self.reader.as_ref().and_then(|r| r.0.context().next()) {
            match said {
                Said::Committed { list, .. } => {
                    let (mut seats, mut is_acknowledged) = (Vec::new(), false);
                    for (topic, partition, next) in list {
                        if let Some(place) = self.get_mut(&topic, partition) {
                            place.committed = Some(next);
                            place.asked = None;
                            is_acknowledged = true;
                            seats.push((place.seat, next));
                        }
                    }
                    if is_acknowledged {
                        self.told.remove(UNCOMMITTED);
                    }
                    notices.push(Notice::Committed(seats));
                }
                Said::CommitFailed(error) => notices.push(Notice::CommitFailed(error.to_string())),
                Said::HighWatermark(topic, partition, log_end) => {
                    if let Some(place) = self.get_mut(&topic, partition) {
                        let seat = place.seat;
                        notices.push(Notice::Lag { seat, log_end });
                    }
                }
                Said::Fatal(_) => return Err(KafkaError::Global(Code::Fatal)),
                // The poller's own consumer says it too, or it is about a group that nobody joins.
                Said::Global(..) | Said::Assign(_) | Said::Revoke(_) => {}
            }
        }
        Ok(notices)
    }
}

/// A record of a partition that is ours and stays ours; others are read again by their next owner.
fn take(
    places: &mut HashMap<String, BTreeMap<i32, SidePlace>>,
    message: &BorrowedMessage<'_>,
) -> Option<Seated> {
    let place = places
        .get_mut(message.topic())?
        .get_mut(&message.partition())?;
    if place.leaving != Leaving::No || message.offset() < place.next {
        return None;
    }
    place.next = message.offset() + 1;
    Some(Seated {
        seat: place.seat,
        record: record_of(message, Arc::clone(&place.topic)),
    })
}

impl Poller {
    /// One turn of the side topics.
    pub(super) fn serve_sides(&mut self, consumer: &BaseConsumer<Context>) {
        self.find_sides(consumer);
        let sure = self.is_sure();
        let Some(side) = &mut self.side else { return };
        match side.turn(sure) {
            Ok(notices) => {
                // While live records are paused, those that come in meanwhile would be overtaken.
                if !self.paused {
                    side.let_live_ones_first(consumer, &self.places);
                    let batch = side.hand_over(&self.room, &self.places);
                    if !batch.is_empty() {
                        // A desk that is gone has already told everybody to stop.
                        let _ = self.lines.records.send(batch);
                    }
                }
                notices.into_iter().for_each(|notice| self.tell(notice));
            }
            Err(error) => {
                tracing::error!(%error, "the Kafka client of the side topics failed; it is made anew");
                let seats = side.clear();
                self.lose_sides(seats);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
