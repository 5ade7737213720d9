//! Order, effect and the chain of previous levels, person by person.

use std::collections::BTreeMap;

use super::{Attempt, Fact, Findings, History, Via, is_ordered};

/// One SET that was taken.
#[derive(Debug, Clone, Copy)]
struct Taken {
    set: u32,
    /// Which attempt was taken first.
    first: usize,
    via: Via,
    /// Whoever sent it never knew that it was taken, and gave it up.
    unknown: bool,
}

pub(super) fn check(history: &History, facts: &[Fact], findings: &mut Findings) {
    let mut persons: BTreeMap<u32, Vec<Taken>> = BTreeMap::new();
    // SETs are numbered as they were produced, so each person's are in the order of the partition.
    for ((set, fact), expected) in (0u32..).zip(facts).zip(&history.sets) {
        if let Some(first) = fact.first.filter(|_| is_ordered(expected)) {
            let (via, unknown) = (fact.via, fact.seen.is_none() && !fact.letters.is_empty());
            let taken = Taken {
                set,
                first,
                via,
                unknown,
            };
            persons.entry(expected.person).or_default().push(taken);
        }
    }
    for (person, taken) in &mut persons {
        after_moves(taken, history);
        order(*person, taken, findings);
        replays(*person, taken, history, findings);
        effect(*person, taken, history, findings);
        if history.whole_state {
            chain(*person, taken, history, findings);
        }
    }
}

/// A replay about an address that the person has left meets no level there: nothing is newer than it.
fn after_moves(taken: &mut [Taken], history: &History) {
    let of = |one: &Taken| &history.sets[one.set as usize];
    let moves: Vec<(u16, usize)> = taken
        .iter()
        .filter(|one| of(one).level.is_none())
        .map(|one| (of(one).version, one.first))
        .collect();
    for one in taken.iter_mut().filter(|one| one.via == Via::Replay) {
        let version = of(one).version;
        if { moves.iter() }.any(|(from, first)| *from == version && *first < one.first) {
            one.via = Via::Late;
        }
    }
}

/// What was taken for the first time never goes back.
fn order(person: u32, taken: &[Taken], findings: &mut Findings) {
    let mut newest = 0;
    for one in taken.iter().filter(|one| one.via == Via::Live) {
        if one.first < newest {
            findings.out_of_order += 1;
            findings.tell("out of order", || {
                format!(
                    "person {person}: SET {} was taken after a newer one",
                    one.set
                )
            });
        }
        newest = newest.max(one.first);
    }
}

/// No replay is sent after something newer about its subject was accepted.
fn replays(person: u32, taken: &[Taken], history: &History, findings: &mut Findings) {
    let version = |one: &Taken| history.sets[one.set as usize].version;
    for (index, one) in taken.iter().enumerate() {
        if one.via != Via::Replay {
            continue;
        }
        let newer = taken[index + 1..].iter().find(|newer| {
            let known = newer.via != Via::Late && !newer.unknown;
            let leveled = history.sets[newer.set as usize].level.is_some();
            known && leveled && version(newer) == version(one) && newer.first < one.first
        });
        if let Some(newer) = newer {
            findings.out_of_order += 1;
            findings.tell("out of order", || {
                let (set, newer) = (one.set, newer.set);
                format!("person {person}: SET {set} was replayed after {newer}")
            });
        }
    }
}

/// Levels by address, as a receiver that ignores a repeated jti ends up with.
fn believed(sets: impl Iterator<Item = u32>, history: &History) -> BTreeMap<u16, u8> {
    let mut levels = BTreeMap::new();
    for set in sets {
        follow(&mut levels, set, history);
    }
    levels
}

/// What one SET changes.
fn follow(levels: &mut BTreeMap<u16, u8>, set: u32, history: &History) {
    let expected = &history.sets[set as usize];
    match expected.level {
        Some(level) => {
            levels.insert(expected.version, level);
        }
        None => {
            if let Some(level) = levels.remove(&expected.version) {
                levels.insert(expected.version + 1, level);
            }
        }
    }
}

/// The order of the records decides, but for what came late on purpose: that counts from when it came.
fn effect(person: u32, taken: &[Taken], history: &History, findings: &mut Findings) {
    let mut by_time = taken.to_vec();
    by_time.sort_by_key(|one| one.first);
    let mut in_order = taken.iter().filter(|one| one.via != Via::Late);
    let promised = by_time.iter().map(|one| match one.via {
        Via::Late => one.set,
        Via::Live | Via::Replay => in_order.next().expect("as many as there are").set,
    });
    let promised = believed(promised, history);
    let is = believed(by_time.iter().map(|one| one.set), history);
    if is != promised {
        findings.wrong_effect += 1;
        findings.tell("wrong effect", || {
            format!("person {person}: the receiver believes {is:?}, the records say {promised:?}")
        });
    }
}

/// Each SET names the level that was accepted last about its subject, until something is forced on the state on purpose:
/// that leaves a level that only the bridge knows.
fn chain(person: u32, taken: &[Taken], history: &History, findings: &mut Findings) {
    let mut levels = BTreeMap::new();
    let mut by_time = taken.to_vec();
    if { taken.iter() }.any(|one| one.via != Via::Live) {
        by_time.sort_by_key(|one| one.first);
    }
    for one in by_time.iter().take_while(|one| one.via != Via::Late) {
        let said = history.attempts[one.first].said;
        let set = one.set;
        if let Some(said) = said.filter(|said| said.level.is_some()) {
            let level = levels.get(&said.version).copied().unwrap_or(0);
            if said.previous != level {
                findings.invalid(|| {
                    let before = said.previous;
                    let all = story(person, history);
                    format!(
                        "person {person}: SET {set} says previous level {before}, it was {level}; {all}"
                    )
                });
            }
        }
        if !one.unknown {
            follow(&mut levels, set, history);
        }
    }
}

/// What came about the person, as it came.
fn story(person: u32, history: &History) -> String {
    let tells = |attempt: &Attempt| {
        let said = attempt.said.filter(|said| said.person == person)?;
        let (set, at_ms, process) = (said.set, attempt.at_ms, attempt.process);
        let taken = match (attempt.accepted, attempt.seen) {
            (false, _) => "refused",
            (true, false) => "taken unseen",
            (true, true) => "taken",
        };
        let (level, previous) = (said.level, said.previous);
        Some(format!(
            "{at_ms} SET {set} of {process} {level:?} after {previous}: {taken}"
        ))
    };
    let told: Vec<String> = history.attempts.iter().filter_map(tells).collect();
    told.join(", ")
}
