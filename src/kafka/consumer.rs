//! The only poller of a stream's topics: a thread of its own around one librdkafka consumer.
//!
//! It hands records to the desk in the order of the log, stores the offsets that the desk orders, pauses when the room
//! is full, and carries out rebalances: a revoke waits (while polling goes on) until the desk releases the partitions.
//! It must never decide about a record, and never store an offset that the desk did not order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use crate::ffi::{self, TopicId};
use crate::record::{Origin, Record};

use super::context::Context;
use super::doubt::Silent;
use super::events::{Notice, Order, Seat, Seated};
use super::membership::Membership;
use super::room::Room;
use super::settings::ConsumerSettings;
use super::side::Side;
use super::start::Beginnings;

/// One poll waits at most this long: orders are obeyed at this pace.
const POLL: Duration = Duration::from_millis(50);
/// Records handed over at once at most.
const BATCH: usize = 256;
/// A full room is waited for without polling this long before the partitions are paused: pausing throws away what
/// librdkafka has fetched ahead, so a stream that is merely busy should not do it.
const BUSY: Duration = Duration::from_secs(1);
/// A second fatal error within this time ends the process.
const FATAL_AGAIN: Duration = Duration::from_secs(600);
/// Longest wait for one answer of the broker between two polls. Below any sensible liveness threshold.
pub(super) const ASK: Duration = Duration::from_secs(5);

/// The poller's ends of its channels.
pub struct Lines {
    /// Notices to the desk.
    pub notices: UnboundedSender<Notice>,
    /// Records to the desk; bounded by the room, not by the channel.
    pub records: UnboundedSender<Vec<Seated>>,
    /// Orders from the desk.
    pub orders: Receiver<Order>,
}

/// Whether a partition is on its way to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It stays.
    No,
    /// The group wants it back; the desk still works on it.
    Asked,
    /// The desk has released it.
    Released,
    /// The desk has let it go; whether it stays is for the group to say, which is asked.
    Doubted,
}

/// One assigned partition, as the poller sees it.
pub(super) struct Place {
    pub(super) seat: Seat,
    pub(super) topic: Arc<str>,
    pub(super) leaving: Leaving,
    /// The next offset to read.
    pub(super) next: i64,
    /// What the group has, or will have with the next commit; at first, where the reading started.
    pub(super) stored: i64,
}

enum End {
    Stopped,
    Fatal(String),
}

/// A consumer that gives its partitions back inside of the callback when it goes, however it goes: nobody is left to do
/// it later, and librdkafka would wait for it for ever. Stored offsets are committed by librdkafka as it closes.
pub(super) struct Closing(pub(super) BaseConsumer<Context>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.context().close();
    }
}

/// The poller of one stream. [`Poller::run`] blocks its thread until it is told to stop.
pub struct Poller {
    pub(super) settings: ConsumerSettings,
    pub(super) room: Arc<Room>,
    membership: Arc<Membership>,
    pub(super) lines: Lines,
    /// [`None`]: no dead letters come back.
    pub(super) side: Option<Side>,
    pub(super) next_seat: u64,
    pub(super) places: HashMap<String, BTreeMap<i32, Place>>,
    /// Assigned by the group, not yet taken up because the broker did not answer. May be empty: a cooperative rebalance
    /// that brings nothing new has to be taken up too, else it never ends.
    pub(super) unprepared: Option<Vec<(String, i32)>>,
    pub(super) prepare_at: Instant,
    /// Those among them on which the group had no commit.
    pub(super) beginnings: Beginnings,
    /// Somewhere the reading stopped outside of the log; when to look where.
    pub(super) reposition_at: Option<Instant>,
    pub(super) paused: bool,
    /// What operators want read again, until no rebalance is under way.
    pub(super) rewinds: Vec<(Seat, i64)>,
    /// The group was asked whether we are still a member, at this moment.
    pub(super) asked_group: Option<Instant>,
    /// The poller was silent since partitions were assigned: the group is asked as soon as they have seats.
    pub(super) asks_seated: bool,
    /// How often it was.
    pub(super) times_asked: u64,
    /// What is in doubt, and does not say where its log ends.
    pub(super) silent: Silent,
    /// Losses that the desk has not heard of yet: until then no tick says that anything may be sent.
    pub(super) unheard_losses: usize,
    /// Which topics the names meant when we last had partitions of them; when to look again. Kept when they leave: the group
    /// may still have, or get, our commit in a log that is gone, and that may be a place in the new one as well. One entry
    /// a topic.
    pub(super) topic_ids: HashMap<String, TopicId>,
    pub(super) identify_at: Instant,
    /// The last misfortune with Kafka, until everything looks well again.
    pub(super) trouble_at: Option<Instant>,
}

