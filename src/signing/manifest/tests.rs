use super::*;

const QUARTER: Duration = Duration::from_secs(900);
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Instant {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn rotation(at_once: bool) -> Rotation {
    Rotation {
        algorithm: Algorithm::Rs256,
        publish_before_use: QUARTER,
        keep: DAY,
        at_once,
    }
}

fn new(name: &str) -> Option<(String, String)> {
    Some((format!("{name}.pem"), name.to_owned()))
}

fn ring(names: &[&str]) -> Manifest {
    let mut ring = Manifest::default();
    for name in names {
        ring.rotate(rotation(false), new(name), now());
    }
    ring
}

#[test]
fn the_first_key_signs_at_once_and_the_next_one_is_published_before() {
    let mut ring = Manifest::default();
    assert_eq!(ring.rotate(rotation(false), new("a"), now()), now());
    let from = ring.rotate(rotation(false), new("b"), now());
    assert_eq!(from, after(now(), QUARTER));
    assert_eq!(ring.keys[0].published_until, Some(after(from, DAY)));
    assert_eq!(ring.keys[1].published_until, None);
    let waits = ring
        .needs_key(rotation(false), now())
        .expect_err("one waits");
    assert_eq!(
        waits,
        RingFault::HasNext {
            kid: "b".into(),
            from
        }
    );
    assert_eq!(
        ring.needs_key(rotation(false), from),
        Ok(true),
        "it has begun"
    );
}

#[test]
fn a_leaked_key_is_replaced_at_once() {
    let mut without_next = ring(&["a"]);
    assert_eq!(without_next.needs_key(rotation(true), now()), Ok(true));
    assert_eq!(without_next.rotate(rotation(true), new("b"), now()), now());
    assert!(without_next.keys[1].at_once);
    without_next.retire("a", now(), DAY, true).expect("b signs");
    assert!(without_next.keys[0].is_gone(now()));

    // The one that waits is known to receivers already: it is taken.
    let mut with_next = ring(&["a", "b"]);
    assert_eq!(with_next.needs_key(rotation(true), now()), Ok(false));
    with_next.rotate(rotation(true), None, now());
    assert_eq!(with_next.keys[1].not_before, Some(now()));

    let mut retired = ring(&["a", "b"]);
    retired.retire("a", now(), DAY, true).expect("b waits");
    assert!(retired.keys[1].may_sign(now()) && retired.keys[1].at_once);
}

#[test]
fn a_key_is_retired_only_when_another_one_signs() {
    let mut alone = ring(&["a"]);
    assert_eq!(alone.retire("a", now(), DAY, true), Err(RingFault::Last));
    assert_eq!(
        alone.retire("x", now(), DAY, false),
        Err(RingFault::Unknown("x".into()))
    );
    let mut two = ring(&["a", "b"]);
    let too_soon = two.retire("a", now(), DAY, false).expect_err("b waits");
    assert!(matches!(too_soon, RingFault::TooSoon { .. }));
    let later = after(now(), QUARTER);
    two.retire("a", later, QUARTER, false).expect("b signs");
    assert_eq!(two.keys[0].not_after, Some(later));
    assert_eq!(two.keys[0].published_until, Some(after(later, QUARTER)));
    assert_eq!(two.sweep(later), Vec::<PathBuf>::new());
    assert_eq!(two.sweep(after(later, QUARTER)), [PathBuf::from("a.pem")]);
    assert_eq!(two.keys.len(), 1);
}

/// Who signs for good when nobody does anything more: the keys that may sign in a hundred days.
fn at_last(ring: &Manifest) -> Vec<&str> {
    let then = after(now(), 100 * DAY);
    let keys = ring.keys.iter().filter(|key| key.may_sign(then));
    keys.map(|key| key.file.as_str()).collect()
}

#[test]
fn whoever_signs_last_does_not_leave_by_itself() {
    // The one that waits is given up: the old one is not on its way out any more.
    for at_once in [false, true] {
        let mut given_up = ring(&["a", "b"]);
        given_up.retire("b", now(), DAY, at_once).expect("a signs");
        assert_eq!(at_last(&given_up), ["a.pem"]);
        // And is again, when the next one comes.
        given_up.rotate(rotation(false), new("c"), now());
        assert_eq!(at_last(&given_up), ["c.pem"]);
    }
    // The one that signs is given up, and the one before it takes over again.
    let later = after(now(), QUARTER);
    for at_once in [false, true] {
        let mut back = ring(&["a", "b"]);
        back.retire("b", later, DAY, at_once).expect("a may sign");
        assert_eq!(at_last(&back), ["a.pem"]);
    }
    // Of two that could, the younger one.
    let mut three = ring(&["a", "b"]);
    three.rotate(rotation(false), new("c"), later);
    three.retire("c", later, DAY, true).expect("b signs");
    assert_eq!(at_last(&three), ["b.pem"]);
}

#[test]
fn a_key_that_was_given_up_is_nobody_s_next() {
    let given_up = || {
        let mut ring = ring(&["a", "b"]);
        ring.retire("b", now(), DAY, false).expect("a signs");
        ring
    };
    assert_eq!(given_up().needs_key(rotation(false), now()), Ok(true));
    // It may be leaked, too.
    assert_eq!(given_up().needs_key(rotation(true), now()), Ok(true));
    let last = given_up().retire("a", now(), DAY, true);
    assert_eq!(last, Err(RingFault::Last));
}

#[test]
fn the_first_key_needs_no_clock() {
    let mut fresh = Manifest::default();
    fresh.rotate(rotation(false), new("a"), now());
    let behind = "2025-12-31T23:00:00Z".parse().expect("a time");
    assert!(
        fresh.keys[0].may_sign(behind),
        "the bridge's clock is another one"
    );
}

#[test]
fn each_algorithm_has_its_own_turn() {
    let es256 = Rotation {
        algorithm: Algorithm::Es256,
        ..rotation(false)
    };
    let mut both = ring(&["a", "b"]);
    assert_eq!(both.needs_key(es256, now()), Ok(true), "b is no ES256 key");
    assert_eq!(
        both.rotate(es256, new("e"), now()),
        now(),
        "the first of its kind"
    );
    assert_eq!(both.retire("e", now(), DAY, true), Err(RingFault::Last));
    assert_eq!(
        both.keys[0].published_until,
        ring(&["a", "b"]).keys[0].published_until
    );
    let json = String::from_utf8(both.to_json()).expect("text");
    assert_eq!(json.matches("ES256").count(), 1);
    assert!(!json.contains("RS256"), "what is usual is not written");
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Manifest::read(folder.path()),
        Err(KeyError::NoManifest { .. })
    ));
    let written = ring(&["a", "b"]);
    fs::write(folder.path().join(FILE), written.to_json()).expect("written");
    assert_eq!(Manifest::read(folder.path()).expect("read"), written);
    for (text, what) in [
        ("{", "EOF"),
        (r#"{"keys":[{"file":"../a.pem"}]}"#, "no name of a file"),
        (r#"{"keys":[{"file":"/a.pem"}]}"#, "no name of a file"),
        (r#"{"keys":[{"file":""}]}"#, "no name of a file"),
        (
            r#"{"keys":[{"file":"a","not_befor":"2026"}]}"#,
            "unknown field",
        ),
        (r#"{"keys":[{"file":"a","not_before":"tomorrow"}]}"#, ""),
    ] {
        fs::write(folder.path().join(FILE), text).expect("written");
        let fault = Manifest::read(folder.path()).expect_err(text);
        assert!(
            matches!(fault, KeyError::BadManifest { .. }) && fault.to_string().contains(what),
            "{fault}"
        );
    }
}
