use super::super::retry::RetrySettings;
use super::super::verdict::MomentFault;
use super::*;

const KEY_FAULT: HoldReason = HoldReason::SetUp(SetUpFault::InvalidKey);
const REFUSED: Verdict = Verdict::Refused(Refusal::InvalidRequest);
const PROOF: Probed = Probed::Judge {
    proves_set_up: true,
};
const NO_PROOF: Probed = Probed::Judge {
    proves_set_up: false,
};
const STILL: Verdict = Verdict::SetUp(SetUpFault::InvalidKey);

fn gate() -> Gate<u32> {
    let settings = RetrySettings {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(60),
        multiplier: 2.0,
    };
    Gate::new(RetryPolicy::new(settings).expect("valid"))
}

/// A gate held for `invalid_key` with three SETs waiting.
fn held(now: Instant) -> Gate<u32> {
    let mut gate = gate();
    assert!(gate.enter(&1), "an open gate lets through");
    assert!(gate.hold(KEY_FAULT, now, 1.0));
    for key in 1..=3 {
        assert!(!gate.enter(&key));
    }
    gate
}

fn reason(gate: &Gate<u32>) -> Option<HoldReason> {
    gate.reasons().next().map(|(reason, _)| reason)
}

#[test]
fn one_probe_at_a_time_and_backoff_between() {
    let start = Instant::now();
    let mut gate = held(start);
    assert_eq!(gate.probe(start), None);
    let mut now = start + Duration::from_secs(1);
    assert_eq!(gate.next_probe(), Some(now));
    for wait in [2, 4, 8, 16, 32, 60, 60] {
        let key = gate.probe(now).expect("due");
        assert_eq!(gate.probe(now), None, "a second one must wait");
        assert_eq!(gate.next_probe(), None);
        assert_eq!(gate.probed(&key, STILL, None, now, 1.0), Probed::Held);
        assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(wait)));
        now += Duration::from_secs(wait);
    }
    assert_eq!(
        gate.reasons().next(),
        Some((KEY_FAULT, start)),
        "since is the beginning"
    );
}

#[test]
fn probes_rotate_over_those_that_wait() {
    let mut now = Instant::now();
    let mut gate = held(now);
    let mut probed = Vec::new();
    for _ in 0..6 {
        now += Duration::from_secs(60);
        let key = gate.probe(now).expect("due");
        probed.push(key);
        gate.probed(&key, STILL, None, now, 0.0);
    }
    assert_eq!(probed, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn an_acceptance_resumes() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut gate = held(Instant::now());
    let key = gate.probe(now).expect("due");
    assert_eq!(
        gate.probed(&key, Verdict::Accepted, None, now, 0.0),
        Probed::Resumed
    );
    assert!(gate.is_open() && gate.waiting() == 0);
    assert!(gate.enter(&2));
}

#[test]
fn invalid_request_proves_a_named_set_up_good() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut gate = held(Instant::now());
    assert_eq!(gate.probe(now), Some(1));
    assert_eq!(gate.probed(&1, REFUSED, None, now, 1.0), PROOF);
    assert_eq!(gate.probe(now), Some(2), "the next is probed at once");
    assert_eq!(
        gate.probed(&2, Verdict::Accepted, None, now, 1.0),
        Probed::Resumed
    );
}

#[test]
fn other_refusals_prove_nothing() {
    let now = Instant::now() + Duration::from_secs(60);
    for refusal in [
        Refusal::Unreadable400,
        Refusal::UnknownErr,
        Refusal::TooLarge413,
    ] {
        let mut gate = held(Instant::now());
        assert_eq!(gate.probe(now), Some(1));
        assert_eq!(
            gate.probed(&1, Verdict::Refused(refusal), None, now, 1.0),
            NO_PROOF
        );
        assert_eq!(reason(&gate), Some(HoldReason::Refusals));
        assert_eq!(gate.probe(now), None, "the backoff goes on");
    }
    // In a hold that no err named, and in one of the guard, an invalid_request proves nothing either.
    for first in [
        HoldReason::SetUp(SetUpFault::NotFound),
        HoldReason::Refusals,
    ] {
        let mut gate = gate();
        gate.hold(first, Instant::now(), 1.0);
        gate.enter(&1);
        assert_eq!(gate.probe(now), Some(1));
        assert_eq!(gate.probed(&1, REFUSED, None, now, 1.0), NO_PROOF);
        assert_eq!(reason(&gate), Some(HoldReason::Refusals));
        assert!(!gate.enter(&1), "it can be probed again");
        assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(2)));
    }
}

