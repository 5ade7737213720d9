//! State in a SQLite file: one file for all streams of one process.
//!
//! The thread `setbridge-state` owns the connection (`writer`), the thread `setbridge-sync` makes
//! commits durable (`syncer`). Handles send commands down one channel, so commands of all streams
//! take effect in the order in which they were sent. When the thread is gone, the channel and every
//! waiting answer are dropped, so that each call ends with [`StateError::Stopped`].

mod ledger;
mod lock;
mod rows;
mod schema;
mod syncer;
mod tables;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use lock::FileLock;
use rusqlite::Connection;
use syncer::{Sync, Syncer};

pub(super) use view::SqliteView;

use super::{
    Backend, Clock, Decided, Decision, Facts, Flushed, Handover, JtiKey, Position, Question, Reply,
    StateError, StateStats, reply::Answer, window::Window,
};
use crate::set::{EventType, SubjectKey};

/// What the handles ask of the thread.
enum Command {
    LookUp(Arc<str>, Asked, Answer<Facts>),
    Remember(Arc<str>, Remembered, Answer<()>),
    Progress(Arc<str>, Place, i64, Answer<()>),
    Assigned(Arc<str>, Place, Option<i64>, i64, Answer<Handover>),
    Forget(Arc<str>, Vec<JtiKey>, Answer<()>),
    Flush(Answer<()>),
    AcceptedUnder(Arc<str>, Answer<Option<[u8; 32]>>),
    SetAcceptedUnder(Arc<str>, [u8; 32], Answer<()>),
    OperatorHold(Arc<str>, Answer<Option<String>>),
    SetOperatorHold(Arc<str>, Option<String>, Answer<()>),
    HeldSince(Arc<str>, Answer<Option<i64>>),
    SetHeldSince(Arc<str>, Option<i64>, Answer<()>),
    Close(Answer<()>),
}

/// A question, with its place in one.
struct Asked {
    jti: JtiKey,
    subject: SubjectKey,
    event: EventType,
    place: Place,
}

/// A topic and a partition of it.
type Place = (Arc<str>, i32);

struct Remembered {
    asked: Asked,
    position: Position,
    other_subject: Option<SubjectKey>,
    decision: Decision,
}

impl Asked {
    fn new(question: &Question) -> Self {
        Self {
            jti: question.jti,
            subject: question.subject,
            event: question.event,
            place: (Arc::clone(&question.topic), question.partition),
        }
    }
}

/// The open file.
pub(super) struct SqliteStore {
    commands: Sender<Command>,
    stats: Arc<Mutex<StateStats>>,
}

impl SqliteStore {
    pub(super) fn open(path: &Path, window: Duration, clock: Clock) -> Result<Self, StateError> {
        let path = real_path(path);
        let lock = FileLock::take(&path)?;
        let connection = schema::open(&path, schema::MIGRATIONS)?;
        let sync = sync_log(lock::beside(&path, "-wal"));
        Self::start(connection, lock, sync, window, clock)
    }

    /// Starts the threads on an open connection.
    #[expect(
        clippy::disallowed_methods,
        reason = "callers bound what is under way by max_unsettled"
    )]
    fn start(
        connection: Connection,
        lock: FileLock,
        sync: Sync,
        window: Duration,
        clock: Clock,
    ) -> Result<Self, StateError> {
        let no_thread = |error: io::Error| StateError::Unreachable {
            path: connection.path().unwrap_or_default().into(),
            source: Arc::new(error),
        };
        let stats = Arc::new(Mutex::new(StateStats::default()));
        let syncer = Syncer::start(sync, Arc::clone(&stats)).map_err(no_thread)?;
        let (commands, received) = mpsc::channel();
        let (loaded, ready) = mpsc::channel();
        let terms = writer::Terms {
            window: Window::new(window),
            clock,
            stats: Arc::clone(&stats),
        };
        let thread = thread::Builder::new().name("setbridge-state".to_owned());
        let run = move || writer::run(connection, lock, syncer, terms, &received, &loaded);
        thread.spawn(run).map_err(|error| StateError::Unreachable {
            path: PathBuf::new(),
            source: Arc::new(error),
        })?;
        ready.recv().unwrap_or(Err(StateError::Stopped))?;
        Ok(Self { commands, stats })
    }

    pub(super) fn stream(&self, id: &str) -> SqliteStream {
        SqliteStream {
            id: id.into(),
            commands: self.commands.clone(),
        }
    }

    pub(super) fn stats(&self) -> StateStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(self) -> Result<(), StateError> {
        ask(&self.commands, Command::Close).await
    }
}

