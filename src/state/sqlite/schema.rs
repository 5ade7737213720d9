//! The file's layout, its versions, and how a connection to it is set up.
//!
//! `PRAGMA user_version` is the schema version: the number of [`MIGRATIONS`] that the file has
//! seen. A released step is never changed; a new version appends one.
//!
//! Layout, with reasons (measured: a SET's cost is the leaf pages that it dirties, each of which is
//! copied, summed and written twice):
//! * `delivered` is keyed by bucket before jti, so a bucket is one range of the tree: inserts touch
//!   only the newest range, and expiry empties the oldest from its left end.
//! * `subjects` holds a subject's marks and levels side by side, so that one SET dirties one leaf,
//!   not two: a row is a mark when `fact` is negative (-1 - partition), else the last accepted SET
//!   of that event type (without `position` when an older setbridge wrote it). A row counts only while its `epoch` is that of its partition.
//! * Both have no rowid: the key is the row.
//!
//! The views `marks` and `last_levels` are for people.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, TransactionBehavior};

use crate::state::StateError;

/// Says that a SQLite file is ours: "SETB".
const APPLICATION_ID: i64 = 0x5345_5442;

/// Step n leads from version n to n + 1.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    accepted_under BLOB,
    operator_hold TEXT,
    marks INTEGER NOT NULL,
    levels INTEGER NOT NULL
) STRICT;
CREATE TABLE event_types (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE partitions (
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER,
    newest_mark INTEGER,
    marks_epoch INTEGER NOT NULL,
    levels_epoch INTEGER NOT NULL,
    PRIMARY KEY (stream, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE buckets (
    stream INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (stream, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE delivered (
    stream INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    jti BLOB NOT NULL,
    PRIMARY KEY (stream, bucket, jti)
) STRICT, WITHOUT ROWID;
CREATE TABLE subjects (
    stream INTEGER NOT NULL,
    subject BLOB NOT NULL,
    fact INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    position INTEGER,
    element INTEGER,
    set_index INTEGER,
    level TEXT,
    event_time INTEGER,
    PRIMARY KEY (stream, subject, fact)
) STRICT, WITHOUT ROWID;
CREATE VIEW marks AS
    SELECT st.name AS stream, hex(su.subject) AS subject, p.topic, p.partition,
           su.position AS offset, su.element, su.set_index, su.epoch = p.marks_epoch AS counts
    FROM subjects su JOIN streams st ON st.id = su.stream
    JOIN partitions p ON p.stream = su.stream AND p.id = su.partition
    WHERE su.fact < 0;
CREATE VIEW last_levels AS
    SELECT st.name AS stream, hex(su.subject) AS subject, e.name AS event_type, su.level,
           datetime(su.event_time, 'unixepoch') AS event_time, p.topic, p.partition,
           su.epoch = p.levels_epoch AS counts
    FROM subjects su JOIN streams st ON st.id = su.stream
    JOIN event_types e ON e.id = su.fact
    JOIN partitions p ON p.stream = su.stream AND p.id = su.partition
    WHERE su.fact > 0;
",
    "
ALTER TABLE streams ADD COLUMN held_since INTEGER;
",
];

/// Opens the file, sees whether we may work with it, and brings it to the newest version.
pub(super) fn open(path: &Path, migrations: &[&str]) -> Result<Connection, StateError> {
    let unreachable = |error: rusqlite::Error| StateError::Unreachable {
        path: path.to_owned(),
        source: Arc::new(error),
    };
    let mut connection = Connection::open(path).map_err(unreachable)?;
    // An operator's tool may hold a lock for a moment; look-ups wait meanwhile.
    connection.busy_timeout(Duration::from_millis(500))?;
    let found = version(&connection)?;
    let known = migrations.len() as i64;
    if found > known {
        let path = path.to_owned();
        return Err(StateError::Newer { path, found, known });
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let why = format!("this file system allows journal mode {mode} only, not wal");
        return Err(StateError::Unreachable {
            path: path.to_owned(),
            source: Arc::new(std::io::Error::other(why)),
        });
    }
    configure(&connection)?;
    migrate(&mut connection, found, migrations)?;
    if found == 0 {
        tracing::info!(path = %path.display(), "the state file is new");
    }
    Ok(connection)
}

/// The schema version; 0 for a new file.
pub(super) fn version(connection: &Connection) -> Result<i64, StateError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = pragma("user_version")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let ours = pragma("application_id")? == APPLICATION_ID && version > 0;
    let fresh = version == 0 && tables == 0;
    if ours || fresh {
        Ok(version)
    } else {
        Err(StateError::Corrupt { source: None })
    }
}

/// `synchronous=NORMAL`: a COMMIT writes the log without waiting for the disk; our own sync of the
/// log, beside this thread, makes it durable before anybody is told so (see `syncer`). SQLite
/// itself still syncs around each checkpoint, so the file is consistent after any power loss.
/// Cache and log are bounded: 8 MiB of memory; the log is copied into the file every 8,000 pages
/// (32 MB), seldom enough that hot pages are copied once for many writes.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY;
         PRAGMA mmap_size=0;",
    )?;
    for (name, value) in [
        ("wal_autocheckpoint", 8000),
        ("journal_size_limit", 64 << 20),
    ] {
        connection.pragma_update_and_check(None, name, value, |_| Ok(()))?;
    }
    Ok(())
}

/// All steps in one transaction: a crash leaves the old version.
fn migrate(connection: &mut Connection, found: i64, steps: &[&str]) -> rusqlite::Result<()> {
    let known = steps.len();
    let done = usize::try_from(found).unwrap_or(known);
    if done == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known as i64)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "CREATE TABLE old (name TEXT); INSERT INTO old VALUES ('kept')";
    const V2: &str =
        "ALTER TABLE old RENAME TO new; ALTER TABLE new ADD COLUMN age INTEGER DEFAULT 7";

    #[test]
    fn an_old_file_is_migrated_forward_and_a_newer_one_refused() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("state.db");
        drop(open(&path, &[V1]).expect("new file"));
        let migrated = open(&path, &[V1, V2]).expect("migrated");
        let row = migrated.query_row("SELECT name, age FROM new", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        });
        assert_eq!(row.expect("a row"), ("kept".to_owned(), 7));
        drop(migrated);
        let refused = open(&path, &[V1]).expect_err("newer");
        assert!(matches!(
            refused,
            StateError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ));
        drop(open(&path, &[V1, V2]).expect("untouched by the refusal"));
    }

    #[test]
    fn a_failed_migration_leaves_the_old_version() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("state.db");
        drop(open(&path, &[V1]).expect("new file"));
        assert!(open(&path, &[V1, V2, "nonsense"]).is_err());
        let old = open(&path, &[V1]).expect("still version 1");
        let name: String = old
            .query_row("SELECT name FROM old", [], |row| row.get(0))
            .expect("the old table");
        assert_eq!(name, "kept");
    }

    #[test]
    fn a_foreign_database_is_refused_and_not_touched() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("other.db");
        let foreign = Connection::open(&path).expect("new file");
        foreign
            .execute_batch("CREATE TABLE theirs (x)")
            .expect("their table");
        drop(foreign);
        let before = std::fs::read(&path).expect("a file");
        let refused = open(&path, MIGRATIONS).expect_err("foreign");
        assert!(matches!(refused, StateError::Corrupt { source: None }));
        assert_eq!(std::fs::read(&path).expect("a file"), before);
    }
}
