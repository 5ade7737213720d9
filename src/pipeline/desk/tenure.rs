//! Partitions that come and go: taking one over, letting one go, storing how far it is settled, draining all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::journey::{Lease, SourcePartition};
use super::super::seats::Place;
use super::super::stream::DEAD_LETTERS;
use super::rewinding::Forgetting;
use super::settling::Settling;
use super::{Broken, Desk};
use crate::config::Mode;
use crate::kafka::events::{NewSeat, Order, Seat};

use tokio_util::sync::CancellationToken;

impl Desk {
    /// A lease that ends with the process.
    pub(super) fn lease(&self) -> Lease {
        Lease {
            soft: self.inputs.soft.child_token(),
            hard: self.inputs.hard.child_token(),
            taken_over: CancellationToken::new(),
            fenced: CancellationToken::new(),
        }
    }

    pub(super) fn assigned(&mut self, seats: Vec<NewSeat>) {
        for seat in seats {
            tracing::info!(stream = self.stream.id(), topic = %seat.topic, partition = seat.partition, committed = seat.committed, "partition assigned");
            let mut lease = self.lease();
            if let Some(side) = &seat.side {
                let source = self.source_place(&side.source, seat.partition);
                // What is known about a replay is known of its source partition; without that it is about to leave as well.
                lease.taken_over = source.map_or_else(CancellationToken::new, |source| {
                    source.lease.taken_over.clone()
                });
                let leaves_fenced = source.filter(|source| source.fenced);
                let leaves_fenced = leaves_fenced.and_then(|source| source.leaving);
                let mut place = Place::new(&seat, lease);
                if let Some(until) = leaves_fenced {
                    // It came when that was let go already, and goes along.
                    place.leave_fenced(until);
                }
                self.places.insert(seat.seat, place);
                continue;
            }
            self.stream.parts.metrics.rebalances.inc("assigned");
            if self.stream.parts.mode == Mode::Live && !self.prepared.contains_key(&seat.topic) {
                self.prepare(Arc::clone(&seat.topic));
            }
            let rewound = self.take_rewound(&seat);
            self.places
                .insert(seat.seat, Place::new(&seat, lease.clone()));
            self.take_over(seat, lease, rewound);
        }
    }

    /// The place of this partition of a source topic.
    fn source_place(&self, topic: &str, partition: i32) -> Option<&Place> {
        let mut places = self.places.values();
        places.find(|place| {
            place.side.is_none() && &*place.topic == topic && place.partition == partition
        })
    }

    /// Levels and marks of a partition are valid only for who decided last about it. The state is asked before anything
    /// else about the partition: now, or as soon as the membership is sure. Nobody waits here for its answer, for it may
    /// take as long as an outage.
    fn take_over(&mut self, seat: NewSeat, lease: Lease, rewound: Option<Forgetting>) {
        let stream = Arc::clone(&self.stream);
        let first = stream.ask_first(&seat);
        self.recalling
            .spawn(async move { stream.take_over(&seat, first, &lease, rewound).await });
    }

    /// The dead-letter topic is made ready before it is needed; until it is, or until the last partition of its source
    /// has left, the stream is held.
    pub(super) fn prepare(&mut self, topic: Arc<str>) {
        let stream = Arc::clone(&self.stream);
        let prepare = Arc::clone(&self.inputs.prepare);
        let soft = self.inputs.soft.clone();
        let source = Arc::clone(&topic);
        let preparing = self.preparing.spawn(async move {
            let mut wait = Duration::from_secs(1);
            let mut holding = None;
            while let Err(mend) = prepare.dead_letter_topic(Arc::clone(&topic)).await {
                tracing::error!(stream = stream.id(), %topic, "{mend}");
                holding.get_or_insert_with(|| stream.passage.holding(DEAD_LETTERS));
                tokio::select! {
                    () = soft.cancelled() => return,
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
                }
            }
        });
        self.prepared.insert(source, preparing);
    }

