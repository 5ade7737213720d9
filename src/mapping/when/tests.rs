//! What matches, what does not, and what is refused.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::record::Origin;

pub(super) fn record() -> Record {
    Record {
        origin: Origin {
            topic: "detections".into(),
            partition: 0,
            offset: 1,
        },
        key: Some(Bytes::from_static(b"ann@example.com")),
        value: None,
        headers: vec![("tenant".into(), Some(Bytes::from_static(b"eu")))],
        timestamp_ms: None,
    }
}

fn holds(source: &str, detection: &Value) -> Result<bool, Fault> {
    let when = When::compile(source).unwrap_or_else(|(message, _)| panic!("{source}: {message}"));
    when.holds(detection, &record())
}

#[test]
fn expressions_over_the_detection() {
    let detection = json!({
        "kind": "risk", "score": 70.5, "n": 7, "big": 18_446_744_073_709_551_615_u64, "ok": true,
        "user": {"name": "Ann", "groups": ["a", "b"]}, "nil": null, "a-b": {"c.d": 1},
        "items": [{"x": 1}, {"x": 5}]
    });
    for (source, wanted) in [
        ("detection.kind == 'risk'", true),
        ("detection.kind == 'other'", false),
        ("detection.score >= 70", true),
        (
            "detection.n > 6 && detection.n < 8 && detection.n == 7",
            true,
        ),
        ("detection.big > 1", true),
        ("detection.ok", true),
        (
            "detection.user.name.startsWith('A') && size(detection.user.groups) == 2",
            true,
        ),
        ("'b' in detection.user.groups", true),
        ("'name' in detection.user", true),
        ("detection['a-b']['c.d'] == 1", true),
        ("detection.user['name'] == 'Ann'", true),
        ("detection.items.exists(i, i.x > 4)", true),
        ("detection.items.all(i, i.x > 4)", false),
        ("detection.items[1].x == 5", true),
        (
            "detection.items.filter(i, i.x > 0).map(i, i.x) == [1, 5]",
            true,
        ),
        ("detection.nil == null", true),
        ("detection.user.name.matches('^A.n$')", true),
        (
            "has(detection.user.name) && !has(detection.user.mail)",
            true,
        ),
        (
            "record.key == 'ann@example.com' && record.topic == 'detections'",
            true,
        ),
        ("record.headers['tenant'] == 'eu' && has(record.key)", true),
        ("record.headers.tenant in ['eu', 'us']", true),
        ("type(detection.n) == int", true),
        ("[1, 2].exists(detection, detection == 2)", true),
    ] {
        assert_eq!(holds(source, &detection), Ok(wanted), "{source}");
    }
}

#[test]
fn a_missing_member_does_not_match() {
    let detection = json!({"user": null, "list": []});
    for source in [
        "detection.kind == 'risk'",
        "detection.kind != 'risk'",
        "detection.user.name == 'Ann'",
        "detection.a.b.c == 1",
        "detection.list[0] == 1",
        "has(detection.user.name)",
        "record.headers.nothing == 'x'",
    ] {
        assert_eq!(holds(source, &detection), Ok(false), "{source}");
    }
    assert_eq!(
        holds(
            "detection.kind == 'risk' || detection.user == null",
            &detection
        ),
        Ok(true)
    );
}

#[test]
fn other_errors_refuse_the_detection_without_showing_it() {
    let detection = json!({"score": "ann@example.com", "zero": 0, "text": "x"});
    for source in [
        "detection.score > 5",
        "detection.score",
        "1 / detection.zero == 1",
        "detection.text.name == 'x'",
        "int(detection.text) == 1",
    ] {
        let fault = holds(source, &detection).expect_err(source);
        assert_eq!(fault.reason, MapReason::Expression, "{source}");
        assert!(!fault.text.contains("ann"), "{}", fault.text);
    }
}

#[test]
fn mistakes_are_found_when_compiling() {
    for (source, message) in [
        ("detection.kind ==", "this is no CEL expression"),
        ("kind == 'risk'", "`kind` is not known here"),
        (
            "detection.name.startWith('a')",
            "there is no function `startWith`",
        ),
        ("detection.items.exists(i, j > 1)", "`j` is not known here"),
        (
            "detection.name.matches('(')",
            "the pattern of `matches` is no regular expression",
        ),
    ] {
        let (found, mend) = When::compile(source).expect_err(source);
        assert!(found.starts_with(message), "{source}: {found}");
        assert!(!mend.is_empty());
    }
    let (_, mend) = When::compile("detection.name.startWith('a')").expect_err("typo");
    assert_eq!(mend, "did you mean `startsWith`?");
}

#[test]
fn every_function_that_is_allowed_exists() {
    for source in [
        "bool('true')",
        "bytes('a') == b'a'",
        "'ab'.contains('a')",
        "double(1) == 1.0",
        "duration('1s') == duration('1000ms')",
        "dyn(1) == 1",
        "'ab'.endsWith('b')",
        "timestamp('2025-01-02T03:04:05Z').getFullYear() == 2025",
        "int('1') == 1",
        "'a'.matches('a')",
        "size('a') == 1",
        "'a'.startsWith('a')",
        "string(1) == '1'",
        "type(1) == int",
        "uint(1) == 1u",
        "optional.of(1).hasValue()",
    ] {
        assert_eq!(holds(source, &json!({})), Ok(true), "{source}");
    }
}

#[test]
fn only_what_is_named_is_converted() {
    let when =
        When::compile("detection.a.b == 1 && has(detection.c) && detection['d'].e").expect("valid");
    let names: Vec<_> = when
        .needs()
        .members()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, ["a", "c", "d"]);
    assert!(!when.needs().is_whole());
    assert!(
        When::compile("size(detection) > 1")
            .expect("valid")
            .detection
            .is_whole()
    );
    assert!(
        When::compile("detection[record.key] == 1")
            .expect("valid")
            .detection
            .is_whole()
    );
}

proptest! {
    /// Any JSON: an answer or a refusal, never a panic.
    #[test]
    fn any_detection_is_judged(detection in crate::mapping::tests::any_json()) {
        for source in [
            "detection.a == 1 && detection.b.c > 2",
            "detection.a.exists(x, x.b == 'q') || size(detection) > 1",
            "has(detection.a.b) && detection.a.b in [1, 'x', null]",
            "detection.a + detection.b == detection.c",
            "string(detection.a).matches('a+')",
            "detection.a.map(x, x * 2)[0] > 1",
        ] {
            let _ = holds(source, &detection);
        }
    }
}
