//! What is written is read back, whatever the record brought; what nobody of ours wrote is refused.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::{Cause, least, ours, own, without_value};
use super::*;

fn read_back(headers: &Headers) -> Vec<(String, Option<Bytes>)> {
    let each =
        |(name, value): &(String, Option<Vec<u8>>)| (name.clone(), value.clone().map(Bytes::from));
    headers.iter().map(each).collect()
}

/// A record in the dead-letter topic.
fn in_topic(record: &Record, headers: &Headers, value: bool) -> Record {
    Record {
        origin: Origin {
            topic: Arc::from("detections.okta.dlq"),
            partition: 1,
            offset: 5,
        },
        key: record.key.clone(),
        value: record.value.clone().filter(|_| value),
        headers: read_back(headers),
        timestamp_ms: Some(1_750_980_779_000),
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z-]{0,12}",
        // As a dead letter of a dead letter has them.
        prop_oneof![
            Just("version"),
            Just("stream"),
            Just("jti"),
            Just("element"),
            Just("attempts"),
            Just("value-omitted"),
            Just("replay-of"),
            Just("replay-force"),
        ]
        .prop_map(|name| format!("{HEADER_PREFIX}{name}")),
    ]
}

fn bytes(most: usize) -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..most).prop_map(Bytes::from))
}

prop_compose! {
    fn records()(
        topic in "[a-zA-Z0-9._-]{1,20}",
        partition in 0i32..,
        offset in 0i64..,
        key in bytes(20),
        value in bytes(60),
        headers in vec((name(), bytes(20)), 0..6),
        timestamp_ms in option::of(any::<i64>()),
    ) -> Record {
        let origin = Origin { topic: Arc::from(topic), partition, offset };
        Record { origin, key, value, headers, timestamp_ms }
    }
}

prop_compose! {
    fn causes()(
        stage in prop_oneof![Just(Stage::Decode), Just(Stage::Map), Just(Stage::Push)],
        reason in prop_oneof![Just("invalid_json"), Just("expired")],
        detail in option::of(".{0,30}"),
        element in option::of((any::<u32>(), "[0-9a-f]{64}")),
        jti in option::of("[A-Za-z0-9_-]{1,43}"),
        status in option::of(any::<u16>()),
        err in option::of(".{0,20}"),
        attempts in any::<u32>(),
        attempted_ms in option::of(any::<(i64, i64)>()),
    ) -> Cause {
        Cause { stage, reason, detail, element, jti, status, err, attempts, attempted_ms }
    }
}

