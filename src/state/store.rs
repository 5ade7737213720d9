//! Opens the state, and hands out one [`StreamState`] per stream.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Backend, Decided, Facts, Flushed, Handover, JtiKey, Question, Reply, StateError, StateStats,
    memory::MemoryStream,
    redis::{RedisSettings, RedisStore},
    sqlite::SqliteStore,
};
use crate::{clock::now, set::Timestamp};

/// Where the state is kept, and for how long a delivered jti is remembered.
#[derive(Debug, Clone)]
pub enum StateSettings {
    /// In memory: fastest, gone with the process.
    Memory {
        /// At most so many jtis, and so many subjects, per stream.
        max_entries: usize,
        /// Jtis are remembered at least so long, if there is room.
        window: Duration,
    },
    /// In a SQLite file of this process alone.
    Sqlite {
        /// The file; its directory must exist. A `.lock` file, a `-wal` and a `-shm` lie beside it.
        path: PathBuf,
        /// Jtis are remembered at least so long.
        window: Duration,
    },
    /// In a Redis that all members share.
    Redis(Box<RedisSettings>),
}

/// Tells the time of day, for the dedup window only. It may jump: forward makes jtis expire early,
/// backward late.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(now)
}

/// The state of all streams of the process.
pub struct StateStore(Kind);

enum Kind {
    Memory {
        max_entries: usize,
        window: Duration,
        clock: Clock,
        streams: Mutex<HashMap<Arc<str>, Arc<MemoryStream>>>,
    },
    Sqlite(SqliteStore),
    Redis(Box<RedisStore>),
}

impl StateStore {
    /// Opens the state; for a file this locks it, migrates it and starts its threads. Blocks for
    /// as long as that takes (milliseconds, but for a migration). A Redis is not waited for: while
    /// it is not there, every call fails.
    ///
    /// # Errors
    /// [`StateError::Unreachable`], [`StateError::Locked`], [`StateError::Newer`],
    /// [`StateError::Corrupt`], or any failure to read or write the file. A missing file is made.
    pub fn open(settings: &StateSettings, clock: Clock) -> Result<Self, StateError> {
        Ok(Self(match settings {
            StateSettings::Memory {
                max_entries,
                window,
            } => Kind::Memory {
                max_entries: *max_entries,
                window: *window,
                clock,
                streams: Mutex::default(),
            },
            StateSettings::Sqlite { path, window } => {
                Kind::Sqlite(SqliteStore::open(path, *window, clock)?)
            }
            StateSettings::Redis(settings) => Kind::Redis(Box::new(RedisStore::open(settings)?)),
        }))
    }

    /// The state of the stream with this id. Handles of the same id share one state.
    pub fn stream(&self, id: &str) -> StreamState {
        StreamState(match &self.0 {
            Kind::Sqlite(store) => Arc::new(store.stream(id)),
            Kind::Redis(store) => Arc::new(store.stream(id)),
            Kind::Memory {
                max_entries,
                window,
                clock,
                streams,
            } => {
                let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                let new = || MemoryStream::new(*max_entries, *window, Arc::clone(clock));
                let stream = streams.entry(id.into()).or_insert_with(|| Arc::new(new()));
                Arc::clone(stream) as Arc<dyn Backend>
            }
        })
    }

    /// A snapshot over all streams.
    pub fn stats(&self) -> StateStats {
        match &self.0 {
            Kind::Sqlite(store) => store.stats(),
            Kind::Redis(store) => store.stats(),
            Kind::Memory { streams, .. } => {
                let streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                let each = streams.values().map(|stream| stream.stats());
                each.fold(StateStats::default(), |sum, one| StateStats {
                    jtis: sum.jtis + one.jtis,
                    levels: sum.levels + one.levels,
                    marks: sum.marks + one.marks,
                    ..sum
                })
            }
        }
    }

    /// Writes what is left, makes it durable and ends the threads; every handle answers
    /// [`StateError::Stopped`] from then on. Without it (a crash, or all handles dropped) nothing
    /// that was flushed is lost.
    ///
    /// # Errors
    /// Something that was remembered could not be written: after the restart it is decided again.
    pub async fn close(self) -> Result<(), StateError> {
        match self.0 {
            Kind::Memory { .. } => Ok(()),
            Kind::Sqlite(store) => store.close().await,
            Kind::Redis(store) => store.close().await,
        }
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Memory { .. } => "StateStore(memory)",
            Kind::Sqlite(_) => "StateStore(sqlite)",
            Kind::Redis(_) => "StateStore(redis)",
        })
    }
}

/// One stream's state; a clone is the same state. Every call is made when the method is called,
/// not when its reply is awaited, and calls take effect in that order.
#[derive(Clone)]
pub struct StreamState(Arc<dyn Backend>);

impl StreamState {
    #[cfg(test)]
    pub(super) fn of(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }

