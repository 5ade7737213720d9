//! The file: who may open it, what survives, what a failure costs.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    set::Level,
    state::{
        StreamState,
        tests::{DAY, TestClock, accepted, at, dead_lettered, question, run},
    },
};

/// A directory with room for a state file.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("tempdir"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.db")
    }

    fn open(&self) -> Result<SqliteStore, StateError> {
        SqliteStore::open(&self.path(), DAY, TestClock::default().clock())
    }

    /// Opens with a connection that the test set up, and with a sync of the test's.
    fn open_with(&self, set_up: impl FnOnce(&Connection), sync: Sync) -> SqliteStore {
        let lock = FileLock::take(&self.path()).expect("free");
        let connection = schema::open(&self.path(), schema::MIGRATIONS).expect("opens");
        set_up(&connection);
        let clock = TestClock::default().clock();
        SqliteStore::start(connection, lock, sync, DAY, clock).expect("starts")
    }

    /// What an operator's `sqlite3` would be.
    fn operator(&self) -> Connection {
        Connection::open(self.path()).expect("opens")
    }
}

fn state(store: &SqliteStore) -> StreamState {
    StreamState::of(Arc::new(store.stream("s")))
}

/// The retry of a held stream.
async fn flush_until_durable(state: &StreamState) {
    while state.flush().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let place = Place::new();
    let first = place.open().expect("opens");
    assert!(matches!(place.open(), Err(StateError::Locked { .. })));
    let link = place.0.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).expect("a link");
    let by_link = SqliteStore::open(&link, DAY, TestClock::default().clock());
    assert!(matches!(by_link, Err(StateError::Locked { .. })));
    run(first.close()).expect("closes");
    run(place.open().expect("free again").close()).expect("closes");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let place = Place::new();
    let nowhere = place.0.path().join("missing/state.db");
    let refused = SqliteStore::open(&nowhere, DAY, TestClock::default().clock());
    assert!(matches!(refused, Err(StateError::Unreachable { .. })));

    fs::write(
        place.path(),
        "no database at all, but long enough to look like one".repeat(100),
    )
    .expect("a file");
    assert!(matches!(place.open(), Err(StateError::Corrupt { .. })));

    fs::remove_file(place.path()).expect("there");
    run(place.open().expect("new").close()).expect("closes");
    place
        .operator()
        .pragma_update(None, "user_version", 99)
        .expect("their pragma");
    assert!(matches!(
        place.open(),
        Err(StateError::Newer { found: 99, .. })
    ));
}

#[test]
fn a_file_from_before_holds_were_kept_is_migrated() {
    let place = Place::new();
    let before = schema::open(&place.path(), &schema::MIGRATIONS[..1]).expect("version 1");
    before
        .execute_batch("INSERT INTO streams VALUES (0, 's', NULL, 'maintenance', 0, 0)")
        .expect("a stream");
    drop(before);
    run(async {
        let store = place.open().expect("migrated");
        let state = state(&store);
        assert_eq!(state.held_since().await.expect("known"), None);
        let hold = state.operator_hold().await.expect("known");
        assert_eq!(hold.as_deref(), Some("maintenance"));
        state.set_held_since(Some(9)).await.expect("durable");
        store.close().await.expect("closes");
    });
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let place = Place::new();
    run(async {
        let store = place.open().expect("opens");
        let state = state(&store);
        for n in 0..2000 {
            drop(state.remember(&accepted(&n.to_string(), n as u8, n, Level::Low)));
        }
        state.flush().await.expect("durable");
        store.close().await.expect("closes");
    });
    let mut bytes = fs::read(place.path()).expect("a file");
    bytes[8192..].fill(0xA5);
    fs::write(place.path(), bytes).expect("a file");
    let opened = place.open();
    if let Ok(store) = opened {
        run(async {
            let facts = state(&store).look_up(&question("1", 1)).await;
            assert!(
                matches!(facts, Err(StateError::Corrupt { .. })),
                "{facts:?}"
            );
        });
    } else {
        assert!(matches!(opened, Err(StateError::Corrupt { .. })));
    }
}

