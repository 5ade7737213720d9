//! Against a real redis-server: what happens when it goes, comes back, has lost something, or refuses us.

mod access;
mod again;
mod looking;
mod members;

use std::time::Duration;

use super::*;
use crate::set::Level;
use crate::state::tests::{
    RedisServer, accepted, at, dead_lettered, in_redis, question, run, subject,
};
use crate::state::{StateSettings, StateStore, StreamState, system_clock};

/// A Redis that answers within this is there.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn open(settings: &RedisSettings) -> StateStore {
    let settings = StateSettings::Redis(Box::new(settings.clone()));
    StateStore::open(&settings, system_clock()).expect("opens")
}

/// How to reach this server, for a test that takes it away.
pub(super) fn impatient(server: &RedisServer) -> RedisSettings {
    RedisSettings {
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
        ..in_redis(server)
    }
}

/// Waits until all that was noted is there; `run` bounds it.
pub(super) async fn durable(state: &StreamState) {
    while state.flush().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn is_delivered(state: &StreamState, jti: &str) -> bool {
    let facts = state.look_up(&question(jti, 1)).await;
    facts.expect("facts").delivered
}

/// A hundred SETs about one subject, told without waiting.
fn tell_hundred(state: &StreamState, from: i64) -> Vec<Flushed> {
    let each =
        (from..from + 100).map(|n| state.remember(&accepted(&n.to_string(), 1, n, Level::High)));
    each.collect()
}

#[test]
fn a_server_killed_in_the_middle_loses_nothing_that_was_told() {
    let mut server = RedisServer::start(&[]);
    let store = open(&impatient(&server));
    run(async {
        let state = store.stream("s");
        durable(&state).await;
        let mut told = tell_hundred(&state, 0);
        server.kill();
        told.extend(tell_hundred(&state, 100));
        let mut failed = 0;
        for flushed in told {
            failed += u32::from(flushed.await.is_err());
        }
        assert!(failed >= 100, "only {failed} were refused");
        let asked = state.look_up(&question("0", 1)).await;
        assert!(matches!(asked, Err(StateError::RemoteUnreachable { .. })));
        server.start_again();
        durable(&state).await;
        for n in 0..200 {
            assert!(is_delivered(&state, &n.to_string()).await, "{n}");
        }
        let facts = state.look_up(&question("x", 1)).await.expect("facts");
        assert_eq!(facts.mark, Some(at(199)));
        assert_eq!(store.stream("s").take_lost(), 0);
        store.close().await.expect("closes");
    });
}

#[test]
fn a_server_that_is_paused_is_given_up_and_nothing_is_carried_out_twice() {
    let server = RedisServer::start(&[]);
    let store = open(&impatient(&server));
    run(async {
        let state = store.stream("s");
        durable(&state).await;
        server.pause();
        let told = tell_hundred(&state, 0);
        for flushed in told {
            assert!(flushed.await.is_err());
        }
        // Told while the first hundred lies in the socket of a server that will wake up.
        drop(state.remember(&accepted("newest", 1, 500, Level::Low)));
        server.go_on();
        durable(&state).await;
        let facts = state.look_up(&question("99", 1)).await.expect("facts");
        assert!(facts.delivered);
        assert_eq!(
            (facts.mark, facts.level),
            (Some(at(500)), Some(Level::Low)),
            "what came late went over what is newer"
        );
    });
}

#[test]
fn a_server_that_forgot_its_scripts_gets_them_again() {
    let server = RedisServer::start(&[]);
    let store = open(&in_redis(&server));
    run(async {
        let state = store.stream("s");
        drop(state.remember(&accepted("a", 1, 1, Level::High)));
        durable(&state).await;
        server.cli(&["SCRIPT", "FLUSH"]);
        let facts = state.look_up(&question("a", 1)).await.expect("facts");
        assert!(facts.delivered);
        assert_eq!(store.stats().failed_flushes, 0);
    });
}

#[test]
fn a_server_that_lost_what_it_acknowledged_costs_the_levels() {
    let mut server = RedisServer::start(&[]);
    let store = open(&impatient(&server));
    run(async {
        let state = store.stream("s");
        let found = state.assigned("t", 0, Some(0), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
        drop(state.remember(&accepted("a", 1, 1, Level::High)));
        state.progress("t", 0, 2).await.expect("durable");
        server.lose_everything();
        server.start_again();
        durable(&state).await;
        // Asked until the server answers: the first command finds the connection gone.
        while state.look_up(&question("a", 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let facts = state.look_up(&question("a", 1)).await.expect("facts");
        assert_eq!(
            (facts.delivered, facts.level, facts.mark),
            (false, None, None)
        );
        // Nobody owns the partition there: whether it is ours is for the group to say.
        let late = state.progress("t", 0, 3).await;
        assert!(matches!(late, Err(StateError::Fenced { .. })), "{late:?}");
        assert_eq!(state.take_lost(), 1, "and it is said");
        let found = state.assigned("t", 0, Some(2), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
        drop(state.remember(&accepted("b", 1, 2, Level::Low)));
        state.progress("t", 0, 3).await.expect("durable");
        let facts = state.look_up(&question("b", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(2))));
        let found = state.assigned("t", 0, Some(3), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
    });
}

#[test]
fn a_full_server_holds_and_goes_on_when_there_is_room() {
    let server = RedisServer::start(&[]);
    let store = open(&impatient(&server));
    run(async {
        let state = store.stream("s");
        durable(&state).await;
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let told = state.remember(&accepted("a", 1, 1, Level::High)).await;
        assert!(
            matches!(told, Err(StateError::RemoteUnwritable { .. })),
            "{told:?}"
        );
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        durable(&state).await;
        assert!(is_delivered(&state, "a").await);
    });
}

#[test]
fn without_a_server_a_bypassed_stream_goes_on_and_tells_it_later() {
    let mut server = RedisServer::start(&[]);
    let settings = RedisSettings {
        on_unavailable: OnUnavailable::Continue,
        ..impatient(&server)
    };
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        let first = state.assigned("t", 0, Some(0), 100).await;
        assert_eq!(first.expect("known"), Handover::First);
        let hold = state.set_operator_hold(Some("maintenance"));
        hold.await.expect("durable");
        drop(state.remember(&accepted("a", 1, 1, Level::High)));
        durable(&state).await;
        assert!(!state.is_bypassed());
        server.kill();
        let facts = state.look_up(&question("a", 1)).await.expect("an answer");
        assert!(facts.bypassed && !facts.delivered, "{facts:?}");
        assert!(state.is_bypassed());
        let hold = state.operator_hold().await.expect("an answer");
        assert_eq!(
            hold.as_deref(),
            Some("maintenance"),
            "an operator's word counts"
        );
        let told = state.remember(&accepted("b", 1, 2, Level::Low));
        told.await.expect("goes on");
        state.progress("t", 0, 3).await.expect("goes on");
        let found = state.assigned("t", 1, Some(7), 100).await;
        assert_eq!(found.expect("goes on"), Handover::First);
        server.start_again();
        while state.is_bypassed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let facts = state.look_up(&question("b", 1)).await.expect("facts");
        assert!(facts.delivered && !facts.bypassed);
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(2))));
        let found = state.assigned("t", 0, Some(3), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
        // The group has to confirm what was assigned in a bypass: until then it was never ours.
        let found = state.assigned("t", 1, Some(7), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
    });
}

#[test]
fn what_could_not_be_kept_in_a_bypass_costs_the_levels() {
    let mut server = RedisServer::start(&[]);
    let settings = RedisSettings {
        on_unavailable: OnUnavailable::Continue,
        ..impatient(&server)
    };
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        state.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(state.remember(&accepted("a", 2, 1, Level::High)));
        durable(&state).await;
        server.kill();
        while !state.is_bypassed() {
            state.flush().await.expect("goes on");
            drop(state.look_up(&question("a", 1)).await);
        }
        for n in 0..25_000 {
            drop(state.remember(&dead_lettered("x", 1, n)));
        }
        server.start_again();
        while state.is_bypassed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(state.take_lost(), 1);
        let facts = state.look_up(&question("a", 2)).await.expect("facts");
        assert!(facts.delivered, "what was there before");
        assert_eq!((facts.level, facts.mark), (None, Some(at(1))));
        let facts = state.look_up(&question("x", 1)).await.expect("facts");
        assert_eq!(facts.mark, Some(at(24_999)));
    });
}

