//! The ring: what signs, what is published, what a reload changes.

use std::time::Duration;

use super::*;
use crate::set::Timestamp;

const PUBLISHED_ONLY: Life = Life {
    not_before: None,
    not_after: None,
    published_until: None,
    published_only: true,
    at_once: false,
};

#[test]
fn a_ring_tells_every_fault_at_once() {
    let names = [
        "rsa-1024.pkcs8.pem",
        "rsa-2048.pkcs8.pem",
        "no-such.pem",
        "rsa-2048.pkcs1.pem",
    ];
    let sources: Vec<_> = names.iter().map(|n| KeySource::new(fixture(n))).collect();
    let faults = KeyRing::load(&sources).expect_err("faults");
    let [
        KeyError::TooShort { .. },
        KeyError::Missing { .. },
        KeyError::DuplicateKid { .. },
    ] = faults.as_slice()
    else {
        panic!("{faults:?}")
    };
    assert!(matches!(
        KeyRing::load(&[]).expect_err("empty")[..],
        [KeyError::NoneActive]
    ));
    let published = KeySource {
        life: PUBLISHED_ONLY,
        ..KeySource::new(fixture(names[1]))
    };
    assert!(matches!(
        KeyRing::load(&[published]).expect_err("none")[..],
        [KeyError::NoneActive]
    ));
}

#[test]
fn the_first_key_that_is_not_only_published_signs() {
    let next = KeySource {
        life: PUBLISHED_ONLY,
        ..KeySource::new(fixture("rsa-2048.pkcs8.pem"))
    };
    let active = KeySource::new(fixture("rsa-3072.pkcs1.pem"));
    let ring = KeyRing::load(&[next, active]).expect("ring");
    assert_eq!(
        ring.active(crate::signing::Algorithm::Rs256)
            .expect("a key")
            .bits(),
        3072
    );
    let kids: Vec<_> = ring
        .jwks()
        .keys
        .iter()
        .map(|key| key.kid().clone())
        .collect();
    assert_eq!(kids.len(), 2);
    assert_eq!(
        &kids[0],
        ring.active(crate::signing::Algorithm::Rs256)
            .expect("a key")
            .kid(),
        "the active one first"
    );
    assert!(kids.iter().all(|kid| ring.publishes(kid)));
    assert!(!ring.publishes(load("rfc7515-a2.jwk.json").expect("key").kid()));
}

#[test]
fn a_reload_takes_a_new_key_and_leaves_the_old_one_where_the_new_is_broken() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("key.pem");
    fs::write(&file, text("rsa-2048.pkcs8.pem")).expect("write");
    let ring = KeyRing::load(&[KeySource::new(&file)]).expect("ring");
    let old = ring
        .active(crate::signing::Algorithm::Rs256)
        .expect("a key");
    assert_eq!(ring.generation(), 1);

    let same = ring.reload().expect("nothing new");
    assert!(!same.changed && same.added.is_empty() && same.removed.is_empty());
    assert_eq!((same.generation, ring.generation()), (1, 1));
    assert!(
        Arc::ptr_eq(
            &old,
            &ring
                .active(crate::signing::Algorithm::Rs256)
                .expect("a key")
        ),
        "an unchanged key is not replaced"
    );

    for broken in [
        text("rsa-1024.pkcs8.pem"),
        "half a fi".to_owned(),
        String::new(),
    ] {
        fs::write(&file, broken).expect("write");
        assert_eq!(ring.reload().expect_err("broken").len(), 1);
        assert!(Arc::ptr_eq(
            &old,
            &ring
                .active(crate::signing::Algorithm::Rs256)
                .expect("a key")
        ));
        assert_eq!((ring.generation(), ring.jwks().keys.len()), (1, 1));
    }
    fs::remove_file(&file).expect("remove");
    assert!(ring.reload().is_err());
    assert!(ring.publishes(old.kid()));

    fs::write(&file, text("rsa-3072.pkcs1.pem")).expect("write");
    let reloaded = ring.reload().expect("a new key");
    assert_eq!((reloaded.generation, ring.generation()), (2, 2));
    assert_eq!(reloaded.active, ring.active_kids());
    assert_eq!(reloaded.removed, [old.kid().clone()]);
    assert_eq!(
        reloaded.added,
        [ring
            .active(crate::signing::Algorithm::Rs256)
            .expect("a key")
            .kid()
            .clone()]
    );
    assert!(!ring.publishes(old.kid()));
}

#[test]
fn the_same_kid_over_another_key_is_a_change() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("key.pem");
    fs::write(&file, text("rsa-2048.pkcs8.pem")).expect("write");
    let source = KeySource {
        kid: Some("fixed".into()),
        ..KeySource::new(&file)
    };
    let ring = KeyRing::load(&[source]).expect("ring");
    fs::write(&file, text("rsa-3072.pkcs1.pem")).expect("write");
    let reloaded = ring.reload().expect("reload");
    assert!(reloaded.changed);
    assert_eq!((reloaded.added.len(), reloaded.removed.len()), (1, 1));
    assert_eq!(ring.generation(), 2);
}

