//! What is made of a detection is bounded, and what an operator writes down cannot end the process.

use super::*;
use crate::mapping::limits::{
    MAX_EXPRESSION_BYTES, MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_SIGNS, MAX_PATH_BYTES,
    MAX_PATH_DEPTH,
};
use crate::set::MAX_IDENTIFIER_BYTES;

/// The first fault of a mapping of one rule with these members.
fn fault(members: Value) -> String {
    let mut rule = json!({
        "name": "r", "event": "user-risk-change", "subject": {"email": "$.user"}, "id": ["$.id"],
        "claims": {"current_level": "$.level"}
    });
    merge(&mut rule, members);
    let spec: MappingSpec = serde_json::from_value(json!({"rules": [rule]})).expect("a mapping");
    match Mapping::compile(&spec) {
        Ok(_) => "none".to_owned(),
        Err(faults) => faults[0].to_string(),
    }
}

/// Of 5,000 SETs each would hold the same 10,000 bytes: 50 MB from a record of 35 kB.
#[test]
fn a_text_in_every_set_is_counted_in_every_set() {
    let claims = json!({"current_level": "low", "reason_admin": "$.reason"});
    let users = |count: usize| -> Vec<Value> { (0..count).map(Value::from).collect() };
    let detection =
        |count, bytes| json!({"id": 1, "users": users(count), "reason": "x".repeat(bytes)});
    for (subject, each) in [("@", Some("$.users[*]")), ("$.users[*]", None)] {
        let mapping = rule(json!({"subject": {"opaque": subject}, "each": each, "claims": claims}));
        let much = map(&mapping, &detection(5000, 10_000));
        assert_eq!(one(much).err(), Some("too_many_sets"), "{subject}");
        let fits = results(map(&mapping, &detection(1000, 10_000)));
        assert_eq!(
            fits.iter().filter(|set| set.is_ok()).count(),
            1000,
            "{subject}"
        );
    }
    // So does a detection key.
    let mapping = rule(
        json!({"subject": {"opaque": "@"}, "each": "$.users[*]", "id": ["$", "@"], "claims": claims}),
    );
    assert_eq!(
        one(map(&mapping, &detection(5000, 10_000))).err(),
        Some("too_many_sets")
    );
}

#[test]
fn the_sets_of_all_rules_count_together() {
    let rule = |name: &str| {
        json!({"name": name, "event": "user-risk-change", "subject": {"opaque": "$.users[*]"},
            "claims": {"current_level": "low"}})
    };
    let mapping = compile(json!({"apply": "all", "rules": [rule("a"), rule("b")]}));
    let users: Vec<Value> = (0..6000).map(Value::from).collect();
    let made = results(map(&mapping, &json!({"id": 1, "users": users})));
    // Those of the first rule are good; the second has one refusal.
    assert_eq!(made.iter().filter(|set| set.is_ok()).count(), 6000);
    assert_eq!(
        made.last().map(|last| last.clone().err()),
        Some(Some("too_many_sets"))
    );
    assert_eq!(made.len(), 6001);
}

#[test]
fn texts_and_identifiers_have_a_longest() {
    let longest = |bytes: usize| "x".repeat(bytes);
    let reason =
        |value: &str| rule(json!({"claims": {"current_level": "low", "reason_admin": value}}));
    let detection =
        |reason: String| json!({"id": 1, "user": "user-17@example.com", "reason": reason});
    for value in ["$.reason", "{$.reason}"] {
        let mapping = reason(value);
        assert!(
            one(map(&mapping, &detection(longest(MAX_TEXT_BYTES)))).is_ok(),
            "{value}"
        );
        let over = map(&mapping, &detection(longest(MAX_TEXT_BYTES + 1)));
        assert_eq!(one(over).err(), Some("bad_value"), "{value}");
    }
    // A template stops when it is too long, not after it was written.
    let mapping = reason(&"{$.reason}".repeat(500));
    assert_eq!(
        one(map(&mapping, &detection(longest(1 << 20)))).err(),
        Some("bad_value")
    );
    let mapping = reason("$.reason");
    let german = json!({"en": "x", "de": longest(MAX_TEXT_BYTES + 1)});
    let detection = json!({"id": 1, "user": "user-17@example.com", "reason": german});
    assert_eq!(one(map(&mapping, &detection)).err(), Some("bad_value"));

    let txn = rule(json!({"txn": "$.txn"}));
    let detection = json!({"id": 1, "user": "user-17@example.com", "level": "low", "txn": longest(MAX_TEXT_BYTES + 1)});
    assert_eq!(one(map(&txn, &detection)).err(), Some("bad_value"));

    let opaque = rule(json!({"subject": {"opaque": "$.user"}}));
    let about = |bytes| json!({"id": 1, "user": longest(bytes), "level": "low"});
    assert!(one(map(&opaque, &about(MAX_IDENTIFIER_BYTES))).is_ok());
    assert_eq!(
        one(map(&opaque, &about(MAX_IDENTIFIER_BYTES + 1))).err(),
        Some("bad_subject")
    );
}

