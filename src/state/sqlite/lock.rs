//! One process per state file, by an advisory lock on a file beside it. The lock dies with the
//! process, so a crash leaves nothing to clean up; the lock file stays.
//!
//! Not SQLite's own exclusive mode: an operator (and `setbridge explain`) may read the database
//! while the bridge runs. Not a lock on the database itself: where the operating system maps this
//! kind of lock to SQLite's kind, the two would meet.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::state::StateError;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct FileLock(
    #[allow(dead_code, reason = "the lock lasts as long as the file is open")] File,
);

impl FileLock {
    pub(super) fn take(database: &Path) -> Result<Self, StateError> {
        let path = beside(database, ".lock");
        let unreachable = |error: io::Error| StateError::Unreachable {
            path: path.clone(),
            source: Arc::new(error),
        };
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let file = options.open(&path).map_err(unreachable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked {
                path: database.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(unreachable(error)),
        }
    }
}

/// The path of a file that belongs to the database: its name with a suffix.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
