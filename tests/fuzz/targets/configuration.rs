//! A configuration file's text → the strict configuration, or mistakes with a place; and what its mappings make of
//! detections.
#![no_main]

mod current;

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use setbridge::config::{Environment, Files, Sources, load_text};
use setbridge::detection::{DecodeLimits, Decoded, decode};
use setbridge::mapping::{MapInput, Mapping};
use setbridge::record::{Origin, Record};
use setbridge::set::Timestamp;

const DETECTIONS: [&str; 3] = [
    r#"{"id": "1", "kind": "user-risk-change", "user": "user-17@example.com", "level": "high"}"#,
    r#"{"id": [1, {"a": null}], "score": 71.5, "users": [{"mail": "user-17@example.com"}, {"mail": 5}, null],
        "severity": "critical", "rule": {"name": "x"}, "host": "h", "type": "user_risk", "time": 1750980770}"#,
    r#"{"a": {"b": {"c": [[[]], {}, "", -0.0, 1e308, 18446744073709551615]}}}"#,
];

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    [("NAME", "value"), ("EMPTY", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
});

fuzz_target!(|bytes: &[u8]| {
    current::keep(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let sources = Sources {
        environment: &ENVIRONMENT,
        overrides: &[],
        files: Files::Skip,
    };
    match load_text(text, "fuzz.yaml", &sources) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(!mistake.to_string().is_empty());
            }
        }
        Ok(config) => {
            for stream in &config.streams {
                map(&stream.mapping);
            }
        }
    }
});

fn map(mapping: &Mapping) {
    for text in DETECTIONS {
        let record = Record {
            origin: Origin {
                topic: "detections".into(),
                partition: 0,
                offset: 7,
            },
            key: Some(Bytes::from_static(b"user-17@example.com")),
            value: Some(Bytes::from_static(text.as_bytes())),
            headers: vec![("trace".into(), Some(Bytes::from_static(b"\xff")))],
            timestamp_ms: Some(1_750_980_700_999),
        };
        let limits = DecodeLimits::default();
        let decoded = decode(record.value.as_ref(), &limits, mapping.needs());
        let Ok(Decoded::Elements(elements)) = decoded else {
            panic!("the detections are JSON");
        };
        for (_, detection) in elements {
            let _mapped = mapping.map(&MapInput {
                detection: &detection.expect("an object"),
                record: &record,
                issuer: "https://ssf.example.com",
                stream: "okta",
                now: Timestamp::from_secs(1_750_980_771),
            });
        }
    }
}
