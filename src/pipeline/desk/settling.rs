//! Outcomes become durable, in order, and then settle their records; what is settled is noted, and then stored.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::super::journey::{Lease, SourcePartition};
use super::super::seats::Freed;
use super::super::stream::{NotDurable, Stream};
use super::{Broken, Desk};
use crate::kafka::events::{Order, Seat};
use crate::state::{Flushed, StateError};

/// What becomes durable, in order.
#[derive(Clone, Copy)]
pub(super) enum Settling {
    /// A SET of this record.
    Set { seat: Seat, offset: i64 },
    /// The state knows that everything before `next` is settled, so it may be stored.
    Progress { seat: Seat, next: i64 },
    /// The shared state has another owner for the partition, so something of it was not taken.
    Fenced { seat: Seat },
}

impl Settling {
    fn seat(self) -> Seat {
        match self {
            Self::Set { seat, .. } | Self::Progress { seat, .. } | Self::Fenced { seat } => seat,
        }
    }
}

/// What waits for a flush, and of which partition.
pub(super) type Waiting = (Flushed, Option<SourcePartition>, Settling);

impl Desk {
    /// Settles now when the state is durable already, else in order when it is.
    pub(super) fn when_durable(
        &mut self,
        flushed: Option<Flushed>,
        what: Settling,
    ) -> Result<(), Broken> {
        let Some(mut flushed) = flushed else {
            return self.settle(what);
        };
        match (&mut flushed).now_or_never() {
            Some(Ok(())) => self.settle(what),
            Some(Err(StateError::Fenced { .. })) => {
                self.settle(Settling::Fenced { seat: what.seat() })
            }
            Some(Err(error)) => {
                // Kept by the state, to be written again: the settler asks until it is.
                tracing::debug!(stream = self.stream.id(), %error, "not durable yet");
                let of = self.source_partition(what.seat());
                self.pass_on((self.stream.flush(of.as_ref()), of, what))
            }
            None => self.pass_on((flushed, self.source_partition(what.seat()), what)),
        }
    }

    fn source_partition(&self, seat: Seat) -> Option<SourcePartition> {
        Some(self.places.get(&seat)?.source_partition())
    }

    fn pass_on(&self, waiting: Waiting) -> Result<(), Broken> {
        match self.to_settle.send(waiting) {
            // After an abort nobody settles any more.
            Err(_) if !self.inputs.hard.is_cancelled() => Err("the settler ended".to_owned()),
            _ => Ok(()),
        }
    }

    pub(super) fn settle(&mut self, settling: Settling) -> Result<(), Broken> {
        match settling {
            Settling::Set { seat, offset } => {
                let Some(place) = self.places.get_mut(&seat) else {
                    return Ok(());
                };
                place.flushed();
                let freed = place.settle(offset).map_err(|error| error.to_string())?;
                self.free(freed);
            }
            Settling::Progress { seat, next } => {
                if let Some(place) = self.places.get_mut(&seat) {
                    place.flushed();
                    #[cfg(feature = "chaos-faults")]
                    if super::super::broken::is(super::super::broken::Broken::StoreEarly) {
                        return Ok(());
                    }
                    // A poller that is gone stores nothing more.
                    let _ = self.inputs.orders.send(Order::Store { seat, next });
                }
            }
            Settling::Fenced { seat } => {
                if let Some(place) = self.places.get_mut(&seat) {
                    place.flushed();
                    self.fenced(seat);
                }
            }
        }
        Ok(())
    }

    pub(super) fn free(&self, freed: Freed) {
        let room = &self.stream.parts.room;
        room.leave(freed.records, freed.sets, freed.bytes);
    }
}

/// Waits for each flush in the order in which they were made. A flush that fails holds the stream; the state keeps what
/// was not written, and is asked again until it is durable.
pub(super) async fn settle_in_order(
    stream: Arc<Stream>,
    lease: Lease,
    mut waiting: UnboundedReceiver<Waiting>,
    done: UnboundedSender<Settling>,
) {
    while let Some((flushed, of, what)) = waiting.recv().await {
        let what = match stream.durable(&lease, of.as_ref(), flushed).await {
            Ok(()) => what,
            Err(NotDurable::Fenced) => Settling::Fenced { seat: what.seat() },
            // Nobody waits for what the hard token aborts.
            Err(NotDurable::LetGo) => return,
        };
        if done.send(what).is_err() {
            return;
        }
    }
}
