//! What a signer thread does with the jobs that it took. The seam for other engines: a multi-buffer
//! backend takes eight and signs them at once; a remote one sends a batch as one call. Both fit
//! because a backend says how many jobs it wants and answers each job itself, when it is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::key::compact;
use super::signer::{Job, SignError};

/// An engine that signs. Shared by all signer threads.
pub(super) trait Backend: Send + Sync + 'static {
    /// How many of `waiting` jobs (1 or more) one of `threads` threads takes at once, 1 or more.
    fn share(&self, waiting: usize, threads: usize) -> usize;

    /// Signs and answers every job; leaves `batch` empty.
    fn sign(&self, batch: &mut Vec<Job>, meter: &Meter);

    /// The signer ends, and nobody waits for what is under way.
    fn stop(&self) {}
}

/// aws-lc-rs, one signature after the other: the default, and the fallback of every other backend.
pub(super) struct AwsLc;

impl AwsLc {
    /// A batch is answered as a whole: whoever waits is woken once for eight, and then has work in
    /// hands that is warm. 8 × 0.3 ms is as long as a job may wait for others of its batch, and only
    /// when that many were waiting.
    const BATCH: usize = 8;
}

impl Backend for AwsLc {
    /// A fair share, so that no thread idles while another holds a batch.
    fn share(&self, waiting: usize, threads: usize) -> usize {
        waiting.div_ceil(threads).clamp(1, Self::BATCH)
    }

    fn sign(&self, batch: &mut Vec<Job>, meter: &Meter) {
        batch.retain(|job| !job.is_abandoned());
        if batch.is_empty() {
            return;
        }
        let inputs: Vec<_> = batch.iter().map(Job::signing_input).collect();
        let sign = |(job, input): (&Job, &Vec<u8>)| {
            let started = Instant::now();
            (job.key().signature(input), started.elapsed())
        };
        let signed: Vec<_> = meter.measure(batch.len(), || {
            batch.iter().zip(&inputs).map(sign).collect()
        });
        finish(batch, inputs, signed);
    }
}

/// Answers each job with its token: what was signed, and the signature over it with the wall time that it took.
pub(super) fn finish(
    jobs: &mut Vec<Job>,
    inputs: Vec<Vec<u8>>,
    signed: impl IntoIterator<Item = (Result<Vec<u8>, SignError>, Duration)>,
) {
    for ((job, input), (signature, took)) in jobs.drain(..).zip(inputs).zip(signed) {
        job.answer(signature.map(|s| compact(input, &s)), took);
    }
}

/// Counts what the private-key operations cost, over all threads.
#[derive(Debug, Default)]
pub(super) struct Meter {
    cpu_nanos: AtomicU64,
    signed: AtomicU64,
}

impl Meter {
    /// Runs so many private-key operations. Two reads of the thread's CPU clock are two system calls:
    /// about 0.5 µs for a batch.
    pub(super) fn measure<T>(&self, count: usize, operations: impl FnOnce() -> T) -> T {
        let before = thread_cpu();
        let result = operations();
        let cpu = thread_cpu().saturating_sub(before);
        let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.signed.fetch_add(count as u64, Ordering::Relaxed);
        result
    }

    /// CPU time of all operations so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> f64 {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// Number of operations so far.
    pub(super) fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }
}

/// `CLOCK_THREAD_CPUTIME_ID`: the CPU time of the calling thread, without waits and preemption.
pub(super) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}
