//! Order, effect and the chain of previous levels, person by person.

use std::collections::BTreeMap;

use super::{Fact, Findings, History, is_ordered};

/// SETs about one person: the number of the SET, and which attempt was taken first.
type Taken = Vec<(u32, usize)>;

pub(super) fn check(history: &History, facts: &[Fact], findings: &mut Findings) {
    let mut persons: BTreeMap<u32, Taken> = BTreeMap::new();
    // SETs are numbered as they were produced, so each person's are in the order of the partition.
    for ((set, fact), expected) in (0u32..).zip(facts).zip(&history.sets) {
        if let Some(first) = fact.first.filter(|_| is_ordered(expected)) {
            persons
                .entry(expected.person)
                .or_default()
                .push((set, first));
        }
    }
    for (person, taken) in &persons {
        order(*person, taken, findings);
        effect(*person, taken, history, findings);
        if history.whole_state {
            chain(*person, taken, history, findings);
        }
    }
}

/// What was taken for the first time never goes back.
fn order(person: u32, taken: &Taken, findings: &mut Findings) {
    let mut newest = 0;
    for (set, first) in taken {
        if *first < newest {
            findings.out_of_order += 1;
            findings.tell("out of order", || {
                format!("person {person}: SET {set} was taken after a newer one")
            });
        }
        newest = newest.max(*first);
    }
}

/// Levels by address, as a receiver that ignores a repeated jti ends up with.
fn believed(sets: impl Iterator<Item = u32>, history: &History) -> BTreeMap<u16, u8> {
    let mut levels = BTreeMap::new();
    for set in sets {
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
    levels
}

fn effect(person: u32, taken: &Taken, history: &History, findings: &mut Findings) {
    let promised = believed(taken.iter().map(|(set, _)| *set), history);
    let mut by_time = taken.clone();
    by_time.sort_by_key(|(_, first)| *first);
    let is = believed(by_time.iter().map(|(set, _)| *set), history);
    if is != promised {
        findings.wrong_effect += 1;
        findings.tell("wrong effect", || {
            format!("person {person}: the receiver believes {is:?}, the records say {promised:?}")
        });
    }
}

/// Each SET names the level that the one before it left.
fn chain(person: u32, taken: &Taken, history: &History, findings: &mut Findings) {
    let mut level = 0;
    for (set, first) in taken {
        let Some(said) = history.attempts[*first].said else {
            continue;
        };
        let Some(current) = said.level else { continue };
        if said.previous != level {
            findings.invalid(|| {
                let before = said.previous;
                format!("person {person}: SET {set} says previous level {before}, it was {level}")
            });
        }
        level = current;
    }
}
