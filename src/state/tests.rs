//! The cases of DESIGN "State goes with the partition", on all backends; `model` has the rest.

mod model;
#[path = "../../tests/it/support/redis_server.rs"]
mod redis_server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

pub(super) use redis_server::RedisServer;

use super::*;
use crate::set::{EventType, Level, SubjectKey, Timestamp};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A clock that a test moves.
#[derive(Clone, Default)]
pub(super) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(super) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || Timestamp::from_secs(1_750_000_000 + seconds.load(Ordering::SeqCst)))
    }
}

pub(super) fn subject(n: u8) -> SubjectKey {
    SubjectKey::from_bytes([n; 16])
}

/// A jti of at most 16 characters.
pub(super) fn jti(text: &str) -> JtiKey {
    let mut key = [0; 16];
    key[..text.len()].copy_from_slice(text.as_bytes());
    JtiKey(key)
}

pub(super) fn at(offset: i64) -> Position {
    let (element, set) = (0, 0);
    Position {
        offset,
        element,
        set,
    }
}

/// A question about subject `n` on partition 0 of topic `t`.
pub(super) fn question(text: &str, n: u8) -> Question {
    Question {
        jti: jti(text),
        subject: subject(n),
        event: EventType::UserRiskChange,
        topic: "t".into(),
        partition: 0,
    }
}

pub(super) fn accepted(text: &str, n: u8, offset: i64, level: Level) -> Decided {
    Decided {
        question: question(text, n),
        position: at(offset),
        other_subject: None,
        decision: Decision::Accepted {
            level: Some(level),
            event_time: Timestamp::from_secs(offset),
        },
    }
}

pub(super) fn dead_lettered(text: &str, n: u8, offset: i64) -> Decided {
    Decided {
        decision: Decision::Final,
        ..accepted(text, n, offset, Level::None)
    }
}

/// Runs a test on one thread with a runtime, as a stream's task would.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let limit = Duration::from_secs(60);
    let limited = async { tokio::time::timeout(limit, test).await };
    runtime.block_on(limited).expect("it hangs")
}

/// How to reach a Redis, with keys that no other test uses.
pub(super) fn in_redis(server: &RedisServer) -> RedisSettings {
    static TESTS: AtomicI64 = AtomicI64::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    RedisSettings {
        addresses: vec![RedisAddress {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        }],
        cluster: false,
        tls: None,
        username: None,
        password: None,
        key_prefix: format!("test{test}:"),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        on_unavailable: OnUnavailable::Hold,
        window: DAY,
    }
}

/// As if so many seconds had passed for the jtis: Redis keeps its own time.
pub(super) fn age_jtis(server: &RedisServer, settings: &RedisSettings, seconds: i64) {
    let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
                    local left = redis.call('PTTL', key)
                    if left < 0 then return redis.error_reply(key .. ' lives for ever') end
                    redis.call('PEXPIRE', key, left - tonumber(ARGV[2]))
                  end
                  return 'aged'";
    let jtis = format!("{}{{*}}:j:*", settings.key_prefix);
    let ms = (seconds * 1000).to_string();
    assert_eq!(server.cli(&["EVAL", script, "0", &jtis, &ms]), "aged");
}

/// A store of each kind, with its directory.
fn stores(clock: &TestClock) -> [(StateStore, Option<TempDir>); 3] {
    let memory = StateSettings::Memory {
        max_entries: 1000,
        window: DAY,
    };
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("state.db");
    let sqlite = StateSettings::Sqlite { path, window: DAY };
    let open = |settings| StateStore::open(settings, clock.clock()).expect("opens");
    let redis = StateSettings::Redis(Box::new(in_redis(RedisServer::shared())));
    [
        (open(&memory), None),
        (open(&sqlite), Some(directory)),
        (open(&redis), None),
    ]
}

#[test]
fn a_dead_letter_moves_the_mark_and_forgets_the_jti() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            drop(state.remember(&dead_lettered("eleven", 1, 11)));
            let facts = state.look_up(&question("eleven", 1)).await.expect("facts");
            assert!(!facts.delivered, "a replay must not be swallowed");
            assert_eq!(facts.mark, Some(at(11)), "a redelivery must be");
            assert_eq!(facts.level_event_time, None);
        });
    }
}

#[test]
fn a_forgotten_jti_is_as_if_it_had_not_been_delivered() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            drop(state.remember(&accepted("a", 1, 5, Level::High)));
            drop(state.remember(&accepted("b", 2, 6, Level::Low)));
            store
                .stream("other")
                .remember(&accepted("a", 1, 5, Level::High))
                .await
                .expect("durable");
            let jtis = [question("a", 1).jti, question("unknown", 1).jti];
            state.forget(&jtis).await.expect("durable");
            state.forget(&[]).await.expect("nothing to do");
            let facts = state.look_up(&question("a", 1)).await.expect("facts");
            assert!(!facts.delivered);
            assert_eq!(facts.level, Some(Level::High), "levels stay");
            let other = state.look_up(&question("b", 2)).await.expect("facts");
            assert!(other.delivered, "only those that were named");
            let elsewhere = store.stream("other").look_up(&question("a", 1)).await;
            assert!(elsewhere.expect("facts").delivered, "and of this stream");
            drop(state.remember(&accepted("a", 1, 7, Level::High)));
            let again = state.look_up(&question("a", 1)).await.expect("facts");
            assert!(again.delivered);
        });
    }
}

