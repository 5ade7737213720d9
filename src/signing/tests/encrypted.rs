//! Keys behind a passphrase, from files.

use super::*;
use crate::secret::Secret;

const SEALED: &str = "rsa-2048.pkcs8.encrypted.pem";

/// A file with this passphrase.
fn with_passphrase(folder: &Path, path: PathBuf, passphrase: &str) -> KeySource {
    let file = folder.join("passphrase");
    fs::write(&file, passphrase).expect("write");
    KeySource {
        passphrase_file: Some(file),
        ..KeySource::new(path)
    }
}

#[test]
fn what_openssl_has_encrypted_opens_with_its_passphrase() {
    let folder = tempfile::tempdir().expect("folder");
    let open =
        |passphrase: &str| with_passphrase(folder.path(), fixture(SEALED), passphrase).load();
    let plain = load("rsa-2048.pkcs8.pem").expect("key");
    assert_eq!(open("test\n").expect("opened").public(), plain.public());
    for wrong in ["tes", "test ", "Test", "s3cr3t"] {
        let refused = open(wrong).expect_err(wrong);
        assert!(matches!(refused, KeyError::Passphrase { .. }), "{refused}");
        assert!(!refused.to_string().contains("s3cr3t"));
    }
    assert!(matches!(open(""), Err(KeyError::NoPassphrase { .. })));
    assert!(
        matches!(load(SEALED), Err(KeyError::Encrypted { .. })),
        "without one"
    );
    // The form of OpenSSL before 1.0 is not opened, with a passphrase or without.
    let old = with_passphrase(
        folder.path(),
        fixture("rsa-2048.pkcs1.encrypted.pem"),
        "test",
    );
    assert!(matches!(old.load(), Err(KeyError::Encrypted { .. })));
    // A key that is not encrypted needs none, and does not mind.
    let plain_too = with_passphrase(folder.path(), fixture("rsa-2048.pkcs8.pem"), "test");
    assert_eq!(plain_too.load().expect("key").public(), plain.public());
}

#[test]
fn damage_to_an_envelope_never_gives_another_key() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("damaged.pem");
    let good = text(SEALED);
    let plain = load("rsa-2048.pkcs8.pem").expect("key");
    let lines: Vec<&str> = good.lines().collect();
    for of in (1..lines.len() - 1).step_by(3) {
        let mut damaged: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let changed = if damaged[of].starts_with('A') {
            "B"
        } else {
            "A"
        };
        damaged[of].replace_range(..1, changed);
        fs::write(&file, damaged.join("\n")).expect("write");
        if let Ok(key) = with_passphrase(folder.path(), file.clone(), "test").load() {
            assert_eq!(key.public(), plain.public(), "line {of}");
        }
    }
}

#[test]
fn a_generated_key_can_be_sealed() {
    let folder = tempfile::tempdir().expect("folder");
    let (pem, kid) = key::generate_pem(KeyBits::Rsa2048).expect("key");
    let sealed = seal_pem(&pem, &Secret::literal("test")).expect("sealed");
    let file = folder.path().join("key.pem");
    fs::write(&file, sealed.as_bytes()).expect("write");
    let source = with_passphrase(folder.path(), file, "test\n");
    assert_eq!(source.load().expect("key").kid(), &kid);
}