#[test]
fn what_was_flushed_survives_a_kill() {
    let place = Place::new();
    let copy = Place::new();
    run(async {
        let store = place.open().expect("opens");
        let state = state(&store);
        state.assigned("t", 0, Some(3), 100).await.expect("known");
        drop(state.remember(&dead_lettered("eleven", 1, 11)));
        drop(state.remember(&accepted("twelve", 1, 12, Level::Low)));
        drop(state.progress("t", 0, 4));
        drop(state.set_accepted_under([1; 32]));
        drop(state.set_held_since(Some(9)));
        state.flush().await.expect("durable");
        // A kill leaves the files as they are now.
        for name in ["state.db", "state.db-wal"] {
            fs::copy(place.0.path().join(name), copy.0.path().join(name)).expect("copied");
        }
    });
    run(async {
        let store = copy.open().expect("opens");
        let state = state(&store);
        assert_eq!(
            state.assigned("t", 0, Some(4), 100).await.expect("known"),
            Handover::Continued
        );
        let eleven = state.look_up(&question("eleven", 1)).await.expect("facts");
        assert_eq!((eleven.delivered, eleven.mark), (false, Some(at(12))));
        assert_eq!(eleven.level, Some(Level::Low));
        assert!(
            state
                .look_up(&question("twelve", 1))
                .await
                .expect("facts")
                .delivered
        );
        assert_eq!(state.accepted_under().await.expect("known"), Some([1; 32]));
        assert_eq!(state.held_since().await.expect("known"), Some(9));
        assert_eq!(store.stats().jtis, 1);
    });
}

#[test]
fn a_lock_held_by_others_delays_writes_and_loses_none() {
    let place = Place::new();
    run(async {
        let store = place.open().expect("opens");
        let state = state(&store);
        state.flush().await.expect("durable");
        let operator = place.operator();
        operator.execute_batch("BEGIN IMMEDIATE").expect("locked");
        let failed = state.remember(&accepted("a", 1, 1, Level::High)).await;
        assert!(
            matches!(failed, Err(StateError::Failed { .. })),
            "{failed:?}"
        );
        let early = state.look_up(&question("a", 1)).await;
        assert!(early.is_err(), "it must not miss what waits to be written");
        drop(state.remember(&accepted("b", 1, 2, Level::Low)));
        assert_eq!(
            state.assigned("t", 0, Some(0), 9).await.expect("known"),
            Handover::Continued
        );
        operator.execute_batch("ROLLBACK").expect("unlocked");
        flush_until_durable(&state).await;
        let facts = state.look_up(&question("a", 1)).await.expect("facts");
        assert_eq!((facts.delivered, facts.mark), (true, Some(at(2))));
        assert_eq!(facts.level, Some(Level::Low), "in the order of remembering");
        let stats = store.stats();
        assert_eq!((stats.jtis, stats.marks, stats.levels), (2, 1, 1));
        assert!(stats.failed_flushes > 0);
        store.close().await.expect("closes");
    });
}

#[test]
fn a_failure_in_the_middle_of_a_turn_keeps_counts_and_order() {
    let place = Place::new();
    run(async {
        let store = place.open().expect("opens");
        let state = state(&store);
        state.flush().await.expect("durable");
        let operator = place.operator();
        // ROLLBACK ends the transaction by itself, as an I/O error may.
        let trap = "CREATE TRIGGER trap BEFORE INSERT ON subjects WHEN NEW.subject = x'09090909090909090909090909090909'
                    BEGIN SELECT RAISE(ROLLBACK, 'trap'); END";
        operator.execute_batch(trap).expect("a trigger");
        let before = state.remember(&accepted("a", 1, 1, Level::High));
        let trapped = state.remember(&accepted("b", 9, 2, Level::High));
        assert!(before.await.is_err() && trapped.await.is_err());
        operator
            .execute_batch("DROP TRIGGER trap")
            .expect("no trigger");
        flush_until_durable(&state).await;
        for (text, n) in [("a", 1), ("b", 9)] {
            assert!(
                state
                    .look_up(&question(text, n))
                    .await
                    .expect("facts")
                    .delivered
            );
        }
        let stats = store.stats();
        assert_eq!((stats.jtis, stats.marks, stats.levels), (2, 2, 2));
    });
}

