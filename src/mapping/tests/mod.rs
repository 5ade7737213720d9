//! Golden pairs, the language, and hostile input.

mod faults;
mod golden;
mod hostile;
mod limits;
mod looks;
mod native;
mod rules;
mod trace;
mod values;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::detection::{DecodeLimits, Decoded, decode};
use crate::record::Origin;
use crate::set::{EventType, Level, Profile};

const ISSUER: &str = "https://setbridge.example";
const NOW: Timestamp = Timestamp::from_secs(1_750_980_771);

/// Any JSON.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (1_700_000_000_i64..1_760_000_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c@. ]{0,6}".prop_map(Value::from),
        prop_oneof![
            "high",
            "Low",
            "a@b.example",
            "\\+12065550100",
            "user-risk-change",
            "identifier-changed"
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[a-d]", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn record() -> Record {
    Record {
        origin: Origin {
            topic: "detections".into(),
            partition: 0,
            offset: 7,
        },
        key: Some(Bytes::from_static(b"key@example.com")),
        value: None,
        headers: vec![("trace".into(), Some(Bytes::from_static(b"t-1")))],
        timestamp_ms: Some(1_750_980_700_999),
    }
}

/// Maps a detection, whole; the part of it that the mapping looks at has to come to the same.
fn map_record(mapping: &Mapping, record: &Record, detection: &Value) -> Mapped {
    let raw = Bytes::from(detection.to_string());
    let decoded = |needs: &Arc<Needs>| {
        let Ok(Decoded::Elements(mut of)) = decode(Some(&raw), &DecodeLimits::default(), needs)
        else {
            return None;
        };
        of.next()?.1.ok()
    };
    let map = |detection: &Detection| {
        mapping.map(&MapInput {
            detection,
            record,
            issuer: ISSUER,
            stream: "okta",
            now: NOW,
        })
    };
    if let Some(part) = decoded(mapping.needs()) {
        let whole = decoded(&Arc::new(Needs::everything())).expect("JSON");
        assert_eq!(told(map(&part)), told(map(&whole)), "{detection}");
    }
    map(&Detection {
        element: 0,
        raw,
        json: detection.clone(),
    })
}

/// Everything that a mapping says.
fn told(mapped: Mapped) -> Vec<Result<String, String>> {
    let envelope = Envelope {
        issuer: ISSUER.into(),
        audience: "a".into(),
        profile: Profile::Dual,
    };
    let sets = match mapped {
        Mapped::Filtered(reason) => return vec![Err(reason.as_str().to_owned())],
        Mapped::Sets(sets) => sets.into_iter(),
    };
    sets.map(|set| {
        set.map(|claims| {
            let token = claims.complete(None, NOW, &envelope).to_json();
            String::from_utf8(token).expect("utf-8")
        })
        .map_err(|error| format!("{error:?}"))
    })
    .collect()
}

fn map(mapping: &Mapping, detection: &Value) -> Mapped {
    map_record(mapping, &record(), detection)
}

fn compile(spec: Value) -> Mapping {
    let spec: MappingSpec = serde_json::from_value(spec).expect("a mapping");
    Mapping::compile(&spec).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A mapping of one rule, with the given members put in.
fn rule(members: Value) -> Mapping {
    let mut rule = json!({
        "name": "r", "event": "user-risk-change", "subject": {"email": "$.user"}, "id": ["$.id"],
        "claims": {"current_level": "$.level"}
    });
    merge(&mut rule, members);
    compile(json!({"rules": [rule]}))
}

fn merge(into: &mut Value, members: Value) {
    if let (Value::Object(into), Value::Object(members)) = (into, members) {
        into.extend(members);
    }
}

/// The claims, or the reason of each refusal, or of the filter.
fn results(mapped: Mapped) -> Vec<Result<Claims, &'static str>> {
    match mapped {
        Mapped::Filtered(reason) => vec![Err(reason.as_str())],
        Mapped::Sets(sets) => sets
            .into_iter()
            .map(|set| set.map_err(|error| error.reason()))
            .collect(),
    }
}

fn one(mapped: Mapped) -> Result<Claims, &'static str> {
    let mut results = results(mapped);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn token(claims: &Claims, profile: Profile) -> Value {
    let envelope = Envelope {
        issuer: ISSUER.into(),
        audience: "https://org.okta.com".into(),
        profile,
    };
    serde_json::from_slice(&claims.complete(None, NOW, &envelope).to_json()).expect("json")
}

/// The event of a token in profile `okta`.
fn event(claims: &Claims) -> Value {
    token(claims, Profile::Okta)["events"][claims.event.event_type().uri()].clone()
}
