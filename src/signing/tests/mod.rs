//! Known answers, every refusal, the ring, and silence about private members.

mod algorithms;
mod encrypted;
mod multi_buffer;
mod refusals;
mod ring;
mod threads;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, decode, encode};
use serde_json::Value;

use super::key::{KeyBits, set_header};
use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/keys")
        .join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(fixture(name)).expect("fixture")
}

fn load(name: &str) -> Result<SigningKey, KeyError> {
    KeySource::new(fixture(name)).load()
}

fn parse(content: &[u8]) -> Result<(), KeyError> {
    source::parse(Path::new("x.key"), content, None).map(drop)
}

/// A fixture JWK with some members changed; `null` removes one.
fn jwk_with(changes: Value) -> String {
    let mut jwk: Value = serde_json::from_str(&text("rsa-2048.jwk.json")).expect("JSON");
    let members = jwk.as_object_mut().expect("object");
    for (name, value) in changes.as_object().expect("object") {
        members.remove(name);
        if !value.is_null() {
            members.insert(name.clone(), value.clone());
        }
    }
    jwk.to_string()
}

/// Verifies a compact JWS with the entry of a published JWKS, as a receiver would.
fn verify(token: &[u8], jwks: &Jwks) -> Value {
    let token = std::str::from_utf8(token).expect("ASCII");
    let header = jsonwebtoken::decode_header(token).expect("header");
    assert_eq!(
        (header.typ.as_deref(), header.alg),
        (Some("secevent+jwt"), Algorithm::RS256)
    );
    let published = serde_json::to_value(jwks).expect("JSON");
    let kid = header.kid.expect("kid");
    let entries = published["keys"].as_array().expect("keys");
    let entry = entries
        .iter()
        .find(|key| key["kid"] == kid.as_str())
        .expect("kid is published");
    let key = DecodingKey::from_rsa_components(
        entry["n"].as_str().expect("n"),
        entry["e"].as_str().expect("e"),
    );
    let mut rules = Validation::new(Algorithm::RS256);
    rules.required_spec_claims.clear();
    rules.validate_aud = false;
    decode(token, &key.expect("public key"), &rules)
        .expect("a good signature")
        .claims
}

#[test]
fn the_thumbprint_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let n = URL_SAFE_NO_PAD.decode(n).expect("base64url");
    let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    assert_eq!(jwk::Public::rsa(&n, &[1, 0, 1]).thumbprint(), expected);
    // Leading zero octets are not part of a number.
    assert_eq!(
        jwk::Public::rsa(&[&[0, 0], &n[..]].concat(), &[0, 1, 0, 1]).thumbprint(),
        expected
    );
}

#[test]
fn the_signature_of_rfc_7515_a2() {
    let key = load("rfc7515-a2.jwk.json").expect("the RFC's key");
    let input = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let expected = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let signature = key.signature(input.as_bytes()).expect("signature");
    assert_eq!(URL_SAFE_NO_PAD.encode(signature), expected);
}

#[test]
fn every_form_gives_the_same_key() {
    // Computed by another program from the same key.
    let thumbprint = "kytd-ScsBdTgcnMkdC7TLRucXnHWh-rKbeMB7_gg7SI";
    let pkcs8 = load("rsa-2048.pkcs8.pem").expect("PKCS#8");
    assert_eq!(pkcs8.kid().as_str(), thumbprint);
    let signed = pkcs8.signature(b"message").expect("signature");
    for name in [
        "rsa-2048.pkcs1.pem",
        "rsa-2048.jwk.json",
        "rsa-2048.jwks.json",
    ] {
        let key = load(name).expect(name);
        assert_eq!(key.public().n(), pkcs8.public().n(), "{name}");
        assert_eq!(
            key.signature(b"message").expect("signature"),
            signed,
            "{name}"
        );
    }
    let own = load("rsa-2048.jwk.json").expect("JWK");
    assert_eq!(
        own.kid().as_str(),
        "TEST-jwk-kid",
        "a JWK's own kid is kept"
    );
    let given = KeySource {
        kid: Some("mine".into()),
        ..KeySource::new(fixture("rsa-2048.jwk.json"))
    };
    assert_eq!(
        given.load().expect("JWK").kid().as_str(),
        "mine",
        "a given kid wins"
    );
    let without = jwk_with(serde_json::json!({ "kid": null }));
    let parsed = source::parse(Path::new("x"), without.as_bytes(), None).expect("JWK");
    let key = SigningKey::new(parsed, Path::new("x")).expect("key");
    assert_eq!(key.kid().as_str(), thumbprint);
}

