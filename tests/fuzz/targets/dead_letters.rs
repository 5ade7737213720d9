//! The headers of a record in a dead-letter or replay topic: whoever may write there may have written them.
//!
//! A line is a header: its name, a `=`, its value; without `=` the value is null. The last line is the record's value.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use setbridge::kafka::dead_letter::{DeadLetter, Replay, place, read_place};
use setbridge::record::{Origin, Record};

fuzz_target!(|bytes: &[u8]| {
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let value = lines.pop().map(Bytes::copy_from_slice);
    let headers = lines.into_iter().map(|line| {
        let equals = line.iter().position(|b| *b == b'=');
        let (name, value) = match equals {
            Some(at) => (&line[..at], Some(Bytes::copy_from_slice(&line[at + 1..]))),
            None => (line, None),
        };
        (String::from_utf8_lossy(name).into_owned(), value)
    });
    let letter = Record {
        origin: Origin {
            topic: "detections.okta.dlq".into(),
            partition: 0,
            offset: 7,
        },
        key: None,
        value,
        headers: headers.collect(),
        timestamp_ms: Some(1_750_980_700_999),
    };
    let _asked = Replay::parse(&letter.headers);
    let Ok(parsed) = DeadLetter::parse(&letter.headers) else {
        return;
    };
    if let Some(record) = parsed.restore(&letter) {
        assert!(letter.headers.starts_with(&record.headers));
        assert_eq!(record.value, letter.value);
    }
    assert!(parsed.complete(&letter, &letter).is_ok() == parsed.omitted.is_none());
    // What is asked for in a replay topic is what was asked for, and the letter in it is the same letter.
    let ask = Replay {
        of: letter.origin.clone(),
        force: parsed.attempts % 2 == 0,
        at_ms: 1,
    };
    let headers = ask.headers(&letter).into_iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name, value.map(Bytes::from)))
        .collect();
    assert_eq!(Replay::parse(&headers).as_ref(), Ok(&ask));
    assert_eq!(DeadLetter::parse(&headers).as_ref(), Ok(&parsed));
    if !parsed.origin.topic.contains('/') {
        assert_eq!(read_place(&place(&parsed.origin)), Some(parsed.origin));
    }
});