#[test]
fn streams_know_nothing_of_each_other() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let one = store.stream("one");
            drop(one.remember(&accepted("j", 1, 5, Level::High)));
            let other = store.stream("other").look_up(&question("j", 1)).await;
            assert_eq!(other.expect("facts"), Facts::default());
            let same = store.stream("one").look_up(&question("j", 1)).await;
            assert!(same.expect("facts").delivered);
        });
    }
}

#[test]
fn identifier_changed_takes_the_levels_along() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            drop(state.remember(&accepted("a", 1, 5, Level::High)));
            drop(state.remember(&accepted("b", 2, 6, Level::Low)));
            let mut renamed = accepted("c", 1, 7, Level::None);
            renamed.question.event = EventType::IdentifierChanged;
            renamed.other_subject = Some(subject(2));
            let event_time = Timestamp::from_secs(7);
            renamed.decision = Decision::Accepted {
                level: None,
                event_time,
            };
            drop(state.remember(&renamed));
            let old = state.look_up(&question("d", 1)).await.expect("facts");
            assert_eq!((old.level_event_time, old.mark), (None, Some(at(7))));
            let new = state.look_up(&question("d", 2)).await.expect("facts");
            assert_eq!((new.level, new.mark), (Some(Level::High), Some(at(7))));
        });
    }
}

#[test]
fn what_is_not_newer_than_the_mark_changes_no_level() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            drop(state.remember(&accepted("new", 1, 9, Level::Low)));
            drop(state.remember(&accepted("old", 1, 8, Level::High)));
            let facts = state.look_up(&question("old", 1)).await.expect("facts");
            assert!(facts.delivered);
            assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(9))));
        });
    }
}

#[test]
fn a_replay_moves_no_mark_and_sets_no_level_over_a_newer_one() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            let replayed = |text, offset, time, level| Decided {
                decision: Decision::Replayed {
                    level: Some(level),
                    event_time: Timestamp::from_secs(time),
                },
                ..accepted(text, 1, offset, level)
            };
            drop(state.remember(&replayed("first", 2, 20, Level::High)));
            let facts = state.look_up(&question("first", 1)).await.expect("facts");
            assert!(facts.delivered);
            assert_eq!((facts.mark, facts.level), (None, Some(Level::High)));
            // A live one that is accepted later has the last word, whatever its event time.
            drop(state.remember(&accepted("live", 1, 9, Level::Low)));
            drop(state.remember(&replayed("same time", 8, 9, Level::High)));
            drop(state.remember(&replayed("older", 8, 8, Level::High)));
            let facts = state.look_up(&question("older", 1)).await.expect("facts");
            assert!(facts.delivered);
            assert_eq!((facts.mark, facts.level), (Some(at(9)), Some(Level::Low)));
            drop(state.remember(&replayed("newer", 8, 10, Level::Medium)));
            let facts = state.look_up(&question("newer", 1)).await.expect("facts");
            assert_eq!(
                (facts.mark, facts.level),
                (Some(at(9)), Some(Level::Medium))
            );
        });
    }
}

/// In one second: number 3 was accepted, 5 became a dead letter, then 9 did.
#[test]
fn a_replay_is_not_outdated_by_what_was_only_decided() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            let then = Timestamp::from_secs(3);
            drop(state.remember(&accepted("accepted", 1, 3, Level::Low)));
            drop(state.remember(&dead_lettered("replayed", 1, 5)));
            drop(state.remember(&dead_lettered("newest", 1, 9)));
            let asked = question("replayed", 1);
            let facts = state.look_up(&asked).await.expect("facts");
            assert_eq!((facts.mark, facts.accepted_at), (Some(at(9)), Some(at(3))));
            assert!(!facts.outdates(then, at(5)));
            assert!(facts.outdates(then, at(2)));
            let elsewhere = Question {
                partition: 1,
                ..asked
            };
            let facts = state.look_up(&elsewhere).await.expect("facts");
            assert!(
                !facts.outdates(then, at(2)),
                "nothing is known about their order"
            );
            let replayed = Decided {
                decision: Decision::Replayed {
                    level: Some(Level::High),
                    event_time: then,
                },
                ..accepted("replayed", 1, 5, Level::High)
            };
            drop(state.remember(&replayed));
            let facts = state.look_up(&question("x", 1)).await.expect("facts");
            assert_eq!(
                (facts.level, facts.accepted_at),
                (Some(Level::High), Some(at(5)))
            );
        });
    }
}

