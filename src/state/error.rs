//! What can go wrong with the state, by what the caller does about it.

use std::{io, path::PathBuf, sync::Arc};

/// A failure of the state. Cheap to clone: one failed write answers every caller that waits for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// At open: the file cannot be reached (no directory, no permission). A fault of the set-up.
    #[error("cannot open the state file {path}: does its directory exist, and may we write there")]
    Unreachable {
        /// The file, or its lock file.
        path: PathBuf,
        /// What the file system or SQLite said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// At open: another process works with the file. Two would overwrite each other's levels.
    #[error("the state file {path} is in use by another process; give each its own state.path")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// At open: the file was written by a newer setbridge.
    #[error("the state file {path} has schema version {found}, this setbridge knows up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest one that we can read.
        known: i64,
    },
    /// At open to look only: an older setbridge wrote the file, and nobody has migrated it.
    #[error(
        "the state file {path} has schema version {found}, not {known}: it is brought up to date when `setbridge run` opens it"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The one that we read.
        known: i64,
    },
    /// The file is no SQLite database, not ours, or damaged. Moving it away loses dedup and levels,
    /// never a detection.
    #[error(
        "the state file is damaged or not a setbridge state file; move it away to start afresh"
    )]
    Corrupt {
        /// What SQLite said; none when the file belongs to another program.
        source: Option<Arc<rusqlite::Error>>,
    },
    /// The disk is full. Nothing that was remembered is lost; hold the stream and `flush` again.
    #[error("no room to write the state file")]
    Full {
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// SQLite failed otherwise (I/O error, a lock held by an operator's tool). As for `Full`.
    #[error("the state file cannot be read or written")]
    Failed {
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// The write was handed to the disk, but could not be made durable. As for `Full`.
    #[error("the state file cannot be synced to disk")]
    Unsynced {
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The Redis does not answer, or answers that it cannot now (it loads, its cluster is down).
    /// Nothing that was remembered is lost; hold the stream and `flush` again.
    #[error("the state in Redis at {at} cannot be reached")]
    RemoteUnreachable {
        /// `host:port`, several parted by commas.
        at: Arc<str>,
        /// What the connection or the server said.
        source: Arc<redis::RedisError>,
    },
    /// The Redis refuses us. A fault of the set-up; otherwise as for `RemoteUnreachable`.
    #[error(
        "the Redis at {at} refuses us; mend state.redis.username, its password or the user's ACL rule"
    )]
    RemoteRefused {
        /// `host:port`, several parted by commas.
        at: Arc<str>,
        /// What the server said.
        source: Arc<redis::RedisError>,
    },
    /// The Redis takes no writes: its memory or disk is full, or it is a replica. As for
    /// `RemoteUnreachable`.
    #[error("the Redis at {at} takes no writes")]
    RemoteUnwritable {
        /// `host:port`, several parted by commas.
        at: Arc<str>,
        /// What the server said.
        source: Arc<redis::RedisError>,
    },
    /// What is in the Redis about the stream was written by a newer setbridge.
    #[error(
        "the state in Redis at {at} has schema version {found}, this setbridge knows up to {known}"
    )]
    RemoteNewer {
        /// `host:port`, several parted by commas.
        at: Arc<str>,
        /// Its schema version.
        found: i64,
        /// The newest one that we can read.
        known: i64,
    },
    /// In the Redis the partition has another owner, or none (it was lost there, or assigned while the Redis was away), so
    /// what is noted about it is not taken, and no question about it answered. The consumer group says whether it is ours;
    /// then it has to be assigned anew.
    #[error("the partition {place} is not ours in the Redis")]
    Fenced {
        /// `topic:partition`.
        place: Arc<str>,
    },
    /// A file for TLS to the Redis cannot be read. A fault of the set-up.
    #[error("cannot read {path} for TLS to the Redis at {at}")]
    RemoteFile {
        /// The file.
        path: PathBuf,
        /// `host:port`, several parted by commas.
        at: Arc<str>,
        /// What the file system said.
        source: Arc<io::Error>,
    },
    /// The state was closed, or its thread died. The process must stop.
    #[error("the state is closed")]
    Stopped,
}

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        let code = error.sqlite_error_code();
        let source = Arc::new(error);
        match code {
            Some(DiskFull) => Self::Full { source },
            // Without a code it is a value of a wrong type or out of its range.
            Some(DatabaseCorrupt | NotADatabase) | None => Self::Corrupt {
                source: Some(source),
            },
            Some(_) => Self::Failed { source },
        }
    }
}
