use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::kafka::dead_letter::Stage;

const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn topic() -> SideTopic {
    SideTopic {
        source: Arc::from("detections"),
        outcomes: Arc::from("detections.okta.replay.outcomes"),
    }
}

/// A record of the side topic: these headers instead of, or beside, those of a good one; an empty value is no header.
fn record(changed: &[(&str, &str)]) -> Record {
    let mut headers = vec![
        ("tenant", "acme"),
        ("setbridge-version", "0.1.0"),
        ("setbridge-stream", "okta"),
        ("setbridge-origin-topic", "detections"),
        ("setbridge-origin-partition", "3"),
        ("setbridge-origin-offset", "41"),
        ("setbridge-origin-timestamp-ms", "1750980771999"),
        ("setbridge-stage", "push"),
        ("setbridge-reason", "invalid_request"),
        ("setbridge-element", "2"),
        ("setbridge-element-sha256", SHA),
        ("setbridge-jti", "j"),
        ("setbridge-attempts", "4"),
        ("setbridge-first-attempt-ms", "100"),
        ("setbridge-last-attempt-ms", "200"),
        ("setbridge-replay-of", "detections.okta.dlq/3/7"),
        ("setbridge-replay-ms", "1760000000000"),
    ];
    for (name, value) in changed {
        headers.retain(|(there, _)| there != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    let header = |(name, value): (&str, &str)| {
        let value = Bytes::copy_from_slice(value.as_bytes());
        (name.to_owned(), Some(value))
    };
    Record {
        origin: Origin {
            topic: Arc::from("detections.okta.replay"),
            partition: 3,
            offset: 9,
        },
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"[1,2,3]")),
        headers: headers.into_iter().map(header).collect(),
        timestamp_ms: Some(1_760_000_000_001),
    }
}

fn cause(attempts: u32) -> Cause {
    Cause {
        stage: Stage::Push,
        reason: "invalid_request",
        detail: None,
        element: None,
        jti: None,
        status: Some(400),
        err: None,
        attempts,
        attempted_ms: (attempts > 0).then_some((900, 1000)),
    }
}

#[test]
fn the_record_is_as_it_was_at_its_origin() {
    let (replay, whole) = Replay::open(&record(&[]), topic(), "okta");
    let whole = whole.expect("a replay");
    assert_eq!(whole.origin.to_string(), "detections:3:41");
    assert_eq!(whole.timestamp_ms, Some(1_750_980_771_999));
    assert_eq!(whole.key.as_deref(), Some(&b"key"[..]));
    let tenant = ("tenant".to_owned(), Some(Bytes::from_static(b"acme")));
    assert_eq!(whole.headers, [tenant]);
    assert_eq!(
        replay.of.as_ref().map(dead_letter::place).as_deref(),
        Some("detections.okta.dlq/3/7")
    );
    assert_eq!((replay.force, replay.jti()), (false, Some("j")));
    let wants = |number, sha| replay.wants_element(number, sha);
    assert!(wants(2, Some(SHA)) && wants(2, None));
    assert!(!wants(1, Some(SHA)) && !wants(2, Some("another")));
    let forced = record(&[("setbridge-replay-force", "true")]);
    assert!(Replay::open(&forced, topic(), "okta").0.force);
}

#[test]
fn what_the_state_did_not_answer_is_waited_for_unless_it_is_forced() {
    let known = Facts::default();
    let bypassed = Facts {
        bypassed: true,
        ..known
    };
    let open = |force| {
        let record = record(&[("setbridge-replay-force", force)]);
        Replay::open(&record, topic(), "okta").0
    };
    assert!(open("").is_unsure(&bypassed));
    assert!(!open("").is_unsure(&known));
    assert!(!open("true").is_unsure(&bypassed));
}

#[test]
fn what_is_no_replay_of_ours_says_why() {
    for (changed, wanted) in [
        (("setbridge-version", ""), "setbridge-version"),
        (
            ("setbridge-replay-of", ""),
            "setbridge-replay-of is missing",
        ),
        (
            ("setbridge-origin-offset", "x"),
            "origin-offset cannot be read",
        ),
        (("setbridge-stream", "other"), "another stream"),
        (("setbridge-origin-topic", "others"), "another topic"),
        (("setbridge-origin-partition", "2"), "another number"),
    ] {
        let (replay, whole) = Replay::open(&record(&[changed]), topic(), "okta");
        let why = whole.expect_err(wanted).to_string();
        assert!(why.contains(wanted), "{why}");
        assert!(replay.wants_element(0, None) && replay.jti().is_none());
        assert_eq!(replay.add_up(&cause(0)).attempts, 0);
    }
    let omitted = record(&[
        ("setbridge-value-omitted", "true"),
        ("setbridge-value-bytes", "9"),
        ("setbridge-value-sha256", SHA),
    ]);
    let (_, whole) = Replay::open(&omitted, topic(), "okta");
    assert_eq!(whole.err(), Some(Malformed::Omitted));
}

#[test]
fn what_was_done_before_counts_as_well() {
    let (replay, _) = Replay::open(&record(&[]), topic(), "okta");
    let again = replay.add_up(&cause(2));
    assert_eq!((again.attempts, again.attempted_ms), (6, Some((100, 1000))));
    assert_eq!(again.jti.as_deref(), Some("j"));
    assert_eq!(again.element, Some((2, SHA.to_owned())));
    let untried = replay.add_up(&cause(0));
    assert_eq!(
        (untried.attempts, untried.attempted_ms),
        (4, Some((100, 200)))
    );
}
