//! How often a SET was taken again, and how often that is allowed.

use std::collections::{BTreeMap, HashMap};

use super::acts::settled;
use super::{Committed, Fact, Findings, Forced, History, Rewind};

/// A replay is remembered, and its place in the side topic committed, long before this is over.
const REPLAYED_MS: u64 = 10_000;

/// Judged SET by SET. With a state file of its own each, whoever takes a partition over knows no jtis, and a commit that is lost
/// while a partition leaves in order exposes what nothing here can tell: then the sums are judged.
pub(super) fn check(history: &History, facts: &[Fact], findings: &mut Findings) {
    let allowed = allowed(history, facts);
    for (set, (fact, allowed)) in facts.iter().zip(&allowed).enumerate() {
        let repeats = fact.taken.saturating_sub(1);
        findings.repeats += repeats;
        findings.repeats_bound += allowed;
        if repeats > *allowed && history.whole_state {
            findings.too_often += 1;
            findings.tell("too often", || {
                let at = &fact.places;
                format!("SET {set} of {at:?} came again {repeats} times, {allowed} at most")
            });
        }
    }
    let (repeats, bound) = (findings.repeats, findings.repeats_bound);
    if repeats > bound && !history.whole_state {
        findings.too_often += repeats - bound;
        findings.tell("too often", || {
            format!("{repeats} repeats, {bound} at most")
        });
    }
}

/// How often each SET may come again.
fn allowed(history: &History, facts: &[Fact]) -> Vec<u64> {
    let mut allowed = vec![0; facts.len()];
    for attempt in history.attempts.iter().filter(|a| a.accepted && !a.seen) {
        if let Some(allowed) = attempt.said.and_then(|s| allowed.get_mut(s.set as usize)) {
            *allowed += 1;
        }
    }
    expose(history, facts, &mut allowed);
    for rewind in &history.acts.rewinds {
        for (fact, allowed) in facts.iter().zip(&mut allowed) {
            *allowed += u64::from(is_rewound(rewind, history, fact));
        }
    }
    if !history.whole_state {
        // Who takes a partition over, or has the replay, does not know the jtis of who had the SET before.
        for (fact, allowed) in facts.iter().zip(&mut allowed) {
            let unknown = fact.places.len().saturating_sub(1) + fact.replays.len();
            *allowed += if fact.first.is_some() {
                unknown as u64
            } else {
                0
            };
        }
    }
    allowed
}

/// The receiver had it when it was forgotten.
fn is_rewound(rewind: &Rewind, history: &History, fact: &Fact) -> bool {
    let had = |first: usize| history.attempts[first].at_ms <= rewind.until_ms;
    fact.first.is_some_and(had) && rewind.forgets(fact)
}

/// Over all kills and forced hand-overs: the SETs that the process had delivered past the acknowledged commit.
fn expose(history: &History, facts: &[Fact], exposed: &mut [u64]) {
    let nothing = Committed {
        at_ms: 0,
        next: BTreeMap::new(),
    };
    let delivered = delivered(history);
    for forced in history.forced.iter().filter(|forced| !forced.in_order) {
        let next = &settled(&history.committed, forced.from_ms)
            .unwrap_or(&nothing)
            .next;
        let theirs = delivered.get(&forced.process).map(Vec::as_slice);
        let theirs = theirs.unwrap_or_default().iter();
        for (at_ms, set) in theirs.take_while(|(at_ms, _)| *at_ms <= forced.until_ms) {
            let fact = &facts[*set as usize];
            // Of a SET that is in several records, the last one: that is committed last.
            let is_exposed = fact.places.last().is_some_and(|place| {
                let partition = (place.keyed, place.partition);
                let theirs = forced.partition.is_none_or(|of| of == partition);
                let open = place.offset >= next.get(&partition).copied().unwrap_or(0);
                theirs && (open || came_back(history, fact, forced, *at_ms))
            });
            exposed[*set as usize] += u64::from(is_exposed);
        }
    }
}

/// It was a replay, which has a commit of its own.
fn came_back(history: &History, fact: &Fact, forced: &Forced, at_ms: u64) -> bool {
    let recent = at_ms + REPLAYED_MS >= forced.from_ms;
    !fact.replays.is_empty() && (recent || !history.whole_state)
}

/// By process: when it delivered which SET, oldest first.
fn delivered(history: &History) -> HashMap<u16, Vec<(u64, u32)>> {
    let mut delivered: HashMap<u16, Vec<(u64, u32)>> = HashMap::new();
    let known = history.sets.len();
    for attempt in history.attempts.iter().filter(|attempt| attempt.accepted) {
        if let Some(said) = attempt.said.filter(|said| (said.set as usize) < known) {
            let theirs = delivered.entry(attempt.process).or_default();
            theirs.push((attempt.at_ms, said.set));
        }
    }
    for theirs in delivered.values_mut() {
        theirs.sort_unstable();
    }
    delivered
}
