//! Dead letters: each has a reason in its record or in an operator's act, and none is about what the receiver was known
//! to have.

use std::collections::HashMap;

use super::super::load::{Fate, Unit};
use super::{Attempt, Fact, Findings, History, Letter, ON_THE_WIRE_MS, Place, SkipEnd};

/// The dead letters of what could not become a SET, by record and element.
pub(super) type Bad = HashMap<(Place, Option<u32>), u64>;

/// Notes every dead letter at its SET; those of what is no SET are returned.
pub(super) fn read(history: &History, facts: &mut [Fact], findings: &mut Findings) -> Bad {
    let of_jti: HashMap<u64, u32> = (0u32..)
        .zip(facts.iter())
        .filter_map(|(set, fact)| Some((fact.jti?, set)))
        .collect();
    let units: HashMap<Place, &[Unit]> = history
        .records
        .iter()
        .map(|(place, units)| (*place, units.as_slice()))
        .collect();
    let mut blind = blind_skips(history);
    let mut bad = Bad::new();
    for (index, letter) in history.letters.iter().enumerate() {
        let units = units.get(&letter.origin).copied().unwrap_or_default();
        let set = letter.jti.and_then(|jti| of_jti.get(&jti).copied());
        if let Some(set) = set.filter(|set| units.contains(&Unit::Set(*set))) {
            if !fits(history, set, letter, &mut blind) {
                let fate = history.sets[set as usize].fate;
                findings.invalid(|| format!("SET {set} ({fate:?}) is a dead letter: {letter:?}"));
            }
            facts[set as usize].letters.push(index);
        } else if letter.jti.is_none() && units.contains(&Unit::Bad(letter.element)) {
            *bad.entry((letter.origin, letter.element)).or_default() += 1;
        } else {
            findings.invalid(|| format!("a dead letter of nothing bad: {letter:?}"));
        }
    }
    bad
}

/// Skips that nobody knows the SET of, by when they were asked for.
fn blind_skips(history: &History) -> Vec<u64> {
    let skips = history.acts.skips.iter();
    let blind = skips.filter(|skip| skip.jti.is_none() && skip.end == SkipEnd::Unknown);
    blind.map(|skip| skip.at_ms).collect()
}

fn fits(history: &History, set: u32, letter: &Letter, blind: &mut Vec<u64>) -> bool {
    let fate = history.sets[set as usize].fate;
    let mended = history.acts.mended.get(&set);
    match letter.reason.as_str() {
        // What tries the receiver's patience long enough may be given up.
        "receiver_error" => fate != Fate::Refused || mended.is_some(),
        "invalid_request" => {
            // What was on the wire when the receiver was mended is still refused.
            let yet = mended.is_none_or(|at_ms| letter.at_ms <= at_ms + ON_THE_WIRE_MS);
            fate == Fate::Refused && yet
        }
        "skipped" => {
            let skips = history.acts.skips.iter();
            let named = skips
                .filter(|skip| skip.end != SkipEnd::Not && skip.at_ms <= letter.at_ms)
                .any(|skip| skip.jti == letter.jti);
            named || take_blind(blind, letter.at_ms)
        }
        _ => false,
    }
}

/// One act accounts for one letter.
fn take_blind(blind: &mut Vec<u64>, at_ms: u64) -> bool {
    let found = blind.iter().position(|asked| *asked <= at_ms);
    found.map(|index| blind.swap_remove(index)).is_some()
}

/// Whether the SET is a dead letter as that record's.
pub(super) fn has(history: &History, fact: &Fact, place: Place) -> bool {
    let mut letters = fact.letters.iter();
    letters.any(|letter| history.letters[*letter].origin == place)
}

/// What the sender knew to be accepted never is a dead letter afterwards.
pub(super) fn exclude(history: &History, facts: &[Fact], findings: &mut Findings) {
    for ((set, fact), expected) in (0u32..).zip(facts).zip(&history.sets) {
        if let Some(seen) = fact.seen {
            let seen = &history.attempts[seen];
            let after = fact.letters.iter().map(|letter| &history.letters[*letter]);
            let after = { after }.find(|l| l.at_ms > seen.at_ms && !forgot(history, fact, seen, l));
            if let Some(letter) = after {
                findings
                    .invalid(|| format!("SET {set} was accepted, then a dead letter: {letter:?}"));
            }
        }
        let mended = history.acts.mended.contains_key(&set);
        if fact.first.is_some() && expected.fate != Fate::Accepted && !mended {
            // The receiver's own mistake; it would spoil the rest.
            findings.invalid(|| format!("SET {set} was accepted, although {:?}", expected.fate));
        }
    }
}

/// Between the acceptance and the letter it may have been forgotten: whoever saw the answer was cut off, nobody else
/// knows, or an operator wanted it forgotten.
fn forgot(history: &History, fact: &Fact, seen: &Attempt, letter: &Letter) -> bool {
    let cut_off = history.forced.iter().any(|forced| {
        forced.process == seen.process
            && forced.from_ms <= letter.at_ms
            && forced.until_ms >= seen.at_ms
    });
    let rewound = history
        .acts
        .rewinds
        .iter()
        .any(|rewind| rewind.forgets(fact) && rewind.between(seen.at_ms, letter.at_ms));
    cut_off || rewound || (!history.whole_state && fact.places.len() > 1)
}
