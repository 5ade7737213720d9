//! Records come in: decoded and mapped as room allows, each SET into its lane, each whose turn it is on its way.

use std::sync::Arc;

#[cfg(feature = "chaos-faults")]
use super::super::broken;
use super::super::intake::Taken;
use super::super::journey::{Draft, Fault, Source};
use super::super::seats::Freed;
use super::super::{deliver, lay_aside};
use super::going::Going;
use super::{Arrived, Broken, Desk};
#[cfg(feature = "chaos-faults")]
use crate::kafka::events::Order;
use crate::kafka::events::{Seat, Seated};
use crate::lanes::Ticket;
use crate::set::Jti;

/// As the desk knows who is on its way.
fn going(source: &Source, jti: Option<Jti>) -> Going {
    Going {
        seat: source.seat,
        origin: source.record.origin.clone(),
        element: source.element.as_ref().map(|(element, _)| *element),
        jti,
    }
}

/// Detections taken in between two looks at everything else.
const TAKE: usize = 64;

impl Desk {
    /// Takes records in while there is room and no crowd on the way to the wire; says whether there is more to take at once.
    pub(super) fn take_in(&mut self) -> Result<bool, Broken> {
        if !self.stream.operator.is_known() {
            return Ok(false);
        }
        for _ in 0..TAKE {
            // While the mapping is suspect nothing settles, so one detection a second is tried beyond the limit.
            let (room, suspect) = (&self.stream.parts.room, self.intake.is_suspect());
            room.set_probing(suspect);
            let room = room.has_space_for_a_set() || suspect;
            if self.draining || !room || !self.stream.wire.wants_more() || !self.intake.may_take() {
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
                    #[cfg(feature = "chaos-faults")]
                    if broken::is(broken::Broken::StoreEarly) {
                        let next = record.origin.offset + 1;
                        let _ = self.inputs.orders.send(Order::Store { seat, next });
                    }
                    self.intake.begin(seat, record, place.side.clone());
                    return Ok(true);
                }
                _ => {
                    self.free(Freed {
                        records: 1,
                        bytes: size,
                        ..Freed::default()
                    });
                    self.stream.parts.room.acknowledged(1);
                }
            }
        }
        Ok(false)
    }

    /// A SET gets into its lane, a fault waits for the guard.
    fn enter(&mut self, seat: Seat, entry: Result<Box<Draft>, Box<Fault>>) {
        let Some(place) = self.places.get_mut(&seat) else {
            return;
        };
        self.stream.parts.room.expand(1);
        place.expect(
            entry
                .as_ref()
                .map_or_else(|f| f.source.settles, |d| d.source.settles),
            1,
        );
        match entry {
            Ok(draft) => {
                let (key, other) = (draft.claims.subject_key, draft.claims.other_lane);
                #[cfg(feature = "chaos-faults")]
                let (key, other) = if broken::is(broken::Broken::SkipLane) {
                    let mut lane = [0; 16];
                    lane[..8].copy_from_slice(&draft.id.to_be_bytes());
                    (crate::set::SubjectKey::from_bytes(lane), None)
                } else {
                    (key, other)
                };
                if let Some((ticket, draft)) = self.lanes.enqueue(key, other, draft) {
                    self.start(ticket, draft);
                }
            }
            Err(fault) => {
                place.under_way += 1;
                let stream = Arc::clone(&self.stream);
                let offset = fault.source.settles;
                let id = fault.id;
                self.journeys_by_id.begin(id, going(&fault.source, None));
                self.journeys.spawn(async move {
                    Arrived {
                        id,
                        seat,
                        offset,
                        ticket: None,
                        end: lay_aside(&stream, &fault).await,
                    }
                });
            }
        }
    }

    pub(super) fn start(&mut self, ticket: Ticket, draft: Box<Draft>) {
        let (seat, offset) = (draft.source.seat, draft.source.settles);
        if let Some(place) = self.places.get_mut(&seat) {
            place.under_way += 1;
        }
        let stream = Arc::clone(&self.stream);
        let approach = stream.wire.approach();
        let id = draft.id;
        let jti = draft.claims.jti.clone();
        self.journeys_by_id
            .begin(id, going(&draft.source, Some(jti)));
        self.journeys.spawn(async move {
            Arrived {
                id,
                seat,
                offset,
                ticket: Some(ticket),
                end: deliver(&stream, &draft, approach).await,
            }
        });
    }
}
