//! State in Redis or Valkey: one for all members, so nothing is dropped when a partition moves.
//!
//! The thread `setbridge-redis` runs one task a stream (`writer`), each with a connection of its
//! own, so that one stream's trouble (the node of its slot is down) is not another's. Handles send
//! commands down the stream's channel. When the task is gone, the channel and every waiting answer
//! are dropped, so that each call ends with [`StateError::Stopped`].

mod calls;
mod health;
mod hold;
mod kept;
mod link;
mod places;
mod scripts;
mod settings;
mod steps;
mod text;
mod trouble;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Backend, Decided, Facts, Flushed, Handover, JtiKey, Question, Reply, StateError, StateStats,
    reply::Answer,
};
use health::Health;
use places::{Assignment, Place};
pub use settings::{OnUnavailable, RedisAddress, RedisSettings, RedisTls};
pub(super) use view::RedisView;
use writer::{Common, Writer};

/// What the handles ask of a stream's task.
enum Command {
    LookUp(Box<Question>, Answer<Facts>),
    Remember(Box<Decided>, Answer<()>),
    Progress(Place, i64, Answer<()>),
    Assigned(Assignment, Answer<Handover>),
    Released(Place),
    /// Never empty.
    Forget(Vec<JtiKey>, Answer<()>),
    /// Of one partition, or all.
    Flush(Option<Place>, Answer<()>),
    AcceptedUnder(Answer<Option<[u8; 32]>>),
    OperatorHold(Answer<Option<String>>),
    Hold(Option<String>, Answer<()>),
    HeldSince(Answer<Option<i64>>),
    Note(&'static str, Option<String>, Answer<()>),
}

/// The state of all streams, in a Redis that need not be there yet.
pub(super) struct RedisStore {
    streams: Mutex<HashMap<Arc<str>, RedisStream>>,
    opened: UnboundedSender<Opened>,
    common: Arc<Common>,
    ended: oneshot::Receiver<Result<(), StateError>>,
}

/// A stream that was met for the first time.
type Opened = (Arc<str>, UnboundedReceiver<Command>, Arc<Health>);

impl RedisStore {
    /// Starts the thread; nobody waits for the Redis. The files for TLS are looked at.
    #[expect(
        clippy::disallowed_methods,
        reason = "one message a stream of the configuration"
    )]
    pub(super) fn open(settings: &RedisSettings) -> Result<Self, StateError> {
        link::check_files(settings)?;
        let no_thread = |error: io::Error| StateError::Unreachable {
            path: PathBuf::new(),
            source: Arc::new(error),
        };
        let common = Arc::new(Common {
            at: settings.at().into(),
            settings: settings.clone(),
            stats: Arc::default(),
            closing: CancellationToken::new(),
        });
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().map_err(no_thread)?;
        let (opened, streams) = unbounded_channel();
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&common);
        let thread = thread::Builder::new().name("setbridge-redis".to_owned());
        let run = move || {
            let outcome = runtime.block_on(run(shared, streams));
            // The connections end before anybody hears of it.
            drop(runtime);
            // Unheard when the store was dropped without closing it.
            drop(end.send(outcome));
        };
        thread.spawn(run).map_err(no_thread)?;
        Ok(Self {
            streams: Mutex::default(),
            opened,
            common,
            ended,
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "callers bound what is under way by max_unsettled"
    )]
    pub(super) fn stream(&self, id: &str) -> RedisStream {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get(id) {
            return stream.clone();
        }
        let (commands, received) = unbounded_channel();
        let health = Arc::new(Health::default());
        // When the thread is gone, the commands are dropped, and so every reply says `Stopped`.
        drop(self.opened.send((id.into(), received, Arc::clone(&health))));
        let stream = RedisStream { commands, health };
        streams.insert(id.into(), stream.clone());
        stream
    }

    /// Levels, marks and jtis are not counted: the server keeps those of all members.
    pub(super) fn stats(&self) -> StateStats {
        let stats = &self.common.stats;
        *stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(self) -> Result<(), StateError> {
        self.common.closing.cancel();
        drop(self.opened);
        self.ended.await.unwrap_or(Err(StateError::Stopped))
    }
}

