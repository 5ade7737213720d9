//! What the pure core costs per detection of about 860 bytes: decode, map (a mapping by rules, and the native one), jti,
//! token JSON.

#![allow(missing_docs, reason = "criterion's macros make items")]

mod sample;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use setbridge::detection::{DecodeLimits, Decoded, Detection, decode};
use setbridge::mapping::{Claims, Envelope, MapInput, Mapped, Mapping};
use setbridge::record::{Origin, Record};
use setbridge::set::{EventType, Jti, JtiParts, JtiPrefix, Profile, Timestamp};

const ISSUER: &str = "https://ssf.bench.example";
const STREAM: &str = "bench";
const NOW_MS: u64 = 1_750_980_771_000;

/// The same finding in the native format, padded to the same size by its reason.
fn native() -> String {
    let reason = "Credential theft from LSASS memory on wks-00042; ".repeat(13);
    format!(
        r#"{{"id":"det-0000000042","kind":"user-risk-change","user":"user00042@corp.example.com","level":"high","time":{NOW_MS},"updated":"2026-11-21T10:00:00Z","txn":"case-8675309","reason":"{reason}"}}"#
    )
}

fn record(value: String) -> Record {
    Record {
        origin: Origin {
            topic: "detections".into(),
            partition: 0,
            offset: 42,
        },
        key: Some(Bytes::from_static(b"user00042@corp.example.com")),
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp_ms: i64::try_from(NOW_MS).ok(),
    }
}

fn decoded(record: &Record, mapping: &Mapping) -> Detection {
    let Ok(Decoded::Elements(mut elements)) = decode(
        record.value.as_ref(),
        &DecodeLimits::default(),
        mapping.needs(),
    ) else {
        panic!("one object");
    };
    let (_, detection) = elements.next().expect("one object");
    detection.expect("JSON")
}

fn mapped(mapping: &Mapping, detection: &Detection, record: &Record) -> Claims {
    let input = MapInput {
        detection,
        record,
        issuer: ISSUER,
        stream: STREAM,
        now: Timestamp::from_secs(1_750_980_771),
    };
    let Mapped::Sets(sets) = mapping.map(&input) else {
        panic!("a SET");
    };
    let mut sets = sets.into_iter();
    sets.next().expect("a SET").expect("claims")
}

fn core(criterion: &mut Criterion) {
    let spec = serde_json::from_str(sample::MAPPING).expect("a mapping");
    let rules = Mapping::compile(&spec).expect("a mapping");
    let ocsf = record(sample::detection(42, NOW_MS).1);
    let own = record(native());
    for (name, mapping, record) in [("rules", rules, &ocsf), ("native", Mapping::native(), &own)] {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("decode", |b| {
            b.iter(|| decoded(black_box(record), &mapping))
        });
        let detection = decoded(record, &mapping);
        group.bench_function("map", |b| {
            b.iter(|| mapped(&mapping, black_box(&detection), record));
        });
        group.bench_function("decode_and_map", |b| {
            b.iter(|| mapped(&mapping, &decoded(black_box(record), &mapping), record));
        });
        let claims = mapped(&mapping, &detection, record);
        let envelope = Envelope {
            issuer: ISSUER.into(),
            audience: "https://org.okta.com".into(),
            profile: Profile::Okta,
        };
        let issued = Timestamp::from_secs(1_750_980_771);
        group.bench_function("token_json", |b| {
            b.iter(|| {
                black_box(&claims)
                    .complete(None, issued, &envelope)
                    .to_json()
            });
        });
        group.finish();
    }
}

fn jti(criterion: &mut Criterion) {
    let native = record(native());
    let mapping = Mapping::native();
    let subject = mapped(&mapping, &decoded(&native, &mapping), &native)
        .subject
        .canonical();
    let key: [Vec<u8>; 3] = [
        b"\"det-0000000042\"".into(),
        b"1750980771000".into(),
        b"5".into(),
    ];
    criterion.bench_function("jti", |b| {
        b.iter(|| {
            Jti::derive(&JtiParts {
                issuer: ISSUER,
                stream: STREAM,
                detection_key: black_box(&key),
                event_type: EventType::UserRiskChange,
                subject: &subject,
            })
        });
    });
    criterion.bench_function("jti_of_a_known_detection", |b| {
        let prefix = JtiPrefix::new(ISSUER, STREAM, &key);
        b.iter(|| prefix.jti(EventType::UserRiskChange, black_box(&subject)));
    });
}

criterion_group!(benches, core, jti);
criterion_main!(benches);
