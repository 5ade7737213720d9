//! Made-up histories with acts of operators: what they allow is clean, what they do not is found.

use std::collections::BTreeMap;

use super::breaches::{attempt, good, letter, place, produce, wrong};
use super::load::{Fate, Unit};
use super::oracle::{
    Attempt, Committed, Forced, History, Hold, Place, Replay, Rewind, Skip, SkipEnd, Told, judge,
};

/// Where the dead letter of SET 2 lies in [`good`].
const LETTER: Place = Place {
    keyed: true,
    partition: 7,
    offset: 0,
};

/// SET 2 was refused; the receiver is mended, and its dead letter comes back.
fn replayed(forced: bool) -> History {
    let mut history = good();
    history.acts.mended.insert(2, 5500);
    history.acts.replays.push(Replay {
        of: LETTER,
        at_ms: 6000,
        forced,
    });
    history
}

fn told(history: &mut History, outcome: &str) {
    history.acts.told.push(Told {
        of: LETTER,
        outcome: outcome.to_owned(),
        at_ms: 7000,
    });
}

fn taken(history: &mut History, set: u32, previous: u8, at_ms: u64) {
    let late = Attempt {
        at_ms,
        bytes: 999,
        ..attempt(history, set, previous)
    };
    history.attempts.push(late);
}

#[test]
fn a_replay_without_an_outcome_is_lost() {
    let mut history = replayed(false);
    assert_eq!(wrong(&history), [1, 0, 0, 0]);
    told(&mut history, "stale");
    assert_eq!(wrong(&history), [0; 4], "SET 3 is newer");
}

#[test]
fn a_replay_after_something_newer_is_out_of_order() {
    let mut history = replayed(false);
    taken(&mut history, 2, 2, 6500);
    told(&mut history, "delivered");
    let found = judge(&history);
    assert_eq!(
        (found.out_of_order, found.wrong_effect),
        (1, 1),
        "{found:?}"
    );
}

#[test]
fn a_replay_before_anything_newer_counts_as_ever() {
    let mut history = replayed(false);
    // SET 3 comes only after the replay, and says so.
    history.attempts.retain(|attempt| attempt.jti != 103);
    taken(&mut history, 2, 2, 6500);
    taken(&mut history, 3, 3, 6600);
    told(&mut history, "delivered");
    assert_eq!(wrong(&history), [0; 4]);
    history
        .attempts
        .last_mut()
        .unwrap()
        .said
        .as_mut()
        .unwrap()
        .previous = 2;
    assert_eq!(wrong(&history), [0, 0, 0, 1], "the replay left its level");
}

#[test]
fn by_force_an_old_level_counts_from_then_on() {
    let mut history = replayed(true);
    taken(&mut history, 2, 2, 6500);
    told(&mut history, "delivered");
    assert_eq!(wrong(&history), [0; 4]);
    history.acts.told[0].outcome = "stale".to_owned();
    assert_eq!(
        wrong(&history),
        [0, 0, 0, 1],
        "what is forced is never stale"
    );
}

#[test]
fn without_a_shared_state_a_replay_may_be_late() {
    let mut history = replayed(false);
    history.whole_state = false;
    taken(&mut history, 2, 2, 6500);
    told(&mut history, "delivered");
    assert_eq!(wrong(&history), [0; 4]);
}

#[test]
fn a_stale_replay_that_nothing_outdates_is_found() {
    let mut history = replayed(false);
    told(&mut history, "stale");
    history.attempts.retain(|attempt| attempt.jti != 103);
    // SET 3 is lost by that, and nothing was newer.
    assert_eq!(wrong(&history), [1, 0, 0, 1]);
}

#[test]
fn what_is_told_of_a_replay_is_so() {
    for outcome in ["delivered", "duplicate", "dead_lettered", "already_decided"] {
        let mut history = replayed(false);
        told(&mut history, outcome);
        assert_eq!(wrong(&history), [0, 0, 0, 1], "{outcome}");
    }
    let mut history = replayed(false);
    told(&mut history, "dead_lettered");
    letter(&mut history, 2, Some(2), "receiver_error");
    history.letters.last_mut().unwrap().at_ms = 6900;
    assert_eq!(wrong(&history), [0; 4]);
    history.acts.replays.push(history.acts.replays[0]);
    assert_eq!(wrong(&history), [0, 0, 0, 1], "twice");
}

#[test]
fn a_dead_letter_that_is_accepted_unasked_is_found() {
    let mut history = replayed(false);
    taken(&mut history, 2, 2, 6500);
    history.acts.replays.clear();
    let found = judge(&history);
    assert_eq!((found.invalid, found.out_of_order), (2, 0), "{found:?}");
    // A crash before its record was committed: the record was read again, and is out of order by that.
    history.forced.push(Forced {
        process: 0,
        partition: None,
        in_order: false,
        from_ms: 5100,
        until_ms: 6000,
    });
    let found = judge(&history);
    assert_eq!((found.invalid, found.out_of_order), (1, 1), "{found:?}");
}

