//! How often a SET was taken again, and how often that is allowed.

use std::collections::HashMap;

use super::{Committed, Fact, Findings, Forced, History, Rewind};

/// A replay is remembered, and its place in the side topic committed, long before this is over.
const REPLAYED_MS: u64 = 10_000;

pub(super) fn check(history: &History, facts: &[Fact], findings: &mut Findings) {
    findings.repeats = facts.iter().map(|fact| fact.taken.saturating_sub(1)).sum();
    let unseen = history.attempts.iter().filter(|a| a.accepted && !a.seen);
    findings.repeats_bound = unseen.count() as u64 + exposed(history, facts);
    let rewinds = history.acts.rewinds.iter();
    findings.repeats_bound += rewinds.map(|one| rewound(one, history, facts)).sum::<u64>();
    if !history.whole_state {
        // Who took a partition over does not know the jtis of who had it before.
        findings.repeats_bound += findings.duplicates;
    }
    if findings.repeats > findings.repeats_bound {
        let (repeats, bound) = (findings.repeats, findings.repeats_bound);
        findings.tell("repeats", || format!("{repeats} of {bound} at most"));
    }
}

/// SETs of the partition from there on that the receiver had when they were forgotten.
fn rewound(rewind: &Rewind, history: &History, facts: &[Fact]) -> u64 {
    let before = |first: usize| {
        let until = rewind.until_ms;
        until.is_none_or(|until| history.attempts[first].at_ms <= until)
    };
    let again = facts.iter().filter(|fact| {
        fact.first.is_some_and(before) && fact.place.is_some_and(|place| rewind.covers(place))
    });
    again.count() as u64
}

/// Over all kills and forced hand-overs: the SETs that the process had delivered past the acknowledged commit.
fn exposed(history: &History, facts: &[Fact]) -> u64 {
    let nothing = Committed {
        at_ms: 0,
        next: std::collections::BTreeMap::new(),
    };
    let delivered = delivered(history);
    let mut exposed = 0;
    for forced in history.forced.iter().filter(|forced| !forced.in_order) {
        let known = history.committed.iter().rev();
        let known = { known }.find(|c| c.at_ms <= forced.from_ms);
        let next = &known.unwrap_or(&nothing).next;
        let theirs = delivered.get(&forced.process).map(Vec::as_slice);
        exposed += theirs
            .unwrap_or_default()
            .iter()
            .take_while(|(at_ms, _)| *at_ms <= forced.until_ms)
            .filter(|(at_ms, set)| {
                let fact = &facts[*set as usize];
                // Of a SET that is in several records, the last one: that is committed last.
                fact.place.is_some_and(|place| {
                    let partition = (place.keyed, place.partition);
                    let theirs = forced.partition.is_none_or(|of| of == partition);
                    let open = place.offset >= next.get(&partition).copied().unwrap_or(0);
                    theirs && (open || came_back(history, fact, forced, *at_ms))
                })
            })
            .count() as u64;
    }
    exposed
}

/// It was a replay, which has a commit of its own.
fn came_back(history: &History, fact: &Fact, forced: &Forced, at_ms: u64) -> bool {
    let recent = at_ms + REPLAYED_MS >= forced.from_ms;
    !fact.replays.is_empty() && (recent || !history.whole_state)
}

/// By process: when it delivered which SET, oldest first.
fn delivered(history: &History) -> HashMap<u16, Vec<(u64, u32)>> {
    let mut delivered: HashMap<u16, Vec<(u64, u32)>> = HashMap::new();
    for attempt in history.attempts.iter().filter(|attempt| attempt.accepted) {
        if let Some(said) = attempt.said {
            let theirs = delivered.entry(attempt.process).or_default();
            theirs.push((attempt.at_ms, said.set));
        }
    }
    for theirs in delivered.values_mut() {
        theirs.sort_unstable();
    }
    delivered
}
