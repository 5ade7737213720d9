//! The judge: what was produced, what the receiver saw, what is in the dead-letter topics → what was broken. Pure.
//!
//! It believes nobody: a SET counts as accepted when the receiver took it, whatever the bridge says about it.

mod order;
mod repeats;
mod same;

use std::collections::{BTreeMap, HashMap};

use super::load::{Expected, Fate, STRANGERS, Unit};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// In the topic that is keyed by person?
    pub(crate) keyed: bool,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// One request with a SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When it was there, in ms since 1970.
    pub(crate) at_ms: u64,
    /// Which process sent it.
    pub(crate) process: u16,
    /// Which key signed it.
    pub(crate) kid: u16,
    pub(crate) jti: u64,
    /// Of all bytes
    pub(crate) bytes: u64,
    /// Of the claims but for `iat` and `previous_level`
    pub(crate) claims: u64,
    /// What it says; `None`: no SET of ours, or its signature or schema is wrong.
    pub(crate) said: Option<Said>,
    /// The receiver took it.
    pub(crate) accepted: bool,
    /// Its answer was sent.
    pub(crate) seen: bool,
}

/// The claims that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Number of the SET, from `txn`
    pub(crate) set: u32,
    pub(crate) person: u32,
    pub(crate) version: u16,
    /// From `event_timestamp`
    pub(crate) number: u32,
    /// Index in [`super::load::LEVELS`]; `None`: the person moves.
    pub(crate) level: Option<u8>,
    pub(crate) previous: u8,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) origin: Place,
    pub(crate) element: Option<u32>,
    pub(crate) jti: Option<u64>,
    pub(crate) reason: String,
}

/// A process had to let go: it was killed, its partitions were taken, or it gave them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forced {
    pub(crate) process: u16,
    /// Of which topic (keyed?) and partition; `None`: of all that it had.
    pub(crate) partition: Option<(bool, i32)>,
    /// It could commit what it had settled, so nothing of that may be sent again.
    pub(crate) in_order: bool,
    /// Since when nothing that it stored may count.
    pub(crate) from_ms: u64,
    /// When it was back; what it sent later is another matter.
    pub(crate) until_ms: u64,
}

/// What the group had committed at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) at_ms: u64,
    /// By topic (keyed?) and partition.
    pub(crate) next: BTreeMap<(bool, i32), i64>,
}

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) sets: Vec<Expected>,
    /// In the order in which they were produced.
    pub(crate) records: Vec<(Place, Vec<Unit>)>,
    /// In the order in which the receiver took or refused them.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) forced: Vec<Forced>,
    /// Oldest first.
    pub(crate) committed: Vec<Committed>,
    /// No hand-over loses a level or a jti.
    pub(crate) whole_state: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Units: each SET of each record, each filtered detection, each that cannot become a SET.
    pub(crate) produced: u64,
    pub(crate) accepted_unique: u64,
    pub(crate) filtered: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    pub(crate) wrong_effect: u64,
    pub(crate) invalid: u64,
    pub(crate) repeats: u64,
    pub(crate) repeats_bound: u64,
    /// The first of each kind, in words.
    pub(crate) examples: Vec<String>,
}

/// Examples of one kind that are told.
const TOLD: usize = 8;

impl Findings {
    /// Everything is as promised.
    pub(crate) fn is_clean(&self) -> bool {
        let broken = [
            self.lost,
            self.out_of_order,
            self.wrong_effect,
            self.invalid,
        ];
        broken == [0; 4] && self.repeats <= self.repeats_bound
    }

    fn tell(&mut self, kind: &str, example: impl FnOnce() -> String) {
        let told = self.examples.iter().filter(|e| e.starts_with(kind));
        if told.count() < TOLD {
            self.examples.push(format!("{kind}: {}", example()));
        }
    }

    fn invalid(&mut self, example: impl FnOnce() -> String) {
        self.invalid += 1;
        self.tell("invalid", example);
    }
}

/// What is known about one SET.
#[derive(Debug, Clone, Default)]
pub(super) struct Fact {
    jti: Option<u64>,
    /// Index of the attempt that the receiver took first.
    first: Option<usize>,
    /// Times that the receiver took it.
    taken: u64,
    /// The sender saw one of these answers.
    seen: bool,
    /// Records with a dead letter of it.
    letters: Vec<Place>,
}

/// Judges all of it.
pub(crate) fn judge(history: &History) -> Findings {
    let mut findings = Findings::default();
    let mut facts = vec![Fact::default(); history.sets.len()];
    read_attempts(history, &mut facts, &mut findings);
    let bad = read_letters(history, &mut facts, &mut findings);
    conserve(history, &facts, &bad, &mut findings);
    exclude(history, &facts, &mut findings);
    order::check(history, &facts, &mut findings);
    repeats::check(history, &facts, &mut findings);
    findings
}