impl Poller {
    /// A poller that has not started.
    #[must_use]
    pub fn new(
        settings: ConsumerSettings,
        room: Arc<Room>,
        membership: Arc<Membership>,
        lines: Lines,
    ) -> Self {
        let side = settings.side.clone().map(|side| Side::new(side, &settings));
        Self {
            side,
            settings,
            room,
            membership,
            lines,
            next_seat: 0,
            places: HashMap::new(),
            unprepared: None,
            prepare_at: Instant::now(),
            beginnings: Beginnings::default(),
            reposition_at: None,
            paused: false,
            rewinds: Vec::new(),
            asked_group: None,
            asks_seated: false,
            times_asked: 0,
            silent: Silent::default(),
            unheard_losses: 0,
            topic_ids: HashMap::new(),
            identify_at: Instant::now(),
            trouble_at: None,
        }
    }

    /// Polls until [`Order::Stop`] or a second fatal error.
    pub fn run(mut self) {
        self.room.register_poller();
        let mut last_fatal: Option<Instant> = None;
        loop {
            let end = match self.subscribe() {
                Ok(consumer) => self.poll_until_the_end(&consumer.0),
                Err(error) => End::Fatal(error.to_string()),
            };
            let End::Fatal(error) = end else { return };
            let final_one = last_fatal.is_some_and(|at| at.elapsed() < FATAL_AGAIN);
            last_fatal = Some(Instant::now());
            let mut lost: Vec<Seat> = self
                .places
                .drain()
                .flat_map(|(_, of)| of.into_values().map(|place| place.seat))
                .collect();
            lost.extend(self.side.iter_mut().flat_map(Side::clear));
            self.unprepared = None;
            self.beginnings = Beginnings::default();
            self.reposition_at = None;
            self.lose(lost);
            self.tell(Notice::Fatal { error, final_one });
            if final_one {
                return;
            }
        }
    }