#[test]
fn taken_over_partitions_lose_levels_and_marks_but_no_jtis() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            let assigned = |committed| state.assigned("t", 0, committed, 100);
            assert_eq!(assigned(None).await.expect("known"), Handover::First);
            drop(state.remember(&accepted("j", 1, 5, Level::High)));
            drop(state.progress("t", 0, 6));
            assert_eq!(assigned(Some(6)).await.expect("known"), Handover::Continued);
            let facts = state.look_up(&question("j", 1)).await.expect("facts");
            assert_eq!((facts.level, facts.mark), (Some(Level::High), Some(at(5))));
            assert_eq!(assigned(Some(7)).await.expect("known"), Handover::TakenOver);
            let facts = state.look_up(&question("j", 1)).await.expect("facts");
            let only_the_jti = Facts {
                delivered: true,
                ..Facts::default()
            };
            assert_eq!(facts, only_the_jti);
            assert_eq!(assigned(Some(7)).await.expect("known"), Handover::Continued);
        });
    }
}

#[test]
fn a_recreated_topic_loses_its_marks() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            drop(state.remember(&accepted("j", 1, 5, Level::High)));
            let found = state.assigned("t", 0, None, 5).await.expect("known");
            assert_eq!(found, Handover::Recreated);
            let facts = state.look_up(&question("k", 1)).await.expect("facts");
            assert_eq!((facts.mark, facts.level), (None, Some(Level::High)));
            drop(state.remember(&accepted("k", 1, 0, Level::Low)));
            let facts = state.look_up(&question("k", 1)).await.expect("facts");
            assert_eq!((facts.mark, facts.level), (Some(at(0)), Some(Level::Low)));
        });
    }
}

#[test]
fn small_facts_are_kept_per_stream() {
    for (store, _directory) in stores(&TestClock::default()) {
        run(async {
            let state = store.stream("s");
            assert_eq!(state.accepted_under().await.expect("known"), None);
            state.set_accepted_under([7; 32]).await.expect("durable");
            state
                .set_operator_hold(Some("maintenance"))
                .await
                .expect("durable");
            assert_eq!(state.accepted_under().await.expect("known"), Some([7; 32]));
            let hold = state.operator_hold().await.expect("known");
            assert_eq!(hold.as_deref(), Some("maintenance"));
            state.set_operator_hold(None).await.expect("durable");
            assert_eq!(state.operator_hold().await.expect("known"), None);
            assert_eq!(state.held_since().await.expect("known"), None);
            state.set_held_since(Some(9)).await.expect("durable");
            assert_eq!(state.held_since().await.expect("known"), Some(9));
            let other = store.stream("other").held_since().await;
            assert_eq!(other.expect("known"), None);
            state.set_held_since(None).await.expect("durable");
            assert_eq!(state.held_since().await.expect("known"), None);
            assert_eq!(
                store.stream("other").accepted_under().await.expect("known"),
                None
            );
        });
    }
}

#[test]
fn jtis_last_for_the_window_also_when_the_clock_jumps_back() {
    let clock = TestClock::default();
    let hour = 3600;
    // Redis keeps the time itself.
    for (store, _directory) in stores(&clock).into_iter().take(2) {
        run(async {
            let state = store.stream("s");
            drop(state.remember(&accepted("j", 1, 5, Level::High)));
            clock.advance(24 * hour - 1);
            assert!(
                state
                    .look_up(&question("j", 1))
                    .await
                    .expect("facts")
                    .delivered
            );
            clock.advance(-30 * hour);
            drop(state.remember(&accepted("back then", 1, 6, Level::High)));
            clock.advance(24 * hour - 1);
            for text in ["j", "back then"] {
                assert!(
                    state
                        .look_up(&question(text, 1))
                        .await
                        .expect("facts")
                        .delivered
                );
            }
            clock.advance(42 * hour);
            for text in ["j", "back then"] {
                assert!(
                    !state
                        .look_up(&question(text, 1))
                        .await
                        .expect("facts")
                        .delivered
                );
            }
        });
    }
}

#[test]
fn memory_forgets_the_oldest_when_it_is_full() {
    let settings = StateSettings::Memory {
        max_entries: 100,
        window: DAY,
    };
    let store = StateStore::open(&settings, TestClock::default().clock()).expect("opens");
    run(async {
        let state = store.stream("s");
        for n in 0..1000_u32 {
            let mut decided = accepted(&n.to_string(), 0, i64::from(n), Level::High);
            let mut key = [0; 16];
            key[..4].copy_from_slice(&n.to_be_bytes());
            decided.question.subject = SubjectKey::from_bytes(key);
            drop(state.remember(&decided));
            let stats = store.stats();
            assert!(
                stats.jtis <= 100 && stats.marks <= 100 && stats.levels <= 100,
                "{stats:?}"
            );
            for young in n.saturating_sub(40)..=n {
                let mut asked = question(&young.to_string(), 0);
                key[..4].copy_from_slice(&young.to_be_bytes());
                asked.subject = SubjectKey::from_bytes(key);
                let facts = state.look_up(&asked).await.expect("facts");
                assert!(facts.delivered && facts.mark.is_some() && facts.level.is_some());
            }
        }
    });
}
