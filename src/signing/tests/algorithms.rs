//! PS256, ES256 and EdDSA beside RS256: tokens that verify by the published key, known answers, keys that do not fit.

use super::*;
use crate::signing::Algorithm as Ours;
use crate::signing::key::generate_pem_for;

/// The published entry as a verifier reads it, and the algorithm of its `alg`.
fn published(key: &SigningKey) -> (DecodingKey, Algorithm) {
    let entry = serde_json::to_value(key.public()).expect("JSON");
    let alg = entry["alg"].as_str().expect("alg").parse().expect("known");
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(entry).expect("a JWK");
    (DecodingKey::from_jwk(&jwk).expect("a public key"), alg)
}

fn source_for(name: &str, algorithm: Ours) -> KeySource {
    KeySource {
        algorithm: Some(algorithm),
        ..KeySource::new(fixture(name))
    }
}

#[test]
fn every_algorithm_verifies_by_its_published_key_and_by_no_other_alg() {
    for (name, algorithm, kty, length) in [
        ("rsa-2048.pkcs8.pem", Ours::Rs256, "RSA", 256),
        ("rsa-2048.pkcs8.pem", Ours::Ps256, "RSA", 256),
        ("ec-p256.pkcs8.pem", Ours::Es256, "EC", 64),
        ("ec-p256.sec1.pem", Ours::Es256, "EC", 64),
        ("ed25519.pkcs8.pem", Ours::EdDsa, "OKP", 64),
    ] {
        let key = source_for(name, algorithm).load().expect(name);
        assert_eq!(key.algorithm(), algorithm);
        let entry = serde_json::to_value(key.public()).expect("JSON");
        assert_eq!((&entry["kty"], &entry["use"]), (&kty.into(), &"sig".into()));
        let (public, alg) = published(&key);
        let mut rules = Validation::new(alg);
        rules.required_spec_claims.clear();
        rules.validate_aud = false;
        for claims in [r#"{"jti":"1"}"#, r#"{"jti":"2","events":{}}"#] {
            let token = key.sign(claims.as_bytes()).expect("token");
            let token = std::str::from_utf8(&token).expect("ASCII");
            let header = jsonwebtoken::decode_header(token).expect("header");
            assert_eq!(
                (header.alg, header.typ.as_deref()),
                (alg, Some("secevent+jwt")),
                "{name}"
            );
            let signature = token.rsplit_once('.').expect("three parts").1;
            assert_eq!(
                URL_SAFE_NO_PAD.decode(signature).expect("base64url").len(),
                length,
                "{name}"
            );
            let decoded = decode::<Value>(token, &public, &rules).expect(name);
            assert_eq!(decoded.claims.to_string().len(), claims.len());
            let cut = token.replace('.', "A.");
            assert!(
                decode::<Value>(&cut, &public, &rules).is_err(),
                "{name}: changed"
            );
        }
    }
}

