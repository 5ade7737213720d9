//! Partitions of which the shared state says that they are somebody else's: the group has the last word.
//!
//! Of two members that believe in a partition the state knows only who wrote last. A commit that the group takes shows
//! that we are the ones; then the partition begins like one that was just assigned, and the state hears of it before
//! anything else. A commit that it refuses is followed by the loss.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::consumer::{Leaving, Place, Poller};
use super::context::Context;
use super::events::Seat;
use super::rebalance::PREPARE_AGAIN;
use super::start;

/// Longest wait for where a log ends. Nobody polls meanwhile, and a poller that is silent for half a session has to ask the
/// group once more; nothing is lost by asking again.
const ASK: Duration = Duration::from_secs(1);

/// The seats in doubt that did not say where their logs end, and how often.
#[derive(Debug, Default)]
pub(super) struct Silent {
    times: HashMap<Seat, u32>,
    /// Until then nothing is asked.
    until: Option<Instant>,
}

impl Silent {
    fn waits(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// It did not answer.
    fn note(&mut self, seat: Seat, now: Instant) {
        *self.times.entry(seat).or_default() += 1;
        self.until = Some(now + PREPARE_AGAIN);
    }

    /// Nothing is in doubt any more.
    fn forget(&mut self) {
        self.times.clear();
        self.until = None;
    }

    /// Who answers comes first: a partition without a leader keeps no other one waiting.
    fn place_of(&self, seat: Seat) -> u32 {
        self.times.get(&seat).copied().unwrap_or(0)
    }
}

impl Poller {
    /// The desk has let these seats go, of one source partition and its side partition.
    pub(super) fn doubt(&mut self, consumer: &BaseConsumer<Context>, seats: &[Seat]) {
        let is_meant = |place: &&mut Place| seats.contains(&place.seat);
        let mut places = self.places.values_mut().flat_map(|of| of.values_mut());
        let Some(place) = places.find(is_meant) else {
            // Lost meanwhile, or given up: then what is left is a side partition that came too late to go with it.
            let known = self.side.as_ref();
            let late = known.map_or_else(Vec::new, |side| side.among(seats));
            self.lose_sides(late);
            return;
        };
        if place.leaving == Leaving::Asked {
            self.release(consumer, seats);
            return;
        }
        place.leaving = Leaving::Doubted;
        let source = place.seat;
        // With the source partition they come back.
        let sides = seats.iter().filter(|seat| **seat != source);
        self.lose_sides(sides.copied().collect());
        self.ask_group(consumer);
    }

    /// What the group has confirmed is taken over again: from what was ordered to be stored on, which the group has by
    /// now, for that was the question.
    pub(super) fn take_confirmed(&mut self, consumer: &BaseConsumer<Context>) {
        let now = Instant::now();
        if self.asked_group.is_some() || self.silent.waits(now) || self.rebalances() {
            return;
        }
        let mut doubted = self.doubted();
        if doubted.is_empty() {
            self.silent.forget();
            return;
        }
        doubted.sort_by_key(|(_, _, seat, _)| (self.silent.place_of(*seat), *seat));
        for (topic, partition, seat, stored) in doubted {
            match consumer.fetch_watermarks(&topic, partition, ASK) {
                Ok((low, high)) => {
                    tracing::info!(
                        topic,
                        partition,
                        "the group says that the partition is ours"
                    );
                    let start = start::decide(Some(stored), low, high);
                    self.seat_again(consumer, seat, (&topic, partition), start);
                }
                Err(error) => {
                    tracing::warn!(%error, topic, partition, "where the log ends is not known yet; asking again");
                    self.silent.note(seat, Instant::now());
                    return;
                }
            }
        }
    }

    /// Topic, partition, seat, and what was ordered to be stored, of each that is in doubt.
    fn doubted(&self) -> Vec<(String, i32, Seat, i64)> {
        let doubted = |(topic, partition, place): (&str, i32, &Place)| {
            let is_doubted = place.leaving == Leaving::Doubted;
            is_doubted.then(|| (topic.to_owned(), partition, place.seat, place.stored))
        };
        self.all_places().filter_map(doubted).collect()
    }
}

#[cfg(test)]
mod tests;
