//! The multi-buffer backend: the same bytes as aws-lc-rs in every lane, and never a wrong one, whatever the library does.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::signing::backend::{AwsLc, Backend, Meter};
use crate::signing::signer::Job;
use crate::signing::{MultiBuffer, MultiBufferError, Signer};
use futures_util::future::join_all;

use super::*;

/// `target/lib/libcrypto_mb.so`. [`None`], said on standard error: this CPU cannot run it.
fn library() -> Option<PathBuf> {
    if !MultiBuffer::cpu_is_able() {
        eprintln!(
            "left out: this CPU has no AVX512-IFMA, so nothing of the multi-buffer library is tested"
        );
        return None;
    }
    let program = env::current_exe().expect("this program");
    let mut places = program
        .ancestors()
        .map(|folder| folder.join("lib/libcrypto_mb.so"));
    let found = places.find(|place| place.exists());
    Some(
        found.expect(
            "this CPU has AVX512-IFMA, but the library is missing: run scripts/crypto_mb.sh",
        ),
    )
}

fn backend() -> Option<Arc<MultiBuffer>> {
    let library = library()?;
    let backend = MultiBuffer::load(Some(&library)).expect("the library of target/lib");
    Some(Arc::new(backend))
}

/// A library that passes calls on to the real one, and lies once `switch` exists (at once, without one).
fn faulty(folder: &Path, fault: &str, switch: Option<&Path>) -> Option<Arc<MultiBuffer>> {
    let library = compile(folder, fault, switch)?;
    let backend = MultiBuffer::load(Some(&library)).expect("a library with all that is called");
    Some(Arc::new(backend))
}

fn compile(folder: &Path, fault: &str, switch: Option<&Path>) -> Option<PathBuf> {
    let real = library()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/multi_buffer/faulty.c");
    let to = folder.join(format!("{fault}.so"));
    let switch = switch.map_or(String::new(), |path| path.display().to_string());
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&to)
        .arg(format!("-DFAULT={fault}"))
        .arg(format!("-DREAL=\"{}\"", real.display()))
        .arg(format!("-DSWITCH=\"{switch}\""))
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(made.expect("cc").success());
    Some(to)
}

fn shared(name: &str) -> Arc<SigningKey> {
    Arc::new(load(name).expect("key"))
}

/// Gives the backend one batch; the tokens in its order.
fn batch(backend: &impl Backend, jobs: &[(&Arc<SigningKey>, &str)]) -> Vec<String> {
    let made = jobs
        .iter()
        .map(|(key, claims)| Job::new(Arc::clone(key), claims.as_bytes().to_vec()));
    let (mut jobs, answers): (Vec<_>, Vec<_>) = made.unzip();
    backend.sign(&mut jobs, &Meter::default());
    assert!(jobs.is_empty(), "all are answered");
    let token = |mut answer: crate::signing::signer::Answered| {
        let set = answer.try_recv().expect("answered").expect("signed");
        String::from_utf8(set.compact.to_vec()).expect("ASCII")
    };
    answers.into_iter().map(token).collect()
}

