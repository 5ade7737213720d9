//! What each rule came to, and what it looked at.

use super::*;

fn traced(mapping: &Mapping, detection: &Value) -> Vec<RuleTrace> {
    let raw = Bytes::from(detection.to_string());
    let decoded = decode(Some(&raw), &DecodeLimits::default(), mapping.needs());
    let Ok(Decoded::Elements(mut elements)) = decoded else {
        panic!("a detection");
    };
    let (_, detection) = elements.next().expect("one");
    let record = record();
    let input = MapInput {
        detection: &detection.expect("an object"),
        record: &record,
        issuer: ISSUER,
        stream: "okta",
        now: NOW,
    };
    let (mapped, traces) = mapping.trace(&input);
    assert_eq!(format!("{mapped:?}"), format!("{:?}", mapping.map(&input)));
    traces
}

#[test]
fn every_rule_says_what_it_came_to() {
    let rule = |name: &str, when: &str| {
        json!({"name": name, "when": when, "event": "user-risk-change",
               "subject": {"email": "$.mails[*]"}, "claims": {"current_level": "low"}})
    };
    let mapping = |apply: &str| {
        compile(json!({"apply": apply, "rules": [
            {"name": "lab", "when": "detection.env.lab == true", "drop": true},
            rule("high", "detection.score > 70 && detection.env.name != 'x'"),
            rule("any", "true"),
        ]}))
    };
    let verdicts = |apply: &str, detection: Value| {
        let traces = traced(&mapping(apply), &detection);
        traces.iter().map(|t| t.verdict).collect::<Vec<_>>()
    };
    use RuleVerdict::{Dropped, Failed, Made, Nobody, NotAsked, Passed};
    let mails = json!(["a@b.example", "no address"]);
    let lab = json!({"env": {"lab": true}});
    assert_eq!(verdicts("first", lab), [Dropped, NotAsked, NotAsked]);
    let low = json!({"score": 3, "mails": mails});
    assert_eq!(verdicts("first", low.clone()), [Passed, Passed, Made(2)]);
    let high = json!({"score": 71, "env": {}, "mails": mails});
    assert_eq!(verdicts("first", high), [Passed, Passed, Made(2)]);
    let high = json!({"score": 71, "env": {"name": "y"}, "mails": mails});
    assert_eq!(verdicts("first", high.clone()), [Passed, Made(2), NotAsked]);
    assert_eq!(verdicts("all", high), [Passed, Made(2), Made(2)]);
    let wrong = json!({"score": [], "env": {"name": "y"}});
    assert_eq!(verdicts("all", wrong), [Passed, Failed, Nobody]);

    let traces = traced(&mapping("first"), &low);
    assert_eq!(
        traces[1].when.as_deref(),
        Some("detection.score > 70 && detection.env.name != 'x'")
    );
    let looked_at = [
        ("detection.env.name".to_owned(), None),
        ("detection.score".to_owned(), Some(json!(3))),
    ];
    assert_eq!(traces[1].looked_at, looked_at);
    let everything = traced(
        &compile(json!({"rules": [
        {"name": "whole", "when": "size(detection) > 9", "drop": true}]})),
        &json!({"a": 1}),
    );
    assert_eq!(
        everything[0].looked_at,
        [("detection".to_owned(), Some(json!({"a": 1})))]
    );
}
