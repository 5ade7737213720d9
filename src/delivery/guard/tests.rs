use super::*;
use proptest::prelude::*;

const HELD: Ruling = Ruling::Hold(HoldReason::Refusals);

fn proven() -> Guard<u32, u32> {
    Guard::new(GuardSettings::refusals(), true)
}

/// One fault whose token is its key; nothing may be pushed out.
fn refuse(guard: &mut Guard<u32, u32>, key: u32, now: Instant) -> Ruling {
    let mut out = Vec::new();
    let ruling = guard.refused(key, &key, false, now, &mut out);
    assert!(out.is_empty());
    ruling
}

#[test]
fn a_refusal_waits_until_another_subject_is_accepted() {
    let (mut guard, now) = (proven(), Instant::now());
    assert_eq!(refuse(&mut guard, 1, now), Ruling::Wait);
    assert_eq!(guard.accepted(&100, &2), vec![1]);
    assert_eq!(guard.waiting(), 0);
    assert_eq!(guard.next_due(), None);
}

#[test]
fn an_acceptance_of_the_same_subject_releases_nothing() {
    let (mut guard, now) = (proven(), Instant::now());
    refuse(&mut guard, 1, now);
    assert!(guard.accepted(&100, &1).is_empty());
    assert_eq!(guard.waiting(), 1);
}

#[test]
fn ten_subjects_in_a_row_hold_with_all_ten_unsettled() {
    let (mut guard, now) = (proven(), Instant::now());
    for key in 1..=9 {
        assert_eq!(refuse(&mut guard, key, now), Ruling::Wait);
    }
    assert_eq!(refuse(&mut guard, 10, now), HELD);
    assert_eq!(guard.waiting(), 10);
    assert_eq!(guard.next_due(), None);
    assert!(
        guard.due(now + Duration::from_secs(3600)).is_empty(),
        "nothing is released while held"
    );
    assert_eq!(refuse(&mut guard, 11, now), HELD);
    assert_eq!(guard.accepted(&100, &50).len(), 11);
    assert!(!guard.is_held());
}

#[test]
fn an_acceptance_in_between_starts_a_new_row() {
    let (mut guard, now) = (proven(), Instant::now());
    for round in 0..5 {
        for key in 1..=9 {
            assert_eq!(refuse(&mut guard, key + 100 * round, now), Ruling::Wait);
        }
        assert_eq!(guard.accepted(&99_999, &99_999).len(), 9);
    }
}

#[test]
fn after_thirty_seconds_it_is_released_and_goes_on_counting() {
    let (mut guard, start) = (proven(), Instant::now());
    for key in 1..=9u32 {
        let now = start + Duration::from_secs(31) * key;
        assert_eq!(refuse(&mut guard, key, now), Ruling::Wait);
        assert_eq!(guard.next_due(), Some(now + Duration::from_secs(30)));
        assert!(guard.due(now + Duration::from_millis(29_999)).is_empty());
        assert_eq!(guard.due(now + Duration::from_secs(30)), vec![key]);
    }
    assert_eq!(
        refuse(&mut guard, 10, start + Duration::from_secs(400)),
        HELD
    );
    assert_eq!(guard.waiting(), 1);
}

#[test]
fn one_bad_subject_alone_never_holds() {
    let (mut guard, start) = (proven(), Instant::now());
    for token in 0..50u32 {
        let now = start + Duration::from_secs(31) * token;
        assert_eq!(
            guard.refused(token, &1, false, now, &mut Vec::new()),
            Ruling::Wait
        );
        assert_eq!(guard.due(now + Duration::from_secs(30)), vec![token]);
    }
}

#[test]
fn before_the_first_acceptance_every_refusal_is_set_up() {
    let now = Instant::now();
    let mut guard: Guard<u32, u32> = Guard::new(GuardSettings::refusals(), false);
    assert_eq!(refuse(&mut guard, 1, now), HELD);
    assert!(guard.due(now + Duration::from_secs(60)).is_empty());
    // A probe of the same SET is refused again: counts once, still held.
    assert_eq!(refuse(&mut guard, 1, now), HELD);
    assert_eq!(guard.waiting(), 1);
    // Another subject's acceptance proves the set-up good.
    assert_eq!(guard.accepted(&2, &2), vec![1]);
    assert_eq!(refuse(&mut guard, 3, now), Ruling::Wait);
}