#[test]
fn a_refusal_after_the_receiver_was_mended_is_found() {
    let mut history = good();
    history.acts.mended.insert(2, 500);
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.acts.mended.insert(2, 4000);
    assert_eq!(wrong(&history), [0; 4], "it was on the wire");
}

fn skip(jti: Option<u64>, end: SkipEnd) -> Skip {
    Skip {
        at_ms: 900,
        jti,
        end,
    }
}

#[test]
fn only_what_was_to_be_skipped_is_skipped() {
    let mut history = good();
    history.attempts.retain(|attempt| attempt.jti != 104);
    history.jtis = (100..105).collect();
    letter(&mut history, 4, Some(4), "skipped");
    assert_eq!(wrong(&history), [0, 0, 0, 1], "nobody asked");
    for (act, wanted) in [
        (skip(Some(104), SkipEnd::Skipped), [0; 4]),
        (skip(Some(104), SkipEnd::Unknown), [0; 4]),
        (skip(None, SkipEnd::Unknown), [0; 4]),
        (skip(Some(104), SkipEnd::Not), [0, 0, 0, 1]),
        (skip(Some(103), SkipEnd::Unknown), [0, 0, 0, 1]),
        (skip(Some(103), SkipEnd::Skipped), [1, 0, 0, 1]),
    ] {
        history.acts.skips = vec![act];
        assert_eq!(wrong(&history), wanted, "{act:?}");
    }
    // One act of which the answer was lost accounts for one letter.
    history.acts.skips = vec![skip(None, SkipEnd::Unknown)];
    letter(&mut history, 4, Some(4), "skipped");
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
}

#[test]
fn what_was_accepted_and_then_skipped_is_found() {
    let mut history = good();
    history.acts.skips = vec![skip(Some(101), SkipEnd::Skipped)];
    letter(&mut history, 1, Some(1), "skipped");
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.acts.rewinds.push(rewind(1));
    assert_eq!(wrong(&history), [0; 4], "it was forgotten on purpose");
}

fn rewind(from: i64) -> Rewind {
    Rewind {
        partition: (true, 0),
        from,
        to: 7,
        at_ms: 4000,
        until_ms: 4500,
        done: true,
    }
}

#[test]
fn a_rewind_allows_what_is_behind_it_once() {
    let mut history = good();
    history.acts.rewinds.push(rewind(3));
    assert_eq!(judge(&history).repeats_bound, 2);
    taken(&mut history, 3, 3, 6000);
    taken(&mut history, 4, 1, 6001);
    assert!(judge(&history).is_clean(), "other levels, and other bytes");
    taken(&mut history, 4, 1, 6002);
    let found = judge(&history);
    assert_eq!((found.repeats, found.repeats_bound), (3, 2));
    assert_eq!(found.too_often, 1);
    assert!(!found.is_clean());
    // What is before it was not meant.
    history.attempts.pop();
    taken(&mut history, 1, 2, 6002);
    assert_eq!(wrong(&history)[3], 2, "other bytes, another level");
    assert!(!judge(&history).is_clean());
}

#[test]
fn a_rewind_brings_dead_letters_late() {
    let mut history = good();
    history.acts.mended.insert(2, 5500);
    taken(&mut history, 2, 2, 6000);
    assert_eq!(wrong(&history)[3], 2, "nobody asked for it");
    history.acts.rewinds.push(rewind(2));
    (
        history.acts.rewinds[0].at_ms,
        history.acts.rewinds[0].until_ms,
    ) = (5800, 5900);
    assert_eq!(wrong(&history), [0; 4]);
    history.acts.rewinds[0].to = 2;
    assert_eq!(wrong(&history)[3], 2, "it ended before that");
}

#[test]
fn a_rewind_excuses_nothing_that_came_after_it() {
    let mut history = good();
    history.acts.rewinds.push(rewind(0));
    produce(&mut history, 1, 4, 1, Fate::Accepted);
    produce(&mut history, 1, 5, 3, Fate::Accepted);
    // Accepted after it was given up, and after a newer one; nobody replayed it.
    let (old, new) = (5, 6);
    letter(&mut history, 7, Some(old), "receiver_error");
    history.letters.last_mut().unwrap().at_ms = 100_000;
    taken(&mut history, new, 2, 101_000);
    taken(&mut history, old, 3, 102_000);
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    // Nor in its range, when the letter was written long after it.
    history.acts.rewinds[0].to = 9;
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.letters.last_mut().unwrap().at_ms = 4200;
    assert_eq!(wrong(&history), [0; 4]);
}

#[test]
fn other_bytes_long_after_a_rewind_are_found() {
    for to in [7, 9] {
        let mut history = good();
        history.acts.rewinds.push(rewind(0));
        history.acts.rewinds[0].to = to;
        produce(&mut history, 1, 4, 1, Fate::Accepted);
        taken(&mut history, 5, 2, 101_000);
        history.attempts.last_mut().unwrap().seen = false;
        taken(&mut history, 5, 1, 102_000);
        history.attempts.last_mut().unwrap().bytes = 5;
        assert_eq!(wrong(&history), [0, 0, 0, 2], "{to}");
    }
}