/// Only what RFC 8935 says about the SET itself, where it had named the set-up before, is a proof.
#[test]
fn invalid_request_proves_exactly_the_holds_for_a_named_err() {
    let now = Instant::now() + Duration::from_secs(60);
    for fault in SetUpFault::ALL {
        for refusal in [
            Refusal::InvalidRequest,
            Refusal::UnknownErr,
            Refusal::Unreadable400,
            Refusal::TooLarge413,
            Refusal::OtherClientError(422),
        ] {
            let mut gate = gate();
            gate.hold(HoldReason::SetUp(fault), Instant::now(), 1.0);
            gate.enter(&1);
            assert_eq!(gate.probe(now), Some(1));
            let proves = fault.is_named_err() && refusal == Refusal::InvalidRequest;
            let wanted = if proves { PROOF } else { NO_PROOF };
            let answer = gate.probed(&1, Verdict::Refused(refusal), None, now, 1.0);
            assert_eq!(answer, wanted, "{fault:?}, {refusal:?}");
            assert!(
                !gate.is_open(),
                "only an acceptance, or the guard, opens it"
            );
        }
    }
    let named = SetUpFault::ALL.into_iter().filter(|f| f.is_named_err());
    assert_eq!(named.count(), 6);
}

#[test]
fn another_set_up_fault_updates_the_reason() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut gate = held(Instant::now());
    let key = gate.probe(now).expect("due");
    gate.probed(
        &key,
        Verdict::SetUp(SetUpFault::InvalidAudience),
        None,
        now,
        0.0,
    );
    assert_eq!(
        reason(&gate),
        Some(HoldReason::SetUp(SetUpFault::InvalidAudience))
    );
}

#[test]
fn a_moments_fault_backs_off_and_minds_advice() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut gate = held(Instant::now());
    let key = gate.probe(now).expect("due");
    let busy = Verdict::Moment(MomentFault::TooManyRequests);
    let advised = Some(Duration::from_secs(45));
    assert_eq!(gate.probed(&key, busy, advised, now, 1.0), Probed::Held);
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(45)));
    assert_eq!(reason(&gate), Some(KEY_FAULT));
}

#[test]
fn who_leaves_is_not_probed_and_does_not_block() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut gate = held(Instant::now());
    gate.leave(&1);
    assert_eq!(gate.probe(now), Some(2));
    gate.leave(&2);
    assert_eq!(gate.probe(now), Some(3), "an abandoned probe makes room");
    gate.leave(&3);
    assert_eq!(gate.next_probe(), None, "nobody waits");
    assert!(!gate.enter(&4));
    assert_eq!(
        gate.probe(now),
        Some(4),
        "who comes later is probed at once"
    );
}

#[test]
fn nothing_is_probed_while_another_reason_stands() {
    let now = Instant::now() + Duration::from_secs(60);
    for other in HoldReason::all().filter(|reason| !reason.is_probed()) {
        let mut gate = held(Instant::now());
        assert!(!gate.hold(other, now, 0.0));
        assert_eq!(gate.probe(now), None);
        assert!(!gate.lift(other), "the first reason stands");
        assert_eq!(gate.probe(now), Some(1));
        gate.hold(other, now, 0.0);
        assert_eq!(
            gate.probed(&1, Verdict::Accepted, None, now, 0.0),
            Probed::Resumed
        );
        assert!(!gate.is_open());
        assert!(gate.lift(other));
        assert!(gate.is_open());
    }
}

#[test]
fn reloaded_keys_are_tried_at_once() {
    let now = Instant::now();
    let mut gate = held(now);
    assert_eq!(gate.probe(now), None);
    gate.probe_soon(now);
    assert_eq!(gate.probe(now), Some(1));
}

#[test]
fn reasons_have_labels_of_their_own() {
    let mut labels: Vec<_> = HoldReason::all().map(HoldReason::as_str).collect();
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count);
    for named in [
        "kafka_auth",
        "kafka_dead_letter_topic",
        "mapping_suspect",
        "refusals",
        "operator",
        "invalid_key",
    ] {
        assert!(labels.contains(&named));
    }
}