/// The life of the thread: a task for each stream, until the state is closed or nobody is left.
async fn run(common: Arc<Common>, mut opened: UnboundedReceiver<Opened>) -> Result<(), StateError> {
    let mut writers = JoinSet::new();
    let mut outcome = Ok(());
    let mut may_come = true;
    while may_come || !writers.is_empty() {
        tokio::select! {
            stream = opened.recv(), if may_come => match stream {
                Some((id, commands, health)) => {
                    let writer = Writer::new(id, Arc::clone(&common), health);
                    writers.spawn(writer.run(commands));
                }
                None => may_come = false,
            },
            Some(ended) = writers.join_next() => {
                let ended = ended.unwrap_or(Err(StateError::Stopped));
                outcome = outcome.and(ended);
            }
        }
    }
    outcome
}

/// One stream's end of its channel.
#[derive(Clone)]
pub(super) struct RedisStream {
    commands: UnboundedSender<Command>,
    health: Arc<Health>,
}

impl RedisStream {
    /// Sends a command that carries an answer. When the task is gone, the command is dropped here,
    /// its answer with it, and so the reply says `Stopped`.
    fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Reply<T> {
        let (answer, reply) = Reply::later();
        drop(self.commands.send(command(answer)));
        reply
    }

    fn note(&self, field: &'static str, value: Option<String>) -> Flushed {
        self.ask(|answer| Command::Note(field, value, answer))
    }
}

impl Backend for RedisStream {
    fn look_up(&self, question: &Question) -> Reply<Facts> {
        let question = Box::new(question.clone());
        self.ask(|answer| Command::LookUp(question, answer))
    }

    fn remember(&self, decided: &Decided) -> Flushed {
        let decided = Box::new(decided.clone());
        self.ask(|answer| Command::Remember(decided, answer))
    }

    fn progress(&self, topic: &str, partition: i32, next_offset: i64) -> Flushed {
        let place = text::place(topic, partition).into();
        self.ask(|answer| Command::Progress(place, next_offset, answer))
    }

    fn assigned(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    ) -> Reply<Handover> {
        let place = text::place(topic, partition).into();
        let Some(token) = text::token() else {
            return Reply::now(Err(StateError::Stopped));
        };
        let assignment = Assignment {
            place,
            token,
            committed,
            log_end,
        };
        self.ask(|answer| Command::Assigned(assignment, answer))
    }

    fn released(&self, topic: &str, partition: i32) {
        let place = text::place(topic, partition).into();
        // A task that is gone holds nothing any more.
        drop(self.commands.send(Command::Released(place)));
    }

    fn forget(&self, jtis: &[JtiKey]) -> Flushed {
        let jtis = jtis.to_vec();
        self.ask(|answer| Command::Forget(jtis, answer))
    }

    fn flush(&self) -> Flushed {
        self.ask(|answer| Command::Flush(None, answer))
    }

    fn flush_of(&self, topic: &str, partition: i32) -> Flushed {
        let place = text::place(topic, partition).into();
        self.ask(|answer| Command::Flush(Some(place), answer))
    }

    fn is_bypassed(&self) -> bool {
        self.health.is_bypassed()
    }

    fn take_lost(&self) -> u64 {
        self.health.take_lost()
    }

    fn accepted_under(&self) -> Reply<Option<[u8; 32]>> {
        self.ask(Command::AcceptedUnder)
    }

    fn set_accepted_under(&self, fingerprint: [u8; 32]) -> Flushed {
        self.note(steps::ACCEPTED_UNDER, Some(text::fingerprint(&fingerprint)))
    }

    fn operator_hold(&self) -> Reply<Option<String>> {
        self.ask(Command::OperatorHold)
    }

    fn set_operator_hold(&self, reason: Option<&str>) -> Flushed {
        let reason = reason.map(str::to_owned);
        self.ask(|answer| Command::Hold(reason, answer))
    }

    fn held_since(&self) -> Reply<Option<i64>> {
        self.ask(Command::HeldSince)
    }

    fn set_held_since(&self, since_ms: Option<i64>) -> Flushed {
        self.note(steps::HELD_SINCE, since_ms.map(|ms| ms.to_string()))
    }
}
