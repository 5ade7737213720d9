//! Which rules apply, and how many SETs they make.

use super::*;

fn two(apply: &str) -> Mapping {
    let rule = |name: &str, when: &str, level: &str| {
        json!({"name": name, "when": when, "event": "user-risk-change", "subject": {"opaque": name},
               "claims": {"current_level": level}})
    };
    compile(json!({"apply": apply, "rules": [
        {"name": "lab", "when": "detection.lab", "drop": true},
        rule("one", "detection.n > 0", "low"),
        rule("two", "detection.n > 1", "high"),
    ]}))
}

fn names(mapped: Mapped) -> Vec<String> {
    results(mapped)
        .into_iter()
        .map(|set| set.map_or_else(str::to_owned, |claims| claims.rule.to_string()))
        .collect()
}

#[test]
fn the_first_or_all_that_match() {
    assert_eq!(names(map(&two("first"), &json!({"n": 2}))), ["one"]);
    assert_eq!(names(map(&two("all"), &json!({"n": 2}))), ["one", "two"]);
    assert_eq!(names(map(&two("all"), &json!({"n": 1}))), ["one"]);
    assert_eq!(names(map(&two("all"), &json!({"n": 0}))), ["no_rule"]);
    assert_eq!(
        names(map(&two("all"), &json!({"n": 2, "lab": true}))),
        ["rule_drop"]
    );
    assert_eq!(
        names(map(&two("first"), &json!({"n": "x"}))),
        ["expression"]
    );
    assert_eq!(
        names(map(&two("all"), &json!({"n": 2, "lab": 3}))),
        ["expression", "one", "two"]
    );
}

#[test]
fn nobody_to_report_is_a_dead_letter_or_filtered() {
    let with = |on_no_subject: Unmatched| {
        let mut spec: MappingSpec = serde_json::from_value(json!({"rules": [{
            "name": "r", "event": "user-risk-change", "subject": {"email": "$.users[*].mail"},
            "claims": {"current_level": "high"}}]}))
        .expect("a mapping");
        spec.on_no_subject = on_no_subject;
        Mapping::compile(&spec).expect("compiles")
    };
    let nobody = json!({"users": [{"mail": null}, {"mail": " "}, {}]});
    assert!(matches!(
        map(&with(Unmatched::Filter), &nobody),
        Mapped::Filtered(FilterReason::NoSubject)
    ));
    assert!(matches!(
        map(&with(Unmatched::DeadLetter), &nobody),
        Mapped::Sets(_)
    ));
    assert_eq!(
        one(map(&with(Unmatched::DeadLetter), &nobody)).err(),
        Some("no_subject")
    );
}

#[test]
fn several_subjects_are_judged_one_by_one() {
    let mapping = rule(json!({"subject": {"email": "$.users[*].mail"}}));
    let detection = json!({"id": 1, "level": "high",
        "users": [{"mail": "a@b.example"}, {"mail": "nobody"}, {"mail": ["c@d.example", true]}]});
    let sets = results(map(&mapping, &detection));
    let reasons: Vec<_> = sets.iter().map(|set| set.as_ref().err().copied()).collect();
    assert_eq!(
        reasons,
        [None, Some("bad_email"), None, Some("bad_subject")]
    );
    let jtis: std::collections::BTreeSet<_> = sets
        .iter()
        .flatten()
        .map(|claims| claims.jti.to_string())
        .collect();
    assert_eq!(jtis.len(), 2);
    let txns: Vec<_> = sets
        .iter()
        .flatten()
        .map(|claims| token(claims, Profile::Dual)["txn"].clone())
        .collect();
    assert_eq!(txns[0], txns[1], "one cause, one transaction");
}

#[test]
fn each_gives_every_node_its_own_values() {
    let mapping = rule(json!({
        "each": "$.changes[*]", "event": "identifier-changed", "subject": {"email": "@.old"},
        "id": ["$.id", "@.new"], "claims": {"new-value": "@.new"}
    }));
    let detection = json!({"id": 1, "changes": [
        {"old": "a@b.example", "new": "c@d.example"}, {"old": "e@f.example", "new": "g@h.example"}, null]});
    let sets: Vec<_> = results(map(&mapping, &detection))
        .into_iter()
        .map(|set| set.expect("claims"))
        .collect();
    assert_eq!(sets.len(), 2);
    assert_eq!(event(&sets[0])["new-value"], "c@d.example");
    assert_eq!(event(&sets[1])["subject"]["user"]["email"], "e@f.example");
    for claims in &sets {
        let new = claims.event.new_subject().expect("a new address");
        assert_eq!(claims.other_lane, Some(new.canonical().key()));
        assert_ne!(claims.other_lane, Some(claims.subject_key));
    }
}

#[test]
fn a_new_spelling_of_the_same_address_has_one_lane() {
    let detection = json!({"id": 1, "kind": "identifier-changed", "user": "a@b.example", "new_value": "A@b.example"});
    assert_eq!(
        one(map(&Mapping::native(), &detection))
            .expect("claims")
            .other_lane,
        None
    );
}

#[test]
fn too_many_subjects_are_refused() {
    let mapping = rule(json!({"subject": {"opaque": "$.users[*]"}}));
    let users: Vec<Value> = (0..=MAX_SETS).map(Value::from).collect();
    assert_eq!(
        one(map(
            &mapping,
            &json!({"id": 1, "level": "low", "users": users})
        ))
        .err(),
        Some("too_many_sets")
    );
    let mapping = rule(json!({"subject": {"opaque": "$.users"}, "each": "$.users[*]"}));
    let users: Vec<Value> = (0..200).map(Value::from).collect();
    assert_eq!(
        one(map(
            &mapping,
            &json!({"id": 1, "level": "low", "users": users})
        ))
        .err(),
        Some("too_many_sets")
    );
}
