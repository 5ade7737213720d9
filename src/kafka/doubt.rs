//! Partitions of which the shared state says that they are somebody else's: the group has the last word.
//!
//! Of two members that believe in a partition the state knows only who wrote last. A commit that the group takes shows
//! that we are the ones; then the partition begins like one that was just assigned, and the state hears of it before
//! anything else. A commit that it refuses is followed by the loss.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::consumer::{ASK, Leaving, Place, Poller};
use super::context::Context;
use super::events::Seat;
use super::rebalance::PREPARE_AGAIN;
use super::start;

impl Poller {
    /// The desk has let these seats go, of one source partition and its side partition.
    pub(super) fn doubt(&mut self, consumer: &BaseConsumer<Context>, seats: &[Seat]) {
        let is_meant = |place: &&mut Place| seats.contains(&place.seat);
        let mut places = self.places.values_mut().flat_map(|of| of.values_mut());
        let Some(place) = places.find(is_meant) else {
            // Lost meanwhile.
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
        if self.asked_group.is_some() || self.confirm_at > Instant::now() || self.rebalances() {
            return;
        }
        let doubted = |(topic, partition, place): (&str, i32, &Place)| {
            let is_doubted = place.leaving == Leaving::Doubted;
            is_doubted.then(|| (topic.to_owned(), partition, place.seat, place.stored))
        };
        let doubted: Vec<_> = self.all_places().filter_map(doubted).collect();
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
                    self.confirm_at = Instant::now() + PREPARE_AGAIN;
                    return;
                }
            }
        }
    }
}