    /// What is known about a SET, all that was remembered before included.
    ///
    /// # Errors
    /// The state cannot be read, or something remembered before cannot be written: hold the
    /// stream, ask again later.
    pub fn look_up(&self, question: &Question) -> Reply<Facts> {
        self.0.look_up(question)
    }

    /// Notes the final outcome of a SET. A SET that is not newer than its subject's mark changes
    /// neither mark nor level (compare-and-set): only its jti is noted, if it was accepted.
    ///
    /// # Errors
    /// It is not durable yet, but not forgotten: hold the stream and call [`Self::flush_of`] until
    /// that is `Ok`; do not remember it again. But [`StateError::Fenced`]: only that it was accepted is noted.
    pub fn remember(&self, decided: &Decided) -> Flushed {
        self.0.remember(decided)
    }

    /// Notes the next offset of a partition that this process settled. When it is durable, that
    /// offset may be stored.
    ///
    /// # Errors
    /// As for [`Self::remember`].
    pub fn progress(&self, topic: &str, partition: i32, next_offset: i64) -> Flushed {
        self.0.progress(topic, partition, next_offset)
    }

    /// The partition was assigned to this process: finds out whether levels and marks that stem
    /// from it are still true, and drops them if not. `committed` is the group's committed offset
    /// (none: nobody has worked on this log; a partition gets a commit before it is read), `log_end` the offset that the partition's next record will get. Call it before the first
    /// record of the assignment is taken, and never with a guessed `log_end`.
    ///
    /// # Errors
    /// As for [`Self::look_up`]; the partition must not be worked on then.
    pub fn assigned(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    ) -> Reply<Handover> {
        self.0.assigned(topic, partition, committed, log_end)
    }

    /// The partition was given back or lost: nothing more is noted for it until it is assigned
    /// again.
    pub fn released(&self, topic: &str, partition: i32) {
        self.0.released(topic, partition);
    }

    /// Forgets that these jtis were delivered, as if their time had passed. Marks are another matter: a partition that is
    /// assigned anew without a commit loses them.
    ///
    /// # Errors
    /// As for [`Self::remember`].
    pub fn forget(&self, jtis: &[JtiKey]) -> Flushed {
        match jtis {
            [] => self.0.flush(),
            jtis => self.0.forget(jtis),
        }
    }

    /// Resolves when everything noted before is durable. It is also the retry after a failure.
    ///
    /// # Errors
    /// It still is not.
    pub fn flush(&self) -> Flushed {
        self.0.flush()
    }

    /// As [`Self::flush`], for what was noted about one partition.
    ///
    /// # Errors
    /// It still is not durable, or ([`StateError::Fenced`]) not all of it was taken since the partition was assigned.
    pub fn flush_of(&self, topic: &str, partition: i32) -> Flushed {
        self.0.flush_of(topic, partition)
    }

    /// Whether the state is gone and the stream goes on without, as configured.
    #[must_use]
    pub fn is_bypassed(&self) -> bool {
        self.0.is_bypassed()
    }

    /// In how many partitions levels were dropped since the last call, because a shared state has
    /// lost what it had acknowledged, or could not be told all that was decided without it.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.0.take_lost()
    }

    /// The fingerprint of the configuration under which the receiver accepted its first SET.
    ///
    /// # Errors
    /// As for [`Self::look_up`].
    pub fn accepted_under(&self) -> Reply<Option<[u8; 32]>> {
        self.0.accepted_under()
    }

    /// Notes that fingerprint.
    ///
    /// # Errors
    /// As for [`Self::remember`].
    pub fn set_accepted_under(&self, fingerprint: [u8; 32]) -> Flushed {
        self.0.set_accepted_under(fingerprint)
    }

    /// Why an operator holds the stream, if one does.
    ///
    /// # Errors
    /// As for [`Self::look_up`].
    pub fn operator_hold(&self) -> Reply<Option<String>> {
        self.0.operator_hold()
    }

    /// Holds the stream for a reason, or ends that hold.
    ///
    /// # Errors
    /// As for [`Self::remember`].
    pub fn set_operator_hold(&self, reason: Option<&str>) -> Flushed {
        self.0.set_operator_hold(reason)
    }

    /// Since when the stream has been held without an acceptance since, in ms since 1970.
    ///
    /// # Errors
    /// As for [`Self::look_up`].
    pub fn held_since(&self) -> Reply<Option<i64>> {
        self.0.held_since()
    }

    /// Notes that moment, or that there is none any more.
    ///
    /// # Errors
    /// As for [`Self::remember`], but nothing depends on it except ages after a restart: no reason to hold the stream.
    pub fn set_held_since(&self, since_ms: Option<i64>) -> Flushed {
        self.0.set_held_since(since_ms)
    }
}

impl fmt::Debug for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamState")
    }
}
