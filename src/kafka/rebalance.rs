//! Partitions that come and go: how the poller takes an assignment up, hands one over, and pauses.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::{Offset, TopicPartitionList};

use crate::ffi;

use super::client::{Trouble, code_of};
use super::consumer::{Leaving, Place, Poller};
use super::context::{Context, asking};
use super::events::{NewSeat, Notice, Seat};
use super::start::{self, Beginnings};

/// Time between two tries to start assigned partitions while the broker does not answer.
pub(super) const PREPARE_AGAIN: Duration = Duration::from_secs(1);
/// The same while another member is about to begin on a topic.
const WAIT_AGAIN: Duration = Duration::from_millis(100);

impl Poller {
    /// Starts partitions that the group assigned. While the broker does not answer it is tried again, between polls.
    pub(super) fn prepare_again(&mut self, consumer: &BaseConsumer<Context>) {
        if Instant::now() < self.prepare_at {
            return;
        }
        let Some(partitions) = self.unprepared.take() else {
            return;
        };
        let start_at = self.settings.start_at;
        match start::starts(consumer, &partitions, start_at, &mut self.beginnings) {
            Err(error) => {
                self.prepare_at = Instant::now() + PREPARE_AGAIN;
                self.unprepared = Some(partitions);
                // A commit that is refused looks like none. What the broker lets us do says why.
                let error = self.look(consumer).err().unwrap_or(error);
                let trouble = code_of(&error).map_or(Trouble::Other, Trouble::of);
                self.trouble(trouble, error.to_string());
            }
            Ok(None) => {
                self.prepare_at = Instant::now() + WAIT_AGAIN;
                self.unprepared = Some(partitions);
            }
            Ok(Some(starts)) => {
                self.beginnings = Beginnings::default();
                self.identify_at = Instant::now();
                self.look_for_sides_soon();
                self.seat_partitions(consumer, &partitions, &starts);
                // A question that has no answer yet was about other seats; about none there is nothing to ask.
                let asks = mem::take(&mut self.asks_seated) || self.asked_group.take().is_some();
                if asks && !self.places.is_empty() {
                    self.ask_group(consumer);
                }
            }
        }
    }

    pub(super) fn seat_partitions(
        &mut self,
        consumer: &BaseConsumer<Context>,
        partitions: &[(String, i32)],
        starts: &[start::Start],
    ) {
        let mut froms = Vec::with_capacity(partitions.len());
        let mut seats = Vec::with_capacity(partitions.len());
        for ((topic, partition), start) in partitions.iter().zip(starts) {
            self.next_seat += 1;
            let seat = Seat(self.next_seat);
            let of = self.places.entry(topic.clone()).or_default();
            let name = of.values().next().map_or_else(
                || Arc::from(topic.as_str()),
                |place| Arc::clone(&place.topic),
            );
            of.insert(
                *partition,
                Place {
                    seat,
                    topic: Arc::clone(&name),
                    leaving: Leaving::No,
                    next: start.offset,
                    stored: start.offset,
                },
            );
            froms.push((topic.as_str(), *partition, start.offset));
            if start.lost > 0 {
                self.tell(Notice::RecordsLost {
                    topic: Arc::clone(&name),
                    partition: *partition,
                    records: start.lost,
                });
            }
            seats.push(NewSeat {
                seat,
                topic: name,
                partition: *partition,
                side: None,
                committed: start.committed,
                start: start.offset,
                log_end: start.log_end,
            });
        }
        // The desk knows the seats before the first record can arrive.
        if !seats.is_empty() {
            self.tell(Notice::Assigned(seats));
        }
        self.read_from(consumer, &froms);
    }

