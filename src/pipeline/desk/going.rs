//! Who is on its way: the SETs in turn and the faults, and which of them an operator skips.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::oneshot;

use super::super::journey::{Final, LetGo};
use super::super::status::Blocking;
use super::super::valve::{ActError, SkipEnd, Skipping};
use super::Desk;
use crate::kafka::events::Seat;
use crate::record::Origin;
use crate::set::Jti;

/// One journey.
pub(super) struct Going {
    pub(super) seat: Seat,
    pub(super) origin: Origin,
    pub(super) element: Option<u32>,
    /// [`None`]: a fault, which never became a SET.
    pub(super) jti: Option<Jti>,
}

impl Going {
    fn shown(&self) -> Blocking {
        Blocking {
            origin: self.origin.to_string(),
            element: self.element,
            jti: self.jti.as_ref().map(|jti| jti.as_str().to_owned()),
        }
    }
}

/// One that is skipped, until it has its outcome or its partition leaves.
struct Skipped {
    seat: Seat,
    /// Who asked.
    tell: Vec<oneshot::Sender<SkipEnd>>,
}

/// The journeys of a desk by number, oldest first: numbers are given as records are taken in.
#[derive(Default)]
pub(super) struct Journeys {
    going: BTreeMap<u64, Going>,
    skipped: HashMap<u64, Skipped>,
}

impl Journeys {
    pub(super) fn begin(&mut self, id: u64, going: Going) {
        self.going.insert(id, going);
    }

    /// What the settled prefix of its partition waits for, longest: what was taken in before has an outcome.
    pub(super) fn blocking(&self) -> Option<Blocking> {
        self.going.values().next().map(Going::shown)
    }
}

impl Desk {
    /// Finds the one with this jti, or the oldest, and lets it be skipped. One that waits in its lane is skipped when its
    /// turn comes: before that, its mark would hide those ahead of it.
    pub(super) fn skip(&mut self, jti: Option<&str>) -> Result<Skipping, ActError> {
        let journeys = &self.journeys_by_id;
        let is_it = |known: Option<&Jti>| {
            jti.is_none_or(|wanted| known.is_some_and(|known| known.as_str() == wanted))
        };
        let going = journeys.going.iter();
        let mut going = going.filter(|(_, going)| is_it(going.jti.as_ref()));
        let found = going
            .next()
            .map(|(id, going)| (*id, going.seat, going.shown()));
        let found = found.or_else(|| {
            let mut waiting = self.lanes.iter_waiting();
            let draft = waiting.find(|draft| is_it(Some(&draft.claims.jti)))?;
            let shown = Blocking {
                origin: draft.source.record.origin.to_string(),
                element: draft.source.element.as_ref().map(|(element, _)| *element),
                jti: Some(draft.claims.jti.as_str().to_owned()),
            };
            Some((draft.id, draft.source.seat, shown))
        });
        let Some((id, seat, set)) = found else {
            return Err(match jti {
                Some(_) => ActError::UnknownJti,
                None => ActError::NothingWaits,
            });
        };
        let (tell, end) = oneshot::channel();
        let skipped = self.journeys_by_id.skipped.entry(id).or_insert(Skipped {
            seat,
            tell: Vec::new(),
        });
        skipped.tell.push(tell);
        self.stream.skips.ask(id);
        Ok(Skipping { set, end })
    }

    /// A journey has ended; whoever skipped it hears how.
    pub(super) fn ended(&mut self, id: u64, end: &Result<Final, LetGo>) {
        self.journeys_by_id.going.remove(&id);
        let end = match end {
            Ok(Final { outcome, .. }) => SkipEnd::Outcome(outcome.as_str(), outcome.reason()),
            Err(LetGo) => SkipEnd::Left,
        };
        self.tell_skipped(id, end);
    }

    fn tell_skipped(&mut self, id: u64, end: SkipEnd) {
        let Some(skipped) = self.journeys_by_id.skipped.remove(&id) else {
            return;
        };
        self.stream.skips.forget(id);
        for tell in skipped.tell {
            // Who asked may have gone.
            let _ = tell.send(end);
        }
    }

    /// The SETs of these seats that waited in their lanes are gone.
    pub(super) fn withdrawn(&mut self, seats: &[Seat]) {
        let journeys = &self.journeys_by_id;
        let gone = |(id, skipped): (&u64, &Skipped)| {
            let waited = !journeys.going.contains_key(id);
            (waited && seats.contains(&skipped.seat)).then_some(*id)
        };
        let gone: Vec<u64> = journeys.skipped.iter().filter_map(gone).collect();
        for id in gone {
            self.tell_skipped(id, SkipEnd::Left);
        }
    }
}
