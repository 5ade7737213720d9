//! Who only looks: sees what is known, needs no more than to read, and leaves the server as it is.

use std::collections::BTreeMap;

use super::text::Keys;
use super::*;
use crate::secret::Secret;
use crate::state::StateView;

/// The rule for looking that docs/operations.md gives.
pub(super) const RULE: &str = "~test* resetchannels -@all +get +hget +hgetall";

pub(super) fn view(settings: &RedisSettings) -> StateView {
    let settings = StateSettings::Redis(Box::new(settings.clone()));
    let opened = StateStore::open_read_only(&settings, system_clock());
    opened.expect("opens").expect("can be seen")
}

/// Every key with all that is in it.
fn everything(server: &RedisServer) -> BTreeMap<String, String> {
    let keys = server.cli(&["KEYS", "*"]);
    let each = keys.lines().map(|key| {
        let read = match server.cli(&["TYPE", key]).as_str() {
            "hash" => server.cli(&["HGETALL", key]),
            _ => server.cli(&["GET", key]),
        };
        (key.to_owned(), read)
    });
    each.collect()
}

/// The commands that were called since the last reset.
fn called(server: &RedisServer) -> Vec<String> {
    let told = server.cli(&["INFO", "commandstats"]);
    let names = told.lines().filter_map(|line| {
        let (name, calls) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        (!calls.starts_with("0,")).then(|| name.to_owned())
    });
    let of_the_test = ["config|resetstat", "info"];
    let mut names: Vec<_> = names.filter(|n| !of_the_test.contains(&&**n)).collect();
    names.sort();
    names
}

/// One of everything that a stream's state can hold; asked about by `questions`.
async fn fill(state: &StreamState) {
    for partition in 0..2 {
        let found = state.assigned("t", partition, Some(0), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
    }
    drop(state.remember(&accepted("a", 1, 1, Level::High)));
    let mut renamed = accepted("b", 1, 2, Level::None);
    renamed.other_subject = Some(subject(2));
    drop(state.remember(&renamed));
    drop(state.remember(&dead_lettered("c", 3, 3)));
    let mut elsewhere = accepted("d", 3, 5, Level::Low);
    elsewhere.question.partition = 1;
    drop(state.remember(&elsewhere));
    state.progress("t", 0, 4).await.expect("durable");
}

fn questions() -> Vec<Question> {
    let asked = [("a", 1), ("b", 2), ("c", 3), ("d", 3), ("e", 4)];
    asked.map(|(jti, n)| question(jti, n)).to_vec()
}

#[test]
fn a_user_who_may_only_read_sees_all_and_changes_nothing() {
    let server = RedisServer::start(&[]);
    let mut rule = vec!["ACL", "SETUSER", "reader", "on", ">a password"];
    rule.extend(RULE.split_whitespace());
    server.cli(&rule);
    let settings = in_redis(&server);
    let store = open(&settings);
    let reader = RedisSettings {
        username: Some("reader".to_owned()),
        password: Some(Secret::literal("a password")),
        ..settings
    };
    run(async {
        let state = store.stream("s");
        fill(&state).await;
        let before = everything(&server);
        server.cli(&["SCRIPT", "FLUSH"]);
        server.cli(&["CONFIG", "RESETSTAT"]);
        let view = view(&reader);
        let seen = view.look_up("s", &questions()).await.expect("seen");
        // Asked once more on the same connection; and about a stream that nobody has worked with.
        let again = view.look_up("s", &questions()).await.expect("seen");
        let nothing = view.look_up("other", &questions()).await.expect("seen");
        assert_eq!(called(&server), ["auth", "get", "hget", "hgetall"]);
        assert_eq!(everything(&server), before);
        let loaded = server.cli(&["INFO", "memory"]);
        assert!(loaded.contains("number_of_cached_scripts:0"), "{loaded}");

        assert_eq!(nothing, [Facts::default(); 5]);
        let mut known = Vec::new();
        for question in &questions() {
            known.push(state.look_up(question).await.expect("facts"));
        }
        assert_eq!((&seen, &again), (&known, &known));
        assert!(
            seen[0].delivered && seen[1].level == Some(Level::High),
            "{seen:?}"
        );
        assert!(
            seen[2].other_partition && seen[2].mark == Some(at(3)),
            "{seen:?}"
        );
        // The same user may not work with it: the rule is no more than to read.
        let refused = open(&reader).stream("s").look_up(&questions()[0]).await;
        assert!(
            matches!(refused, Err(StateError::RemoteRefused { .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn a_late_acceptance_and_an_end_of_its_time_are_seen() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let store = open(&settings);
    run(async {
        fill(&store.stream("s")).await;
        let key = |jti: &Question| Keys::new(&settings.key_prefix, "s").jti(jti.jti);
        let [late, over] = [&questions()[0], &questions()[1]].map(key);
        server.cli(&["SET", &late, "late"]);
        server.cli(&["DEL", &over]);
        let seen = view(&settings)
            .look_up("s", &questions())
            .await
            .expect("seen");
        let said: Vec<_> = seen
            .iter()
            .map(|f| (f.delivered, f.delivered_late))
            .collect();
        assert_eq!(said[..2], [(true, true), (false, false)]);
    });
}

#[test]
fn an_older_spelling_is_understood_and_a_newer_one_refused() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let keys = Keys::new(&settings.key_prefix, "s");
    let asked = question("a", 1);
    // As the first schema was spelled: no owner, no place of what was accepted.
    let subject = keys.subject(asked.subject);
    let position = text::position(at(7));
    server.cli(&["HSET", &keys.stream(), "schema", "1"]);
    server.cli(&["HSET", &keys.tenures(), "t:0", "- - 3 4"]);
    server.cli(&["HSET", &subject, "m:t:0", &format!("3 {position}")]);
    let level = format!("l:{}", asked.event.as_str());
    server.cli(&["HSET", &subject, &level, "4 t:0 70 high"]);
    server.cli(&["SET", &keys.jti(asked.jti), ""]);
    run(async {
        let view = view(&settings);
        let seen = view
            .look_up("s", std::slice::from_ref(&asked))
            .await
            .expect("seen");
        let expected = Facts {
            delivered: true,
            mark: Some(at(7)),
            level: Some(Level::High),
            level_event_time: Some(crate::set::Timestamp::from_secs(70)),
            ..Facts::default()
        };
        assert_eq!(seen, [expected]);
        assert_eq!(server.cli(&["HGET", &keys.stream(), "schema"]), "1");
        let store = open(&settings);
        let known = store.stream("s").look_up(&asked).await;
        assert_eq!(
            known.expect("facts"),
            expected,
            "as who works with it reads it"
        );

        server.cli(&["HSET", &keys.stream(), "schema", "3"]);
        let refused = view.look_up("s", &[asked]).await;
        let newer = matches!(
            refused,
            Err(StateError::RemoteNewer {
                found: 3,
                known: 2,
                ..
            })
        );
        assert!(newer, "{refused:?}");
    });
}

#[test]
fn without_a_server_it_says_so_and_later_sees() {
    let mut server = RedisServer::start(&[]);
    let settings = impatient(&server);
    let view = view(&settings);
    run(async {
        view.look_up("s", &questions()).await.expect("seen");
        server.kill();
        let gone = view.look_up("s", &questions()).await;
        assert!(
            matches!(gone, Err(StateError::RemoteUnreachable { .. })),
            "{gone:?}"
        );
        server.start_again();
        view.look_up("s", &questions()).await.expect("seen again");
    });
}
