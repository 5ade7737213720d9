//! Partitions that an operator wants read once more: what was known as delivered in them is forgotten between the old
//! seat's end and the new one's begin.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::valve::{ActError, Standing};
use super::Desk;
use crate::kafka::events::{NewSeat, Order, Seat};
use crate::state::JtiKey;

type Tell = oneshot::Sender<Result<(), ActError>>;

/// One partition on its way back.
struct Rewinding {
    topic: Arc<str>,
    partition: i32,
    from: i64,
    jtis: Vec<JtiKey>,
    /// Resolves when they are forgotten; fails when the partition left before.
    forgotten: Option<oneshot::Receiver<()>>,
    tell: Tell,
}

/// What is forgotten before anything asks the state about a partition that was rewound.
pub(in crate::pipeline) struct Forgetting {
    pub(in crate::pipeline) jtis: Vec<JtiKey>,
    pub(in crate::pipeline) done: oneshot::Sender<()>,
}

/// The partitions that are rewound, by their old seat.
#[derive(Default)]
pub(super) struct Rewinds(HashMap<Seat, Rewinding>);

impl Desk {
    /// Every partition that is ours, stays, and can be rewound: those of side topics cannot.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let places = self.places.iter();
        let ours = places.filter(|(_, place)| place.may_be_rewound());
        let standing = ours.map(|(seat, place)| {
            let (settled, read) = place.stands();
            Standing {
                topic: Arc::clone(&place.topic),
                partition: place.partition,
                seat: *seat,
                settled,
                read,
            }
        });
        standing.collect()
    }

    /// Only under an operator's hold, so that nothing is sent meanwhile.
    pub(super) fn rewind(&mut self, seat: Seat, from: i64, jtis: Vec<JtiKey>, tell: Tell) {
        let place = self.places.get(&seat).filter(|p| p.may_be_rewound());
        let refused = match place {
            _ if self.stream.operator.reason().is_none() => ActError::NotHeld,
            Some(place) if !self.rewinds.0.contains_key(&seat) => {
                let rewinding = Rewinding {
                    topic: Arc::clone(&place.topic),
                    partition: place.partition,
                    from,
                    jtis,
                    forgotten: None,
                    tell,
                };
                self.rewinds.0.insert(seat, rewinding);
                // A poller that is gone ends the desk.
                let _ = self.inputs.orders.send(Order::Rewind { seat, from });
                return;
            }
            _ => ActError::NotRewound("the partition is on its way".to_owned()),
        };
        // Who asked may have gone.
        let _ = tell.send(Err(refused));
    }

    /// A seat begins: if it is one that was wanted, this has to be forgotten before anything asks the state about it. The
    /// old seat has no journey left that could remember something.
    pub(super) fn take_rewound(&mut self, seat: &NewSeat) -> Option<Forgetting> {
        let wanted = self.rewinds.0.iter_mut().find(|(old, rewinding)| {
            !self.places.contains_key(old)
                && seat.committed.is_none()
                && (&*rewinding.topic, rewinding.partition, rewinding.from)
                    == (&*seat.topic, seat.partition, seat.start)
        });
        let (_, rewinding) = wanted?;
        let (done, forgotten) = oneshot::channel();
        rewinding.forgotten = Some(forgotten);
        let jtis = std::mem::take(&mut rewinding.jtis);
        Some(Forgetting { jtis, done })
    }

    pub(super) fn rewound(&mut self, seat: Seat, committed: bool) {
        let Some(rewinding) = self.rewinds.0.remove(&seat) else {
            return;
        };
        let Rewinding {
            topic,
            partition,
            from,
            forgotten,
            tell,
            ..
        } = rewinding;
        tracing::warn!(stream = self.stream.id(), %topic, partition, from, "an operator's rewind: the partition is read once more, and what was delivered from there on goes out again");
        self.preparing.spawn(async move {
            let durable = match forgotten {
                Some(forgotten) => forgotten.await.is_ok(),
                None => false,
            };
            let done = match (durable, committed) {
                (true, true) => Ok(()),
                (false, _) => Err(ActError::NotDurable(
                    "the stream ends, or the partition left".to_owned(),
                )),
                (_, false) => Err(ActError::NotCommitted),
            };
            // Who asked may have gone.
            let _ = tell.send(done);
        });
    }

    pub(super) fn not_rewound(&mut self, seat: Seat, why: String) {
        if let Some(rewinding) = self.rewinds.0.remove(&seat) {
            // Who asked may have gone.
            let _ = rewinding.tell.send(Err(ActError::NotRewound(why)));
        }
    }
}