    /// Takes these seats' waiting SETs out of the lanes; others may come in turn by that.
    pub(super) fn withdraw(&mut self, seats: &[Seat]) {
        for (ticket, draft) in self
            .lanes
            .retain_waiting(|draft| !seats.contains(&draft.source.seat))
        {
            self.start(ticket, draft);
        }
        if self.intake.seat().is_some_and(|seat| seats.contains(&seat)) {
            self.intake.forget();
        }
        self.withdrawn(seats);
    }

    pub(super) fn revoking(&mut self, seats: &[Seat]) {
        let until = Instant::now() + self.inputs.grace;
        for seat in seats {
            if let Some(place) = self.places.get_mut(seat) {
                if place.side.is_none() {
                    self.stream.parts.metrics.rebalances.inc("revoked");
                }
                tracing::info!(stream = self.stream.id(), topic = %place.topic, partition = place.partition, "partition leaves");
                place.leaving = Some(until);
                // Who asks for it has an answer already.
                place.fenced = false;
                place.lease.soft.cancel();
            }
        }
        self.withdraw(seats);
        self.release();
    }

    /// The shared state does not take what is decided about the partition: it has another owner there, which may be right
    /// or may not, or none. So the partition is let go, with its side partition, and the group is asked whose it is.
    pub(super) fn fenced(&mut self, seat: Seat) {
        let Some(of) = self.places.get(&seat).map(Place::source_partition) else {
            return;
        };
        let until = Instant::now() + self.inputs.grace;
        let mut seats = Vec::new();
        for (seat, place) in &mut self.places {
            if place.source_partition() == of && place.leaving.is_none() {
                place.leave_fenced(until);
                seats.push(*seat);
            }
        }
        if seats.is_empty() {
            return;
        }
        self.stream.parts.metrics.state_fenced.inc();
        let (topic, partition) = of;
        tracing::warn!(stream = self.stream.id(), %topic, partition, "in the shared state the partition is not ours (it has another owner there, or its state was lost, or it was assigned while the state was away): nothing of it is sent until the group has said whose it is");
        self.withdraw(&seats);
        self.release();
    }

    /// The partitions of which everything is done, the side partition included, that are let go because they are fenced.
    fn confirm(&mut self, now: Instant) {
        let mut of: HashMap<SourcePartition, (bool, Vec<Seat>)> = HashMap::new();
        for (seat, place) in self.places.iter().filter(|(_, place)| place.fenced) {
            let (all, seats) = of
                .entry(place.source_partition())
                .or_insert((true, Vec::new()));
            *all &= place.may_leave(now);
            seats.push(*seat);
        }
        for (_, seats) in of.into_values().filter(|(all, _)| *all) {
            seats.iter().for_each(|seat| self.remove(*seat));
            // A poller that is gone has given everything back.
            let _ = self.inputs.orders.send(Order::Confirm(seats));
        }
    }

    /// When it returns, no journey of these seats is left: one that had passed its last look at the lease may still have
    /// remembered an outcome, and whoever takes the same place next, of another log perhaps, must come behind that.
    pub(super) async fn lost(&mut self, seats: &[Seat]) -> Result<(), Broken> {
        for seat in seats {
            if let Some(place) = self.places.get(seat) {
                if place.side.is_none() {
                    self.stream.parts.metrics.rebalances.inc("lost");
                }
                tracing::warn!(stream = self.stream.id(), topic = %place.topic, partition = place.partition, "partition lost: nothing more is sent or stored for it");
                place.lease.soft.cancel();
                place.lease.hard.cancel();
            }
        }
        self.withdraw(seats);
        let is_at_work = |place: &Place| place.under_way > 0;
        // The hard lease ends them at once.
        while seats
            .iter()
            .any(|seat| self.places.get(seat).is_some_and(is_at_work))
        {
            let Some(arrived) = self.journeys.join_next().await else {
                break;
            };
            self.arrived(arrived)?;
        }
        seats.iter().for_each(|seat| self.remove(*seat));
        // A poller that is gone lets nothing be sent.
        let _ = self.inputs.orders.send(Order::Stopped);
        Ok(())
    }

