//! A record's bytes → detections → claims → tokens, under mappings that use every kind of value.
//!
//! The first byte chooses the mapping, the rest is the record. Whatever it is: no panic, a bounded result, the same
//! result when only the part that the mapping looks at is built, and every token is JSON that holds what it must.
#![no_main]

mod current;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use setbridge::detection::{DecodeLimits, Decoded, Detection, Needs, decode};
use setbridge::mapping::{Envelope, MAX_SETS, MapInput, Mapped, Mapping, MappingSpec};
use setbridge::record::{Origin, Record};
use setbridge::set::{Profile, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_750_980_771);

static MAPPINGS: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
    let specs: Vec<MappingSpec> =
        serde_json::from_str(include_str!("../mappings.json")).expect("a list of mappings");
    let compile = |spec| Mapping::compile(spec).expect("a mapping that compiles");
    specs
        .iter()
        .map(compile)
        .chain([Mapping::native()])
        .collect()
});

fuzz_target!(|bytes: &[u8]| {
    current::keep(bytes);
    let Some((choice, value)) = bytes.split_first() else {
        return;
    };
    let mapping = &MAPPINGS[usize::from(*choice) % MAPPINGS.len()];
    let record = Record {
        origin: Origin {
            topic: "detections".into(),
            partition: 0,
            offset: 7,
        },
        key: Some(Bytes::from_static(b"user-17@example.com")),
        value: Some(Bytes::copy_from_slice(value)),
        headers: vec![("trace".into(), Some(Bytes::copy_from_slice(value)))],
        timestamp_ms: Some(1_750_980_700_999),
    };
    let part = elements(&record, mapping.needs());
    let whole = elements(&record, &Arc::new(Needs::everything()));
    for (part, whole) in part.iter().zip(&whole) {
        let Ok(part) = part else { continue };
        let told = tokens(mapping, &record, part);
        // What nobody looks at may be nested deeper than what is built.
        if let Ok(whole) = whole {
            assert_eq!(told, tokens(mapping, &record, whole));
        }
    }
});

fn elements(record: &Record, needs: &Arc<Needs>) -> Vec<Result<Detection, String>> {
    let limits = DecodeLimits {
        max_record_bytes: 64 << 10,
        max_elements: 100,
    };
    match decode(record.value.as_ref(), &limits, needs) {
        Ok(Decoded::Elements(elements)) => elements
            .map(|(_, element)| element.map_err(|error| error.to_string()))
            .collect(),
        Ok(Decoded::Tombstone) | Err(_) => Vec::new(),
    }
}

/// Everything that the mapping says about a detection.
fn tokens(
    mapping: &Mapping,
    record: &Record,
    detection: &Detection,
) -> Vec<Result<String, String>> {
    let input = MapInput {
        detection,
        record,
        issuer: "https://ssf.example.com",
        stream: "okta",
        now: NOW,
    };
    let Mapped::Sets(sets) = mapping.map(&input) else {
        return Vec::new();
    };
    assert!(!sets.is_empty() && sets.len() <= 2 * MAX_SETS);
    let envelope = |profile| Envelope {
        issuer: "https://ssf.example.com".into(),
        audience: "https://org.example.com".into(),
        profile,
    };
    let token = |claims: setbridge::mapping::Claims| {
        let token = |profile| {
            let token = claims.complete(None, NOW, &envelope(profile)).to_json();
            let value: Value = serde_json::from_slice(&token).expect("a token is JSON");
            assert_eq!(value["jti"].as_str().map(str::len), Some(43));
            assert!(value.get("exp").is_none() && value.get("sub").is_none());
            assert_eq!(
                value["events"].as_object().map(|events| events.len()),
                Some(1)
            );
            String::from_utf8(token).expect("JSON is UTF-8")
        };
        [Profile::Okta, Profile::Ssf10, Profile::Dual]
            .map(token)
            .concat()
    };
    sets.into_iter()
        .map(|set| set.map(token).map_err(|error| error.detail()))
        .collect()
}