#[test]
fn known_answers_of_openssl_by_both_ways() {
    let vectors = include_str!("../../../tests/fixtures/multi_buffer/vectors.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).expect("JSON");
    assert_eq!(vectors.len(), 16);
    let backend = backend();
    for vector in &vectors {
        let [key, message, signature] =
            ["key", "message", "signature"].map(|name| vector[name].as_str().expect(name));
        let hex = |octets: &[u8]| {
            octets
                .iter()
                .map(|o| format!("{o:02x}"))
                .collect::<String>()
        };
        let key = load(key).expect("key");
        assert_eq!(
            hex(&key.signature(message.as_bytes()).expect("signature")),
            signature
        );
        if let Some(backend) = &backend {
            let made = backend.sign_alone(&key, message.as_bytes());
            assert_eq!(hex(&made), signature);
        }
    }
}

#[test]
fn every_lane_of_every_size_of_batch_has_the_bytes_of_aws_lc() {
    let Some(backend) = backend() else { return };
    let keys = ["rsa-2048.pkcs8.pem", "rsa-2048-other.pkcs8.pem"].map(shared);
    assert!(keys.iter().all(|key| backend.admit(key)));
    let crossing = backend
        .crossing()
        .expect("eight 2048-bit signatures at once gain");
    for count in 1..=8 {
        let claims: Vec<String> = (0..count)
            .map(|n| format!(r#"{{"jti":"{count}-{n}"}}"#))
            .collect();
        // Different keys side by side.
        let jobs: Vec<_> = claims
            .iter()
            .enumerate()
            .map(|(n, c)| (&keys[n % 2], c.as_str()))
            .collect();
        let before = backend.signed();
        let tokens = batch(&backend, &jobs);
        let made = usize::try_from(backend.signed() - before).expect("few");
        assert_eq!(
            made,
            if count < crossing { 0 } else { count },
            "a batch of {count}"
        );
        assert_eq!(tokens, batch(&AwsLc, &jobs), "a batch of {count}");
    }
    assert_eq!((backend.mismatches(), backend.is_on()), (0, true));
}

#[test]
fn a_batch_of_several_kinds_goes_both_ways() {
    let Some(backend) = backend() else { return };
    let small = shared("rsa-2048.pkcs8.pem");
    let [large, odd] = ["rsa-4096.pkcs8.pem", "rsa-2048-e3.pkcs8.pem"].map(shared);
    assert!(
        backend.admit(&small) && !backend.admit(&odd),
        "the check knows one exponent"
    );
    let jobs =
        [&small, &large, &small, &odd, &small, &small, &small, &small].map(|key| (key, "{}"));
    assert_eq!(batch(&backend, &jobs), batch(&AwsLc, &jobs));
    assert_eq!(backend.signed(), 6, "the six of one size");
}

/// OpenSSL writes the larger prime first; Go, and so cfssl, step and cert-manager, in any order.
#[test]
fn a_key_whose_smaller_prime_comes_first_is_signed_with_like_any_other() {
    let [key, usual] = ["rsa-2048-smaller-first.jwk.json", "rsa-2048.jwk.json"].map(shared);
    let jobs = [(&key, "{}"); 8];
    let expected = batch(&AwsLc, &[(&usual, "{}"); 8]);
    assert_eq!(batch(&AwsLc, &jobs), expected);
    let Some(backend) = backend() else { return };
    assert!(backend.admit(&key));
    assert_eq!(batch(&backend, &jobs), expected);
    assert_eq!((backend.signed(), backend.mismatches()), (8, 0));
}

#[test]
fn below_the_crossing_threads_share_as_for_aws_lc() {
    let Some(backend) = backend() else { return };
    assert_eq!(
        backend.share(8, 2),
        AwsLc.share(8, 2),
        "no key is admitted yet"
    );
    backend.admit(&load("rsa-2048.pkcs8.pem").expect("key"));
    let crossing = backend.crossing().expect("gains");
    assert_eq!(backend.share(crossing - 1, 1), crossing - 1);
    assert_eq!(backend.share(1, 2), 1);
    for waiting in crossing..=8 {
        assert_eq!(backend.share(waiting, 2), waiting);
    }
    assert_eq!(backend.share(1000, 2), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_signer_makes_the_same_tokens_with_it() {
    let Some(backend) = backend() else { return };
    let key = shared("rsa-2048.pkcs8.pem");
    let signer = Signer::start_multi_buffer(2, Arc::clone(&backend)).expect("threads");
    let claims = |n: usize| format!(r#"{{"jti":"{n}"}}"#).into_bytes();
    let calls = (0..1000).map(|n| signer.sign(Arc::clone(&key), claims(n)));
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(
            answer.expect("signed").compact,
            key.sign(&claims(n)).expect("signed")
        );
    }
    assert!(backend.signed() > 900, "{} of 1000", backend.signed());
    assert_eq!((signer.signed(), backend.mismatches()), (1000, 0));
}

/// After the switch is set, each batch is wrong: three are made again, and then there is no fourth.
#[test]
fn a_wrong_signature_never_leaves_and_the_third_batch_ends_it() {
    for fault in ["WRONG_BIT", "WRONG_LANE", "STATUS", "BLIND_CHECK"] {
        let folder = tempfile::tempdir().expect("folder");
        let switch = folder.path().join("switch");
        let Some(backend) = faulty(folder.path(), fault, Some(&switch)) else {
            return;
        };
        let key = shared("rsa-2048.pkcs8.pem");
        let claims: Vec<String> = (0..8).map(|n| format!(r#"{{"jti":"{n}"}}"#)).collect();
        let jobs: Vec<_> = claims
            .iter()
            .map(|claims| (&key, claims.as_str()))
            .collect();
        let expected = batch(&AwsLc, &jobs);
        assert_eq!(batch(&backend, &jobs), expected, "{fault}: not yet");
        assert_eq!((backend.signed(), backend.mismatches()), (8, 0), "{fault}");
        fs::write(&switch, "").expect("switch");
        for wrong in 1..=3 {
            assert!(backend.is_on(), "{fault}");
            assert_eq!(batch(&backend, &jobs), expected, "{fault}: made again");
            assert_eq!(
                (backend.signed(), backend.mismatches()),
                (8, wrong),
                "{fault}"
            );
        }
        assert!(!backend.is_on(), "{fault}");
        fs::remove_file(&switch).expect("switch");
        assert_eq!(batch(&backend, &jobs), expected, "{fault}: by aws-lc-rs");
        assert_eq!(
            (backend.signed(), backend.mismatches()),
            (8, 3),
            "{fault}: off for good"
        );
        assert_eq!(backend.share(8, 2), AwsLc.share(8, 2), "{fault}");
    }
}

#[test]
fn a_key_that_fails_its_trial_is_never_signed_with_by_it() {
    for fault in ["WRONG_BIT", "WRONG_LANE", "STATUS", "BLIND_CHECK"] {
        let folder = tempfile::tempdir().expect("folder");
        let Some(backend) = faulty(folder.path(), fault, None) else {
            return;
        };
        let key = shared("rsa-2048.pkcs8.pem");
        assert!(!backend.admit(&key), "{fault}");
        assert_eq!(
            (backend.mismatches(), backend.crossing()),
            (1, None),
            "{fault}"
        );
        let jobs = [(&key, "{}"); 8];
        assert_eq!(batch(&backend, &jobs), batch(&AwsLc, &jobs), "{fault}");
        assert_eq!(
            (backend.signed(), backend.mismatches()),
            (0, 1),
            "{fault}: one trial in a key's life"
        );
    }
}

#[test]
fn what_is_no_such_library_is_refused_in_words() {
    let Some(_) = library() else { return };
    let folder = tempfile::tempdir().expect("folder");
    let refusal = |path: &Path| {
        MultiBuffer::load(Some(path))
            .expect_err("refused")
            .to_string()
    };
    let text = folder.path().join("text.so");
    fs::write(&text, "no library").expect("file");
    assert!(refusal(&text).contains("cannot be used"));
    let empty = folder.path().join("empty.so");
    let made = Command::new("cc")
        .args(["-shared", "-x", "c", "/dev/null", "-o"])
        .arg(&empty)
        .status();
    assert!(made.expect("cc").success());
    assert!(
        refusal(&empty).ends_with("it has no mbx_getversion"),
        "{}",
        refusal(&empty)
    );
    let unknown = compile(folder.path(), "NO_VERSION", None).expect("library");
    assert!(refusal(&unknown).ends_with("it has no version"));
    let missing = folder.path().join("missing.so");
    let error = MultiBuffer::load(Some(&missing)).expect_err("refused");
    assert_eq!(
        error,
        MultiBufferError::NotFound {
            looked: vec![missing]
        }
    );
}