const HOUR: i64 = 3_600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// A folder with two keys: the second one is to sign from the first hour on, and the first one leaves after the third.
fn two_keys(folder: &Path) -> RingSource {
    fs::write(folder.join("a.pem"), text("rsa-2048.pkcs8.pem")).expect("write");
    fs::write(folder.join("b.pem"), text("rsa-3072.pkcs1.pem")).expect("write");
    let manifest = r#"{"keys": [
        {"file": "a.pem", "kid": "a", "not_before": "1970-01-01T00:00:00Z", "published_until": "1970-01-01T03:00:00Z"},
        {"file": "b.pem", "kid": "b", "not_before": "1970-01-01T01:00:00Z"}
    ]}"#;
    fs::write(folder.join("ring.json"), manifest).expect("write");
    RingSource::folder(folder)
}

fn states(ring: &KeyRing) -> Vec<&'static str> {
    let keys = ring.keys();
    keys.iter().map(|(_, _, state)| state.as_str()).collect()
}

#[test]
fn a_ring_moves_on_with_the_time() {
    let folder = tempfile::tempdir().expect("folder");
    let ring = KeyRing::open_at(two_keys(folder.path()), None, &[], at(0)).expect("ring");
    assert_eq!(states(&ring), ["active", "next"]);
    assert_eq!(ring.jwks().keys.len(), 2, "published before it is used");
    assert_eq!(ring.advance(at(HOUR - 1)), None);
    let moved = ring.advance(at(HOUR)).expect("b's turn");
    assert_eq!((moved.active[0].as_str(), moved.generation), ("b", 2));
    assert!(moved.added.is_empty() && moved.removed.is_empty());
    assert_eq!(states(&ring), ["retiring", "active"]);
    let moved = ring.advance(at(3 * HOUR)).expect("a leaves");
    assert_eq!(moved.removed.len(), 1);
    assert_eq!(states(&ring), ["gone", "active"]);
    assert!(!ring.publishes(&moved.removed[0]));
    assert_eq!(ring.files().len(), 3, "{:?}", ring.files());
    let late = KeyRing::open_at(two_keys(folder.path()), None, &[], at(3 * HOUR)).expect("ring");
    assert_eq!(late.active_kids()[0].as_str(), "b");
}

#[test]
fn a_key_waits_until_it_was_seen_in_the_public_jwks() {
    let folder = tempfile::tempdir().expect("folder");
    let known_after = Some(Duration::from_secs(900));
    let source = two_keys(folder.path());
    let open = |now| KeyRing::open_at(source.clone(), known_after, &[], at(now)).expect("ring");
    let ring = open(0);
    assert_eq!(ring.awaits(), []);
    assert_eq!(ring.advance(at(HOUR)), None, "it is not known to anybody");
    assert_eq!(states(&ring), ["active", "next"]);
    let awaited = ring.awaits();
    assert_eq!(awaited[0].kid().as_str(), "b");
    let moved = ring.seen(awaited, at(HOUR)).expect("its turn");
    assert_eq!(moved.active[0].as_str(), "b");
    assert_eq!(ring.awaits(), []);
    // A reload forgets nothing.
    ring.reload_at(at(HOUR)).expect("the same files");
    assert_eq!(ring.active_kids()[0].as_str(), "b");

    // A restart right after the turn asks again; one long after it need not.
    assert_eq!(states(&open(HOUR + 899)), ["active", "next"]);
    assert_eq!(states(&open(HOUR + 900)), ["retiring", "active"]);
    // Nobody else may sign any more.
    assert_eq!(states(&open(3 * HOUR)), ["gone", "active"]);
    // The key before it is leaked.
    let manifest = fs::read_to_string(folder.path().join("ring.json")).expect("a manifest");
    let at_once = manifest.replace("01:00:00Z\"", "01:00:00Z\", \"at_once\": true");
    fs::write(folder.path().join("ring.json"), at_once).expect("write");
    assert_eq!(states(&open(HOUR)), ["retiring", "active"]);
}

