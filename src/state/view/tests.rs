//! Looking changes nothing, and sees what the process that works with the file has made durable.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{
    set::Level,
    state::tests::{DAY, TestClock, accepted, at, question, run},
};

fn settings(folder: &Path) -> StateSettings {
    StateSettings::Sqlite {
        path: folder.join("state #1?.db"),
        window: DAY,
    }
}

fn view(folder: &Path) -> Result<StateView, StateError> {
    let opened = StateStore::open_read_only(&settings(folder), TestClock::default().clock());
    opened.map(|view| view.expect("a file can be seen"))
}

fn files(folder: &Path) -> BTreeSet<(String, u64)> {
    let each = fs::read_dir(folder).expect("a folder").map(|entry| {
        let entry = entry.expect("a file");
        let name = entry.file_name().into_string().expect("text");
        (name, entry.metadata().expect("there").len())
    });
    each.collect()
}

#[test]
fn it_is_seen_beside_the_bridge_and_at_rest() {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path();
    assert!(matches!(view(path), Err(StateError::Unreachable { .. })));
    assert_eq!(files(path), BTreeSet::new());
    run(async {
        let store = StateStore::open(&settings(path), TestClock::default().clock()).expect("opens");
        let state = store.stream("s");
        let first = question("first", 1);
        state
            .remember(&accepted("first", 1, 7, Level::High))
            .await
            .expect("durable");
        let questions = [first.clone(), question("second", 1), question("third", 2)];
        let beside = view(path).expect("opens beside it");
        let facts = beside.look_up("s", &questions).await.expect("read");
        assert_eq!(facts[0], state.look_up(&first).await.expect("known"));
        let seen: Vec<_> = facts
            .iter()
            .map(|f| (f.delivered, f.mark, f.level))
            .collect();
        let known = (Some(at(7)), Some(Level::High));
        assert_eq!(
            seen,
            [
                (true, known.0, known.1),
                (false, known.0, known.1),
                (false, None, None)
            ]
        );
        let other = beside.look_up("another", &questions).await.expect("read");
        assert_eq!(other, [Facts::default(); 3]);
        // It goes on seeing what comes.
        state
            .remember(&accepted("second", 1, 9, Level::Low))
            .await
            .expect("durable");
        let later = beside.look_up("s", &questions).await.expect("read");
        assert_eq!((later[1].delivered, later[2].mark), (true, None));
        drop(beside);
        store.close().await.expect("closes");

        let before = files(path);
        let at_rest = view(path)
            .expect("opens at rest")
            .look_up("s", &questions)
            .await;
        assert_eq!(at_rest.expect("read"), later);
        assert_eq!(files(path), before, "nothing was made");
    });
}

#[test]
fn what_cannot_be_seen_says_why() {
    let memory = StateSettings::Memory {
        max_entries: 1,
        window: DAY,
    };
    let seen = StateStore::open_read_only(&memory, TestClock::default().clock());
    assert!(seen.expect("no fault").is_none());
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path();
    let store = StateStore::open(&settings(path), TestClock::default().clock()).expect("opens");
    run(store.close()).expect("closes");
    let version = |version: i64| {
        let file = path.join("state #1?.db");
        let file = rusqlite::Connection::open(file).expect("opens");
        file.pragma_update(None, "user_version", version)
            .expect("their pragma");
    };
    version(1);
    assert!(matches!(
        view(path),
        Err(StateError::Older { found: 1, .. })
    ));
    version(99);
    assert!(matches!(
        view(path),
        Err(StateError::Newer { found: 99, .. })
    ));
    fs::write(
        path.join("state #1?.db"),
        "no database, and long. ".repeat(100),
    )
    .expect("a file");
    assert!(matches!(view(path), Err(StateError::Corrupt { .. })));
}