#[test]
fn a_bundle_with_a_certificate_and_a_byte_order_mark_is_read() {
    let bundle = format!(
        "\u{feff}-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n{}",
        text("rsa-2048.pkcs8.pem")
    );
    assert!(parse(bundle.as_bytes()).is_ok());
}

#[test]
fn a_kid_must_be_fit_for_a_header() {
    for kid in ["", "a\nb", &"k".repeat(257)] {
        let source = KeySource {
            kid: Some(kid.into()),
            ..KeySource::new(fixture("rsa-2048.pkcs8.pem"))
        };
        assert!(
            matches!(source.load(), Err(KeyError::BadKid { .. })),
            "{kid:?}"
        );
    }
    let odd = r#"a "quoted" kid / ü"#;
    let source = KeySource {
        kid: Some(odd.into()),
        ..KeySource::new(fixture("rsa-2048.pkcs8.pem"))
    };
    let ring = KeyRing::load(&[source]).expect("ring");
    let token = ring
        .active(crate::signing::Algorithm::Rs256)
        .expect("a key")
        .sign(br#"{"a":1}"#)
        .expect("token");
    assert_eq!(verify(&token, &ring.jwks())["a"], 1);
}

#[test]
fn a_token_is_verified_with_what_is_published() {
    for name in ["rsa-2048.pkcs8.pem", "rsa-3072.pkcs1.pem"] {
        let ring = KeyRing::load(&[KeySource::new(fixture(name))]).expect("ring");
        let key = ring
            .active(crate::signing::Algorithm::Rs256)
            .expect("a key");
        // Payload lengths of every residue, so that no padding or size slip hides.
        for length in 0..5 {
            let claims = format!(r#"{{"s":"{}"}}"#, "x".repeat(length));
            let token = key.sign(claims.as_bytes()).expect("token");
            assert_eq!(
                verify(&token, &ring.jwks())["s"].as_str().map(str::len),
                Some(length)
            );
        }
        let jwks = serde_json::to_value(&*ring.jwks()).expect("JSON");
        let n = URL_SAFE_NO_PAD
            .decode(jwks["keys"][0]["n"].as_str().expect("n"))
            .expect("base64url");
        assert_eq!(
            (n.len() * 8, n[0] >> 7),
            (key.bits(), 1),
            "no leading zero octet"
        );
    }
}

#[test]
fn the_stock_provider_gives_the_same_bytes() {
    let text = text("rsa-2048.pkcs1.pem");
    let pem::Armour::One(block) = pem::find(&text) else {
        panic!("one block")
    };
    let stock = EncodingKey::from_rsa_der(&block.decode().expect("base64"));
    let ours = load("rsa-2048.pkcs1.pem").expect("key");
    let claims: Value = serde_json::json!({ "iss": "https://i.example", "iat": 1, "events": {} });
    // Without our provider installed this is the stock path, with it ours falls back: same bytes.
    let expected = encode(
        &set_header(ours.kid(), crate::signing::Algorithm::Rs256),
        &claims,
        &stock,
    )
    .expect("token");
    let json = serde_json::to_vec(&claims).expect("JSON");
    assert_eq!(ours.sign(&json).expect("token"), expected);
}

#[test]
fn jsonwebtoken_signs_through_our_provider() {
    // The provider is chosen once per program, and other tests use jsonwebtoken: so a program of its own.
    const CHILD: &str = "SETBRIDGE_TEST_PROVIDER";
    if std::env::var_os(CHILD).is_none() {
        let name = "signing::tests::jsonwebtoken_signs_through_our_provider";
        let child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("child");
        let output = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(
            child.status.success() && output.contains("1 passed"),
            "{output}"
        );
        return;
    }
    assert!(provider::install(), "nobody was first");
    assert!(provider::install(), "a second call is harmless");
    let key = load("rsa-2048.pkcs8.pem").expect("key");
    let claims = serde_json::json!({ "iss": "https://i.example", "iat": 1, "events": {} });
    let token = encode(
        &set_header(key.kid(), crate::signing::Algorithm::Rs256),
        &claims,
        &key.encoding_key().expect("a ticket"),
    )
    .expect("token");
    assert_eq!(
        key.sign(&serde_json::to_vec(&claims).expect("JSON"))
            .expect("token"),
        token
    );
    // Its JWK side knows tickets, too.
    let public = jsonwebtoken::jwk::Jwk::from_encoding_key(
        &key.encoding_key().expect("a ticket"),
        Algorithm::RS256,
    );
    let public = serde_json::to_value(public.expect("JWK")).expect("JSON");
    assert_eq!(public["n"], key.public().n().expect("n"));
    let ticket = key.encoding_key().expect("a ticket");
    drop(key);
    assert!(
        encode(
            &set_header(&load_kid(), crate::signing::Algorithm::Rs256),
            &claims,
            &ticket
        )
        .is_err(),
        "a dropped key"
    );
}

fn load_kid() -> Kid {
    load("rsa-2048.pkcs8.pem").expect("key").kid().clone()
}

#[test]
fn no_private_member_shows_anywhere() {
    let jwk: Value = serde_json::from_str(&text("rsa-2048.jwk.json")).expect("JSON");
    let mut secrets: Vec<String> = Vec::new();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        let base64 = jwk[name].as_str().expect("member");
        let octets = URL_SAFE_NO_PAD.decode(base64).expect("base64url");
        let hex: String = octets.iter().map(|o| format!("{o:02x}")).collect();
        let decimal: Vec<_> = octets[..8].iter().map(u8::to_string).collect();
        secrets.extend([
            base64[..20].to_owned(),
            hex[..20].to_owned(),
            decimal.join(", "),
        ]);
    }
    secrets.extend(
        text("rsa-2048.pkcs8.pem")
            .lines()
            .skip(1)
            .take(20)
            .map(str::to_owned),
    );

    let ring = KeyRing::load(&[KeySource::new(fixture("rsa-2048.jwk.json"))]).expect("ring");
    let key = ring
        .active(crate::signing::Algorithm::Rs256)
        .expect("a key");
    let mut shown = vec![
        format!(
            "{key:?} {ring:?} {:?} {:?}",
            ring.jwks(),
            key.encoding_key().expect("a ticket")
        ),
        serde_json::to_string(&*ring.jwks()).expect("JSON"),
        format!("{:?}", key.encoding_key().expect("a ticket").as_bytes()),
    ];
    let faults = [
        jwk_with(serde_json::json!({ "dq": null })),
        jwk_with(serde_json::json!({ "dq": 5 })),
        jwk_with(serde_json::json!({ "dq": [jwk["d"]] })),
        jwk_with(serde_json::json!({ "dq": jwk["dp"] })),
        jwk_with(serde_json::json!({ "kty": jwk["d"] })),
        jwk_with(serde_json::json!({ "alg": jwk["d"], "use": jwk["p"] })),
        text("rsa-2048.jwk.json").replace("\"q\"", "\"q\" "),
        text("rsa-2048.jwk.json").replace(',', ""),
        text("rsa-2048.pkcs8.pem").replace("MII", "MIJ"),
        text("rsa-2048.pkcs8.pem").replace("-----END", "----"),
        text("rsa-2048.pkcs8.pem").replace("BEGIN PRIVATE", "BEGIN MY PRIVATE"),
    ];
    for content in faults {
        if let Err(error) = parse(content.as_bytes()) {
            shown.push(format!("{error} {error:?}"));
        }
    }
    let pem = text("rsa-2048.pkcs8.pem");
    shown.push(format!("{:?}", pem::find(&pem)));
    assert!(shown.len() > 10, "the faults are faults");
    for text in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret), "a private member in: {text}");
        }
    }
}

#[test]
fn generated_keys_differ_and_load_again() {
    let (one, kid) = key::generate_pem(KeyBits::Rsa2048).expect("key");
    let (two, _) = key::generate_pem(KeyBits::Rsa2048).expect("key");
    assert_ne!(*one, *two);
    let parsed = source::parse(Path::new("x"), one.as_bytes(), None).expect("key");
    assert!(parsed.kid.is_none());
    assert_eq!(
        SigningKey::new(parsed, Path::new("x")).expect("key").kid(),
        &kid
    );
}