#[test]
fn what_nobody_has_seen_does_not_sign_however_long_it_waits() {
    let folder = tempfile::tempdir().expect("folder");
    let known_after = Some(Duration::from_secs(900));
    let open = |now| {
        let source = two_keys(folder.path());
        KeyRing::open_at(source, known_after, &[], at(now)).expect("ring")
    };
    let ring = open(0);
    for later in [HOUR, HOUR + 900, 2 * HOUR] {
        assert_eq!(ring.advance(at(later)), None, "after {later} s");
        ring.reload_at(at(later)).expect("the same files");
        assert_eq!(states(&ring), ["active", "next"], "after {later} s");
    }
    // Nobody else may sign any more.
    ring.advance(at(3 * HOUR)).expect("its turn");
    assert_eq!(states(&ring), ["gone", "active"]);

    // Other content under a name whose time began long ago.
    let ring = open(2 * HOUR);
    assert_eq!(states(&ring), ["retiring", "active"]);
    fs::write(
        folder.path().join("b.pem"),
        text("rsa-2048-other.pkcs8.pem"),
    )
    .expect("write");
    ring.reload_at(at(2 * HOUR)).expect("another key");
    assert_eq!(states(&ring), ["active", "next"]);
    let awaited = ring.awaits();
    assert_eq!(awaited[0].kid().as_str(), "b");
    // Another key again, under the same kid: the one that was looked for is not it.
    fs::write(folder.path().join("b.pem"), text("rsa-4096.pkcs8.pem")).expect("write");
    ring.reload_at(at(2 * HOUR)).expect("another key");
    assert_eq!(ring.seen(awaited, at(2 * HOUR)), None);
    assert_eq!(states(&ring), ["active", "next"]);
    assert!(ring.seen(ring.awaits(), at(2 * HOUR)).is_some());
    assert_eq!(states(&ring), ["retiring", "active"]);
}

#[test]
fn keys_of_several_algorithms_are_awaited_together() {
    let folder = tempfile::tempdir().expect("folder");
    let source = two_keys(folder.path());
    for file in ["ec-p256.pkcs8.pem", "ec-p256.sec1.pem"] {
        fs::write(folder.path().join(file), text(file)).expect("write");
    }
    let manifest = fs::read_to_string(folder.path().join("ring.json")).expect("a manifest");
    let more = r#", {"file": "ec-p256.pkcs8.pem", "kid": "c", "algorithm": "ES256"},
        {"file": "ec-p256.sec1.pem", "kid": "d", "algorithm": "ES256", "not_before": "1970-01-01T01:00:00Z"}
    ]}"#;
    let manifest = manifest.trim_end().trim_end_matches("]}").trim_end();
    fs::write(folder.path().join("ring.json"), format!("{manifest}{more}")).expect("write");
    let known_after = Some(Duration::from_secs(900));
    let ring = KeyRing::open_at(source, known_after, &[], at(0)).expect("ring");
    ring.advance(at(HOUR));
    let awaited = ring.awaits();
    let kids: Vec<_> = awaited.iter().map(|key| key.kid().as_str()).collect();
    assert_eq!(kids, ["b", "d"]);
    // One that is never published keeps no other one back.
    let moved = ring
        .seen(awaited[1..].to_vec(), at(HOUR))
        .expect("d's turn");
    let active: Vec<_> = moved.active.iter().map(Kid::as_str).collect();
    assert_eq!(active, ["a", "d"]);
}

#[test]
fn a_key_that_has_left_may_lose_its_file_and_no_other() {
    let folder = tempfile::tempdir().expect("folder");
    let source = two_keys(folder.path());
    let open = |now| KeyRing::open_at(source.clone(), None, &[], at(now));
    fs::remove_file(folder.path().join("a.pem")).expect("our own");
    assert!(open(3 * HOUR - 1).is_err());
    assert_eq!(states(&open(3 * HOUR).expect("b")), ["active"]);
}

#[test]
fn the_files_of_a_reading_that_failed_are_known() {
    let folder = tempfile::tempdir().expect("folder");
    let ring = KeyRing::open_at(two_keys(folder.path()), None, &[], at(0)).expect("ring");
    let manifest = fs::read_to_string(folder.path().join("ring.json")).expect("a manifest");
    let more = manifest.replace("\n    ]}", ", {\"file\": \"c.pem\"}]}");
    fs::write(folder.path().join("ring.json"), more).expect("write");
    assert!(ring.reload_at(at(0)).is_err(), "c comes later");
    assert!(ring.files().contains(&folder.path().join("c.pem")));
    assert_eq!(states(&ring), ["active", "next"]);
}

#[test]
fn a_ring_whose_time_is_over_goes_on_and_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("a.pem"), text("rsa-2048.pkcs8.pem")).expect("write");
    let manifest = r#"{"keys": [{"file": "a.pem", "not_after": "1970-01-01T01:00:00Z", "published_until": "1970-01-01T02:00:00Z"}]}"#;
    fs::write(folder.path().join("ring.json"), manifest).expect("write");
    let source = RingSource::folder(folder.path());
    let ring = KeyRing::open_at(source.clone(), None, &[], at(0)).expect("ring");
    assert!(!ring.is_overdue());
    ring.advance(at(HOUR));
    assert!(ring.is_overdue());
    let kid = ring.active_kids()[0].clone();
    assert_eq!(ring.advance(at(2 * HOUR)), None, "the last key stays");
    assert!(ring.publishes(&kid));
    assert!(KeyRing::open_at(source, None, &[], at(2 * HOUR)).is_err());
}
