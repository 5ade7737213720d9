//! The signer threads. RSA takes 0.3 ms of CPU: on the async runtime it would hold up everything
//! else, so it has OS threads of its own, one per core, fed by one queue.
//!
//! ```text
//! sign() ──push──▶ queue ──each thread takes its share of what waits──▶ backend ──answer──▶ sign()
//! ```
//!
//! "Batch" is what one thread takes in one turn; a job that finds an idle thread is signed at once,
//! nobody waits for a batch to fill.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;

use super::backend::{AwsLc, Backend, Meter};
use super::key::{Kid, SigningKey};
use super::multi_buffer::MultiBuffer;
use super::vault::{Vault, VaultBackend, VaultFault};

/// A signed SET, ready to be pushed. Its bytes stay the same for every attempt (DESIGN P4).
#[derive(Clone)]
pub struct SignedSet {
    /// The key that signed; while it is published the token stays good.
    pub kid: Kid,
    /// The compact JWS: three unpadded base64url parts with dots between.
    pub compact: Bytes,
    /// Wall time of the private-key operation.
    pub signing: Duration,
    /// Time in the queue, before a signer thread took it.
    pub waited: Duration,
}

/// A token is a secret about a person (DESIGN P8): its length is shown, not its bytes.
impl std::fmt::Debug for SignedSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedSet")
            .field("kid", &self.kid)
            .field("bytes", &self.compact.len())
            .field("signing", &self.signing)
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}

/// Why a SET was not signed. All but [`SignError::Vault`] mean that *we* are broken (DESIGN P5): stop, store nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignError {
    /// The signer threads have ended: shut down, or one of them died.
    #[error("the signer threads have stopped")]
    Stopped,
    /// The crypto library failed on a key that it had accepted.
    #[error("the crypto library could not sign")]
    Crypto,
    /// The ring has no key for an algorithm that it was asked to have one for.
    #[error("no key signs by the stream's algorithm")]
    NoKey,
    /// Whoever has the key could not or would not sign: try again.
    #[error(transparent)]
    Vault(VaultFault),
}

/// Where the answer to a job comes.
pub(super) type Answered = oneshot::Receiver<Result<SignedSet, SignError>>;

/// One token to sign; it answers the waiting `sign()` call itself.
pub(super) struct Job {
    key: Arc<SigningKey>,
    claims: Vec<u8>,
    submitted: Instant,
    /// Set when a thread takes the job.
    waited: Duration,
    answer: oneshot::Sender<Result<SignedSet, SignError>>,
}

impl Job {
    /// A job that begins to wait now, and where its answer comes.
    pub(super) fn new(key: Arc<SigningKey>, claims: Vec<u8>) -> (Self, Answered) {
        let (answer, answered) = oneshot::channel();
        let job = Self {
            key,
            claims,
            submitted: Instant::now(),
            waited: Duration::ZERO,
            answer,
        };
        (job, answered)
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// What is signed.
    pub(super) fn signing_input(&self) -> Vec<u8> {
        self.key.signing_input(&self.claims)
    }

    /// Nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Ends the job. An answer that nobody waits for is dropped.
    pub(super) fn answer(self, compact: Result<Bytes, SignError>, signing: Duration) {
        let (kid, waited) = (self.key.kid().clone(), self.waited);
        let signed = compact.map(|compact| SignedSet {
            kid,
            compact,
            signing,
            waited,
        });
        let _ = self.answer.send(signed);
    }
}

/// The owner of the signer threads; dropping it stops and joins them. Share it by `Arc`.
pub struct Signer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    multi_buffer: Option<Arc<MultiBuffer>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("threads", &self.threads.len())
            .field("waiting", &self.waiting())
            .field("signed", &self.signed())
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Starts `threads` (at least one; one per core is right) named `setbridge-sign-0`, ….
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start(threads: usize) -> io::Result<Self> {
        Self::with_backend(threads, AwsLc)
    }

