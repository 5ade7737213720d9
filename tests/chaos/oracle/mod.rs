//! The judge: what was produced, what the receiver saw, what is in the dead-letter topics → what was broken. Pure.
//!
//! It believes nobody: a SET counts as accepted when the receiver took it, whatever the bridge says about it.

mod acts;
mod history;
mod letters;
mod order;
mod repeats;
mod same;

use super::load::{Expected, STRANGERS, Unit};

pub(crate) use history::{
    Acts, Attempt, Committed, Forced, History, Hold, Letter, Place, Replay, Rewind, Said, Skip,
    SkipEnd, Told,
};
use letters::Bad;

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
    /// SETs that the receiver took again more often than there was a reason for.
    pub(crate) too_often: u64,
    /// The first of each kind, in words.
    pub(crate) examples: Vec<String>,
}

/// The bridges' `request_timeout`, and a busy machine: what was sent before has come, and been answered, by then.
const ON_THE_WIRE_MS: u64 = 4000;

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
            self.too_often,
        ];
        broken == [0; 5]
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
struct Fact {
    jti: Option<u64>,
    /// The records that hold it, as they were produced.
    places: Vec<Place>,
    /// Index of the attempt that the receiver took first.
    first: Option<usize>,
    /// Index of the first one whose answer was sent.
    seen: Option<usize>,
    /// Index of the one that the receiver took last.
    last: Option<usize>,
    /// Times that the receiver took it.
    taken: u64,
    /// Its dead letters, by index.
    letters: Vec<usize>,
    /// Its dead letters were replayed, by index of the replay.
    replays: Vec<usize>,
    /// How it came to be taken first.
    via: Via,
}

/// On which way a SET came to the receiver first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Via {
    /// As its record was read.
    #[default]
    Live,
    /// Its dead letter came back; nothing newer may have been accepted by then.
    Replay,
    /// When somebody wanted it there: by force, by a rewind, after the person has moved, or where a state of its own
    /// cannot know. It is not in the order of the records, and counts from then on.
    Late,
}

/// Judges all of it.
pub(crate) fn judge(history: &History) -> Findings {
    let mut findings = Findings::default();
    let mut facts = facts(history);
    read_attempts(history, &mut facts, &mut findings);
    let bad = letters::read(history, &mut facts, &mut findings);
    acts::ways(history, &mut facts, &mut findings);
    conserve(history, &facts, &bad, &mut findings);
    letters::exclude(history, &facts, &mut findings);
    order::check(history, &facts, &mut findings);
    repeats::check(history, &facts, &mut findings);
    acts::check(history, &facts, &mut findings);
    findings
}

fn facts(history: &History) -> Vec<Fact> {
    let mut facts = vec![Fact::default(); history.sets.len()];
    for (fact, jti) in facts.iter_mut().zip(&history.jtis) {
        fact.jti = Some(*jti);
    }
    for (place, units) in &history.records {
        for unit in units {
            if let Unit::Set(set) = unit {
                facts[*set as usize].places.push(*place);
            }
        }
    }
    facts
}

/// Every attempt says what its record says.
fn read_attempts(history: &History, facts: &mut [Fact], findings: &mut Findings) {
    let mut same = same::Same::new(history, facts);
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
            findings.invalid(|| format!("SET {}: another jti than it ought to have", said.set));
        }
        if attempt.accepted {
            fact.first.get_or_insert(index);
            fact.last = Some(index);
            fact.taken += 1;
            if attempt.seen {
                fact.seen.get_or_insert(index);
            }
        }
    }
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
                Unit::Set(set) if letters::has(history, &facts[set as usize], *place) => {
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

/// Whether order is promised about this person: not without keys.
fn is_ordered(expected: &Expected) -> bool {
    expected.person < STRANGERS
}
