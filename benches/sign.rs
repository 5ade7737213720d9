//! What one RS256 token costs, side by side: `jsonwebtoken::encode` with its stock provider (parses
//! the key for each token), ours with the key parsed once (the whole way from claims to compact JWS),
//! and the bare RSA operation of aws-lc-rs, which is the floor. Bar: ours ≥ 0.95 of the floor.
//!
//! Criterion measures one after the other, so on a machine that does other things its three numbers
//! cannot be divided by one another. Hence the comparison behind it: the three take turns, 16 tokens
//! each (4 with stock), by the CPU time of the thread; medians. With `SETBRIDGE_BENCH_JSON=FILE` it is written there,
//! too, as `sign_raw_per_s`, `sign_stock_per_s` and `sign_cached_per_s`.

#![allow(
    missing_docs,
    clippy::print_stderr,
    reason = "a program, and criterion's macros make items"
)]

use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustix::time::{ClockId, clock_gettime};
use setbridge::signing::key::{KeyBits, generate_pem};
use setbridge::signing::{KeySource, SigningKey};

/// A user-risk-change SET of usual size (CONTRACTS §1.7).
const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"https://org.okta.com","jti":"f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b","iat":1750980771,"txn":"8675309","events":{"https://schemas.okta.com/secevent/okta/event-type/user-risk-change":{"subject":{"user":{"format":"email","email":"user@example.com"}},"event_timestamp":1750980770,"initiating_entity":"system","current_level":"high","previous_level":"low","reason_admin":{"en":"impossible travel"}}}}"#;

/// The three ways to sign, with one key.
struct Ways {
    pair: KeyPair,
    stock: EncodingKey,
    header: Header,
    claims: serde_json::Value,
    cached: SigningKey,
}

impl Ways {
    fn new() -> Self {
        let (pem, _) = generate_pem(KeyBits::Rsa2048).expect("key");
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), pem.as_bytes()).expect("key file");
        let cached = KeySource::new(file.path()).load().expect("key");
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pkcs8 = STANDARD.decode(base64).expect("base64");
        Self {
            pair: KeyPair::from_pkcs8(&pkcs8).expect("key"),
            stock: EncodingKey::from_rsa_der(pkcs1(&pkcs8)),
            header: Header::new(Algorithm::RS256),
            claims: serde_json::from_str(CLAIMS).expect("JSON"),
            cached,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is what is compared with")]
    fn stock(&self) -> String {
        encode(&self.header, black_box(&self.claims), &self.stock).expect("token")
    }

    fn cached(&self) -> Bytes {
        self.cached
            .sign(black_box(CLAIMS.as_bytes()))
            .expect("token")
    }

    fn raw(&self) -> [u8; 256] {
        let mut signature = [0; 256];
        let message = black_box(CLAIMS.as_bytes());
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .expect("signature");
        signature
    }
}

fn sign(criterion: &mut Criterion) {
    let ways = Ways::new();
    let mut group = criterion.benchmark_group("sign_rs256_2048");
    group.throughput(Throughput::Elements(1));
    group.bench_function("stock", |b| b.iter(|| ways.stock()));
    group.bench_function("cached", |b| b.iter(|| ways.cached()));
    group.bench_function("raw", |b| b.iter(|| ways.raw()));
    group.finish();
    compare(&ways);
}

/// Lets the three take turns and prints what they do per second of CPU time.
fn compare(ways: &Ways) {
    const ROUNDS: usize = 200;
    const TOKENS: u32 = 16;
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        turns[0].push(cpu_time(TOKENS, || ways.raw()));
        turns[1].push(cpu_time(TOKENS, || ways.cached()));
        turns[2].push(cpu_time(TOKENS / 4, || ways.stock()));
    }
    let [raw, cached, stock] = turns.map(|mut turns| {
        turns.sort_by(f64::total_cmp);
        1.0 / turns[turns.len() / 2]
    });
    let summary = serde_json::json!({
        "sign_raw_per_s": raw.round(),
        "sign_stock_per_s": stock.round(),
        "sign_cached_per_s": cached.round(),
    });
    eprintln!(
        "{summary} cached/raw {:.3}, cached/stock {:.2}",
        cached / raw,
        cached / stock
    );
    if let Some(file) = std::env::var_os("SETBRIDGE_BENCH_JSON") {
        std::fs::write(file, summary.to_string()).expect("SETBRIDGE_BENCH_JSON can be written");
    }
}

/// Seconds of this thread's CPU per call.
fn cpu_time<T>(calls: u32, call: impl Fn() -> T) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let before = now();
    for _ in 0..calls {
        black_box(call());
    }
    (now() - before) / f64::from(calls)
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