/// Two SETs might have come again, and did not; that is none of this one's business.
#[test]
fn a_repeat_that_nothing_excuses_is_found() {
    let mut history = good();
    history.acts.rewinds.push(rewind(3));
    let again = Attempt {
        at_ms: 9000,
        ..history.attempts[1]
    };
    history.attempts.push(again);
    let found = judge(&history);
    assert_eq!((found.repeats, found.repeats_bound), (1, 2));
    assert_eq!(found.too_often, 1);
    assert!(!found.is_clean());
}

#[test]
fn the_first_record_of_a_set_may_be_rewound_alone() {
    let mut history = good();
    history.records.push((place(9), vec![Unit::Set(1)]));
    history.acts.rewinds.push(rewind(1));
    taken(&mut history, 1, 2, 6000);
    assert!(judge(&history).is_clean());
    history.acts.rewinds[0].from = 2;
    assert!(!judge(&history).is_clean());
}

#[test]
fn a_rewind_that_sends_nothing_again_is_found() {
    let mut history = good();
    history.committed = vec![Committed {
        at_ms: 3000,
        next: BTreeMap::from([((true, 0), 4)]),
    }];
    history.acts.rewinds.push(rewind(1));
    // SETs 1 and 3; what is behind the commit may have been somebody else's, and 2 was never taken.
    assert_eq!(wrong(&history), [2, 0, 0, 0]);
    taken(&mut history, 3, 3, 6000);
    assert_eq!(wrong(&history), [1, 0, 0, 0]);
    letter(&mut history, 1, Some(1), "receiver_error");
    assert_eq!(wrong(&history), [0; 4], "decided otherwise");
    history.letters.pop();
    history.acts.rewinds[0].done = false;
    assert_eq!(wrong(&history), [0; 4], "nobody heard that it was done");
}

#[test]
fn a_chain_is_judged_until_something_comes_late() {
    let mut history = replayed(true);
    taken(&mut history, 2, 2, 6500);
    told(&mut history, "delivered");
    history.attempts[3].said.as_mut().unwrap().previous = 1;
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    history.attempts[3].said.as_mut().unwrap().previous = 2;
    produce(&mut history, 1, 4, 1, Fate::Accepted);
    taken(&mut history, 5, 0, 8000);
    assert_eq!(wrong(&history), [0; 4], "only the bridge knows");
}

#[test]
fn what_was_delivered_was_taken_by_then() {
    for outcome in ["delivered", "duplicate"] {
        let mut history = replayed(true);
        taken(&mut history, 2, 2, 6500);
        told(&mut history, outcome);
        assert_eq!(wrong(&history), [0; 4]);
        history.attempts.last_mut().unwrap().at_ms = 7001;
        assert_eq!(wrong(&history), [0, 0, 0, 1], "{outcome}");
    }
}

#[test]
fn one_letter_vouches_for_one_replay() {
    let mut history = replayed(false);
    told(&mut history, "dead_lettered");
    letter(&mut history, 2, Some(2), "receiver_error");
    let second = history.letters.last_mut().unwrap();
    second.at_ms = 6900;
    let of = second.place;
    assert_eq!(wrong(&history), [0; 4]);
    // That one comes back as well, and again it is given up; so says the bridge.
    history.acts.replays.push(Replay {
        of,
        at_ms: 6800,
        forced: false,
    });
    history.acts.told.push(Told {
        of,
        outcome: "dead_lettered".to_owned(),
        at_ms: 7500,
    });
    assert_eq!(wrong(&history), [0, 0, 0, 1]);
    letter(&mut history, 2, Some(2), "receiver_error");
    history.letters.last_mut().unwrap().at_ms = 7400;
    assert_eq!(wrong(&history), [0; 4]);
}

#[test]
fn what_leaves_while_an_operator_holds_is_found() {
    let mut history = good();
    let hold = |process, from_ms, until_ms| Hold {
        process,
        from_ms,
        until_ms,
    };
    for (hold, wanted) in [
        (hold(0, 1003, 1004), [0; 4]),
        (hold(1, 0, 9000), [0; 4]),
        (hold(0, 1002, 1004), [0, 0, 0, 1]),
    ] {
        history.acts.holds = vec![hold];
        assert_eq!(wrong(&history), wanted, "{hold:?}");
    }
}

/// What waits in its lane is skipped before the receiver ever saw it.
#[test]
fn a_set_that_the_receiver_never_saw_is_known_by_its_jti() {
    let mut history = good();
    produce(&mut history, 2, 0, 1, Fate::Accepted);
    history.jtis = (100..106).collect();
    history.acts.skips = vec![skip(Some(105), SkipEnd::Skipped)];
    assert_eq!(history.records.last().unwrap().0, place(7));
    letter(&mut history, 7, Some(5), "skipped");
    assert_eq!(wrong(&history), [0; 4]);
}
