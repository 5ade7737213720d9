//! Acts of operators: what they allow, and what they demand.

use std::collections::{HashMap, HashSet};

use super::{
    Committed, Fact, Findings, Forced, History, Hold, Letter, ON_THE_WIRE_MS, Place, Replay,
    Rewind, SkipEnd, Told, Via,
};

impl Rewind {
    /// Whether the record is read once more.
    pub(super) fn covers(&self, place: Place) -> bool {
        self.partition == (place.keyed, place.partition)
            && (self.from..self.to).contains(&place.offset)
    }

    /// Whether one of the SET's records is: its jti is forgotten.
    pub(super) fn forgets(&self, fact: &Fact) -> bool {
        fact.places.iter().any(|place| self.covers(*place))
    }

    /// Whether it lies between the two: what came first was on the wire at the latest when it was over.
    pub(super) fn between(&self, before_ms: u64, after_ms: u64) -> bool {
        before_ms <= self.until_ms.saturating_add(ON_THE_WIRE_MS) && self.at_ms <= after_ms
    }
}

/// Notes which SETs were replayed, and on which way each came first.
pub(super) fn ways(history: &History, facts: &mut [Fact], findings: &mut Findings) {
    let mut replays: HashMap<Place, Vec<usize>> = HashMap::new();
    for (index, replay) in history.acts.replays.iter().enumerate() {
        replays.entry(replay.of).or_default().push(index);
    }
    for (set, fact) in facts.iter_mut().enumerate() {
        let letters = fact.letters.iter();
        let theirs = letters.filter_map(|letter| replays.get(&history.letters[*letter].place));
        fact.replays = theirs.flatten().copied().collect();
        fact.via = way(history, fact).unwrap_or_else(|| {
            findings
                .invalid(|| format!("SET {set}: a dead letter, then accepted; nobody replayed it"));
            Via::Late
        });
    }
}

/// [`None`]: there is no way for it.
fn way(history: &History, fact: &Fact) -> Option<Via> {
    let Some(first) = fact.first else {
        return Some(Via::Live);
    };
    let at_ms = history.attempts[first].at_ms;
    let letters = fact.letters.iter().map(|letter| &history.letters[*letter]);
    let letters: Vec<&Letter> = letters.filter(|letter| letter.at_ms <= at_ms).collect();
    if letters.is_empty() {
        return Some(Via::Live);
    }
    let was_rewound = |letter: &&Letter| {
        let mut rewinds = history.acts.rewinds.iter();
        rewinds.any(|r| r.covers(letter.origin) && r.between(letter.at_ms, at_ms))
    };
    let excused = |letter: &&Letter| was_rewound(letter) || was_open(history, letter);
    let replays = fact
        .replays
        .iter()
        .map(|index| history.acts.replays[*index]);
    let replays: Vec<Replay> = replays.filter(|replay| replay.at_ms <= at_ms).collect();
    let all_excused = letters.iter().all(excused);
    if fact.places.len() > 1 || (all_excused && letters.iter().any(was_rewound)) {
        Some(Via::Late)
    } else if !replays.is_empty() {
        let unforced = replays.iter().all(|replay| !replay.forced);
        Some(if unforced && history.whole_state {
            Via::Replay
        } else {
            Via::Late
        })
    } else {
        all_excused.then_some(Via::Live)
    }
}

/// A crash came before the letter's record was committed, so the record was read again.
fn was_open(history: &History, letter: &Letter) -> bool {
    let origin = letter.origin;
    let partition = (origin.keyed, origin.partition);
    let of_it = |forced: &&Forced| {
        forced.partition.is_none_or(|of| of == partition) && forced.until_ms >= letter.at_ms
    };
    history.forced.iter().filter(of_it).any(|forced| {
        let known = settled(&history.committed, forced.from_ms);
        let next = known.and_then(|known| known.next.get(&partition));
        next.is_none_or(|next| origin.offset >= *next)
    })
}

/// Each replay came to the end that the bridge tells, each skip was carried out, each hold was kept.
pub(super) fn check(history: &History, facts: &[Fact], findings: &mut Findings) {
    replays(history, facts, findings);
    rewinds(history, facts, findings);
    skips(history, findings);
    holds(history, findings);
}