/// SQLite puts the log beside the file that a link points to; so do we with the lock.
fn real_path(path: &Path) -> PathBuf {
    let by_directory = || {
        let directory = fs::canonicalize(path.parent()?).ok()?;
        Some(directory.join(path.file_name()?))
    };
    let found = fs::canonicalize(path).ok().or_else(by_directory);
    found.unwrap_or_else(|| path.to_owned())
}

/// Syncs the log; the first time its directory too, so that the files' names are durable. SQLite
/// keeps one log file for as long as a connection is open.
fn sync_log(path: PathBuf) -> Sync {
    let mut log: Option<File> = None;
    Box::new(move || {
        if let Some(log) = &log {
            return log.sync_data();
        }
        let opened = File::open(&path)?;
        opened.sync_data()?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        log = Some(opened);
        Ok(())
    })
}

/// Sends a command that carries an answer. When the thread is gone, the command is dropped here,
/// its answer with it, and so the reply says `Stopped`.
fn ask<T>(commands: &Sender<Command>, command: impl FnOnce(Answer<T>) -> Command) -> Reply<T> {
    let (answer, reply) = Reply::later();
    drop(commands.send(command(answer)));
    reply
}

/// One stream's end of the channel.
pub(super) struct SqliteStream {
    id: Arc<str>,
    commands: Sender<Command>,
}

impl SqliteStream {
    fn ask<T>(&self, command: impl FnOnce(Arc<str>, Answer<T>) -> Command) -> Reply<T> {
        let id = Arc::clone(&self.id);
        ask(&self.commands, |answer| command(id, answer))
    }
}

impl Backend for SqliteStream {
    fn look_up(&self, question: &Question) -> Reply<Facts> {
        let asked = Asked::new(question);
        self.ask(|id, answer| Command::LookUp(id, asked, answer))
    }

    fn remember(&self, decided: &Decided) -> Flushed {
        let remembered = Remembered {
            asked: Asked::new(&decided.question),
            position: decided.position,
            other_subject: decided.other_subject,
            decision: decided.decision,
        };
        self.ask(|id, answer| Command::Remember(id, remembered, answer))
    }

    fn progress(&self, topic: &str, partition: i32, next_offset: i64) -> Flushed {
        let place = (Arc::from(topic), partition);
        self.ask(|id, answer| Command::Progress(id, place, next_offset, answer))
    }

    fn assigned(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    ) -> Reply<Handover> {
        let place = (Arc::from(topic), partition);
        self.ask(|id, answer| Command::Assigned(id, place, committed, log_end, answer))
    }

    fn forget(&self, jtis: &[JtiKey]) -> Flushed {
        let jtis = jtis.to_vec();
        self.ask(|id, answer| Command::Forget(id, jtis, answer))
    }

    fn flush(&self) -> Flushed {
        ask(&self.commands, Command::Flush)
    }

    fn accepted_under(&self) -> Reply<Option<[u8; 32]>> {
        self.ask(Command::AcceptedUnder)
    }

    fn set_accepted_under(&self, fingerprint: [u8; 32]) -> Flushed {
        self.ask(|id, answer| Command::SetAcceptedUnder(id, fingerprint, answer))
    }

    fn operator_hold(&self) -> Reply<Option<String>> {
        self.ask(Command::OperatorHold)
    }

    fn set_operator_hold(&self, reason: Option<&str>) -> Flushed {
        let reason = reason.map(str::to_owned);
        self.ask(|id, answer| Command::SetOperatorHold(id, reason, answer))
    }

    fn held_since(&self) -> Reply<Option<i64>> {
        self.ask(Command::HeldSince)
    }

    fn set_held_since(&self, since_ms: Option<i64>) -> Flushed {
        self.ask(|id, answer| Command::SetHeldSince(id, since_ms, answer))
    }
}
