//! How often a SET was taken again, and how often that is allowed.

use std::collections::HashMap;

use super::super::load::Unit;
use super::{Committed, Fact, Findings, History};

pub(super) fn check(history: &History, facts: &[Fact], findings: &mut Findings) {
    findings.repeats = facts.iter().map(|fact| fact.taken.saturating_sub(1)).sum();
    let unseen = history.attempts.iter().filter(|a| a.accepted && !a.seen);
    findings.repeats_bound = unseen.count() as u64 + exposed(history);
    if !history.whole_state {
        // Who took a partition over does not know the jtis of who had it before.
        findings.repeats_bound += findings.duplicates;
    }
    if findings.repeats > findings.repeats_bound {
        let (repeats, bound) = (findings.repeats, findings.repeats_bound);
        findings.tell("repeats", || format!("{repeats} of {bound} at most"));
    }
}

/// Over all kills and forced hand-overs: the SETs that the process had delivered past the acknowledged commit.
fn exposed(history: &History) -> u64 {
    // Of a SET that is in several records, the last one: that is committed last.
    let mut places = vec![None; history.sets.len()];
    for (place, units) in &history.records {
        for unit in units {
            if let Unit::Set(set) = unit {
                places[*set as usize] = Some(*place);
            }
        }
    }
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
            .filter(|(_, set)| {
                places[*set as usize].is_some_and(|place| {
                    let partition = (place.keyed, place.partition);
                    let theirs = forced.partition.is_none_or(|of| of == partition);
                    theirs && place.offset >= next.get(&partition).copied().unwrap_or(0)
                })
            })
            .count() as u64;
    }
    exposed
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