    /// Adds partitions to what is read, from these offsets on.
    pub(super) fn read_from(&self, consumer: &BaseConsumer<Context>, froms: &[(&str, i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in froms {
            let at = Offset::Offset(*offset);
            if list.add_partition_offset(topic, *partition, at).is_err() {
                tracing::error!(topic, partition, offset, "no valid offset to start at");
            }
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            _ => consumer.assign(&list),
        };
        if let Err(error) = result {
            tracing::error!(%error, "the assignment was not taken up; the group will rebalance");
        }
        // librdkafka keeps a partition paused that was paused when it left and comes back.
        let result = if self.paused {
            consumer.pause(&list)
        } else {
            consumer.resume(&list)
        };
        if let Err(error) = result {
            tracing::warn!(%error, paused = self.paused, "new partitions could not be paused or resumed");
        }
    }

    pub(super) fn revoke(
        &mut self,
        consumer: &BaseConsumer<Context>,
        partitions: &[(String, i32)],
    ) {
        let lost = consumer.assignment_lost();
        // What was assigned and not yet taken up is among these.
        self.unprepared = None;
        self.asks_seated = false;
        self.beginnings = Beginnings::default();
        let mut list = TopicPartitionList::new();
        let mut seats = Vec::new();
        let mut is_doubted = false;
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
            if let Some(place) = self
                .places
                .get_mut(topic)
                .and_then(|of| of.get_mut(partition))
            {
                if place.leaving == Leaving::Doubted {
                    // The desk is done with it, and the group has said whose it is not.
                    place.leaving = Leaving::Released;
                    is_doubted = true;
                    continue;
                }
                place.leaving = Leaving::Asked;
                seats.push(place.seat);
            }
        }
        if let Some(side) = &mut self.side {
            let of_sides = side.revoke(partitions);
            if lost {
                side.forget(&of_sides);
            }
            seats.extend(of_sides);
        }
        if lost {
            self.asked_group = None;
            self.lose(seats);
            self.forget(&list);
            self.unassign(consumer, &list);
        } else if seats.is_empty() && !is_doubted {
            self.unassign(consumer, &list);
        } else {
            // What is left in doubt alone is given back with the next turn.
            let _ = consumer.pause(&list);
            self.tell(Notice::Revoking(seats));
        }
    }

    /// The desk is done with these seats. They are given back when it is done with all that the group asked for: a
    /// revoke is answered once, with everything it named.
    pub(super) fn release(&mut self, consumer: &BaseConsumer<Context>, seats: &[Seat]) {
        for place in self.places.values_mut().flat_map(|of| of.values_mut()) {
            if seats.contains(&place.seat) {
                place.leaving = Leaving::Released;
            }
        }
        if let Some(side) = &mut self.side {
            side.released(seats);
        }
        self.release_again(consumer);
    }

    /// Gives back what the desk is done with, unless something that the group asked for, or the side topics, is not done.
    pub(super) fn release_again(&mut self, consumer: &BaseConsumer<Context>) {
        let mut list = TopicPartitionList::new();
        for (topic, partition, place) in self.all_places() {
            match place.leaving {
                Leaving::No | Leaving::Doubted => {}
                Leaving::Asked => return,
                Leaving::Released => drop(list.add_partition(topic, partition)),
            }
        }
        if list.count() == 0 {
            return;
        }
        let sure = self.is_sure();
        if let Some(side) = &mut self.side {
            if !side.may_go(sure) {
                return;
            }
            side.go();
        }
        self.forget(&list);
        self.unassign(consumer, &list);
    }

    pub(super) fn forget(&mut self, partitions: &TopicPartitionList) {
        for element in partitions.elements() {
            if let Some(of) = self.places.get_mut(element.topic()) {
                of.remove(&element.partition());
            }
        }
        self.places.retain(|_, of| !of.is_empty());
    }

    pub(super) fn unassign(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) {
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "partitions could not be given back");
        }
    }

    /// Partitions are on their way to us or away.
    pub(super) fn rebalances(&self) -> bool {
        let moves = |place: &Place| matches!(place.leaving, Leaving::Asked | Leaving::Released);
        self.unprepared.is_some() || self.all_places().any(|(_, _, place)| moves(place))
    }

    /// Whether a partition that stays may get another seat now. Not during a rebalance: librdkafka would take our word for
    /// its answer. And not while the group has to say whether it stays.
    pub(super) fn may_seat_again(&self) -> bool {
        let stays = |place: &Place| place.leaving == Leaving::No;
        self.unprepared.is_none()
            && self.asked_group.is_none()
            && self.all_places().all(|(_, _, place)| stays(place))
    }

    pub(super) fn pause(&mut self, consumer: &BaseConsumer<Context>, pause: bool) {
        let Ok(mut list) = consumer.assignment() else {
            return;
        };
        if !pause {
            let mut staying = TopicPartitionList::new();
            for (topic, partition, place) in self.all_places() {
                if place.leaving == Leaving::No {
                    staying.add_partition(topic, partition);
                }
            }
            list = staying;
        }
        let result = if pause {
            consumer.pause(&list)
        } else {
            consumer.resume(&list)
        };
        match result {
            Ok(()) => self.tell(Notice::Paused(if pause { list.count() } else { 0 })),
            Err(error) => {
                tracing::warn!(%error, pause, "partitions could not be paused or resumed")
            }
        }
        self.paused = pause;
    }

    /// A commit carries the member's generation: a group that has moved on refuses it. The answer comes as
    /// [`super::context::Said::Committed`] or [`super::context::Said::CommitFailed`]. Nothing new is committed by this. The
    /// commit is marked, because the answer to an older one, from before a long silence, proves nothing.
    pub(super) fn ask_group(&mut self, consumer: &BaseConsumer<Context>) {
        self.times_asked += 1;
        let metadata = asking(self.times_asked);
        let mut list = TopicPartitionList::new();
        for (topic, partition, place) in self.all_places() {
            let offset = Offset::Offset(place.stored);
            if list.add_partition_offset(topic, partition, offset).is_err() {
                tracing::error!(topic, partition, "no valid offset to ask the group with");
            } else if let Some(mut element) = list.find_partition(topic, partition) {
                element.set_metadata(&metadata);
            }
        }
        self.asked_group = Some(Instant::now());
        if let Err(error) = ffi::commit(consumer.client(), &list) {
            tracing::warn!(%error, "the group could not be asked; asking again");
        }
    }
}