async fn hold_of(state: &StreamState) -> Option<String> {
    loop {
        if let Ok(found) = state.operator_hold().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An operator's hold ends by an operator's word, not by a server that lost its data: also when a member connects first
/// that had not heard of it, and when no connection ends.
#[test]
fn a_server_that_lost_an_operators_hold_gets_it_again() {
    for restarts in [false, true] {
        let mut server = RedisServer::start(&[]);
        let settings = impatient(&server);
        let (told, other) = (open(&settings), open(&settings));
        run(async {
            let (told, other) = (told.stream("s"), other.stream("s"));
            assert_eq!(hold_of(&other).await, None);
            let hold = told.set_operator_hold(Some("maintenance"));
            hold.await.expect("durable");
            if restarts {
                server.lose_everything();
                server.start_again();
            } else {
                server.cli(&["FLUSHALL"]);
            }
            assert_eq!(hold_of(&other).await, None, "it has not heard of it");
            assert_eq!(hold_of(&told).await.as_deref(), Some("maintenance"));
            // The server is told in the same turn, after the answer.
            durable(&told).await;
            assert_eq!(hold_of(&other).await.as_deref(), Some("maintenance"));
        });
    }
}

/// What a dead connection carries is carried out late, or twice.
#[test]
fn an_old_word_of_an_operator_is_not_put_back() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let key = format!("{}{{s}}:stream", settings.key_prefix);
    let (a, b) = (open(&settings), open(&settings));
    run(async {
        let (a, b) = (a.stream("s"), b.stream("s"));
        let source = scripts::Script::Hold.source();
        let late = |word: &str| server.cli(&["EVAL", source, "1", &key, word]);
        let hold = a.set_operator_hold(Some("why"));
        hold.await.expect("durable");
        let word = server.cli(&["HGET", &key, "operator"]);
        b.set_operator_hold(None).await.expect("durable");
        assert_ne!(late(&word), word, "a newer one counts");
        assert_eq!(hold_of(&a).await, None);
        // Said with a clock that is behind, by one who has not heard of the newest word.
        let ahead = late("9000000000000000000 h from the future");
        assert_eq!(server.cli(&["HGET", &key, "operator"]), ahead);
        a.set_operator_hold(None).await.expect("durable");
        assert_eq!(hold_of(&b).await, None);
        assert_eq!(hold_of(&a).await, None);
    });
}

#[test]
fn a_bypass_does_not_say_that_no_operator_holds_before_it_is_known() {
    let mut server = RedisServer::start(&[]);
    let settings = RedisSettings {
        on_unavailable: OnUnavailable::Continue,
        ..impatient(&server)
    };
    server.kill();
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        assert!(state.operator_hold().await.is_err());
        assert!(state.is_bypassed());
        let said = state.set_operator_hold(Some("maintenance"));
        said.await.expect("goes on");
        let found = state.operator_hold().await.expect("it was said");
        assert_eq!(found.as_deref(), Some("maintenance"));
    });
}

