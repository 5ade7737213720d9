//! Files that are no signing keys: each gets its own refusal.

use super::*;

#[test]
fn files_that_are_no_signing_keys_are_refused_one_by_one() {
    use KeyError::*;
    macro_rules! refused {
        ($name:expr, $pattern:pat) => {
            let error = load($name).expect_err($name);
            assert!(matches!(error, $pattern), "{}: {error:?}", $name);
        };
    }
    refused!("no-such-file.pem", Missing { .. });
    refused!(".", Unreadable { .. });
    refused!("rsa-2048.pkcs8.encrypted.pem", Encrypted { .. });
    refused!("rsa-2048.pkcs1.encrypted.pem", Encrypted { .. });
    refused!("README.md", NotAKey { .. });
    refused!("rsa-2048.public.pem", PublicOnly { .. });
    refused!("rsa-2048.openssh.pem", OtherForm { .. });
    refused!("rsa-pss-2048.pkcs8.pem", NotRsa { .. });
    refused!("rsa-1024.pkcs8.pem", TooShort { bits: 1024, .. });
    refused!("rsa-1024.pkcs1.pem", TooShort { bits: 1024, .. });
}

#[test]
fn contents_that_are_no_signing_keys_are_refused_one_by_one() {
    use KeyError::*;
    let json = |value: Value| value.to_string().into_bytes();
    let changed = |changes: Value| jwk_with(changes).into_bytes();
    let pem = text("rsa-2048.pkcs8.pem");
    let two = format!("{pem}{pem}").into_bytes();
    let jwk: Value = serde_json::from_str(&text("rsa-2048.jwk.json")).expect("JSON");
    let other_p = URL_SAFE_NO_PAD.encode([0xab; 128]);
    macro_rules! refused {
        ($content:expr, $pattern:pat) => {
            let error = parse(&$content[..]).expect_err(stringify!($content));
            assert!(
                matches!(error, $pattern),
                "{}: {error:?}",
                stringify!($content)
            );
        };
    }
    refused!(b"", NotAKey { .. });
    refused!(b"hello", NotAKey { .. });
    refused!(b"\x30\x82\x01\xff", NotAKey { .. });
    refused!(two, Several { count: 2, .. });
    refused!(
        pem.replace("MII", "M!!").into_bytes(),
        Damaged {
            reason: "not base64",
            ..
        }
    );
    refused!(
        pem.replace("BEGIN PRIVATE", "BEGIN RSA PRIVATE")
            .into_bytes(),
        Damaged { .. }
    );
    refused!(
        b"-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----".to_vec(),
        Damaged { .. }
    );
    refused!(
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----".to_vec(),
        Damaged { .. }
    );
    refused!(b"{", BadJwk { .. });
    refused!(b"{}", BadJwk { .. });
    refused!(b"{\"keys\": 3}", BadJwk { .. });
    refused!(b"{\"keys\": []}", PublicOnly { .. });
    refused!(
        json(serde_json::json!({ "keys": [jwk, jwk] })),
        Several { count: 2, .. }
    );
    refused!(changed(serde_json::json!({ "d": null })), PublicOnly { .. });
    refused!(changed(serde_json::json!({ "qi": null })), BadJwk { .. });
    refused!(changed(serde_json::json!({ "use": "enc" })), BadJwk { .. });
    refused!(
        changed(serde_json::json!({ "alg": "RS512" })),
        BadJwk { .. }
    );
    refused!(changed(serde_json::json!({ "oth": [] })), BadJwk { .. });
    refused!(changed(serde_json::json!({ "d": 17 })), BadJwk { .. });
    refused!(changed(serde_json::json!({ "d": "a+/=" })), BadJwk { .. });
    refused!(changed(serde_json::json!({ "p": other_p })), Damaged { .. });
    refused!(changed(serde_json::json!({ "d": "AQAB" })), Damaged { .. });
    refused!(
        changed(serde_json::json!({ "n": "AQAB" })),
        TooShort { bits: 17, .. }
    );
    refused!(changed(serde_json::json!({ "kty": "EC" })), BadJwk { .. });
    refused!(changed(serde_json::json!({ "kty": "OKP" })), BadJwk { .. });
    refused!(changed(serde_json::json!({ "kty": "oct" })), NotRsa { .. });
    refused!(
        json(serde_json::json!({ "protected": "", "ciphertext": "" })),
        Encrypted { .. }
    );
    refused!(vec![b'{'; 1_000_000], BadJwk { .. });
}

#[test]
fn damage_anywhere_in_a_file_never_gives_another_key() {
    // Each single octet of the DER flipped: refused, or (unused octets) the same public key.
    let pem = text("rsa-2048.pkcs8.pem");
    let pem::Armour::One(block) = pem::find(&pem) else {
        panic!("one block")
    };
    let der = block.decode().expect("base64").to_vec();
    let good = load("rsa-2048.pkcs8.pem").expect("key");
    for at in (0..der.len()).step_by(37) {
        let mut bad = der.clone();
        bad[at] ^= 0x41;
        let armoured = pem::encode(pem::PKCS8, &bad);
        if let Ok(parsed) = source::parse(Path::new("x"), armoured.as_bytes(), None) {
            let key = SigningKey::new(parsed, Path::new("x")).expect("key");
            assert_eq!(key.kid(), good.kid(), "octet {at}");
        }
    }
}

#[test]
fn an_endless_file_is_not_read_to_its_end() {
    let error = KeySource::new("/dev/zero").load().expect_err("no key");
    assert!(matches!(error, KeyError::NotAKey { .. }));
}
