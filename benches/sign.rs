//! What one RS256 token costs, side by side: `jsonwebtoken::encode` with its stock provider (parses
//! the key for each token), ours with the key parsed once (the whole way from claims to compact JWS),
//! and the bare RSA operation of aws-lc-rs, which is the floor. Bar: ours ≥ 0.95 of the floor. Where
//! CPU and library are there also ours eight at once, and the bare loop over the library with the same check.
//!
//! Criterion measures one after the other, so on a machine that does other things its three numbers
//! cannot be divided by one another. Hence the comparison behind it: all take turns, 16 tokens
//! each (4 with stock), by the CPU time of the thread; medians. With `SETBRIDGE_BENCH_JSON=FILE` it is written there,
//! too, as `sign_raw_per_s`, `sign_stock_per_s`, `sign_cached_per_s`, `sign_mb_per_s` and `sign_mb_raw_per_s`.
//!
//! Then low load: what a token takes, with its wait for a thread, at 100 a second; p99 of 500, median of five runs
//! (`sign_p99_us_at_100_per_s`), and between them, as often, one bare signature by itself: its median (`sign_one_us`) and
//! its p99 (`sign_one_p99_us`), which is what the machine adds.

#![allow(
    missing_docs,
    clippy::print_stderr,
    reason = "a program, and criterion's macros make items"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use setbridge::signing::multi_buffer::Bare;
use setbridge::signing::{KeySource, MultiBuffer, Signer, SigningKey};

/// A user-risk-change SET of usual size (CONTRACTS §1.7).
const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"https://org.okta.com","jti":"f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b","iat":1750980771,"txn":"8675309","events":{"https://schemas.okta.com/secevent/okta/event-type/user-risk-change":{"subject":{"user":{"format":"email","email":"user@example.com"}},"event_timestamp":1750980770,"initiating_entity":"system","current_level":"high","previous_level":"low","reason_admin":{"en":"impossible travel"}}}}"#;

/// The three ways to sign, with one key.
struct Ways {
    pair: KeyPair,
    stock: EncodingKey,
    header: Header,
    claims: serde_json::Value,
    cached: Arc<SigningKey>,
    multi_buffer: Option<(Arc<MultiBuffer>, Bare)>,
}

impl Ways {
    fn new() -> Self {
        let (pem, _) = generate_pem(KeyBits::Rsa2048).expect("key");
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), pem.as_bytes()).expect("key file");
        let cached = KeySource::new(file.path()).load().expect("key");
        let multi_buffer = multi_buffer(&cached);
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pkcs8 = STANDARD.decode(base64).expect("base64");
        Self {
            pair: KeyPair::from_pkcs8(&pkcs8).expect("key"),
            stock: EncodingKey::from_rsa_der(pkcs1(&pkcs8)),
            header: Header::new(Algorithm::RS256),
            claims: serde_json::from_str(CLAIMS).expect("JSON"),
            cached: Arc::new(cached),
            multi_buffer,
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

/// The library that scripts/crypto_mb.sh put into target/lib, if this CPU can run it and gains by it.
fn multi_buffer(key: &SigningKey) -> Option<(Arc<MultiBuffer>, Bare)> {
    let program = std::env::current_exe().ok()?;
    let mut places = program
        .ancestors()
        .map(|folder| folder.join("lib/libcrypto_mb.so"));
    let backend = MultiBuffer::load(Some(&places.find(|place| place.exists())?)).ok()?;
    if !backend.admit(key) {
        return None;
    }
    let bare = backend.bare(key);
    Some((Arc::new(backend), bare))
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

/// Lets all take turns and prints what they do per second of CPU time.
fn compare(ways: &Ways) {
    const ROUNDS: usize = 200;
    const TOKENS: u32 = 16;
    let mut turns = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        turns[0].push(cpu_time(TOKENS, || ways.raw()));
        turns[1].push(cpu_time(TOKENS, || ways.cached()));
        turns[2].push(cpu_time(TOKENS / 4, || ways.stock()));
        if let Some((backend, bare)) = &ways.multi_buffer {
            let ours = || {
                backend
                    .sign_eight(&ways.cached, black_box(CLAIMS.as_bytes()))
                    .expect("tokens")
            };
            turns[3].push(cpu_time(TOKENS / 8, ours) / 8.0);
            let bare = || assert!(backend.bare_turn(&ways.cached, bare));
            turns[4].push(cpu_time(TOKENS / 8, bare) / 8.0);
        }
    }
    let [raw, cached, stock, ours, bare] = turns.map(|turns| 1.0 / median(turns));
    let mut summary = serde_json::json!({
        "sign_raw_per_s": raw.round(),
        "sign_stock_per_s": stock.round(),
        "sign_cached_per_s": cached.round(),
    });
    if let Some((backend, _)) = &ways.multi_buffer {
        summary["sign_mb_per_s"] = ours.round().into();
        summary["sign_mb_raw_per_s"] = bare.round().into();
        summary["sign_mb_crossing"] = backend.crossing().into();
    }
    let [p99, one, one_p99] = low_load(ways);
    summary["sign_p99_us_at_100_per_s"] = p99.round().into();
    summary["sign_one_us"] = one.round().into();
    summary["sign_one_p99_us"] = one_p99.round().into();
    eprintln!(
        "{summary} cached/raw {:.3}, cached/stock {:.2}",
        cached / raw,
        cached / stock
    );
    if ways.multi_buffer.is_some() {
        eprintln!(
            "eight at once/bare loop {:.3}, eight at once/raw {:.2}",
            ours / bare,
            ours / raw
        );
    }
    if let Some(file) = std::env::var_os("SETBRIDGE_BENCH_JSON") {
        std::fs::write(file, summary.to_string()).expect("SETBRIDGE_BENCH_JSON can be written");
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The p99 of what a token takes at 100 a second, and one bare signature by itself, its median and its p99, in µs: medians
/// of five runs.
fn low_load(ways: &Ways) -> [f64; 3] {
    const RUNS: usize = 5;
    const TOKENS: u32 = 500;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let signer = match &ways.multi_buffer {
        Some((backend, _)) => Signer::start_multi_buffer(cores, Arc::clone(backend)),
        None => Signer::start(cores),
    };
    let signer = signer.expect("signer threads");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime");
    let run = |_| {
        let mut took = Vec::new();
        let mut alone = Vec::new();
        runtime.block_on(async {
            let mut beat = tokio::time::interval(Duration::from_millis(5));
            for _ in 0..TOKENS {
                beat.tick().await;
                let key = Arc::clone(&ways.cached);
                let set = signer
                    .sign(key, CLAIMS.as_bytes().to_vec())
                    .await
                    .expect("a token");
                took.push((set.waited + set.signing).as_secs_f64() * 1e6);
                beat.tick().await;
                let started = Instant::now();
                black_box(ways.raw());
                alone.push(started.elapsed().as_secs_f64() * 1e6);
            }
        });
        [p99(took), median(alone.clone()), p99(alone)]
    };
    let runs: Vec<[f64; 3]> = (0..RUNS).map(run).collect();
    [0, 1, 2].map(|which| median(runs.iter().map(|run| run[which]).collect()))
}

fn p99(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() * 99 / 100).copied().unwrap_or(f64::NAN)
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
