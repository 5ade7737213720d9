//! What counts as replayed, and how far.

use std::sync::Arc;

use bytes::Bytes;

use super::*;

fn at(offset: i64) -> Origin {
    Origin {
        topic: Arc::from("detections.okta.dlq"),
        partition: 0,
        offset,
    }
}

fn letter(origin: i64, jti: &str) -> DeadLetter {
    let headers = [
        ("version", "0.1.0"),
        ("stream", "okta"),
        ("origin-topic", "detections"),
        ("origin-partition", "2"),
        ("origin-offset", &origin.to_string()),
        ("stage", "push"),
        ("reason", "invalid_request"),
        ("jti", jti),
        ("attempts", "1"),
    ];
    let headers = headers.map(|(name, value)| {
        let value = Bytes::from(value.to_owned());
        (format!("setbridge-{name}"), Some(value))
    });
    DeadLetter::parse(&headers).unwrap()
}

fn scan(offsets: &[i64], end: i64) -> Scan {
    let pending = (offsets.iter().copied().collect(), end);
    Scan {
        pending: BTreeMap::from([(("detections.okta.dlq".to_owned(), 0), pending)]),
        ..Scan::default()
    }
}

#[test]
fn a_letter_is_known_by_its_place_and_what_it_is_about() {
    let mut replayed = Replayed::default();
    let known = identity(&letter(7, "a"));
    replayed.by_place.insert(place(&at(5)), known);
    assert!(replayed.knows(&at(5), &letter(7, "a")));
    assert!(!replayed.knows(&at(6), &letter(7, "a")), "another place");
    // The topic was made anew: another letter has its place.
    assert!(!replayed.knows(&at(5), &letter(8, "a")));
    assert!(!replayed.knows(&at(5), &letter(7, "b")));
    let below = ("detections.okta.dlq".to_owned(), 0);
    replayed.below.insert(below, 4);
    assert!(replayed.knows(&at(3), &letter(1, "c")));
    assert!(!replayed.knows(&at(4), &letter(1, "c")));
}

#[test]
fn the_prefix_ends_before_the_first_that_was_not_replayed() {
    let prefix = |scan: &Scan| scan.prefix().into_values().next();
    let mut scan = scan(&[3, 4, 9], 12);
    assert_eq!(prefix(&scan), Some(3));
    scan.done(&at(4));
    assert_eq!(prefix(&scan), Some(3), "a filter left 3 out");
    scan.done(&at(3));
    assert_eq!(prefix(&scan), Some(9));
    scan.done(&at(9));
    assert_eq!(prefix(&scan), Some(12));
}

#[test]
fn the_prefix_ends_behind_the_last_record_that_was_read() {
    let mut scan = Scan::default();
    assert!(scan.prefix().is_empty(), "nothing was read");
    for offset in [3, 4, 7] {
        scan.was_read(&at(offset));
    }
    // The log may go on to 12: nobody has seen that.
    assert_eq!(scan.prefix().into_values().next(), Some(8));
}