    fn subscribe(&self) -> KafkaResult<Closing> {
        let context = Context::new(self.settings.client.token_file());
        let consumer: BaseConsumer<Context> =
            self.settings.config().create_with_context(context)?;
        let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Closing(consumer))
    }

    fn poll_until_the_end(&mut self, consumer: &BaseConsumer<Context>) -> End {
        let mut full_since: Option<Instant> = None;
        loop {
            self.tick(consumer);
            if self.obey(consumer) {
                self.end_sides();
                return End::Stopped;
            }
            self.release_again(consumer);
            self.prepare_again(consumer);
            self.reposition_again(consumer);
            self.look_again(consumer);
            self.identify(consumer);
            self.rewind_again(consumer);
            self.take_confirmed(consumer);
            // The broker was asked, perhaps in vain for a while.
            self.tick(consumer);
            self.serve_sides(consumer);
            if !self.room.has_space() && !self.paused {
                let since = *full_since.get_or_insert_with(Instant::now);
                if since.elapsed() < BUSY {
                    self.room.poller_waits();
                    std::thread::park_timeout(POLL);
                    continue;
                }
                self.pause(consumer, true);
            } else if self.paused && self.room.has_ample_space() {
                self.pause(consumer, false);
            }
            if !self.paused {
                full_since = None;
            }
            if let Err(fatal) = self.poll_batch(consumer) {
                return End::Fatal(fatal);
            }
            if let Some(fatal) = self.hear(consumer) {
                return End::Fatal(fatal);
            }
        }
    }

    /// One loop more. After a gap as long as half a session the group is asked before anything may be sent.
    pub(super) fn tick(&mut self, consumer: &BaseConsumer<Context>) {
        let was_silent = self.membership.looped();
        self.asks_seated |= was_silent && self.unprepared.is_some();
        // An answer to a question from before the silence would prove nothing.
        if was_silent && !self.places.is_empty() {
            tracing::warn!(
                "the poller was silent for half a session; asking the group whether the partitions are still ours"
            );
            self.ask_group(consumer);
        }
        if let Some(asked) = self.asked_group {
            if asked.elapsed() > ASK {
                tracing::warn!(
                    partitions = self.all_places().count(),
                    rebalances = self.rebalances(),
                    waiting = self.unprepared.is_some(),
                    "the group has not said whether the partitions are still ours; asking again, nothing is sent until it does"
                );
                self.ask_group(consumer);
            }
        } else if self.unheard_losses == 0 && !self.asks_seated {
            self.membership.tick();
        }
    }

    /// The partitions are ours beyond doubt.
    pub(super) fn is_sure(&self) -> bool {
        self.asked_group.is_none() && self.membership.is_sure()
    }

    pub(super) fn all_places(&self) -> impl Iterator<Item = (&str, i32, &Place)> {
        self.places
            .iter()
            .flat_map(|(topic, of)| of.iter().map(move |(n, place)| (topic.as_str(), *n, place)))
    }

    /// Carries out what the desk ordered; says whether to stop.
    fn obey(&mut self, consumer: &BaseConsumer<Context>) -> bool {
        let mut store: HashMap<Seat, i64> = HashMap::new();
        let mut release: Vec<Seat> = Vec::new();
        let stop = loop {
            match self.lines.orders.try_recv() {
                Ok(Order::Store { seat, next }) => {
                    store.insert(seat, next);
                }
                Ok(Order::Release(seats)) => release.extend(seats),
                Ok(Order::Confirm(seats)) => self.doubt(consumer, &seats),
                Ok(Order::Rewind { seat, from }) => self.rewinds.push((seat, from)),
                Ok(Order::Stopped) => self.unheard_losses = self.unheard_losses.saturating_sub(1),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => break true,
                Err(TryRecvError::Empty) => break false,
            }
        };
        if !store.is_empty() {
            self.store(consumer, &store);
        }
        if !release.is_empty() {
            self.release(consumer, &release);
        }
        stop
    }

    fn store(&mut self, consumer: &BaseConsumer<Context>, next_of: &HashMap<Seat, i64>) {
        let mut list = TopicPartitionList::new();
        for (topic, of) in &mut self.places {
            for (partition, place) in of.iter_mut() {
                if let Some(next) = next_of.get(&place.seat) {
                    place.stored = *next;
                    if let Err(error) =
                        list.add_partition_offset(topic, *partition, Offset::Offset(*next))
                    {
                        tracing::error!(%error, "an offset could not be listed for storing");
                    }
                }
            }
        }
        if let Some(side) = &mut self.side {
            side.store(next_of);
        }
        if list.count() > 0
            && let Err(error) = consumer.store_offsets(&list)
        {
            // The partition left between the order and now: its new owner starts at what was committed.
            tracing::debug!(%error, "offsets were not stored");
        }
    }

    fn poll_batch(&mut self, consumer: &BaseConsumer<Context>) -> Result<(), String> {
        let mut batch = Vec::new();
        let mut wait = POLL;
        while batch.len() < BATCH && (self.paused || self.room.has_space()) {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if let Some(seated) = self.take(&message) {
                        self.room.enter(seated.record.size());
                        batch.push(seated);
                    }
                }
                Some(Err(error)) => {
                    let fatal = self.misfortune(consumer, &error);
                    if let Some(fatal) = fatal {
                        return Err(fatal);
                    }
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        if !batch.is_empty() {
            // A desk that is gone has already told everybody to stop.
            let _ = self.lines.records.send(batch);
        }
        Ok(())
    }

    /// A record of a partition that is ours and stays ours; others are read again by their next owner.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Option<Seated> {
        let place = self
            .places
            .get_mut(message.topic())?
            .get_mut(&message.partition())?;
        if place.leaving != Leaving::No || message.offset() < place.next {
            return None;
        }
        place.next = message.offset() + 1;
        let record = record_of(message, Arc::clone(&place.topic));
        Some(Seated {
            seat: place.seat,
            record,
        })
    }

    pub(super) fn lose(&mut self, seats: Vec<Seat>) {
        self.unheard_losses += 1;
        self.tell(Notice::Lost(seats));
    }

    pub(super) fn tell(&self, notice: Notice) {
        // A desk that is gone has already told everybody to stop.
        let _ = self.lines.notices.send(notice);
    }
}

/// The record that librdkafka shows, copied: what it shows is gone with the next poll.
pub(super) fn record_of(message: &BorrowedMessage<'_>, topic: Arc<str>) -> Record {
    let headers = message.headers().map(ffi::headers);
    Record {
        origin: Origin {
            topic,
            partition: message.partition(),
            offset: message.offset(),
        },
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}
