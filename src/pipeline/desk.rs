//! The desk of a stream: the one task that owns its lanes, its offsets and its partitions.
//!
//! It takes records in as room allows, starts journeys whose turn it is, settles what has ended, and answers the
//! poller's notices. It must never wait for a receiver, and never store an offset whose outcomes are not durable.

mod board;
mod going;
mod hearing;
mod rewinding;
mod settling;
mod taking;
mod tenure;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::delivery::guard::{Guard, GuardSettings};
use crate::kafka::events::{Notice, Order, Seat, Seated};
use crate::lanes::{Lanes, Ticket};

use super::intake::Intake;
use super::journey::{Draft, Final, Lease, LetGo, Outcome};
use super::passage::Pass;
use super::seats::Places;
use super::status::StreamStatus;
use super::stream::Stream;
use super::valve::Wish;
use going::Journeys;
pub(in crate::pipeline) use rewinding::Forgetting;
use rewinding::Rewinds;
use settling::{Settling, Waiting, settle_in_order};

/// How often time passes for guard, probes, gauges and stored offsets.
const TICK: Duration = Duration::from_millis(100);

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
    /// From operators.
    pub wishes: Receiver<Wish>,
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
    id: u64,
    seat: Seat,
    offset: i64,
    ticket: Option<Ticket>,
    end: Result<Final, LetGo>,
}

/// See the module.
pub struct Desk {
    stream: Arc<Stream>,
    inputs: DeskInputs,
    intake: Intake,
    places: Places,
    lanes: Lanes<Box<Draft>>,
    journeys: JoinSet<Arrived>,
    journeys_by_id: Journeys,
    rewinds: Rewinds,
    to_settle: UnboundedSender<Waiting>,
    settled: UnboundedReceiver<Settling>,
    settler: JoinSet<()>,
    queue: VecDeque<Seated>,
    preparing: JoinSet<()>,
    /// Who asks the state what it knows: about the stream, about each new partition.
    recalling: JoinSet<()>,
    /// Who makes the dead-letter topic of a source topic ready, or has.
    prepared: std::collections::HashMap<Arc<str>, AbortHandle>,
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
            ..Lease::default()
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
            journeys_by_id: Journeys::default(),
            rewinds: Rewinds::default(),
            to_settle,
            settled,
            settler,
            queue: VecDeque::new(),
            preparing: JoinSet::new(),
            recalling: JoinSet::new(),
            prepared: std::collections::HashMap::new(),
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
        let (stream, lease) = (Arc::clone(&self.stream), self.lease());
        self.recalling
            .spawn(async move { stream.recall(&lease).await });
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
                _ = self.settler.join_next(), if !self.inputs.hard.is_cancelled() => {
                    // It ends at an abort, whatever this select saw first.
                    if !self.inputs.hard.is_cancelled() {
                        return Err("the settler ended".to_owned());
                    }
                }
                batch = self.inputs.records.recv(), if self.queue.is_empty() && !self.draining => {
                    self.queue.extend(batch.unwrap_or_default());
                }
                _ = tick.tick() => self.tick()?,
                Some(wish) = self.inputs.wishes.recv() => self.obey(wish),
                () = self.inputs.soft.cancelled(), if !self.draining => self.drain(),
                () = std::future::ready(()), if more => {}
            }
            if let Some(broken) = self.stream.broken() {
                return Err(broken);
            }
        }
    }

    /// A journey has ended: its lane is free, and once the state is durable its record settles.
    fn arrived(&mut self, arrived: Result<Arrived, JoinError>) -> Result<(), Broken> {
        let Arrived {
            id,
            seat,
            offset,
            ticket,
            end,
        } = arrived.map_err(|error| format!("a journey failed: {error}"))?;
        self.ended(id, &end);
        if let Some(ticket) = ticket {
            for (ticket, draft) in self.lanes.complete(ticket) {
                self.start(ticket, draft);
            }
        }
        match end {
            Ok(Final { outcome, flushed }) => {
                self.count(&outcome);
                if let Some(place) = self.places.get_mut(&seat) {
                    place.decided();
                }
                self.when_durable(flushed, Settling::Set { seat, offset })
            }
            Err(LetGo) => {
                if let Some(place) = self.places.get_mut(&seat) {
                    place.under_way = place.under_way.saturating_sub(1);
                    if place.lease.fenced.is_cancelled() {
                        self.fenced(seat);
                        return Ok(());
                    }
                    // Only a partition that leaves lets its SETs go; else this one would never settle.
                    if !place.lease.soft.is_cancelled() && self.stream.broken().is_none() {
                        return Err("a SET was let go although its partition stays".to_owned());
                    }
                }
                Ok(())
            }
        }
    }

    fn count(&self, outcome: &Outcome) {
        self.stream.parts.metrics.outcomes.inc(outcome.as_str());
    }

    fn tick(&mut self) -> Result<(), Broken> {
        self.stream.hear_operators();
        self.stream.passage.tick();
        let held = !self.stream.passage.lets(Pass::Free);
        self.stream.parts.room.set_held(held);
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
        while let Some(ended) = self.recalling.try_join_next() {
            ended.map_err(|error| format!("the state was not asked: {error}"))?;
        }
        self.show();
        Ok(())
    }
}