/// Every attempt says what its record says.
fn read_attempts(history: &History, facts: &mut [Fact], findings: &mut Findings) {
    let mut same = same::Same::new(history);
    for (index, attempt) in history.attempts.iter().enumerate() {
        let Some(said) = attempt.said else {
            findings.invalid(|| format!("no valid SET of ours, from process {}", attempt.process));
            continue;
        };
        let expected = history.sets.get(said.set as usize);
        let fits = expected.is_some_and(|e| {
            (e.person, e.version, e.number, e.level)
                == (said.person, said.version, said.number, said.level)
        });
        if !fits {
            findings.invalid(|| format!("{said:?}, but the record says {expected:?}"));
            continue;
        }
        same.check(attempt, said, findings);
        let fact = &mut facts[said.set as usize];
        if *fact.jti.get_or_insert(attempt.jti) != attempt.jti {
            findings.invalid(|| format!("SET {}: two jtis", said.set));
        }
        if attempt.accepted {
            fact.first.get_or_insert(index);
            fact.taken += 1;
            fact.seen |= attempt.seen;
        }
    }
}

/// The dead letters of what could not become a SET, by record and element.
type Bad = HashMap<(Place, Option<u32>), u64>;

fn read_letters(history: &History, facts: &mut [Fact], findings: &mut Findings) -> Bad {
    let of_jti: HashMap<u64, u32> = (0u32..)
        .zip(facts.iter())
        .filter_map(|(set, fact)| Some((fact.jti?, set)))
        .collect();
    let units: HashMap<Place, &[Unit]> = history
        .records
        .iter()
        .map(|(place, units)| (*place, units.as_slice()))
        .collect();
    let mut bad = Bad::new();
    for letter in &history.letters {
        let units = units.get(&letter.origin).copied().unwrap_or_default();
        let set = letter.jti.and_then(|jti| of_jti.get(&jti).copied());
        if let Some(set) = set.filter(|set| units.contains(&Unit::Set(*set))) {
            let fate = history.sets[set as usize].fate;
            // What tries the receiver's patience long enough may be given up; nothing else is.
            let fits = match letter.reason.as_str() {
                "receiver_error" => fate != Fate::Refused,
                "invalid_request" => fate == Fate::Refused,
                _ => false,
            };
            if !fits {
                findings.invalid(|| format!("SET {set} ({fate:?}) is a dead letter: {letter:?}"));
            }
            facts[set as usize].letters.push(letter.origin);
        } else if letter.jti.is_none() && units.contains(&Unit::Bad(letter.element)) {
            *bad.entry((letter.origin, letter.element)).or_default() += 1;
        } else {
            findings.invalid(|| format!("a dead letter of nothing bad: {letter:?}"));
        }
    }
    bad
}

/// Every unit of every record has an outcome.
fn conserve(history: &History, facts: &[Fact], bad: &Bad, findings: &mut Findings) {
    let mut counted = vec![false; facts.len()];
    for (place, units) in &history.records {
        for unit in units {
            findings.produced += 1;
            match *unit {
                // What a filtered one would be sent as is no SET of ours: read_attempts finds it.
                Unit::Filtered => findings.filtered += 1,
                Unit::Bad(element) if bad.contains_key(&(*place, element)) => {
                    findings.dead_lettered += 1;
                }
                Unit::Set(set) if facts[set as usize].first.is_some() => {
                    match std::mem::replace(&mut counted[set as usize], true) {
                        false => findings.accepted_unique += 1,
                        true => findings.duplicates += 1,
                    }
                }
                Unit::Set(set) if facts[set as usize].letters.contains(place) => {
                    findings.dead_lettered += 1;
                }
                unit => {
                    findings.lost += 1;
                    findings.tell("lost", || format!("{unit:?} of {place:?}"));
                }
            }
        }
    }
}

/// Never both accepted and dead-lettered, unless no accepting answer was ever seen.
fn exclude(history: &History, facts: &[Fact], findings: &mut Findings) {
    for (set, fact) in facts.iter().enumerate() {
        if fact.first.is_some() && fact.seen && !fact.letters.is_empty() {
            findings.invalid(|| format!("SET {set} was accepted and is a dead letter"));
        }
        let fate = history.sets[set].fate;
        if fact.first.is_some() && fate != Fate::Accepted {
            // The receiver's own mistake; it would spoil the rest.
            findings.invalid(|| format!("SET {set} was accepted, although {fate:?}"));
        }
    }
}

/// Whether order is promised about this person: not without keys.
fn is_ordered(expected: &Expected) -> bool {
    expected.person < STRANGERS
}
