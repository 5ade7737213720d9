//! `setbridge map`: what becomes of a record, without Kafka or a receiver.

use super::{Run, set_up, setbridge};

#[test]
fn map_shows_the_claims_or_why_not() {
    let folder = set_up();
    let map = |record: &[u8]| {
        let run = Run {
            folder: folder.path(),
            input: record,
            environment: &[],
        };
        run.go(&[
            "map",
            "-c",
            "demo.yaml",
            "--stream",
            "demo",
            "--timestamp-ms",
            "1750980770999",
        ])
    };
    let good =
        map(br#"{"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": "High"}"#);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    let event = &good.json()["events"]["https://schemas.okta.com/secevent/okta/event-type/user-risk-change"];
    assert_eq!(event["current_level"], "high");
    assert_eq!(event["event_timestamp"], 1_750_980_770);

    let risk =
        |rest: &str| format!(r#"{{"id": 1, "kind": "user-risk-change"{rest}}}"#).into_bytes();
    let bad = [
        (b"not JSON".to_vec(), "invalid_json"),
        (b"".to_vec(), "empty_value"),
        (b"[7]".to_vec(), "not_an_object"),
        (b"{\"id\": \"\xff\"}".to_vec(), "invalid_utf8"),
        (
            [vec![b'['; 10_000], vec![b']'; 10_000]].concat(),
            "too_deep",
        ),
        (vec![b'x'; 5_000_000], "too_large"),
        (br#"{"kind": "unheard-of"}"#.to_vec(), "no_rule"),
        (
            risk(r#", "user": "a@b.example", "level": "purple""#),
            "bad_level",
        ),
        (risk(r#", "level": "low""#), "no_subject"),
        (risk(r#", "user": "nobody", "level": "low""#), "bad_email"),
        (
            risk(r#", "user": "a@b.example", "level": "low", "time": "57000-01-01T00:00:00Z""#),
            "bad_time",
        ),
        (
            risk(r#", "user": "a@b.example", "level": "low", "time": 1750980770123000000"#),
            "time_out_of_range",
        ),
    ];
    for (record, reason) in bad {
        let ran = map(&record);
        assert_eq!((ran.code, ran.out.as_str()), (65, ""), "{reason}");
        assert!(
            ran.err.contains(&format!("dead letter, {reason}: ")),
            "{reason}: {}",
            ran.err
        );
    }
    let half = map(
        br#"[7, {"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": "low"}]"#,
    );
    assert_eq!(half.code, 65, "one of the two is bad");
    assert!(half.json()["jti"].is_string() && half.err.contains("element 0"));
    assert_eq!(
        setbridge(&folder, &["map", "-c", "demo.yaml", "--stream", "x"]).code,
        64
    );
}
