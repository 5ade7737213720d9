//! Made-up histories: a good one, and what is found when one thing in it is wrong.

use std::collections::BTreeMap;

use super::load::{Expected, Fate, STRANGERS, Unit};
use super::oracle::{Attempt, Committed, Findings, Forced, History, Letter, Place, Said, judge};

/// Four SETs about person 1 (the third one is refused), one about a stranger, one filtered, one bad.
pub(super) fn good() -> History {
    let mut history = History {
        whole_state: true,
        ..History::default()
    };
    for (number, level) in [1, 2, 3, 2].into_iter().enumerate() {
        let fate = if number == 2 {
            Fate::Refused
        } else {
            Fate::Accepted
        };
        produce(&mut history, 1, number, level, fate);
    }
    produce(&mut history, STRANGERS, 0, 1, Fate::Accepted);
    for unit in [Unit::Filtered, Unit::Bad(None)] {
        let place = place(history.records.len());
        history.records.push((place, vec![unit]));
    }
    for (set, previous) in [(0, 0), (1, 1), (3, 2), (4, 0)] {
        let attempt = attempt(&history, set, previous);
        history.attempts.push(attempt);
    }
    let refused = Attempt {
        accepted: false,
        ..attempt(&history, 2, 2)
    };
    history.attempts.insert(2, refused);
    letter(&mut history, 2, Some(2), "invalid_request");
    letter(&mut history, 6, None, "invalid_json");
    history
}

pub(super) fn place(number: usize) -> Place {
    Place {
        keyed: true,
        partition: 0,
        offset: i64::try_from(number).unwrap(),
    }
}

pub(super) fn produce(history: &mut History, person: u32, number: usize, level: u8, fate: Fate) {
    let set = u32::try_from(history.sets.len()).unwrap();
    history.sets.push(Expected {
        person,
        version: 0,
        number: u32::try_from(number).unwrap(),
        level: Some(level),
        fate,
    });
    let place = place(history.records.len());
    history.records.push((place, vec![Unit::Set(set)]));
}

pub(super) fn attempt(history: &History, set: u32, previous: u8) -> Attempt {
    let expected = history.sets[set as usize];
    Attempt {
        at_ms: 1000 + u64::from(set),
        process: 0,
        kid: 0,
        jti: u64::from(set) + 100,
        bytes: u64::from(set) + 200,
        claims: u64::from(set) + 300,
        said: Some(Said {
            set,
            person: expected.person,
            version: 0,
            number: expected.number,
            level: expected.level,
            previous,
        }),
        accepted: true,
        seen: true,
    }
}

pub(super) fn letter(history: &mut History, record: usize, set: Option<u32>, reason: &str) {
    let number = i64::try_from(history.letters.len()).unwrap();
    history.letters.push(Letter {
        place: Place {
            keyed: true,
            partition: 7,
            offset: number,
        },
        at_ms: 5000,
        origin: place(record),
        element: None,
        jti: set.map(|set| u64::from(set) + 100),
        reason: reason.to_owned(),
    });
}

/// What is wrong, and nothing else: lost, out of order, wrong effect, invalid.
pub(super) fn wrong(history: &History) -> [u64; 4] {
    let found = judge(history);
    assert_eq!(found.is_clean(), found.examples.is_empty(), "{found:?}");
    [
        found.lost,
        found.out_of_order,
        found.wrong_effect,
        found.invalid,
    ]
}

#[test]
fn a_good_history_is_clean() {
    let found = judge(&good());
    let wanted = Findings {
        produced: 7,
        accepted_unique: 4,
        filtered: 1,
        dead_lettered: 2,
        ..Findings::default()
    };
    assert_eq!(found, wanted);
    assert!(found.is_clean());
}

#[test]
fn a_set_that_nobody_took_is_lost() {
    let mut history = good();
    history.attempts.pop();
    assert_eq!(wrong(&history), [1, 0, 0, 0]);
}

#[test]
fn a_dead_letter_that_is_missing_is_lost() {
    for which in 0..2 {
        let mut history = good();
        history.letters.remove(which);
        assert_eq!(wrong(&history), [1, 0, 0, 0]);
    }
}

/// The second record of the same SET: a duplicate of what was accepted, a letter of its own of what was refused.
#[test]
fn a_second_record_is_accounted_for() {
    let mut history = good();
    history.records.push((place(7), vec![Unit::Set(0)]));
    assert_eq!(judge(&history).duplicates, 1);
    assert_eq!(wrong(&history), [0; 4]);
    history.records.push((place(8), vec![Unit::Set(2)]));
    assert_eq!(wrong(&history), [1, 0, 0, 0]);
    letter(&mut history, 8, Some(2), "invalid_request");
    assert_eq!(wrong(&history), [0; 4]);
}

#[test]
fn an_older_set_after_a_newer_one_is_out_of_order() {
    let mut history = good();
    history.whole_state = false;
    history.attempts.swap(0, 1);
    assert_eq!(
        wrong(&history),
        [0, 1, 0, 0],
        "the last one is still the last"
    );
    history.attempts.swap(1, 3);
    assert_eq!(wrong(&history), [0, 2, 1, 0], "and here it is not");
}

#[test]
fn a_repeat_may_come_late() {
    let mut history = good();
    let unseen = &mut history.attempts[0];
    unseen.seen = false;
    let again = Attempt {
        seen: true,
        ..*unseen
    };
    history.attempts.push(again);
    let found = judge(&history);
    assert_eq!((found.repeats, found.repeats_bound), (1, 1));
    assert!(found.is_clean(), "{found:?}");
}

#[test]
fn without_keys_there_is_no_order() {
    let mut history = good();
    produce(&mut history, STRANGERS, 1, 2, Fate::Accepted);
    let newer = attempt(&history, 5, 0);
    history.attempts.insert(0, newer);
    assert_eq!(wrong(&history), [0; 4]);
}