    /// As [`start`](Self::start), with eight signatures at once where that is less work.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start_multi_buffer(threads: usize, backend: Arc<MultiBuffer>) -> io::Result<Self> {
        let mut signer = Self::with_backend(threads, Arc::clone(&backend))?;
        signer.multi_buffer = Some(backend);
        Ok(signer)
    }

    /// As [`start`](Self::start), with the key in Vault: `threads` calls at a time. Within a runtime, which does the
    /// waiting for the network and has to outlive the signer.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start_vault(threads: usize, vault: Arc<Vault>) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        Self::with_backend(threads, VaultBackend::new(vault, runtime))
    }

    /// The multi-buffer backend, if this signer has one.
    #[must_use]
    pub fn multi_buffer(&self) -> Option<&MultiBuffer> {
        self.multi_buffer.as_deref()
    }

    pub(super) fn with_backend(threads: usize, backend: impl Backend) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            meter: Meter::default(),
            backend: Box::new(backend),
            threads,
        });
        // Made first: when a later thread cannot be had, its drop ends the earlier ones.
        let mut signer = Self {
            shared,
            threads: Vec::with_capacity(threads),
            multi_buffer: None,
        };
        for number in 0..threads {
            let shared = Arc::clone(&signer.shared);
            let thread = Builder::new().name(format!("setbridge-sign-{number}"));
            signer.threads.push(thread.spawn(move || shared.run())?);
        }
        Ok(signer)
    }

    /// Signs `claims`, a JSON object as bytes, with `key`. A call that is dropped costs no signature
    /// unless a thread has it in hands already.
    ///
    /// # Errors
    /// [`SignError`]; never hangs, not even when a signer thread dies.
    pub async fn sign(
        &self,
        key: Arc<SigningKey>,
        claims: Vec<u8>,
    ) -> Result<SignedSet, SignError> {
        let (job, answered) = Job::new(key, claims);
        self.shared.submit(job)?;
        // The sender is dropped unanswered when its thread dies.
        answered.await.unwrap_or(Err(SignError::Stopped))
    }

    /// CPU time inside the private-key operation over all threads, in seconds.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        self.shared.meter.cpu_seconds()
    }

    /// Private-key operations so far.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.shared.meter.signed()
    }

    /// Jobs that no thread has taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }
}

impl Drop for Signer {
    /// Blocks until the threads have finished what they hold. No call of [`Signer::sign`] can be
    /// waiting here: it borrows the signer.
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A thread that died has said so on stderr, and closed the queue.
            let _ = thread.join();
        }
    }
}

/// What the threads share.
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    meter: Meter,
    backend: Box<dyn Backend>,
    threads: usize,
}

/// Not bounded by itself: each job belongs to a SET that `max_unsettled` has counted (DESIGN P6), so
/// that is the bound, and a second one here could only add a wait.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
    closed: bool,
}

impl Shared {
    /// The lock is held for pushes and pops only, and the queue is whole after each of them: a
    /// poisoned lock is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: Job) -> Result<(), SignError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(SignError::Stopped);
        }
        queue.jobs.push_back(job);
        // To wake somebody is a system call, whether or not anybody sleeps.
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Refuses new jobs, drops those that wait (their calls get [`SignError::Stopped`]), wakes all threads.
    fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(waiting);
        self.arrived.notify_all();
        self.backend.stop();
    }

    /// The life of one signer thread.
    fn run(&self) {
        let _closer = CloseOnExit(self);
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            self.backend.sign(&mut batch, &self.meter);
        }
    }

    /// Waits for jobs and takes this thread's share; `false` when the queue is closed.
    fn take(&self, batch: &mut Vec<Job>) -> bool {
        let mut queue = self.lock();
        queue.idle += 1;
        let idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closed;
        let mut queue = self
            .arrived
            .wait_while(queue, idle)
            .unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        if queue.closed {
            return false;
        }
        let waiting = queue.jobs.len();
        let share = self.backend.share(waiting, self.threads).clamp(1, waiting);
        batch.extend(queue.jobs.drain(..share));
        drop(queue);
        let now = Instant::now();
        for job in batch {
            job.waited = now.saturating_duration_since(job.submitted);
        }
        true
    }
}

/// A thread that ends, for whatever reason, closes the queue: nobody may wait for an answer that
/// no thread will give.
struct CloseOnExit<'a>(&'a Shared);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
