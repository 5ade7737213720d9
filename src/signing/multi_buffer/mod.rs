//! The multi-buffer backend: Intel's `crypto_mb` makes eight RSA signatures at once on a CPU with AVX512-IFMA.
//!
//! | file | what it is for |
//! |---|---|
//! | `engine` | eight signatures in one call, each checked before it leaves |
//! | `lanes` | a key as limbs; the padding |
//! | `bench` | what the benches compare |
//! | `find` | where the library is looked for, and why it is not used |
//! | `trial` | what a key has to pass before it is used; from how many waiting jobs on eight at once is less work |
//!
//! A batch with one wrong signature is made again by aws-lc-rs; the third such batch switches the backend off for good.
//! What this module must never do: let a signature out that was not checked.

mod bench;
mod engine;
mod find;
mod lanes;
mod trial;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::ffi::crypto_mb::LANES;

use super::backend::{AwsLc, Backend, Meter, finish};
use super::key::SigningKey;
use super::signer::Job;
use engine::{Engine, Lane, Mismatch};
pub(super) use trial::Admitted;

#[doc(hidden)]
pub use bench::Bare;
pub use find::MultiBufferError;

/// The batch that switches the backend off: a fault of a core that happens three times is no accident.
const MOST_MISMATCHES: u64 = 3;

/// More jobs than a batch has: aws-lc-rs is never slower.
const NEVER: usize = LANES + 1;

/// The multi-buffer backend. Made by [`MultiBuffer::load`], given to [`Signer::start_multi_buffer`](super::Signer::start_multi_buffer).
pub struct MultiBuffer {
    engine: Engine,
    path: PathBuf,
    /// From so many waiting jobs on a thread takes a batch; the lowest of all admitted keys.
    crossing: AtomicUsize,
    signed: AtomicU64,
    mismatches: AtomicU64,
}

impl std::fmt::Debug for MultiBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiBuffer")
            .field("path", &self.path)
            .field("is_on", &self.is_on())
            .finish_non_exhaustive()
    }
}

impl MultiBuffer {
    /// Where the library was found.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The library's interface version, major and minor.
    #[must_use]
    pub fn interface(&self) -> (i32, i32) {
        self.engine.interface()
    }

    /// Whether it signs: until the third batch with a wrong signature.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mismatches() < MOST_MISMATCHES
    }

    /// Batches with a wrong signature, which were made again by aws-lc-rs, and keys that failed their trial.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }

    /// Signatures that it made.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    fn mismatch(&self) {
        let count = self.mismatches.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(count, library = %self.path.display(), "the multi-buffer library made a wrong signature; aws-lc-rs makes that batch again");
        if count == MOST_MISMATCHES {
            tracing::error!(library = %self.path.display(), "the multi-buffer library is switched off until the next start: too many wrong signatures. Test this machine's CPU and memory");
        }
    }

    /// Takes out of `batch` the jobs that are worth a call: those of one size, if they are enough.
    fn take_worthy(&self, batch: &mut Vec<Job>) -> Vec<Job> {
        let admitted = |job: &Job| {
            self.admitted(job.key())
                .map(|key| (key.bits(), key.crossing()))
        };
        let kinds: Vec<_> = batch.iter().map(admitted).collect();
        let worthy = kinds.iter().flatten().find(|(bits, crossing)| {
            let alike = kinds.iter().flatten().filter(|(other, _)| other == bits);
            (*crossing..=LANES).contains(&alike.count())
        });
        let Some(&(bits, _)) = worthy else {
            return Vec::new();
        };
        let mut kinds = kinds.into_iter();
        batch
            .extract_if(.., |_| {
                kinds
                    .next()
                    .flatten()
                    .is_some_and(|(other, _)| other == bits)
            })
            .collect()
    }

    /// One call. Gives the jobs back, unanswered, when a signature was wrong.
    fn sign_at_once(&self, mut jobs: Vec<Job>, meter: &Meter) -> Result<(), Vec<Job>> {
        let inputs: Vec<_> = jobs.iter().map(Job::signing_input).collect();
        let started = Instant::now();
        let signed = meter.measure(jobs.len(), || {
            let lanes = jobs.iter().zip(&inputs);
            let lanes = lanes.map(|(job, message)| {
                let key = self.admitted(job.key()).ok_or(Mismatch)?.key();
                Ok(Lane { key, message })
            });
            self.engine.sign(&lanes.collect::<Result<Vec<_>, _>>()?)
        });
        let took = started.elapsed();
        let Ok(signatures) = signed else {
            self.mismatch();
            return Err(jobs);
        };
        self.signed.fetch_add(jobs.len() as u64, Ordering::Relaxed);
        // Each of the eight took as long as the call.
        let signed = signatures
            .into_iter()
            .map(|signature| (Ok(signature), took));
        finish(&mut jobs, inputs, signed);
        Ok(())
    }
}

impl Backend for Arc<MultiBuffer> {
    /// Eight at once cost the same as one, so a thread takes all that it can, even while another one idles; below the
    /// crossing the threads share, as they do for aws-lc-rs.
    fn share(&self, waiting: usize, threads: usize) -> usize {
        if self.is_on() && waiting >= self.crossing.load(Ordering::Relaxed) {
            waiting.min(LANES)
        } else {
            AwsLc.share(waiting, threads)
        }
    }

    fn sign(&self, batch: &mut Vec<Job>, meter: &Meter) {
        batch.retain(|job| !job.is_abandoned());
        if self.is_on() {
            let worthy = self.take_worthy(batch);
            if !worthy.is_empty()
                && let Err(again) = self.sign_at_once(worthy, meter)
            {
                batch.extend(again);
            }
        }
        AwsLc.sign(batch, meter);
    }
}

/// What operators see of the backend.
impl MultiBuffer {
    /// From how many waiting jobs on a batch is made by the library; [`None`]: no key is worth it.
    #[must_use]
    pub fn crossing(&self) -> Option<usize> {
        let crossing = self.crossing.load(Ordering::Relaxed);
        (crossing < NEVER).then_some(crossing)
    }

    /// The trial of `key`, once, at its first use or before: whether the library may sign with it.
    pub fn admit(&self, key: &SigningKey) -> bool {
        self.admitted(key).is_some()
    }

    fn admitted<'k>(&self, key: &'k SigningKey) -> Option<&'k Admitted> {
        key.multi_buffer(|| trial::admit(self, key))
    }
}

#[cfg(test)]
impl MultiBuffer {
    /// One signature by the library, with one lane in use.
    pub(super) fn sign_alone(&self, key: &SigningKey, message: &[u8]) -> Vec<u8> {
        let key = &key
            .rs256_pair()
            .and_then(lanes::LaneKey::of)
            .expect("a key that fits");
        let mut signatures = self
            .engine
            .sign(&[Lane { key, message }])
            .expect("a good one");
        signatures.pop().expect("one")
    }
}