/// Order is kept, but the receiver took what nobody said.
#[test]
fn what_no_record_says_is_invalid() {
    let mut history = good();
    history.whole_state = false;
    history.attempts[0].said.as_mut().unwrap().level = Some(3);
    assert_eq!(wrong(&history), [1, 0, 0, 1]);
}

#[test]
fn an_invalid_signature_is_found() {
    let mut history = good();
    let forged = Attempt {
        said: None,
        accepted: false,
        ..history.attempts[0]
    };
    history.attempts.push(forged);
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
}

#[test]
fn accepted_and_dead_lettered_is_found() {
    let mut history = good();
    letter(&mut history, 1, Some(1), "receiver_error");
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.attempts[1].seen = false;
    assert_eq!(wrong(&history), [0, 0, 0, 1], "its level is not known");
    history.attempts[3].said.as_mut().unwrap().previous = 1;
    assert_eq!(wrong(&history), [0; 4], "the sender could not know");
}

#[test]
fn a_dead_letter_without_a_reason_in_the_record_is_found() {
    let mut history = good();
    history.attempts.remove(4);
    letter(&mut history, 4, Some(4), "invalid_request");
    // Its SET never came to the receiver, so its jti is nobody's.
    assert_eq!(wrong(&history), [1, 0, 0, 1]);
    letter(&mut history, 5, None, "invalid_json");
    assert_eq!(wrong(&history), [1, 0, 0, 2], "a filtered one");
}

#[test]
fn other_bytes_for_one_jti_are_found() {
    let mut history = good();
    history.attempts[0].seen = false;
    let mut again = history.attempts[0];
    again.bytes += 1;
    history.attempts.push(again);
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.attempts.last_mut().unwrap().kid = 1;
    assert_eq!(wrong(&history), [0; 4], "another key");
    history.attempts.last_mut().unwrap().claims += 1;
    assert_eq!(wrong(&history), [0, 0, 0, 1], "other claims");
}

#[test]
fn other_bytes_after_a_hand_over_are_another_delivery() {
    let mut history = good();
    history.attempts[0].seen = false;
    let mut again = history.attempts[0];
    (again.bytes, again.at_ms) = (again.bytes + 1, 9000);
    history.attempts.push(again);
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.forced.push(Forced {
        process: 0,
        partition: None,
        in_order: false,
        from_ms: 2000,
        until_ms: 3000,
    });
    assert_eq!(wrong(&history), [0; 4]);
}

#[test]
fn a_second_jti_is_found() {
    let mut history = good();
    history.attempts[0].seen = false;
    let mut again = history.attempts[0];
    (again.jti, again.bytes, again.claims) = (999, 999, 999);
    history.attempts.push(again);
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
}

#[test]
fn a_broken_chain_of_previous_levels_is_found() {
    let mut history = good();
    history.attempts[1].said.as_mut().unwrap().previous = 0;
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.whole_state = false;
    assert_eq!(wrong(&history), [0; 4], "a hand-over loses levels there");
}

/// Without keys the levels of a subject come from several partitions, so between two tries anything may come.
#[test]
fn another_previous_level_of_a_repeat_is_found_with_keys_only() {
    for (which, wanted) in [(0, 1), (4, 0)] {
        let mut history = good();
        history.attempts[which].seen = false;
        let mut again = history.attempts[which];
        (again.process, again.bytes) = (1, 999);
        again.said.as_mut().unwrap().previous = 3;
        history.attempts.push(again);
        assert_eq!(wrong(&history), [0, 0, 0, wanted]);
    }
}

#[test]
fn too_many_repeats_are_found() {
    let mut history = good();
    history.attempts.push(history.attempts[0]);
    let found = judge(&history);
    assert_eq!((found.repeats, found.repeats_bound), (1, 0));
    assert!(!found.is_clean());
    // Its process was killed before record 0 was committed.
    history.forced.push(Forced {
        process: 0,
        partition: None,
        in_order: false,
        from_ms: 5000,
        until_ms: 6000,
    });
    let committed = |at_ms, next| Committed {
        at_ms,
        next: BTreeMap::from([((true, 0), next)]),
    };
    history.committed = vec![committed(4000, 0), committed(5500, 9)];
    let found = judge(&history);
    assert_eq!((found.repeats, found.repeats_bound), (1, 5));
    // Only what was committed before counts; and of another partition nothing does.
    history.committed[0] = committed(4000, 1);
    assert_eq!(judge(&history).repeats_bound, 3);
    history.forced[0].in_order = true;
    assert_eq!(judge(&history).repeats_bound, 0);
    history.forced[0].in_order = false;
    history.forced[0].partition = Some((true, 3));
    assert_eq!(judge(&history).repeats_bound, 0);
}

#[test]
fn levels_move_with_the_address() {
    let mut history = History {
        whole_state: true,
        ..History::default()
    };
    produce(&mut history, 1, 0, 2, Fate::Accepted);
    produce(&mut history, 1, 1, 0, Fate::Accepted);
    produce(&mut history, 1, 2, 3, Fate::Accepted);
    history.sets[1].level = None;
    history.sets[2].version = 1;
    for (set, previous) in [(0, 0), (1, 0), (2, 2)] {
        let mut attempt = attempt(&history, set, previous);
        attempt.said.as_mut().unwrap().version = history.sets[set as usize].version;
        history.attempts.push(attempt);
    }
    assert_eq!(wrong(&history), [0; 4]);
    history.attempts[2].said.as_mut().unwrap().previous = 0;
    assert_eq!(wrong(&history), [0, 0, 0, 1], "the level stayed behind");
}
