//! What one RS256 token costs, side by side: `jsonwebtoken::encode` with its stock provider (parses
//! the key for each token), ours with the key parsed once (the whole way from claims to compact JWS),
//! and the bare RSA operation of aws-lc-rs, which is the floor. Bar: ours ≥ 0.95 of the floor.

use std::hint::black_box;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use setbridge::signing::SigningKey;
use setbridge::signing::key::KeyBits;

/// A user-risk-change SET of usual size (CONTRACTS §1.7).
const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"https://org.okta.com","jti":"f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b","iat":1750980771,"txn":"8675309","events":{"https://schemas.okta.com/secevent/okta/event-type/user-risk-change":{"subject":{"user":{"format":"email","email":"user@example.com"}},"event_timestamp":1750980770,"initiating_entity":"system","current_level":"high","previous_level":"low","reason_admin":{"en":"impossible travel"}}}}"#;

fn sign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sign_rs256_2048");
    group.throughput(Throughput::Elements(1));

    let pair = KeyPair::generate(KeySize::Rsa2048).expect("key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("PKCS#8");
    let pkcs1 = pkcs1(der.as_ref());
    let stock = EncodingKey::from_rsa_der(pkcs1);
    let header = Header::new(Algorithm::RS256);
    let claims: serde_json::Value = serde_json::from_str(CLAIMS).expect("JSON");
    group.bench_function("stock", |b| {
        b.iter(|| encode(&header, black_box(&claims), &stock))
    });

    let key = SigningKey::generate(KeyBits::Rsa2048).expect("key");
    group.bench_function("cached", |b| {
        b.iter(|| key.sign(black_box(CLAIMS.as_bytes())))
    });

    let (random, mut signature) = (SystemRandom::new(), vec![0; pair.public_modulus_len()]);
    group.bench_function("raw", |b| {
        b.iter(|| {
            pair.sign(
                &RSA_PKCS1_SHA256,
                &random,
                black_box(CLAIMS.as_bytes()),
                &mut signature,
            )
        });
    });
    group.finish();
}

/// The `RSAPrivateKey` inside a `PrivateKeyInfo`: the stock provider reads that form only. For a
/// 2048-bit key the lengths in front of it take 26 octets (RFC 5208 §5).
fn pkcs1(pkcs8: &[u8]) -> &[u8] {
    let inner = &pkcs8[26..];
    assert_eq!(inner[..2], [0x30, 0x82], "an inner SEQUENCE");
    inner
}

criterion_group!(benches, sign);
criterion_main!(benches);
