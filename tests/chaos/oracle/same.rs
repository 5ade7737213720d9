//! What was sent twice is the same: bytes of one process under one key, else claims (DESIGN P4).

use std::collections::{HashMap, HashSet};

use super::super::load::{Expected, Fate};
use super::{Attempt, Fact, Findings, Forced, History, Place, Rewind, Said, is_ordered};

/// What was sent under each jti so far.
pub(super) struct Same<'a> {
    history: &'a History,
    /// SETs that come twice on purpose: two records of what was refused.
    again: Vec<bool>,
    /// The rewinds that forget a SET.
    rewinds: HashMap<usize, Vec<Rewind>>,
    /// Of those that were replayed
    jtis: HashSet<u64>,
    /// The first attempt of each.
    first: HashMap<u64, Attempt>,
    /// The last attempt of each process and key.
    last: HashMap<(u64, u16, u16), Attempt>,
    /// By process.
    forced: HashMap<u16, Vec<Forced>>,
}

impl<'a> Same<'a> {
    pub(super) fn new(history: &'a History, facts: &[Fact]) -> Same<'a> {
        let replayed: HashSet<Place> = history.acts.replays.iter().map(|r| r.of).collect();
        let mut jtis: HashSet<u64> = HashSet::new();
        for letter in &history.letters {
            if replayed.contains(&letter.place) {
                jtis.extend(letter.jti);
            }
        }
        let is_again = |(fact, expected): (&Fact, &Expected)| {
            fact.places.len() > 1 && expected.fate != Fate::Accepted
        };
        let mut rewinds: HashMap<usize, Vec<Rewind>> = HashMap::new();
        for rewind in &history.acts.rewinds {
            let forgotten = facts.iter().enumerate();
            for (set, _) in forgotten.filter(|(_, fact)| rewind.forgets(fact)) {
                rewinds.entry(set).or_default().push(*rewind);
            }
        }
        let again = facts.iter().zip(&history.sets).map(is_again).collect();
        let mut forced: HashMap<u16, Vec<Forced>> = HashMap::new();
        for one in &history.forced {
            forced.entry(one.process).or_default().push(*one);
        }
        Same {
            history,
            again,
            rewinds,
            jtis,
            first: HashMap::new(),
            last: HashMap::new(),
            forced,
        }
    }

    pub(super) fn check(&mut self, attempt: &Attempt, said: Said, findings: &mut Findings) {
        let first = *self.first.entry(attempt.jti).or_insert(*attempt);
        if first.claims != attempt.claims {
            findings.invalid(|| format!("SET {}: other claims under the same jti", said.set));
        }
        // Another try: levels may have moved since.
        let set = said.set as usize;
        let again = self.again[set] || self.jtis.contains(&attempt.jti);
        // Without keys another member may deliver a SET about the same subject between two tries of this one.
        let chained = self.history.whole_state && is_ordered(&self.history.sets[set]);
        let before = first.said.map(|said| said.previous);
        let again_since = |before: &Attempt| again || self.was_rewound(set, before, attempt);
        if chained && !again_since(&first) && before != Some(said.previous) {
            findings.invalid(|| format!("SET {set}: previous level {before:?}, then {said:?}"));
        }
        let key = (attempt.jti, attempt.process, attempt.kid);
        if let Some(before) = self.last.get(&key)
            && before.bytes != attempt.bytes
            && !again_since(before)
            && !self.was_cut_off(before, attempt)
        {
            findings.invalid(|| format!("SET {set}: one process sent other bytes"));
        }
        self.last.insert(key, *attempt);
    }

    /// Between these two the SET was to be sent once more.
    fn was_rewound(&self, set: usize, before: &Attempt, after: &Attempt) -> bool {
        let rewinds = self.rewinds.get(&set).into_iter().flatten();
        { rewinds }.any(|rewind| rewind.between(before.at_ms, after.at_ms))
    }

    /// Between these two the process may have lost the partition, so that the second is a new delivery of the record.
    fn was_cut_off(&self, before: &Attempt, after: &Attempt) -> bool {
        let forced = self.forced.get(&before.process).into_iter().flatten();
        { forced }.any(|f| f.from_ms <= after.at_ms && f.until_ms >= before.at_ms)
    }
}
