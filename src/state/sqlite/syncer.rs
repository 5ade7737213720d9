//! Makes commits durable beside the thread that makes them.
//!
//! A commit is visible at once, and survives SIGKILL, when SQLite has written it to its log. It
//! survives a power loss when the log was synced. Whoever waits for a flush waits for that, because
//! the offset that is stored in Kafka afterwards is on another machine: were the log's tail lost,
//! Kafka would not bring those records again, so a lost level would stay lost (`previous_level`
//! and state filters would be wrong for good), and the mark of a dead-lettered SET could be lost
//! that keeps it from leaving after its successor. With `synchronous=FULL` each commit would sync,
//! and all look-ups queue behind it (1 to 10 ms on a cloud disk, each time). Here one sync serves
//! every commit that was made before it began, and look-ups go on meanwhile.
//!
//! After a failed sync the operating system may have dropped what it could not write and call the
//! next sync a success. So the log is *suspect* then, and nothing counts as durable until a
//! checkpoint has copied it into the database and synced that.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::state::{StateError, StateStats, reply::Answer};

/// Syncs the log; a test puts a failing one in its place.
pub(super) type Sync = Box<dyn FnMut() -> io::Result<()> + Send>;

/// The thread `setbridge-sync`, which ends when this is dropped.
pub(super) struct Syncer {
    batches: Option<Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
    suspect: Arc<AtomicBool>,
}

/// Those who wait for one commit.
struct Batch {
    waiting: Vec<Answer<()>>,
    committed: Instant,
}

impl Syncer {
    #[expect(
        clippy::disallowed_methods,
        reason = "callers bound what is under way by max_unsettled"
    )]
    pub(super) fn start(sync: Sync, stats: Arc<Mutex<StateStats>>) -> io::Result<Self> {
        let (batches, received) = mpsc::channel();
        let suspect = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&suspect);
        let thread = thread::Builder::new()
            .name("setbridge-sync".to_owned())
            .spawn(move || run(&received, sync, &shared, &stats))?;
        Ok(Self {
            batches: Some(batches),
            thread: Some(thread),
            suspect,
        })
    }

    /// Answers all of them when what was committed so far is durable.
    pub(super) fn after_commit(&self, waiting: Vec<Answer<()>>) {
        let committed = Instant::now();
        if let Some(batches) = &self.batches {
            // When the thread died, the batch is dropped: everybody in it learns `Stopped`.
            drop(batches.send(Batch { waiting, committed }));
        }
    }

    /// A sync failed, and no checkpoint was made since.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Waits until everybody is answered, and says whether the log is suspect.
    pub(super) fn end(mut self) -> bool {
        self.join();
        self.is_suspect()
    }

    /// A checkpoint was made, and synced.
    pub(super) fn trust(&self) {
        self.suspect.store(false, Ordering::Release);
    }

    fn join(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has answered those who waited with `Stopped`.
            drop(thread.join());
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.join();
    }
}

fn run(batches: &Receiver<Batch>, mut sync: Sync, suspect: &AtomicBool, stats: &Mutex<StateStats>) {
    let mut failure = None;
    while let Ok(first) = batches.recv() {
        let oldest = first.committed;
        let mut waiting = first.waiting;
        while let Ok(mut batch) = batches.try_recv() {
            waiting.append(&mut batch.waiting);
        }
        if !suspect.load(Ordering::Acquire) {
            failure = sync().err().map(Arc::new);
            suspect.store(failure.is_some(), Ordering::Release);
        }
        count(stats, failure.is_none(), oldest);
        for answer in mem::take(&mut waiting) {
            // Nobody is there when the caller dropped its reply.
            drop(answer.send(match &failure {
                None => Ok(()),
                Some(source) => Err(StateError::Unsynced {
                    source: Arc::clone(source),
                }),
            }));
        }
    }
}

fn count(stats: &Mutex<StateStats>, synced: bool, committed: Instant) {
    let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
    if synced {
        stats.flushes += 1;
        stats.last_flush = committed.elapsed();
    } else {
        stats.failed_flushes += 1;
    }
}