fn is_about(letter: &DeadLetter, record: &Record, cause: &Cause) {
    assert_eq!(letter.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(letter.stream, "okta");
    assert_eq!(letter.origin, record.origin);
    assert_eq!(letter.origin_timestamp_ms, record.timestamp_ms);
    assert_eq!(letter.stage, cause.stage);
    assert_eq!(letter.reason, cause.reason);
    assert_eq!(letter.detail, cause.detail);
    assert_eq!(letter.element, cause.element);
    assert_eq!(letter.jti, cause.jti);
    assert_eq!(letter.status, cause.status);
    assert_eq!(letter.err, cause.err);
    assert_eq!(letter.attempts, cause.attempts);
    assert_eq!(letter.attempted_ms, cause.attempted_ms);
}

fn same(one: &Record, other: &Record) {
    assert_eq!(one.origin, other.origin);
    assert_eq!(one.key, other.key);
    assert_eq!(one.value, other.value);
    assert_eq!(one.headers, other.headers);
    assert_eq!(one.timestamp_ms, other.timestamp_ms);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in records(), cause in causes(), force: bool, at_ms: i64) {
        let headers = [own(&record), ours("okta", &record, &cause)].concat();
        let written = in_topic(&record, &headers, true);
        let letter = DeadLetter::parse(&written.headers).unwrap();
        is_about(&letter, &record, &cause);
        prop_assert_eq!(&letter.omitted, &None);
        same(&letter.restore(&written).unwrap(), &record);
        prop_assert_eq!(Replay::parse(&written.headers), Err(LetterFault::Missing("replay-of")));

        // In the side topic it is the same letter, and a replay of a replay is one replay.
        let replay = Replay { of: written.origin.clone(), force, at_ms };
        let mut sent = written;
        for _ in 0..2 {
            sent.headers = read_back(&replay.headers(&sent));
            prop_assert_eq!(Replay::parse(&sent.headers).unwrap(), replay.clone());
            prop_assert_eq!(&DeadLetter::parse(&sent.headers).unwrap(), &letter);
            same(&letter.restore(&sent).unwrap(), &record);
        }
    }

    #[test]
    fn a_letter_without_value_is_made_whole_at_its_origin(record in records(), cause in causes()) {
        let short = without_value(ours("okta", &record, &cause), &record);
        let shortest = least(short.clone(), &record);
        for (headers, key_and_headers) in [([own(&record), short].concat(), false), (shortest, true)] {
            let mut written = in_topic(&record, &headers, false);
            if key_and_headers {
                written.key = None;
            }
            let letter = DeadLetter::parse(&written.headers).unwrap();
            is_about(&letter, &record, &cause);
            prop_assert_eq!(letter.omitted.as_ref().unwrap().key_and_headers, key_and_headers);
            prop_assert!(letter.restore(&written).is_none());

            let whole = letter.complete(&written, &record).unwrap();
            let read = DeadLetter::parse(&whole.headers).unwrap();
            prop_assert_eq!(&read.omitted, &None);
            same(&read.restore(&whole).unwrap(), &record);

            let mut moved = record.clone();
            moved.origin.offset ^= 1;
            prop_assert_eq!(letter.complete(&written, &moved).unwrap_err(), OtherRecord::Place);
            let mut other = record.clone();
            other.value = Some(Bytes::from([other.value.unwrap_or_default().as_ref(), b"x"].concat()));
            prop_assert_eq!(letter.complete(&written, &other).unwrap_err(), OtherRecord::Value);
        }
    }

    #[test]
    fn hostile_headers_are_read_or_refused(
        before in vec((name(), bytes(20)), 0..6),
        after in vec((name(), bytes(20)), 0..12),
    ) {
        let version = ("setbridge-version".to_owned(), Some(Bytes::from_static(b"9")));
        let headers: Vec<_> = before.into_iter().chain([version]).chain(after).collect();
        // No panic, and never a letter out of what stands before ours.
        if let Ok(letter) = DeadLetter::parse(&headers) {
            let last = headers.iter().rposition(|(name, _)| name == "setbridge-version");
            prop_assert_eq!(Some(letter.own), last);
        }
        let _ = Replay::parse(&headers);
    }

    #[test]
    fn a_place_is_read_back(topic in "[a-zA-Z0-9._-]{1,30}", partition in 0i32.., offset in 0i64..) {
        let origin = Origin { topic: Arc::from(topic), partition, offset };
        prop_assert_eq!(read_place(&place(&origin)), Some(origin));
    }
}