#[test]
fn an_unreadable_400_holds_even_a_proven_stream() {
    let (mut guard, now) = (proven(), Instant::now());
    assert_eq!(guard.refused(1, &1, true, now, &mut Vec::new()), HELD);
    assert_eq!(guard.accepted(&2, &2), vec![1]);
}

#[test]
fn a_probe_that_is_accepted_after_all_is_not_released() {
    let (mut guard, now) = (proven(), Instant::now());
    for key in 1..=10 {
        refuse(&mut guard, key, now);
    }
    let released = guard.accepted(&4, &4);
    assert_eq!(released, vec![1, 2, 3, 5, 6, 7, 8, 9, 10]);
    assert_eq!(guard.waiting(), 0);
}

#[test]
fn a_withdrawn_one_is_forgotten() {
    let (mut guard, now) = (proven(), Instant::now());
    refuse(&mut guard, 1, now);
    refuse(&mut guard, 2, now);
    guard.withdraw(&1);
    assert_eq!(guard.accepted(&9, &9), vec![2]);
}

#[test]
fn the_time_of_another_hold_does_not_count() {
    let (mut guard, now) = (proven(), Instant::now());
    refuse(&mut guard, 1, now);
    guard.postpone(Duration::from_secs(3600), now + Duration::from_secs(3600));
    assert!(guard.due(now + Duration::from_secs(3629)).is_empty());
    assert_eq!(guard.due(now + Duration::from_secs(3630)), vec![1]);
}

#[test]
fn switched_off_everything_is_the_records_fault() {
    let now = Instant::now();
    let settings = GuardSettings {
        enabled: false,
        ..GuardSettings::refusals()
    };
    let mut guard: Guard<u32, u32> = Guard::new(settings, false);
    for key in 0..100 {
        assert_eq!(
            guard.refused(key, &key, true, now, &mut Vec::new()),
            Ruling::Release
        );
    }
    assert_eq!(guard.waiting(), 0);
}

#[test]
fn the_mapping_guard_wants_a_hundred_faults_from_ten_keys() {
    let now = Instant::now();
    let suspect = Ruling::Hold(HoldReason::MappingSuspect);
    let mut guard: Guard<u32, u32> = Guard::new(GuardSettings::mapping(), false);
    for token in 0..99 {
        assert_eq!(
            guard.refused(token, &(token % 10), false, now, &mut Vec::new()),
            Ruling::Wait
        );
    }
    assert_eq!(guard.refused(99, &9, false, now, &mut Vec::new()), suspect);
    assert_eq!(guard.waiting(), 100);

    // From nine keys: never a hold, and never more than a hundred waiting.
    let mut guard: Guard<u32, u32> = Guard::new(GuardSettings::mapping(), false);
    let mut out = Vec::new();
    for token in 0..500 {
        assert_eq!(
            guard.refused(token, &(token % 9), false, now, &mut out),
            Ruling::Wait
        );
    }
    assert_eq!(guard.waiting(), 100);
    assert_eq!(out, (0..400).collect::<Vec<_>>());
}

proptest! {
    /// Whatever happens, each fault ends exactly once (released, or still waiting), and nothing is
    /// released by time while held.
    #[test]
    fn every_fault_is_kept_until_it_is_released_once(
        proven in any::<bool>(),
        events in proptest::collection::vec((0u8..10, 0u32..15, any::<bool>()), 1..300),
    ) {
        let mut guard: Guard<u32, usize> = Guard::new(GuardSettings::refusals(), proven);
        let mut now = Instant::now();
        let (mut given, mut released) = (0usize, Vec::new());
        for (token, (kind, key, unreadable)) in events.into_iter().enumerate() {
            match kind {
                0 => released.extend(guard.accepted(&usize::MAX, &key)),
                1 | 2 => {
                    now += Duration::from_secs(10);
                    let was_held = guard.is_held();
                    let due = guard.due(now);
                    prop_assert!(due.is_empty() || !was_held);
                    released.extend(due);
                }
                _ => {
                    given += 1;
                    let rare = unreadable && kind == 9;
                    let ruling = guard.refused(token, &key, rare, now, &mut released);
                    prop_assert_eq!(guard.is_held(), ruling == HELD);
                }
            }
        }
        prop_assert_eq!(released.len() + guard.waiting(), given);
        released.sort_unstable();
        released.dedup();
        prop_assert_eq!(released.len() + guard.waiting(), given, "none twice");
    }
}