/// Restarted from an older copy of its data, in which the tenure is still ours: no write is refused, so this is looked for.
#[test]
fn a_server_that_lost_its_latest_writes_costs_the_levels() {
    let mut server = RedisServer::start(&[]);
    let settings = impatient(&server);
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        state.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(state.remember(&accepted("a", 1, 1, Level::Low)));
        state.progress("t", 0, 2).await.expect("durable");
        let key = format!("{}{{s}}:p", settings.key_prefix);
        let before = server.cli(&["HGET", &key, "t:0"]);
        drop(state.remember(&accepted("b", 1, 2, Level::High)));
        state.progress("t", 0, 3).await.expect("durable");
        server.kill();
        server.start_again();
        server.cli(&["HSET", &key, "t:0", &before]);
        while state.look_up(&question("a", 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(state.take_lost(), 1);
        let facts = state.look_up(&question("b", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (None, None));
        // It is ours still, and goes on in epochs of its own.
        drop(state.remember(&accepted("c", 1, 3, Level::Medium)));
        state.progress("t", 0, 4).await.expect("durable");
        let facts = state.look_up(&question("c", 1)).await.expect("facts");
        assert_eq!(facts.level, Some(Level::Medium));
        let found = state.assigned("t", 0, Some(4), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
    });
}

/// Marks and levels are lost, the progress, which an older SET keeps back, is not.
#[test]
fn lost_marks_without_lost_progress_cost_the_levels() {
    let mut server = RedisServer::start(&[]);
    let settings = impatient(&server);
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        state.assigned("t", 0, Some(0), 100).await.expect("known");
        let first = state.remember(&accepted("a", 1, 1, Level::Low));
        first.await.expect("durable");
        state.progress("t", 0, 2).await.expect("durable");
        let tenures = format!("{}{{s}}:p", settings.key_prefix);
        let subjects = format!("{}{{s}}:s:*", settings.key_prefix);
        let before = server.cli(&["HGET", &tenures, "t:0"]);
        let subject = server.cli(&["KEYS", &subjects]);
        let facts = server.cli(&["HGETALL", subject.trim()]);
        // 2 is tried again and again; 3 is accepted, acknowledged, and lost.
        let third = state.remember(&accepted("b", 1, 3, Level::High));
        third.await.expect("durable");
        server.kill();
        server.start_again();
        let mut set = vec!["HSET", subject.trim()];
        set.extend(facts.lines());
        server.cli(&set);
        server.cli(&["HSET", &tenures, "t:0", before.trim()]);
        while state.look_up(&question("c", 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(state.take_lost(), 1);
        let facts = state.look_up(&question("c", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (None, None));
    });
}

/// What is found of a partition that nobody owned was written in epochs that are over.
#[test]
fn marks_that_outlive_their_tenure_do_not_count() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        state.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(state.remember(&accepted("a", 1, 1, Level::Low)));
        durable(&state).await;
        let key = format!("{}{{s}}:p", settings.key_prefix);
        server.cli(&["DEL", &key]);
        let found = state.assigned("t", 0, Some(0), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
        let facts = state.look_up(&question("b", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (None, None));
    });
}

/// P8, and no growth without end: keys are hashes, and what is many has an end.
#[test]
fn nothing_is_in_clear_text_and_jtis_expire() {
    let server = RedisServer::start(&[]);
    let settings = in_redis(&server);
    let store = open(&settings);
    run(async {
        let state = store.stream("okta");
        state.assigned("t", 0, Some(0), 100).await.expect("known");
        for n in 0..50 {
            drop(state.remember(&accepted(&n.to_string(), 1, n, Level::High)));
        }
        durable(&state).await;
    });
    let base = format!("{}{{okta}}:", settings.key_prefix);
    let keys = server.cli(&["KEYS", "*"]);
    let mut kinds = [0; 2];
    for key in keys.lines() {
        let name = key.strip_prefix(&base).expect("our prefix, one hash tag");
        let is_hex = |hex: &str| hex.len() == 32 && hex.chars().all(|c| c.is_ascii_hexdigit());
        match name.split_once(':') {
            Some(("j", hex)) if is_hex(hex) => {
                kinds[0] += 1;
                assert_eq!(server.cli(&["STRLEN", key]), "0");
                let left: i64 = server.cli(&["TTL", key]).parse().expect("seconds");
                assert!((86_300..=86_400).contains(&left), "{left}");
            }
            Some(("s", hex)) if is_hex(hex) => kinds[1] += 1,
            _ => assert!(matches!(name, "p" | "stream"), "{name}"),
        }
    }
    assert_eq!(kinds, [50, 1]);
    let fields = server.cli(&["HKEYS", &format!("{base}s:{}", "01".repeat(16))]);
    assert_eq!(fields.lines().count(), 2, "a mark and a level: {fields}");
}
