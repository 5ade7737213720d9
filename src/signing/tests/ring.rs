//! The ring: what signs, what is published, what a reload changes.

use super::*;

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
        published_only: true,
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
        published_only: true,
        ..KeySource::new(fixture("rsa-2048.pkcs8.pem"))
    };
    let active = KeySource::new(fixture("rsa-3072.pkcs1.pem"));
    let ring = KeyRing::load(&[next, active]).expect("ring");
    assert_eq!(ring.active().bits(), 3072);
    let kids: Vec<_> = ring
        .jwks()
        .keys
        .iter()
        .map(|key| key.kid().clone())
        .collect();
    assert_eq!(kids.len(), 2);
    assert_eq!(&kids[0], ring.active().kid(), "the active one first");
    assert!(kids.iter().all(|kid| ring.publishes(kid)));
    assert!(!ring.publishes(load("rfc7515-a2.jwk.json").expect("key").kid()));
}

#[test]
fn a_reload_takes_a_new_key_and_leaves_the_old_one_where_the_new_is_broken() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("key.pem");
    fs::write(&file, text("rsa-2048.pkcs8.pem")).expect("write");
    let ring = KeyRing::load(&[KeySource::new(&file)]).expect("ring");
    let old = ring.active();
    assert_eq!(ring.generation(), 1);

    let same = ring.reload().expect("nothing new");
    assert!(!same.changed && same.added.is_empty() && same.removed.is_empty());
    assert_eq!((same.generation, ring.generation()), (1, 1));
    assert!(
        Arc::ptr_eq(&old, &ring.active()),
        "an unchanged key is not replaced"
    );

    for broken in [
        text("rsa-1024.pkcs8.pem"),
        "half a fi".to_owned(),
        String::new(),
    ] {
        fs::write(&file, broken).expect("write");
        assert_eq!(ring.reload().expect_err("broken").len(), 1);
        assert!(Arc::ptr_eq(&old, &ring.active()));
        assert_eq!((ring.generation(), ring.jwks().keys.len()), (1, 1));
    }
    fs::remove_file(&file).expect("remove");
    assert!(ring.reload().is_err());
    assert!(ring.publishes(old.kid()));

    fs::write(&file, text("rsa-3072.pkcs1.pem")).expect("write");
    let reloaded = ring.reload().expect("a new key");
    assert_eq!((reloaded.generation, ring.generation()), (2, 2));
    assert_eq!(&reloaded.active, ring.active().kid());
    assert_eq!(reloaded.removed, [old.kid().clone()]);
    assert_eq!(reloaded.added, [ring.active().kid().clone()]);
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
