//! The file for somebody who only looks, also beside the process that works with it: no lock is taken, nothing is written.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{Asked, ledger::Ledger, lock, real_path, rows, schema, tables::Tables};
use crate::{
    set::Timestamp,
    state::{Facts, Question, StateError, window::Window},
};

/// A connection that can only read.
pub(in crate::state) struct SqliteView(Connection);

impl SqliteView {
    /// # Errors
    /// As for `SqliteStore::open`, but a file of an older schema is [`StateError::Older`]: nobody migrates it here.
    pub(in crate::state) fn open(path: &Path) -> Result<Self, StateError> {
        let path = real_path(path);
        let unreachable = |source: Arc<dyn std::error::Error + Send + Sync>| {
            let path = path.clone();
            StateError::Unreachable { path, source }
        };
        fs::metadata(&path).map_err(|error| unreachable(Arc::new(error)))?;
        // Without a log nobody has the file open, and what is in it is all there is. Opened as usual, SQLite would make
        // a log, for which it would need to write.
        let at_rest = !lock::beside(&path, "-wal").exists();
        let uri = uri(&path, at_rest);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri, flags)
            .map_err(|error| unreachable(Arc::new(error)))?;
        connection.busy_timeout(Duration::from_millis(500))?;
        let (found, known) = (
            schema::version(&connection)?,
            schema::MIGRATIONS.len() as i64,
        );
        match found {
            _ if found > known => Err(StateError::Newer { path, found, known }),
            _ if found < known => Err(StateError::Older { path, found, known }),
            _ => Ok(Self(connection)),
        }
    }

    /// The answers to all of these, as of one moment.
    pub(in crate::state) fn look_up(
        &self,
        stream: &str,
        questions: &[Question],
        window: Window,
        now: Timestamp,
    ) -> Result<Vec<Facts>, StateError> {
        // It is rolled back when it goes: nothing was written.
        let reading = self.0.unchecked_transaction()?;
        let mut tables = Tables::prepare(&reading)?;
        let mut ledger = Ledger::load(&tables)?;
        // In the copy in memory only.
        let id = ledger.meet(&Arc::from(stream));
        let facts = questions.iter().map(|question| {
            let asked = Asked::new(question);
            rows::look_up(&mut tables, &ledger, id, &asked, (window, now))
        });
        Ok(facts.collect::<Result<_, _>>()?)
    }
}

/// RFC 8089, as SQLite reads it; `?`, `#` and `%` in a path would mean something else.
fn uri(path: &Path, at_rest: bool) -> String {
    let path = path.display().to_string();
    let path = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    let at_rest = if at_rest { "?immutable=1" } else { "" };
    format!("file:{path}{at_rest}")
}
