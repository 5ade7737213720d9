//! What compiling refuses.

use super::*;

fn faults(spec: Value) -> Vec<(String, String, String)> {
    let spec: MappingSpec = serde_json::from_value(spec).expect("the shape is right");
    let faults = Mapping::compile(&spec).expect_err("faults");
    faults
        .into_iter()
        .map(|fault| (fault.pointer, fault.message, fault.mend))
        .collect()
}

#[test]
fn all_are_reported_at_once_with_place_and_mend() {
    let found = faults(json!({"rules": [
        {"name": "a", "when": "kind == 1", "event": "user-risk-change", "subject": {"email": "$.a-b"},
         "id": ["$.id", "@.x"], "time": "$..a..b",
         "claims": {"current_levle": "high", "reason_admin": "{$.x", "previous_level": "critical"}},
        {"name": "a", "drop": true, "event": "identifier-changed"},
        {"name": " "},
        {"name": "c", "event": "identifier-changed", "subject": {"opaque": "$.x"}},
    ]}));
    let places: Vec<&str> = found.iter().map(|(place, _, _)| place.as_str()).collect();
    for place in [
        "/rules/0/when",
        "/rules/0/subject/email",
        "/rules/0/id/1",
        "/rules/0/time",
        "/rules/0/claims/current_levle",
        "/rules/0/claims",
        "/rules/0/claims/reason_admin",
        "/rules/0/claims/previous_level",
        "/rules/1/name",
        "/rules/1",
        "/rules/2/name",
        "/rules/2/subject",
        "/rules/2/event",
        "/rules/3/subject",
    ] {
        assert!(places.contains(&place), "{place} in {places:?}");
    }
    assert_eq!(found.len(), 14, "{found:#?}");
    assert!(
        found
            .iter()
            .all(|(_, message, mend)| !message.is_empty() && !mend.is_empty())
    );
    let typo = found
        .iter()
        .find(|(place, ..)| place.ends_with("levle"))
        .expect("the typo");
    assert_eq!(typo.2, "did you mean `current_level`?");
}

#[test]
fn constants_tables_and_bands_are_judged_beforehand() {
    let with = |level: Value| {
        let rule = json!({"name": "r", "event": "user-risk-change", "subject": {"email": "$.u"}, "claims": {"current_level": level}});
        faults(json!({"rules": [rule]}))
            .into_iter()
            .map(|(place, ..)| place)
            .collect::<Vec<_>>()
    };
    let base = "/rules/0/claims/current_level";
    assert_eq!(with(json!("severe")), [base]);
    assert_eq!(with(json!(5)), [base]);
    assert_eq!(
        with(json!({"lookup": {"of": "$.s", "table": {"x/y": "bad"}}})),
        [format!("{base}/lookup/table/x~1y")]
    );
    assert_eq!(
        with(json!({"lookup": {"of": "$.s", "table": {}}})),
        [format!("{base}/lookup/table")]
    );
    assert_eq!(
        with(
            json!({"bands": {"of": "$.s", "ranges": [{"below": 5, "value": "low"}, {"from": 4, "value": "high"}, {"from": 3, "below": 3, "value": "low"}]}})
        ),
        [
            format!("{base}/bands/ranges/1"),
            format!("{base}/bands/ranges/2")
        ]
    );
    assert_eq!(with(json!({"first_of": []})), [format!("{base}/first_of")]);
    assert_eq!(with(json!({"languages": {"en": "x"}})), [base]);
}

#[test]
fn an_empty_mapping_is_one() {
    assert_eq!(faults(json!({"rules": []}))[0].0, "/rules");
}

#[test]
fn shapes_are_strict() {
    for bad in [
        json!({"rules": [{"name": "a", "evnet": "user-risk-change"}]}),
        json!({"rules": [{"name": "a", "event": "user-risk-changed"}]}),
        json!({"rules": [{"name": "a", "subject": {"mail": "$.x"}}]}),
        json!({"rules": [{"name": "a", "subject": {"iss_sub": {"iss": "a", "sub": "b", "x": "c"}}}]}),
        json!({"rules": [{"name": "a", "id": [{"pth": "$.x"}]}]}),
        json!({"rules": [{"name": "a", "id": [null]}]}),
        json!({"rules": [], "extra": 1}),
        json!({}),
    ] {
        assert!(
            serde_json::from_value::<MappingSpec>(bad.clone()).is_err(),
            "{bad}"
        );
    }
    let error = serde_json::from_value::<MappingSpec>(
        json!({"rules": [{"name": "a", "id": [{"pth": "$.x"}]}]}),
    );
    let message = error.expect_err("a typo").to_string();
    assert!(
        message.contains("unknown variant `pth`, expected one of `path`"),
        "{message}"
    );
}
