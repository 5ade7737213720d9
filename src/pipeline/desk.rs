//! The desk of a stream: the one task that owns its lanes, its offsets and its partitions.
//!
//! It takes records in as room allows, starts journeys whose turn it is, settles what has ended, and answers the
//! poller's notices. It must never wait for a receiver, and never store an offset whose outcomes are not durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::delivery::guard::{Guard, GuardSettings};
use crate::kafka::client::Trouble;
use crate::kafka::events::{NewSeat, Notice, Order, Seat, Seated};
use crate::lanes::{Lanes, Ticket};
use crate::state::{Flushed, Handover};

use super::intake::{Intake, Taken};
use super::journey::{Draft, Fault, Final, Lease, LetGo, Outcome};
use super::seats::{Freed, Place, Places};
use super::stream::{Held, PartitionStatus, Stream, StreamStatus, now_ms};
use super::{deliver, lay_aside};

/// How often time passes for guard, probes, gauges and stored offsets.
const TICK: Duration = Duration::from_millis(100);
/// Detections taken in between two looks at everything else.
const TAKE: usize = 64;

/// The desk's ends of its channels, and what ends it.
pub struct DeskInputs {
    /// From the poller.
    pub notices: UnboundedReceiver<Notice>,
    /// From the poller.
    pub records: UnboundedReceiver<Vec<Seated>>,
    /// To the poller.
    pub orders: Sender<Order>,
    /// The mapping guard's limits.
    pub mapping_guard: GuardSettings,
    /// What is on the wire of a partition that leaves has so long.
    pub grace: Duration,
    /// Cancelled: take nothing new, finish what is on the wire, store.
    pub soft: CancellationToken,
    /// Cancelled: abort.
    pub hard: CancellationToken,
    /// Where the status is shown.
    pub status: Arc<std::sync::Mutex<StreamStatus>>,
    /// Makes the dead-letter topic of a source topic ready.
    pub prepare: Arc<dyn Prepare>,
}

/// Makes ready what the stream writes to.
pub trait Prepare: Send + Sync {
    /// Makes sure that the dead-letter topic for `source_topic` is there; on failure the error says how to mend it.
    fn dead_letter_topic(
        &self,
        source_topic: Arc<str>,
    ) -> futures_util::future::BoxFuture<'static, Result<(), String>>;
}

/// How a desk ended.
#[derive(Debug, PartialEq, Eq)]
pub enum DeskEnd {
    /// As asked; everything that was decided is stored.
    Drained,
    /// An invariant is broken, or Kafka's client failed for good: the process must end with a non-zero code.
    Broken(String),
}

/// What a journey brings back.
struct Arrived {
    seat: Seat,
    offset: i64,
    ticket: Option<Ticket>,
    end: Result<Final, LetGo>,
}

/// What becomes durable, in order.
enum Settling {
    /// A SET of this record.
    Set { seat: Seat, offset: i64 },
    /// The state knows that everything before `next` is settled, so it may be stored.
    Progress { seat: Seat, next: i64 },
}

/// See the module.
pub struct Desk {
    stream: Arc<Stream>,
    inputs: DeskInputs,
    intake: Intake,
    places: Places,
    lanes: Lanes<Draft>,
    journeys: JoinSet<Arrived>,
    to_settle: UnboundedSender<(Flushed, Settling)>,
    settled: UnboundedReceiver<Settling>,
    settler: JoinSet<()>,
    queue: VecDeque<Seated>,
    preparing: JoinSet<()>,
    prepared: std::collections::HashSet<Arc<str>>,
    draining: bool,
    paused: usize,
    last_lag: Instant,
}

type Broken = String;

