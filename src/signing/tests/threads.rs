//! The signer: many at once, none lost, none hangs.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::super::backend::{AwsLc, Backend, Meter};
use super::super::signer::Job;
use super::*;

fn key() -> Arc<SigningKey> {
    Arc::new(load("rsa-2048.pkcs8.pem").expect("key"))
}

fn signer(threads: usize) -> Arc<Signer> {
    Arc::new(Signer::start(threads).expect("threads"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_tasks_sign_a_thousand_each() {
    let (signer, key) = (signer(2), key());
    let jwks = Jwks {
        keys: vec![key.public().clone()],
    };
    let tasks = (0..3).map(|task| {
        let (signer, key) = (Arc::clone(&signer), Arc::clone(&key));
        tokio::spawn(async move {
            let calls = (0..1000).map(|n| {
                signer.sign(
                    Arc::clone(&key),
                    format!(r#"{{"jti":"{task}-{n}"}}"#).into_bytes(),
                )
            });
            join_all(calls).await
        })
    });
    let mut seen = std::collections::HashSet::new();
    for (task, answers) in join_all(tasks).await.into_iter().enumerate() {
        for (n, answer) in answers.expect("task").into_iter().enumerate() {
            let set = answer.expect("signed");
            assert_eq!(&set.kid, key.kid());
            assert_eq!(verify(&set.compact, &jwks)["jti"], format!("{task}-{n}"));
            assert!(seen.insert(set.compact));
        }
    }
    assert_eq!(
        (seen.len(), signer.signed(), signer.waiting()),
        (3000, 3000, 0)
    );
    let per_signature = signer.cpu_seconds() / 3000.0;
    assert!(
        (1e-5..1.0).contains(&per_signature),
        "{per_signature} s of CPU per signature"
    );
}

#[tokio::test]
async fn one_call_gets_its_own_numbers() {
    let set = signer(1).sign(key(), b"{}".to_vec()).await.expect("signed");
    assert!(set.signing > Duration::ZERO);
    let shown = format!("{set:?}");
    assert!(
        shown.contains("bytes") && !shown.contains("eyJ"),
        "no token in {shown}"
    );
}

#[test]
fn the_share_is_fair_and_bounded() {
    assert_eq!(AwsLc.share(1, 2), 1);
    assert_eq!(AwsLc.share(3, 2), 2);
    assert_eq!(AwsLc.share(9, 2), 5);
    assert_eq!(AwsLc.share(10_000, 2), 8);
}

/// Signs that many jobs, then dies on each that it is given.
struct DiesAfter(AtomicIsize);

impl Backend for DiesAfter {
    fn share(&self, _waiting: usize, _threads: usize) -> usize {
        1
    }

    fn sign(&self, batch: &mut Vec<Job>, meter: &Meter) {
        let left = self.0.fetch_sub(1, Ordering::SeqCst);
        assert!(left > 0, "this test's backend dies on purpose");
        AwsLc.sign(batch, meter);
    }
}

#[tokio::test]
async fn a_thread_that_dies_fails_all_calls_and_hangs_none() {
    let backend = DiesAfter(AtomicIsize::new(1));
    let signer = Signer::with_backend(2, backend).expect("threads");
    let key = key();
    assert!(signer.sign(Arc::clone(&key), b"{}".to_vec()).await.is_ok());
    let calls = (0..50).map(|_| signer.sign(Arc::clone(&key), b"{}".to_vec()));
    let answers = timeout(Duration::from_secs(20), join_all(calls))
        .await
        .expect("no call hangs");
    assert!(answers.iter().all(|a| matches!(a, Err(SignError::Stopped))));
    let later = timeout(Duration::from_secs(20), signer.sign(key, b"{}".to_vec())).await;
    assert!(matches!(later, Ok(Err(SignError::Stopped))));
}

/// Lets no batch through while the sender of its channel lives.
struct Gate(Mutex<mpsc::Receiver<()>>);

impl Backend for Gate {
    fn share(&self, _waiting: usize, _threads: usize) -> usize {
        1
    }

    fn sign(&self, batch: &mut Vec<Job>, meter: &Meter) {
        let _opened = self.0.lock().expect("gate").recv();
        AwsLc.sign(batch, meter);
    }
}

#[tokio::test]
async fn an_abandoned_call_costs_nothing_and_a_drop_ends_the_threads() {
    let (open, gate) = mpsc::channel();
    let signer = Signer::with_backend(1, Gate(Mutex::new(gate))).expect("thread");
    let signer = Arc::new(signer);
    let key = key();
    let first = tokio::spawn({
        let (signer, key) = (Arc::clone(&signer), Arc::clone(&key));
        async move { signer.sign(key, b"{}".to_vec()).await }
    });
    for _ in 0..100 {
        let call = signer.sign(Arc::clone(&key), b"{}".to_vec());
        assert!(
            timeout(Duration::ZERO, call).await.is_err(),
            "queued, then dropped"
        );
    }
    drop(open);
    assert!(first.await.expect("task").is_ok());
    assert!(
        signer.sign(Arc::clone(&key), b"{}".to_vec()).await.is_ok(),
        "the queue moves on"
    );
    assert_eq!(
        (signer.signed(), signer.waiting()),
        (2, 0),
        "abandoned jobs were skipped"
    );
    drop(signer);
    assert_eq!(
        Arc::strong_count(&key),
        1,
        "no thread and no queue holds the key"
    );
}

#[tokio::test]
async fn a_drop_does_not_wait_for_jobs_that_no_thread_has_taken() {
    let (open, gate) = mpsc::channel::<()>();
    let signer = Signer::with_backend(1, Gate(Mutex::new(gate))).expect("thread");
    let key = key();
    for _ in 0..10 {
        let call = signer.sign(Arc::clone(&key), b"{}".to_vec());
        assert!(timeout(Duration::ZERO, call).await.is_err());
    }
    drop(open);
    drop(signer);
    assert_eq!(Arc::strong_count(&key), 1);
}
