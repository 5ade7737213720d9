//! Partitions that come and go: how the poller takes an assignment up, hands one over, and pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, RebalanceProtocol};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Trouble, code_of};
use super::consumer::{ASK, Leaving, Place, Poller};
use super::context::Context;
use super::events::{NewSeat, Notice, Seat};
use super::start;

/// Time between two tries to start assigned partitions while the broker does not answer.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

impl Poller {
    /// Starts partitions that the group assigned. While the broker does not answer it is tried again, between polls.
    pub(super) fn prepare_again(&mut self, consumer: &BaseConsumer<Context>) {
        if Instant::now() < self.prepare_at {
            return;
        }
        let Some(partitions) = self.unprepared.take() else {
            return;
        };
        match start::starts(consumer, &partitions, self.settings.start_at) {
            Err(error) => {
                self.prepare_at = Instant::now() + PREPARE_AGAIN;
                self.unprepared = Some(partitions);
                let trouble = code_of(&error).map_or(Trouble::Other, Trouble::of);
                self.trouble(trouble, error.to_string());
            }
            Ok(starts) => {
                self.seat_partitions(consumer, &partitions, &starts);
                self.asked_group = None;
            }
        }
    }

    pub(super) fn seat_partitions(
        &mut self,
        consumer: &BaseConsumer<Context>,
        partitions: &[(String, i32)],
        starts: &[start::Start],
    ) {
        let mut list = TopicPartitionList::new();
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
            if list
                .add_partition_offset(topic, *partition, Offset::Offset(start.offset))
                .is_err()
            {
                tracing::error!(
                    topic,
                    partition,
                    offset = start.offset,
                    "no valid offset to start at"
                );
            }
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
                committed: start.committed,
                start: start.offset,
                log_end: start.log_end,
            });
        }
        // The desk knows the seats before the first record can arrive.
        if !seats.is_empty() {
            self.tell(Notice::Assigned(seats));
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            _ => consumer.assign(&list),
        };
        if let Err(error) = result {
            tracing::error!(%error, "the assignment was not taken up; the group will rebalance");
        }
        if self.paused
            && let Err(error) = consumer.pause(&list)
        {
            tracing::warn!(%error, "new partitions could not be paused");
        }
    }

    pub(super) fn revoke(
        &mut self,
        consumer: &BaseConsumer<Context>,
        partitions: &[(String, i32)],
    ) {
        let lost = consumer.assignment_lost();
        let mut list = TopicPartitionList::new();
        let mut seats = Vec::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
            if let Some(unprepared) = &mut self.unprepared {
                unprepared.retain(|(t, n)| (t, n) != (topic, partition));
            }
            if let Some(place) = self
                .places
                .get_mut(topic)
                .and_then(|of| of.get_mut(partition))
            {
                place.leaving = Leaving::Asked;
                seats.push(place.seat);
            }
        }
        if lost {
            self.asked_group = None;
            self.tell(Notice::Lost(seats.clone()));
            self.give_back(consumer, &seats);
        } else if seats.is_empty() {
            self.unassign(consumer, &list);
        } else {
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
        let leaving = || {
            self.places
                .values()
                .flat_map(|of| of.values())
                .filter(|p| p.leaving != Leaving::No)
        };
        if leaving().all(|place| place.leaving == Leaving::Released) {
            let all: Vec<Seat> = leaving().map(|place| place.seat).collect();
            self.give_back(consumer, &all);
        }
    }

    /// Gives partitions back at once.
    pub(super) fn give_back(&mut self, consumer: &BaseConsumer<Context>, seats: &[Seat]) {
        let mut list = TopicPartitionList::new();
        for (topic, of) in &mut self.places {
            of.retain(|partition, place| {
                let goes = seats.contains(&place.seat);
                if goes {
                    list.add_partition(topic, *partition);
                }
                !goes
            });
        }
        self.places.retain(|_, of| !of.is_empty());
        if list.count() > 0 {
            self.unassign(consumer, &list);
        }
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

    /// A position outside of the log while reading: retention overtook us, or the topic was made anew. Each such
    /// partition is given up and taken up again at the first record of the log, under a new seat.
    pub(super) fn start_out_of_range(&mut self, consumer: &BaseConsumer<Context>) {
        let places: Vec<(String, i32, i64, Seat)> = self
            .all_places()
            .map(|(topic, n, place)| (topic.to_owned(), n, place.next, place.seat))
            .collect();
        for (topic, partition, at, seat) in places {
            let Ok((low, high)) = consumer.fetch_watermarks(&topic, partition, ASK) else {
                continue;
            };
            if (low..=high).contains(&at) {
                continue;
            }
            self.tell(Notice::Lost(vec![seat]));
            self.give_back(consumer, &[seat]);
            // As if the group had assigned it with a commit at the place that is no longer there.
            let start = start::decide(Some(at), low, high, None);
            self.seat_partitions(consumer, &[(topic, partition)], &[start]);
        }
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
    /// [`super::context::Said::Committed`] or [`super::context::Said::CommitFailed`]. Nothing new is committed by this.
    pub(super) fn ask_group(&mut self, consumer: &BaseConsumer<Context>) {
        let mut list = TopicPartitionList::new();
        for (topic, partition, place) in self.all_places() {
            let offset = Offset::Offset(place.stored);
            if list.add_partition_offset(topic, partition, offset).is_err() {
                tracing::error!(topic, partition, "no valid offset to ask the group with");
            }
        }
        self.asked_group = Some(Instant::now());
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "the group could not be asked; asking again");
        }
    }
}
