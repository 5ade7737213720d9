//! A seed means one schedule and one load.

use std::collections::BTreeSet;

use super::load::{Fate, KEYED, Load, Unit, address, whose};
use super::plan::{Act, Deed, Flow, State, schedule};

const MINUTES: u64 = 60_000;

#[test]
fn a_seed_means_one_schedule() {
    for state in State::ALL {
        let one = schedule(7, 5 * MINUTES, state);
        assert_eq!(one, schedule(7, 5 * MINUTES, state));
        assert_ne!(one, schedule(8, 5 * MINUTES, state));
    }
}

/// What a step is about, without its numbers.
fn kind(act: Act) -> String {
    let text = format!("{act:?}");
    let kind = text.split(|c: char| c.is_ascii_digit()).next();
    kind.unwrap_or_default().to_owned()
}

#[test]
fn every_kind_of_fault_comes_in_a_run_of_ten_minutes() {
    for seed in 0..6 {
        let steps = schedule(seed, 9 * MINUTES, State::Redis);
        assert!(steps.is_sorted_by_key(|step| step.at_ms));
        let kinds: BTreeSet<String> = steps.iter().map(|step| kind(step.act)).collect();
        for kind in [
            "Kill(",
            "Term(",
            "Pause(",
            "Resume(",
            "Start(",
            "BrokerKill(",
            "BrokerStop(",
            "BrokerStart(",
            "Rotate",
            "RedisKill",
            "RedisPause",
            "RedisStart",
            "RedisCut(",
            "Apart(",
            "Cut(",
            "Leaders(",
            "Coordinator",
            "Operator(Hold)",
            "Operator(Resume)",
            "Operator(SkipBlocking)",
            "Operator(SkipNamed)",
            "Operator(Replay { forced: false })",
            "Operator(Replay { forced: true })",
            "Operator(Rewind(",
            "Well",
            "Trouble(RetryAfter(",
            "Trouble(RateLimit(",
            "Trouble(TooMany(",
            "Trouble(Error(",
            "Trouble(Unavailable(",
            "Trouble(Slow(",
            "Trouble(ResetUnread(",
            "Trouble(ResetRead(",
            "Trouble(TakenThenReset(",
            "Trouble(TakenThenSilence(",
            "Trouble(Tls)",
            "Trouble(Down)",
        ] {
            assert!(kinds.contains(kind), "seed {seed}: no {kind} in {kinds:?}");
        }
    }
}

#[test]
fn whoever_goes_comes_back() {
    for seed in 0..20 {
        let steps = schedule(seed, 3 * MINUTES, State::SqliteEach);
        for member in 0..3 {
            let mut up = true;
            for step in &steps {
                match step.act {
                    Act::Kill(n) | Act::Term(n) | Act::Pause(n) if n == member => {
                        assert!(std::mem::replace(&mut up, false), "{seed}: {step:?}");
                    }
                    Act::Start(n) | Act::Resume(n) if n == member => {
                        assert!(!std::mem::replace(&mut up, true), "{seed}: {step:?}");
                    }
                    _ => {}
                }
            }
            assert!(up, "seed {seed}: member {member} stays away");
        }
    }
}

/// Every way is open again at the end, and every hold has its end; a rewind is within one.
#[test]
fn whatever_is_shut_is_opened() {
    for seed in 0..20 {
        let steps = schedule(seed, 3 * MINUTES, State::Redis);
        let (mut shut, mut held) = (0, false);
        for step in &steps {
            match step.act {
                Act::Apart(_, flow) | Act::Cut(_, flow) | Act::RedisCut(_, flow) => {
                    shut += if flow == Flow::Open { -1 } else { 1 };
                    assert!((0..=1).contains(&shut), "seed {seed}: {step:?}");
                }
                Act::Operator(Deed::Hold) => assert!(!std::mem::replace(&mut held, true)),
                Act::Operator(Deed::Resume) => assert!(std::mem::replace(&mut held, false)),
                Act::Operator(Deed::Rewind(_)) => assert!(held, "seed {seed}: {step:?}"),
                _ => {}
            }
        }
        assert!(shut == 0 && !held, "seed {seed}");
    }
}

#[test]
fn a_seed_means_one_load() {
    let values = |seed| Load::new(seed, 500).map(|r| r.value).collect::<Vec<_>>();
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
}

#[test]
fn the_load_has_everything_in_it() {
    let mut load = Load::new(3, 20_000);
    let records: Vec<_> = load.by_ref().collect();
    assert_eq!(records.len(), 20_000);
    let units: Vec<Unit> = records.iter().flat_map(|r| r.units.clone()).collect();
    let sets = |fate| load.sets.iter().filter(|s| s.fate == fate).count();
    assert!(units.contains(&Unit::Filtered));
    assert!(units.contains(&Unit::Bad(None)));
    assert!(units.iter().any(|u| matches!(u, Unit::Bad(Some(_)))));
    assert!(records.iter().any(|r| r.units.len() > 2));
    assert!(records.iter().any(|r| !r.keyed));
    assert!(load.sets.iter().any(|s| s.level.is_none()), "nobody moves");
    assert_eq!(sets(Fate::Poison), 3);
    assert!(sets(Fate::Refused) > 5);
    let repeated = units.len() - units.iter().filter(|u| !matches!(u, Unit::Set(_))).count();
    assert!(repeated > load.sets.len(), "no record comes twice");
    // A person's records are in one partition.
    let mut of = std::collections::BTreeMap::new();
    for record in records.iter().filter(|r| r.keyed) {
        let partition = *of.entry(record.key.clone()).or_insert(record.partition);
        assert_eq!(partition, record.partition);
        assert!((0..KEYED).contains(&partition));
    }
    assert_eq!(whose(&address(12, 3)), Some((12, 3)));
}