fn replays(history: &History, facts: &[Fact], findings: &mut Findings) {
    let letters: HashMap<Place, &Letter> = history
        .letters
        .iter()
        .map(|letter| (letter.place, letter))
        .collect();
    let set_of: HashMap<u64, usize> = facts
        .iter()
        .enumerate()
        .filter_map(|(set, fact)| Some((fact.jti?, set)))
        .collect();
    let mut told: HashMap<Place, Vec<&Told>> = HashMap::new();
    for one in &history.acts.told {
        told.entry(one.of).or_default().push(one);
    }
    let mut seen = HashSet::new();
    // Of what can vouch for fewest first.
    let mut replays: Vec<&Replay> = history.acts.replays.iter().collect();
    replays.sort_by_key(|replay| std::cmp::Reverse(replay.at_ms));
    let mut vouched = HashSet::new();
    for replay in replays {
        if !seen.insert(replay.of) {
            findings.invalid(|| format!("{:?} was replayed twice", replay.of));
            continue;
        }
        let Some(letter) = letters.get(&replay.of) else {
            findings.invalid(|| format!("{replay:?} of no dead letter"));
            continue;
        };
        let theirs = told.get(&replay.of).map(Vec::as_slice).unwrap_or_default();
        if theirs.is_empty() {
            findings.lost += 1;
            findings.tell("lost", || format!("{replay:?} has no outcome"));
        }
        let set = letter.jti.and_then(|jti| set_of.get(&jti).copied());
        let lettered = theirs.iter().any(|one| one.outcome == "dead_lettered");
        let again = lettered && vouches(history, letter, replay, &mut vouched);
        for one in theirs {
            let is_so = match one.outcome.as_str() {
                "dead_lettered" => again,
                _ => is_true(history, facts, set, replay, one),
            };
            if !is_so {
                findings.invalid(|| format!("{one:?} is not so: SET {set:?}, {letter:?}"));
            }
        }
    }
}

/// Whether the replay came to a dead letter of its own.
fn vouches<'a>(
    history: &'a History,
    letter: &Letter,
    replay: &Replay,
    vouched: &mut HashSet<&'a Place>,
) -> bool {
    let mut again = history.letters.iter().filter(|again| {
        (again.origin, again.element, again.jti) == (letter.origin, letter.element, letter.jti)
            && again.place != letter.place
            && again.at_ms >= replay.at_ms
    });
    again.any(|again| vouched.insert(&again.place))
}

/// Whether what the bridge tells is so.
fn is_true(
    history: &History,
    facts: &[Fact],
    set: Option<usize>,
    replay: &Replay,
    told: &Told,
) -> bool {
    let first = set.and_then(|set| facts[set].first);
    match told.outcome.as_str() {
        "delivered" | "duplicate" => {
            first.is_some_and(|first| history.attempts[first].at_ms <= told.at_ms)
        }
        "stale" if !replay.forced => set.is_some_and(|set| outdated(history, facts, set, told)),
        _ => false,
    }
}

/// Something newer about the person had been accepted by then.
fn outdated(history: &History, facts: &[Fact], set: usize, told: &Told) -> bool {
    let old = &history.sets[set];
    facts.iter().zip(&history.sets).any(|(fact, expected)| {
        expected.person == old.person
            && expected.number > old.number
            && expected.level.is_some()
            && { fact.first }.is_some_and(|first| history.attempts[first].at_ms <= told.at_ms)
    })
}

/// What was settled and the receiver had comes again, or is a dead letter after that. Not where a member that takes the
/// partition over knows what another one forgot.
fn rewinds(history: &History, facts: &[Fact], findings: &mut Findings) {
    if !history.whole_state {
        return;
    }
    for rewind in history.acts.rewinds.iter().filter(|rewind| rewind.done) {
        let known = settled(&history.committed, rewind.at_ms);
        let next = known.and_then(|known| known.next.get(&rewind.partition));
        let Some(settled) = next else {
            continue;
        };
        let within = Rewind {
            to: *settled.min(&rewind.to),
            ..*rewind
        };
        for (set, fact) in facts.iter().enumerate() {
            let had = fact.first.map(|first| history.attempts[first].at_ms);
            if had.is_none_or(|at_ms| at_ms > rewind.at_ms) || !within.forgets(fact) {
                continue;
            }
            let taken = fact.last.map(|last| history.attempts[last].at_ms);
            let letters = fact.letters.iter().map(|one| history.letters[*one].at_ms);
            if { letters.chain(taken) }.all(|at_ms| at_ms < rewind.at_ms) {
                findings.lost += 1;
                findings.tell("lost", || {
                    format!("SET {set} did not come again: {rewind:?}")
                });
            }
        }
    }
}

/// What was committed then.
pub(super) fn settled(committed: &[Committed], at_ms: u64) -> Option<&Committed> {
    committed.iter().rev().find(|one| one.at_ms <= at_ms)
}

/// Who was told that a SET was skipped finds it among the dead letters.
fn skips(history: &History, findings: &mut Findings) {
    for skip in &history.acts.skips {
        let is_it = |letter: &Letter| letter.reason == "skipped" && letter.jti == skip.jti;
        if skip.end == SkipEnd::Skipped && !history.letters.iter().any(is_it) {
            findings.lost += 1;
            findings.tell("lost", || format!("{skip:?}, but it is no dead letter"));
        }
    }
}

/// Nothing leaves while an operator holds the stream.
fn holds(history: &History, findings: &mut Findings) {
    let mut of: HashMap<u16, Vec<&Hold>> = HashMap::new();
    for hold in &history.acts.holds {
        of.entry(hold.process).or_default().push(hold);
    }
    for attempt in &history.attempts {
        let theirs = of.get(&attempt.process).into_iter().flatten();
        let broken = { theirs }.find(|h| h.from_ms < attempt.at_ms && attempt.at_ms < h.until_ms);
        if let Some(hold) = broken {
            findings.invalid(|| format!("{hold:?}, and yet it sent {attempt:?}"));
        }
    }
}
