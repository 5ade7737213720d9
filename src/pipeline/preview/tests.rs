//! Every kind of record, and the places of its SETs.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{Admission, admit};
use super::*;
use crate::record::Origin;
use crate::set::{Level, Timestamp};
use crate::state::Facts;

const NOW: Timestamp = Timestamp::from_secs(1_750_980_771);

fn record(value: Option<&str>) -> Record {
    Record {
        origin: Origin {
            topic: Arc::from("detections"),
            partition: 2,
            offset: 42,
        },
        key: None,
        value: value.map(|value| Bytes::from(value.to_owned())),
        headers: Vec::new(),
        timestamp_ms: Some(1_750_980_770_999),
    }
}

fn preview(record: &Record) -> Preview {
    let terms = Terms {
        mapping: &Mapping::native(),
        limits: DecodeLimits::default(),
        issuer: "https://ssf.example.com",
        stream: "okta",
        now: NOW,
    };
    Preview::of(record, &terms)
}

fn risk(id: u32, user: &str) -> String {
    format!(r#"{{"id": {id}, "kind": "user-risk-change", "user": "{user}", "level": "high"}}"#)
}

#[test]
fn every_kind_of_record() {
    assert!(matches!(preview(&record(None)), Preview::Tombstone));
    let Preview::Refused(error) = preview(&record(Some("no JSON"))) else {
        panic!("refused as a whole");
    };
    assert_eq!(error.reason(), "invalid_json");
    let one = record(Some(&risk(1, "user-17@example.com")));
    let Preview::Elements(elements) = preview(&one) else {
        panic!("one element");
    };
    assert_eq!((elements.len(), elements[0].sha256.is_none()), (1, true));
    let traced = elements[0].found.as_ref().unwrap();
    assert_eq!(traced.rules.len(), Mapping::native().rules().count());

    let good = risk(1, "user-17@example.com");
    let batch = record(Some(&format!("[{good}, 7, {}, {good}]", risk(2, "nobody"))));
    let found = preview(&batch);
    let places: Vec<Position> = found.sets(&batch).map(|set| set.position).collect();
    let place = |element| Position {
        offset: 42,
        element,
        set: 0,
    };
    assert_eq!(places, [place(0), place(3)], "bad ones keep their numbers");
    let Preview::Elements(elements) = &found else {
        panic!("elements");
    };
    let reasons: Vec<_> = elements
        .iter()
        .flat_map(|element| match &element.found {
            Err(error) => vec![error.reason()],
            Ok(_) => {
                let of = |(_, set): (_, &Result<Claims, MapError>)| {
                    set.as_ref().err().map(MapError::reason)
                };
                element.numbered(42).filter_map(of).collect()
            }
        })
        .collect();
    assert_eq!(reasons, ["not_an_object", "bad_email"]);
    assert_eq!(
        elements[0].sha256.as_deref(),
        Some(sha256_hex(good.as_bytes()).as_str())
    );
    let question = found.sets(&batch).next().unwrap().question(&batch);
    assert_eq!((&*question.topic, question.partition), ("detections", 2));
}

#[test]
fn the_facts_decide() {
    let position = |offset, set| Position {
        offset,
        element: 0,
        set,
    };
    let nothing = Facts::default();
    let fresh = |previous| Admission::Fresh { previous };
    assert_eq!(admit(&nothing, position(5, 0)), fresh(None));
    let decided = Facts {
        mark: Some(position(5, 1)),
        level: Some(Level::High),
        ..nothing
    };
    assert_eq!(admit(&decided, position(5, 1)), Admission::AlreadyDecided);
    assert_eq!(admit(&decided, position(5, 2)), fresh(Some(Level::High)));
    let delivered = Facts {
        delivered: true,
        ..decided
    };
    assert_eq!(admit(&delivered, position(5, 1)), Admission::Duplicate);
}