const GOOD: [(&str, &str); 14] = [
    ("version", "0.1.0"),
    ("stream", "okta"),
    ("origin-topic", "detections"),
    ("origin-partition", "3"),
    ("origin-offset", "42"),
    ("origin-timestamp-ms", "1750980770999"),
    ("stage", "push"),
    ("reason", "invalid_request"),
    ("attempts", "2"),
    ("first-attempt-ms", "1"),
    ("last-attempt-ms", "2"),
    ("http-status", "400"),
    ("element", "0"),
    (
        "element-sha256",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
];

type Given = Vec<(String, Option<Bytes>)>;

fn good() -> Given {
    let header = |(name, value): (&str, &'static str)| {
        (
            format!("{HEADER_PREFIX}{name}"),
            Some(Bytes::from_static(value.as_bytes())),
        )
    };
    GOOD.map(header).to_vec()
}

/// The good ones, with another value for this one; [`None`]: without it.
fn with(name: &str, value: Option<&'static [u8]>) -> Given {
    let mut headers = good();
    headers.retain(|(n, _)| !is(n, name));
    let value = value.map(|v| {
        (
            format!("{HEADER_PREFIX}{name}"),
            Some(Bytes::from_static(v)),
        )
    });
    headers.extend(value);
    headers
}

#[test]
fn what_is_none_of_ours_says_why() {
    assert!(DeadLetter::parse(&good()).is_ok());
    assert_eq!(DeadLetter::parse(&[]), Err(LetterFault::Foreign));
    let no_version = with("version", None);
    assert_eq!(DeadLetter::parse(&no_version), Err(LetterFault::Foreign));
    let needed = [
        "stream",
        "origin-topic",
        "origin-partition",
        "origin-offset",
        "stage",
        "reason",
        "attempts",
        "first-attempt-ms",
        "last-attempt-ms",
        "element",
        "element-sha256",
    ];
    for name in needed {
        let fault = DeadLetter::parse(&with(name, None));
        assert_eq!(fault, Err(LetterFault::Missing(name)));
    }
    let unreadable: [(&str, &[u8]); 11] = [
        ("origin-partition", b"-1"),
        ("origin-partition", b"2147483648"),
        ("origin-offset", b"-1"),
        ("origin-offset", b"9223372036854775808"),
        ("origin-topic", b""),
        ("stage", b"Push"),
        ("stream", b"\xff"),
        ("http-status", b"70000"),
        ("attempts", b"many"),
        ("element-sha256", b"E3B0"),
        ("value-omitted", b"yes"),
    ];
    for (name, value) in unreadable {
        let fault = DeadLetter::parse(&with(name, Some(value))).unwrap_err();
        assert_eq!(
            fault.to_string(),
            format!("its header setbridge-{name} cannot be read")
        );
    }
    for (name, _) in GOOD.into_iter().skip(1) {
        let twice = [
            good(),
            good().into_iter().filter(|(n, _)| is(n, name)).collect(),
        ]
        .concat();
        let fault = DeadLetter::parse(&twice).unwrap_err();
        let said = format!("its header setbridge-{name} is there more than once");
        assert_eq!(fault.to_string(), said);
    }
    let null = [good(), vec![("setbridge-jti".to_owned(), None)]].concat();
    assert_eq!(
        DeadLetter::parse(&null),
        Err(LetterFault::Unreadable("jti"))
    );
    let unknown = [
        good(),
        vec![
            ("setbridge-new".to_owned(), None),
            ("trace".to_owned(), None),
        ],
    ]
    .concat();
    assert!(DeadLetter::parse(&unknown).is_ok(), "of a newer version");
}

#[test]
fn a_value_left_out_is_described_whole() {
    let omitted = with("value-omitted", Some(b"true"));
    assert_eq!(
        DeadLetter::parse(&omitted),
        Err(LetterFault::Missing("value-bytes"))
    );
}

#[test]
fn a_replay_says_of_what() {
    for bad in ["", "t/1", "t/1/x", "t/-1/5", "t/1/-5", "/1/5", "a/b/1/5"] {
        assert_eq!(read_place(bad), None, "{bad}");
    }
    let said = |of: &'static str| {
        let replay = [("setbridge-replay-of", of), ("setbridge-replay-ms", "7")];
        let replay = replay.map(|(name, value)| (name.to_owned(), Some(Bytes::from(value))));
        Replay::parse(&[good(), replay.to_vec()].concat())
    };
    let of = said("detections.okta.dlq/1/5").unwrap();
    assert_eq!((of.of.offset, of.force, of.at_ms), (5, false, 7));
    assert_eq!(said("somewhere"), Err(LetterFault::Unreadable("replay-of")));
    // A record's own headers are no request of ours.
    let own = [("setbridge-replay-of".to_owned(), Some(Bytes::from("t/1/5")))];
    let own = [own.to_vec(), good()].concat();
    assert_eq!(Replay::parse(&own), Err(LetterFault::Missing("replay-of")));
}