    /// Hands over the partitions that leave and have nothing under way any more, or no time.
    pub(super) fn release(&mut self) {
        let leaving: Vec<Seat> = self
            .places
            .iter()
            .filter(|(_, place)| place.leaving.is_some())
            .map(|(seat, _)| *seat)
            .collect();
        if leaving.is_empty() {
            return;
        }
        self.store();
        let now = Instant::now();
        self.confirm(now);
        let may = |place: &Place| !place.fenced && place.may_leave(now);
        let done: Vec<Seat> = leaving
            .into_iter()
            .filter(|seat| self.places.get(seat).is_some_and(may))
            .collect();
        for place in done.iter().filter_map(|seat| self.places.get(seat)) {
            if place.flushing > 0 {
                tracing::warn!(stream = self.stream.id(), topic = %place.topic, partition = place.partition, decided = place.flushing, "the state was not durable when the partition had to leave: its next owner sends what was not stored again, under the same jti");
            }
        }
        if !done.is_empty() {
            done.iter().for_each(|seat| self.remove(*seat));
            // A poller that is gone has given everything back.
            let _ = self.inputs.orders.send(Order::Release(done));
        }
    }

    pub(super) fn remove(&mut self, seat: Seat) {
        let Some(place) = self.places.remove(&seat) else {
            return;
        };
        if !self.places.values().any(|other| other.topic == place.topic)
            && let Some(preparing) = self.prepared.remove(&place.topic)
        {
            // Its hold, if there is one, goes with it.
            preparing.abort();
        }
        let state = &self.stream.parts.state;
        state.released(&place.topic, place.partition);
        let (freed, uncommitted) = place.remains();
        self.free(freed);
        self.stream.parts.room.acknowledged(uncommitted);
        self.stream
            .parts
            .metrics
            .set_lag(&place.topic, place.partition, None);
    }

    /// Orders what may be stored, once the state knows it. Of a side topic the state need not know: what is settled there
    /// is durable, and whose commit it is does not matter.
    pub(super) fn store(&mut self) {
        let mut moved: Vec<(Seat, Arc<str>, i32, i64)> = Vec::new();
        for (seat, place) in &mut self.places {
            let asked = place.side.is_some() || place.lease.taken_over.is_cancelled();
            if place.fenced || !asked {
                continue;
            }
            let Some(next) = place.take_storable() else {
                continue;
            };
            if place.side.is_some() {
                // A poller that is gone stores nothing more.
                let _ = self.inputs.orders.send(Order::Store { seat: *seat, next });
                continue;
            }
            place.flushing += 1;
            moved.push((*seat, Arc::clone(&place.topic), place.partition, next));
        }
        for (seat, topic, partition, next) in moved {
            let flushed = self.stream.parts.state.progress(&topic, partition, next);
            // The settler lives as long as the desk.
            let _ = self.when_durable(Some(flushed), Settling::Progress { seat, next });
        }
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        for place in self.places.values() {
            place.lease.soft.cancel();
        }
        let seats: Vec<Seat> = self.places.keys().copied().collect();
        self.withdraw(&seats);
        tracing::info!(
            stream = self.stream.id(),
            under_way = self.journeys.len(),
            "draining"
        );
    }

    pub(super) fn is_empty(&self) -> bool {
        // An abort waits for nobody: what was not durable in time is sent again after the restart.
        let aborted = self.inputs.hard.is_cancelled();
        self.journeys.is_empty() && (aborted || self.places.values().all(Place::is_idle))
    }

    pub(super) async fn drained(&mut self) -> Result<(), Broken> {
        self.store();
        while !self.places.values().all(Place::is_idle) {
            let Some(settled) = self.settled.recv().await else {
                break;
            };
            self.settle(settled)?;
        }
        Ok(())
    }
}