impl Desk {
    /// A desk that has not begun.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the room admits what these channels carry, so it bounds them"
    )]
    pub fn new(stream: Arc<Stream>, inputs: DeskInputs) -> Self {
        let (to_settle, waiting) = unbounded_channel();
        let (done, settled) = unbounded_channel();
        let mut settler = JoinSet::new();
        let lease = Lease {
            soft: inputs.soft.clone(),
            hard: inputs.hard.clone(),
        };
        settler.spawn(settle_in_order(Arc::clone(&stream), lease, waiting, done));
        let guard = Guard::new(inputs.mapping_guard, true);
        Self {
            intake: Intake::new(Arc::clone(&stream), guard),
            stream,
            inputs,
            places: Places::new(),
            lanes: Lanes::new(),
            journeys: JoinSet::new(),
            to_settle,
            settled,
            settler,
            queue: VecDeque::new(),
            preparing: JoinSet::new(),
            prepared: std::collections::HashSet::new(),
            draining: false,
            paused: 0,
            last_lag: Instant::now(),
        }
    }

    /// Works until it is drained or broken.
    pub async fn run(mut self) -> DeskEnd {
        let end = match self.work().await {
            Ok(()) => DeskEnd::Drained,
            Err(broken) => DeskEnd::Broken(broken),
        };
        self.journeys.shutdown().await;
        // A poller that is gone has nothing left to store.
        let _ = self.inputs.orders.send(Order::Stop);
        end
    }

    async fn work(&mut self) -> Result<(), Broken> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let more = self.take_in()?;
            if self.draining && self.is_empty() {
                return self.drained().await;
            }
            tokio::select! {
                biased;
                () = self.inputs.hard.cancelled(), if !self.draining => self.drain(),
                notice = self.inputs.notices.recv() => match notice {
                    Some(notice) => self.notice(notice).await?,
                    None if self.draining => return Ok(()),
                    None => return Err("the poller ended".to_owned()),
                },
                Some(arrived) = self.journeys.join_next(), if !self.journeys.is_empty() => {
                    self.arrived(arrived)?;
                    while let Some(arrived) = self.journeys.try_join_next() {
                        self.arrived(arrived)?;
                    }
                }
                Some(settled) = self.settled.recv() => self.settle(settled)?,
                _ = self.settler.join_next() => return Err("the settler ended".to_owned()),
                batch = self.inputs.records.recv(), if self.queue.is_empty() && !self.draining => {
                    self.queue.extend(batch.unwrap_or_default());
                }
                _ = tick.tick() => self.tick()?,
                () = self.inputs.soft.cancelled(), if !self.draining => self.drain(),
                () = std::future::ready(()), if more => {}
            }
            if let Some(broken) = self.stream.broken() {
                return Err(broken);
            }
        }
    }

    /// Takes records in while there is room; says whether there is more to take at once.
    fn take_in(&mut self) -> Result<bool, Broken> {
        for _ in 0..TAKE {
            if self.draining
                || !self.stream.parts.room.has_space_for_a_set()
                || !self.intake.may_take()
            {
                return Ok(false);
            }
            if !self.intake.is_expanding() && !self.next_record()? {
                return Ok(false);
            }
            let Some(seat) = self.intake.seat() else {
                continue;
            };
            let Some(place) = self.places.get_mut(&seat) else {
                self.intake.forget();
                continue;
            };
            match self.intake.step(&place.lease) {
                Taken::End { offset } => {
                    let freed = place.expanded(offset).map_err(|error| error.to_string())?;
                    self.free(freed);
                }
                Taken::Drafts(drafts) => {
                    drafts.into_iter().for_each(|entry| self.enter(seat, entry))
                }
                Taken::Nothing => {}
            }
        }
        Ok(true)
    }

    /// Begins with the next record that is still ours; false: there is none.
    fn next_record(&mut self) -> Result<bool, Broken> {
        while let Some(Seated { seat, record }) = self.queue.pop_front() {
            let size = record.size();
            match self.places.get_mut(&seat) {
                Some(place) if place.leaving.is_none() => {
                    place.receive(&record).map_err(|error| error.to_string())?;
                    self.intake.begin(seat, record);
                    return Ok(true);
                }
                _ => {
                    self.free(Freed {
                        sets: 1,
                        bytes: size,
                    });
                    self.stream.parts.room.acknowledged(1);
                }
            }
        }
        Ok(false)
    }

    /// A SET gets into its lane, a fault waits for the guard.
    fn enter(&mut self, seat: Seat, entry: Result<Draft, Box<Fault>>) {
        let Some(place) = self.places.get_mut(&seat) else {
            return;
        };
        self.stream.parts.room.expand(1);
        place.expect(
            entry.as_ref().map_or_else(
                |f| f.source.record.origin.offset,
                |d| d.source.record.origin.offset,
            ),
            1,
        );
        match entry {
            Ok(draft) => {
                let (key, other) = (draft.claims.subject_key, draft.claims.other_lane);
                if let Some((ticket, draft)) = self.lanes.enqueue(key, other, draft) {
                    self.start(ticket, draft);
                }
            }
            Err(fault) => {
                place.under_way += 1;
                let stream = Arc::clone(&self.stream);
                let offset = fault.source.record.origin.offset;
                self.journeys.spawn(async move {
                    Arrived {
                        seat,
                        offset,
                        ticket: None,
                        end: lay_aside(&stream, &fault).await,
                    }
                });
            }
        }
    }

    fn start(&mut self, ticket: Ticket, draft: Draft) {
        let (seat, offset) = (draft.source.seat, draft.source.record.origin.offset);
        if let Some(place) = self.places.get_mut(&seat) {
            place.under_way += 1;
        }
        let stream = Arc::clone(&self.stream);
        self.journeys.spawn(async move {
            Arrived {
                seat,
                offset,
                ticket: Some(ticket),
                end: deliver(&stream, &draft).await,
            }
        });
    }

    /// A journey has ended: its lane is free, and once the state is durable its record settles.
    fn arrived(&mut self, arrived: Result<Arrived, JoinError>) -> Result<(), Broken> {
        let Arrived {
            seat,
            offset,
            ticket,
            end,
        } = arrived.map_err(|error| format!("a journey failed: {error}"))?;
        if let Some(ticket) = ticket {
            for (ticket, draft) in self.lanes.complete(ticket) {
                self.start(ticket, draft);
            }
        }
        match end {
            Ok(Final { outcome, flushed }) => {
                self.count(&outcome);
                self.when_durable(flushed, Settling::Set { seat, offset })
            }
            Err(LetGo) => {
                if let Some(place) = self.places.get_mut(&seat) {
                    place.under_way = place.under_way.saturating_sub(1);
                }
                Ok(())
            }
        }
    }

    fn count(&self, outcome: &Outcome) {
        self.stream.parts.metrics.outcomes.inc(outcome.as_str());
    }

    /// Settles now when the state is durable already, else in order when it is.
    fn when_durable(&mut self, flushed: Option<Flushed>, what: Settling) -> Result<(), Broken> {
        let Some(mut flushed) = flushed else {
            return self.settle(what);
        };
        match (&mut flushed).now_or_never() {
            Some(Ok(())) => self.settle(what),
            Some(Err(error)) => {
                self.stream.state_failed(&error);
                self.pass_on(self.stream.parts.state.flush(), what)
            }
            None => self.pass_on(flushed, what),
        }
    }

    fn pass_on(&self, flushed: Flushed, what: Settling) -> Result<(), Broken> {
        self.to_settle
            .send((flushed, what))
            .map_err(|_| "the settler ended".to_owned())
    }

    fn settle(&mut self, settling: Settling) -> Result<(), Broken> {
        match settling {
            Settling::Set { seat, offset } => {
                let Some(place) = self.places.get_mut(&seat) else {
                    return Ok(());
                };
                place.under_way = place.under_way.saturating_sub(1);
                let freed = place.settle(offset).map_err(|error| error.to_string())?;
                self.free(freed);
            }
            Settling::Progress { seat, next } => {
                if let Some(place) = self.places.get_mut(&seat) {
                    place.under_way = place.under_way.saturating_sub(1);
                    // A poller that is gone stores nothing more.
                    let _ = self.inputs.orders.send(Order::Store { seat, next });
                }
            }
        }
        Ok(())
    }

    fn free(&self, freed: Freed) {
        self.stream.parts.room.leave(freed.sets, freed.bytes);
    }

    async fn notice(&mut self, notice: Notice) -> Result<(), Broken> {
        let metrics = &self.stream.parts.metrics;
        match notice {
            Notice::Assigned(seats) => self.assigned(seats).await,
            Notice::Revoking(seats) => self.revoking(&seats),
            Notice::Lost(seats) => self.lost(&seats),
            Notice::Committed(list) => {
                for (seat, next) in list {
                    if let Some(place) = self.places.get_mut(&seat) {
                        self.stream.parts.room.acknowledged(place.committed(next));
                    }
                }
            }
            Notice::CommitFailed(error) => {
                metrics.commit_errors.inc();
                tracing::warn!(
                    stream = self.stream.id(),
                    error,
                    "a commit was refused; it is made again with the next one"
                );
            }
            Notice::RecordsLost {
                topic,
                partition,
                records,
            } => {
                metrics.records_lost.inc_by(records);
                tracing::error!(stream = self.stream.id(), %topic, partition, records, "records were removed by retention before they were read");
            }
            Notice::Lag { seat, log_end } => {
                if let Some(place) = self.places.get_mut(&seat) {
                    place.log_end = place.log_end.max(log_end);
                }
            }
            Notice::Trouble(trouble, text) => self.trouble(trouble, &text),
            Notice::Recovered => self.stream.passage.show_no_longer(),
            Notice::Paused(partitions) => self.paused = partitions,
            Notice::Fatal { error, final_one } => {
                if final_one {
                    return Err(format!(
                        "the Kafka client failed twice within ten minutes: {error}"
                    ));
                }
                tracing::error!(
                    stream = self.stream.id(),
                    error,
                    "the Kafka client failed; it is made anew once"
                );
            }
        }
        Ok(())
    }

    fn trouble(&self, trouble: Trouble, text: &str) {
        self.stream.parts.metrics.kafka_errors.inc(trouble.as_str());
        tracing::warn!(
            stream = self.stream.id(),
            kind = trouble.as_str(),
            "Kafka: {text}"
        );
        if let Some(reason) = super::stream::hold_reason(trouble) {
            self.stream.passage.show(reason);
        }
    }

    async fn assigned(&mut self, seats: Vec<NewSeat>) {
        for seat in seats {
            self.stream.parts.metrics.rebalances.inc("assigned");
            tracing::info!(stream = self.stream.id(), topic = %seat.topic, partition = seat.partition, committed = seat.committed, "partition assigned");
            self.take_over(&seat).await;
            if self.prepared.insert(Arc::clone(&seat.topic))
                && self.stream.parts.mode == crate::config::Mode::Live
            {
                self.prepare(Arc::clone(&seat.topic));
            }
            let lease = Lease {
                soft: self.inputs.soft.child_token(),
                hard: self.inputs.hard.child_token(),
            };
            self.places.insert(seat.seat, Place::new(&seat, lease));
        }
    }

    /// Levels and marks of a partition are valid only for who decided last about it.
    async fn take_over(&self, seat: &NewSeat) {
        let mut wait = Duration::from_millis(100);
        loop {
            let state = &self.stream.parts.state;
            match state
                .assigned(&seat.topic, seat.partition, seat.committed, seat.log_end)
                .await
            {
                Ok(handover) => {
                    if matches!(handover, Handover::TakenOver | Handover::Recreated) {
                        self.stream.parts.metrics.handovers.inc();
                        tracing::info!(stream = self.stream.id(), topic = %seat.topic, partition = seat.partition, ?handover, "levels and marks of the partition were dropped");
                    }
                    self.stream.state_works();
                    return;
                }
                Err(error) => self.stream.state_failed(&error),
            }
            tokio::select! {
                () = self.inputs.soft.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            }
        }
    }

    /// The dead-letter topic is made ready before it is needed; until it is, the stream is held.
    fn prepare(&mut self, topic: Arc<str>) {
        let stream = Arc::clone(&self.stream);
        let prepare = Arc::clone(&self.inputs.prepare);
        let soft = self.inputs.soft.clone();
        self.preparing.spawn(async move {
            let mut wait = Duration::from_secs(1);
            while let Err(mend) = prepare.dead_letter_topic(Arc::clone(&topic)).await {
                tracing::error!(stream = stream.id(), %topic, "{mend}");
                stream.hold_for_dead_letters();
                tokio::select! {
                    () = soft.cancelled() => return,
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
                }
            }
            stream.dead_letters_work();
        });
    }

    /// Takes these seats' waiting SETs out of the lanes; others may come in turn by that.
    fn withdraw(&mut self, seats: &[Seat]) {
        for (ticket, draft) in self
            .lanes
            .retain_waiting(|draft| !seats.contains(&draft.source.seat))
        {
            self.start(ticket, draft);
        }
        if self.intake.seat().is_some_and(|seat| seats.contains(&seat)) {
            self.intake.forget();
        }
    }

    fn revoking(&mut self, seats: &[Seat]) {
        let until = Instant::now() + self.inputs.grace;
        for seat in seats {
            if let Some(place) = self.places.get_mut(seat) {
                self.stream.parts.metrics.rebalances.inc("revoked");
                tracing::info!(stream = self.stream.id(), topic = %place.topic, partition = place.partition, "partition leaves");
                place.leaving = Some(until);
                place.lease.soft.cancel();
            }
        }
        self.withdraw(seats);
        self.release();
    }

    fn lost(&mut self, seats: &[Seat]) {
        for seat in seats {
            if let Some(place) = self.places.get(seat) {
                self.stream.parts.metrics.rebalances.inc("lost");
                tracing::warn!(stream = self.stream.id(), topic = %place.topic, partition = place.partition, "partition lost: nothing more is sent or stored for it");
                place.lease.soft.cancel();
                place.lease.hard.cancel();
            }
        }
        self.withdraw(seats);
        seats.iter().for_each(|seat| self.remove(*seat));
    }

    /// Hands over the partitions that leave and have nothing under way any more.
    fn release(&mut self) {
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
        let done: Vec<Seat> = leaving
            .into_iter()
            .filter(|seat| self.places.get(seat).is_some_and(|p| p.under_way == 0))
            .collect();
        if !done.is_empty() {
            done.iter().for_each(|seat| self.remove(*seat));
            // A poller that is gone has given everything back.
            let _ = self.inputs.orders.send(Order::Release(done));
        }
    }

    fn remove(&mut self, seat: Seat) {
        let Some(place) = self.places.remove(&seat) else {
            return;
        };
        let (freed, uncommitted) = place.remains();
        self.free(freed);
        self.stream.parts.room.acknowledged(uncommitted);
        self.stream
            .parts
            .metrics
            .set_lag(&place.topic, place.partition, None);
    }

    /// Orders what may be stored, once the state knows it.
    fn store(&mut self) {
        let moved: Vec<(Seat, Arc<str>, i32, i64)> = self
            .places
            .iter_mut()
            .filter_map(|(seat, p)| {
                let next = p.take_storable()?;
                p.under_way += 1;
                Some((*seat, Arc::clone(&p.topic), p.partition, next))
            })
            .collect();
        for (seat, topic, partition, next) in moved {
            let flushed = self.stream.parts.state.progress(&topic, partition, next);
            // The settler lives as long as the desk.
            let _ = self.when_durable(Some(flushed), Settling::Progress { seat, next });
        }
    }

    fn tick(&mut self) -> Result<(), Broken> {
        self.stream.passage.tick();
        self.intake.tick();
        self.store();
        let now = Instant::now();
        for place in self
            .places
            .values()
            .filter(|place| place.leaving.is_some_and(|until| until <= now))
        {
            place.lease.hard.cancel();
        }
        self.release();
        while self.preparing.try_join_next().is_some() {}
        self.show();
        Ok(())
    }

    fn drain(&mut self) {
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

    fn is_empty(&self) -> bool {
        self.journeys.is_empty() && self.places.values().all(|place| place.under_way == 0)
    }

    async fn drained(&mut self) -> Result<(), Broken> {
        self.store();
        while self.places.values().any(|place| place.under_way > 0) {
            let Some(settled) = self.settled.recv().await else {
                break;
            };
            self.settle(settled)?;
        }
        Ok(())
    }

    /// Gauges and status.
    fn show(&mut self) {
        let (parts, at) = (&self.stream.parts, now_ms());
        let metrics = &parts.metrics;
        let as_i64 = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let oldest: Vec<_> = self
            .places
            .values()
            .filter_map(|place| place.oldest(at))
            .collect();
        let waited = oldest
            .iter()
            .map(|(waited, _)| waited.as_secs_f64())
            .fold(0.0, f64::max);
        let behind = oldest
            .iter()
            .filter_map(|(_, age)| *age)
            .map(|age| age.as_secs_f64())
            .fold(0.0, f64::max);
        metrics.oldest_unsettled.set(waited);
        metrics.lag_seconds.set(behind);
        metrics.unsettled.set(as_i64(parts.room.unsettled()));
        metrics.unsettled_bytes.set(as_i64(parts.room.bytes()));
        metrics.uncommitted.set(as_i64(parts.room.uncommitted()));
        metrics.partitions.set(as_i64(self.places.len()));
        metrics.paused.set(as_i64(self.paused));
        if self.last_lag.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.last_lag = Instant::now();
        let mut partitions: Vec<PartitionStatus> = Vec::with_capacity(self.places.len());
        for place in self.places.values() {
            let lag = place.lag();
            if lag.is_some() {
                metrics.set_lag(&place.topic, place.partition, lag);
            }
            partitions.push(PartitionStatus {
                topic: place.topic.to_string(),
                partition: place.partition,
                lag,
            });
        }
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let held = self.stream.passage.holds().into_iter();
        let status = StreamStatus {
            id: self.stream.id().to_owned(),
            mode: if parts.mode == crate::config::Mode::Live {
                "live"
            } else {
                "shadow"
            },
            held: held
                .map(|(reason, time)| Held {
                    reason: reason.as_str(),
                    seconds: time.as_secs_f64(),
                })
                .collect(),
            unsettled: parts.room.unsettled(),
            waiting_in_lanes: self.lanes.waiting(),
            uncommitted: parts.room.uncommitted(),
            oldest_unsettled_seconds: waited,
            requests_in_flight: usize::try_from(metrics.in_flight.get()).unwrap_or(0),
            partitions,
            outcomes: metrics.outcomes.counts(),
            dead_letters: metrics
                .dead_letters
                .counts()
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
        };
        *self
            .inputs
            .status
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = status;
    }
}

/// Waits for each flush in the order in which they were made. A flush that fails holds the stream; the state keeps what
/// was not written, and is asked again until it is durable.
async fn settle_in_order(
    stream: Arc<Stream>,
    lease: Lease,
    mut waiting: UnboundedReceiver<(Flushed, Settling)>,
    done: UnboundedSender<Settling>,
) {
    while let Some((flushed, what)) = waiting.recv().await {
        // Nobody waits for what the hard token aborts.
        if stream.durable(&lease, flushed).await.is_err() || done.send(what).is_err() {
            return;
        }
    }
}
