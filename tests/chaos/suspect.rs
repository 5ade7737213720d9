//! A bridge that is broken on purpose need not run to the end: it is found while it runs.

use std::collections::HashSet;

use super::kafka::Seen;
use super::load::{Expected, Fate, Unit};
use super::oracle::{Attempt, Findings, History, Place, judge};
use super::receiver::now_ms;
use super::wishes::Breach;

/// What was committed so long ago was sent, or never will be.
const SENT_MS: u64 = 3_000;
/// One or two may be dead letters.
const LOST: usize = 10;

/// Whether the verdict shows what was wanted.
pub(crate) fn finds(wanted: Breach, findings: &Findings) -> bool {
    match wanted {
        Breach::Lost => findings.lost > 0,
        Breach::OutOfOrder => findings.out_of_order > 0,
    }
}

/// Whether it looks so by what has happened so far.
pub(crate) fn is_suspect(
    wanted: Breach,
    seen: &Seen,
    records: Vec<(Place, Vec<Unit>)>,
    sets: Vec<Expected>,
    attempts: Vec<Attempt>,
) -> bool {
    let Some(known) = seen.at(now_ms().saturating_sub(SENT_MS)) else {
        return false;
    };
    if wanted == Breach::OutOfOrder {
        let history = History {
            sets,
            records,
            attempts,
            ..History::default()
        };
        return finds(wanted, &judge(&history));
    }
    let taken = attempts.iter().filter(|attempt| attempt.accepted);
    let taken: HashSet<u32> = taken.filter_map(|a| a.said.map(|said| said.set)).collect();
    let done = records.iter().filter(|(place, _)| {
        let next = known.next.get(&(place.keyed, place.partition));
        next.is_some_and(|next| place.offset < *next)
    });
    let lost = { done }
        .flat_map(|(_, units)| units)
        .filter(|unit| match unit {
            Unit::Set(set) => {
                let accepted = sets.get(*set as usize).map(|e| e.fate) == Some(Fate::Accepted);
                accepted && !taken.contains(set)
            }
            _ => false,
        });
    lost.count() >= LOST
}