/// The threads of a test have 2 MiB of stack, as those of the runtime.
#[test]
fn the_deepest_expression_that_is_taken_can_be_run() {
    let detection =
        json!({"id": 1, "user": "user-17@example.com", "level": "low", "n": 1, "list": [[[1]]]});
    let sum = |terms: usize| format!("{}detection.n > 0", "detection.n + ".repeat(terms));
    let deepest = MAX_EXPRESSION_DEPTH - 3;
    let mapping = rule(json!({"when": sum(deepest)}));
    assert!(one(map(&mapping, &detection)).is_ok());
    for when in [
        sum(deepest + 1),
        sum(MAX_EXPRESSION_SIGNS / 3),
        format!("{}true", "false ? true : ".repeat(40)),
        format!("detection{} == 1", "[\"a\"]".repeat(40)),
        format!("{}true{}", "[1].exists(x, ".repeat(20), ")".repeat(20)),
    ] {
        assert!(
            fault(json!({"when": when})).contains("nests deeper"),
            "{when}"
        );
    }
    let alternatives = format!("{}true", "detection.n == 5 || ".repeat(300));
    let mapping = rule(json!({"when": alternatives}));
    assert!(one(map(&mapping, &detection)).is_ok());
}

#[test]
fn what_is_too_long_or_too_deep_is_refused_before_it_is_parsed() {
    let brackets = |open: &str, close: &str, times: usize| json!({"email": format!("$[?{}@.a{}]", open.repeat(times), close.repeat(times))});
    for (members, part) in [
        (
            json!({"when": format!("\"{}\" == \"\"", "x".repeat(MAX_EXPRESSION_BYTES))}),
            "expression is longer",
        ),
        (
            json!({"when": format!("{}1 == 1", "1+".repeat(MAX_EXPRESSION_SIGNS + 1))}),
            "operators and dots",
        ),
        (
            json!({"subject": {"email": format!("$.{}", "x".repeat(MAX_PATH_BYTES))}}),
            "JSONPath is longer",
        ),
        (
            json!({"subject": {"email": "$[?@".repeat(1000)}}),
            "brackets more than",
        ),
        (
            json!({"subject": brackets("(", ")", MAX_PATH_DEPTH)}),
            "brackets more than",
        ),
        (
            json!({"subject": brackets("@[?", "]", MAX_PATH_DEPTH)}),
            "brackets more than",
        ),
        // Who may choose these would choose how long they take.
        (
            json!({"when": "\"x\".matches(detection.pattern)"}),
            "not written out",
        ),
        (
            json!({"each": "$.a[*]", "claims": {"current_level": "$..level"}}),
            "searches the whole detection",
        ),
        (
            json!({"each": "$.a[*]", "claims": {"current_level": "low", "reason_admin": "x {$..level}"}}),
            "searches the whole detection",
        ),
    ] {
        assert!(fault(members).contains(part), "{part}");
    }
    assert_eq!(
        fault(json!({"each": "$.a[*]", "claims": {"current_level": "@..level"}})),
        "none"
    );
    assert_eq!(
        fault(json!({"subject": brackets("(", ")", MAX_PATH_DEPTH - 1)})),
        "none"
    );
}