/// RFC 8037 appendix A: the key, its thumbprint, and the signature of the example, which is deterministic.
#[test]
fn the_key_and_signature_of_rfc_8037() {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let parsed = source::parse(Path::new("x"), jwk.as_bytes(), None).expect("JWK");
    let key = SigningKey::new(parsed, Path::new("x")).expect("key");
    assert_eq!(
        key.kid().as_str(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    let signature = key
        .signature(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")
        .expect("signature");
    let expected =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(URL_SAFE_NO_PAD.encode(signature), expected);
}

/// RFC 7515 appendix A.3: the key, and the signature of the example, which verifies by what we publish.
#[test]
fn the_key_and_signature_of_rfc_7515_a3() {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
    let parsed = source::parse(Path::new("x"), jwk.as_bytes(), None).expect("JWK");
    let key = SigningKey::new(parsed, Path::new("x")).expect("key");
    let (public, alg) = published(&key);
    let message = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(jsonwebtoken::crypto::verify(signature, message, &public, alg).expect("verified"));
    let ours = URL_SAFE_NO_PAD.encode(key.signature(message).expect("signature"));
    assert!(jsonwebtoken::crypto::verify(&ours, message, &public, alg).expect("verified"));
    assert_ne!(ours, signature, "ECDSA is random");
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    for (name, algorithm) in [
        ("rsa-2048.pkcs8.pem", Ours::Es256),
        ("rsa-2048.pkcs8.pem", Ours::EdDsa),
        ("ec-p256.pkcs8.pem", Ours::Rs256),
        ("ec-p256.sec1.pem", Ours::EdDsa),
        ("ed25519.pkcs8.pem", Ours::Ps256),
    ] {
        let error = source_for(name, algorithm).load().expect_err(name);
        assert!(matches!(error, KeyError::Unfit { .. }), "{name}: {error}");
        assert!(error.to_string().contains(algorithm.needs()), "{error}");
    }
    let own = jwk_with(serde_json::json!({ "alg": "PS256" }));
    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), own).expect("file");
    let mut source = KeySource::new(file.path());
    assert_eq!(
        source.load().expect("JWK").algorithm(),
        Ours::Ps256,
        "its own alg"
    );
    source.algorithm = Some(Ours::Rs256);
    assert!(matches!(source.load(), Err(KeyError::BadJwk { .. })));
    // What signs OAuth assertions is RSA.
    let ec = KeySource::new(fixture("ec-p256.pkcs8.pem"));
    assert!(matches!(ec.load_pair(), Err(KeyError::NotRsa { .. })));
}

#[test]
fn a_ring_has_a_key_for_each_algorithm_that_is_wanted() {
    let names = [
        "rsa-2048.pkcs8.pem",
        "ec-p256.pkcs8.pem",
        "rsa-3072.pkcs1.pem",
    ];
    let sources: Vec<_> = names.iter().map(|n| KeySource::new(fixture(n))).collect();
    let open =
        |wanted: &[Ours]| KeyRing::open_for(RingSource::Files(sources.clone()), None, wanted);
    let ring = open(&[Ours::Es256, Ours::Rs256]).expect("ring");
    let bits = |algorithm| ring.active(algorithm).map(|key| key.bits());
    assert_eq!(
        (bits(Ours::Rs256), bits(Ours::Es256), bits(Ours::EdDsa)),
        (Some(2048), Some(256), None)
    );
    let jwks = ring.jwks();
    let kids: Vec<_> = jwks.keys.iter().map(|key| key.kid().clone()).collect();
    assert_eq!(kids[..2], ring.active_kids());
    assert_eq!(kids.len(), 3, "the second RSA key is published only");
    let faults = open(&[Ours::EdDsa]).expect_err("faults");
    let missing = KeyError::NoneFor {
        algorithm: Ours::EdDsa,
    };
    assert_eq!(
        faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [missing.to_string()]
    );
}

#[test]
fn generated_keys_of_every_algorithm_load_again() {
    for algorithm in Ours::ALL {
        let (pem, kid) = generate_pem_for(algorithm, KeyBits::Rsa2048).expect("key");
        let mut parsed = source::parse(Path::new("x"), pem.as_bytes(), None).expect("key");
        parsed.algorithm = Some(algorithm);
        let key = SigningKey::new(parsed, Path::new("x")).expect("key");
        assert_eq!(key.kid(), &kid, "{algorithm}");
        assert_eq!(format!("{:?}", published(&key).1), algorithm.as_str());
    }
}

#[test]
fn curves_that_are_not_p256_are_refused() {
    let other = "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBHhcuGdWPPzL1UjFGT\nRVPpXvPEcIjYBjrJjV4YTv8SrMOIUBy6IdcNTGmPtHpsSvehZANiAAQ=\n-----END PRIVATE KEY-----\n";
    let error = parse(other.as_bytes()).expect_err("P-384");
    assert!(
        matches!(error, KeyError::NotRsa { .. } | KeyError::Damaged { .. }),
        "{error}"
    );
    let p521 = r#"{"kty":"EC","crv":"P-521","d":"AA","x":"AA","y":"AA"}"#;
    assert!(matches!(
        parse(p521.as_bytes()),
        Err(KeyError::BadJwk { .. })
    ));
    let x448 = r#"{"kty":"OKP","crv":"X25519","d":"AA","x":"AA"}"#;
    assert!(matches!(
        parse(x448.as_bytes()),
        Err(KeyError::BadJwk { .. })
    ));
}