#[test]
fn a_full_disk_holds_and_goes_on_when_there_is_room() {
    let place = Place::new();
    let filler = |connection: &Connection| {
        let fill = "CREATE TABLE filler (x); INSERT INTO filler SELECT randomblob(4000)
                    FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400) SELECT i FROM n)";
        connection.execute_batch(fill).expect("filled");
        let pages: i64 = connection
            .pragma_query_value(None, "page_count", |r| r.get(0))
            .expect("pages");
        connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .expect("full");
    };
    let store = place.open_with(filler, sync_log(lock::beside(&place.path(), "-wal")));
    run(async {
        let state = state(&store);
        let many: Vec<_> = (0..3000)
            .map(|n| state.remember(&accepted(&n.to_string(), n as u8, n, Level::High)))
            .collect();
        let mut full = 0;
        for flushed in many {
            match flushed.await {
                Ok(()) => {}
                Err(StateError::Full { .. }) => full += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(full > 0, "it was not full");
        place
            .operator()
            .execute_batch("DROP TABLE filler")
            .expect("room");
        flush_until_durable(&state).await;
        assert_eq!(store.stats().jtis, 3000);
        let facts = state
            .look_up(&question("2999", 2999_i64 as u8))
            .await
            .expect("facts");
        assert_eq!((facts.delivered, facts.mark), (true, Some(at(2999))));
    });
}

#[test]
fn a_failed_sync_is_told_and_mended_by_a_checkpoint() {
    let place = Place::new();
    let broken = Arc::new(AtomicBool::new(true));
    let shared = Arc::clone(&broken);
    let sync: Sync = Box::new(move || match shared.load(Ordering::SeqCst) {
        true => Err(io::Error::other("the disk is gone")),
        false => Ok(()),
    });
    let store = place.open_with(|_| {}, sync);
    run(async {
        let state = state(&store);
        let failed = state.remember(&accepted("a", 1, 1, Level::High)).await;
        assert!(
            matches!(failed, Err(StateError::Unsynced { .. })),
            "{failed:?}"
        );
        let facts = state.look_up(&question("a", 1)).await.expect("facts");
        assert!(facts.delivered, "the commit itself stands");
        broken.store(false, Ordering::SeqCst);
        flush_until_durable(&state).await;
        let log = fs::metadata(lock::beside(&place.path(), "-wal")).expect("a log");
        assert_eq!(log.len(), 0, "all of it went into the database");
    });
}

#[test]
fn a_dead_thread_answers_stopped_and_never_hangs() {
    let place = Place::new();
    let store = place.open_with(|_| {}, Box::new(|| panic!("a bug in the sync thread")));
    run(async {
        let state = state(&store);
        let stopped = state.remember(&accepted("a", 1, 1, Level::High)).await;
        assert!(matches!(stopped, Err(StateError::Stopped)));
    });

    let place = Place::new();
    let store = place.open().expect("opens");
    run(async {
        let state = state(&store);
        let pending = state.remember(&accepted("a", 1, 1, Level::High));
        store.close().await.expect("closes");
        pending.await.expect("closing writes what is left");
        assert!(matches!(
            state.look_up(&question("a", 1)).await,
            Err(StateError::Stopped)
        ));
        assert!(matches!(state.flush().await, Err(StateError::Stopped)));
    });
}

#[test]
fn closing_says_when_something_could_not_be_written() {
    let place = Place::new();
    run(async {
        let store = place.open().expect("opens");
        let state = state(&store);
        state.flush().await.expect("durable");
        let operator = place.operator();
        operator.execute_batch("BEGIN IMMEDIATE").expect("locked");
        assert!(
            state
                .remember(&accepted("a", 1, 1, Level::High))
                .await
                .is_err()
        );
        assert!(matches!(
            store.close().await,
            Err(StateError::Failed { .. })
        ));
    });
}

#[test]
fn expired_buckets_are_swept_in_the_background() {
    let place = Place::new();
    let clock = TestClock::default();
    let store = SqliteStore::open(&place.path(), DAY, clock.clock()).expect("opens");
    run(async {
        let state = state(&store);
        for n in 0..5000 {
            drop(state.remember(&accepted(&n.to_string(), 1, n, Level::High)));
        }
        state.flush().await.expect("durable");
        assert_eq!(store.stats().jtis, 5000);
        clock.advance(48 * 3600);
        drop(state.remember(&accepted("new", 1, 5000, Level::High)));
        let operator = place.operator();
        let count = "SELECT (SELECT count(*) FROM delivered), (SELECT count(*) FROM buckets)";
        let left = || operator.query_row(count, [], |r| Ok((r.get(0)?, r.get(1)?)));
        while left().expect("counts") != (1_i64, 1_i64) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        state.flush().await.expect("durable");
        assert_eq!(store.stats().jtis, 1);
    });
}

#[test]
fn people_can_look_inside() {
    let place = Place::new();
    run(async {
        let store = place.open().expect("opens");
        let state = state(&store);
        state
            .remember(&accepted("a", 1, 7, Level::High))
            .await
            .expect("durable");
        let operator = place.operator();
        let row = |sql: &str| {
            operator
                .query_row(sql, [], |r| r.get::<_, String>(0))
                .expect("a row")
        };
        let level = "SELECT stream || ' ' || event_type || ' ' || level || ' ' || topic || counts FROM last_levels";
        assert_eq!(row(level), "s user-risk-change high t1");
        assert_eq!(row("SELECT offset || ' ' || counts FROM marks"), "7 1");
    });
}
