//! A partition that is taken over once more by who had it before: what that process knows better than the server.

use super::text::Keys;
use super::*;

/// It was made anew while the Redis was away, and its log has outgrown the old one since. The group has a commit on it by
/// now, so nothing but our memory tells the marks of the old log from its own.
#[test]
fn a_log_that_was_made_anew_in_a_bypass_has_no_marks() {
    let mut server = RedisServer::start(&[]);
    let settings = RedisSettings {
        on_unavailable: OnUnavailable::Continue,
        ..impatient(&server)
    };
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        state.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(state.remember(&accepted("a", 1, 50, Level::High)));
        drop(state.remember(&dead_lettered("b", 1, 60)));
        state.progress("t", 0, 55).await.expect("durable");
        server.kill();
        state.released("t", 0);
        state.assigned("t", 0, None, 0).await.expect("bypassed");
        state.progress("t", 0, 5).await.expect("goes on");
        server.start_again();
        while state.is_bypassed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let fenced = state.look_up(&question("c", 1)).await;
        assert!(
            matches!(fenced, Err(StateError::Fenced { .. })),
            "{fenced:?}"
        );
        // The group has confirmed it.
        state.released("t", 0);
        let found = state.assigned("t", 0, Some(5), 1000).await;
        assert_eq!(found.expect("known"), Handover::Recreated);
        let facts = state.look_up(&question("c", 1)).await.expect("facts");
        assert_eq!(facts.mark, None, "records up to there would be lost");
        assert_eq!(facts.level, Some(Level::High));
        state.released("t", 0);
        let found = state.assigned("t", 0, Some(5), 1000).await;
        assert_eq!(found.expect("known"), Handover::Continued, "told once");
    });
}

/// A replica took over that had neither our take-over nor what we wrote behind it. That the tenure there is another's
/// hides the loss from whoever looks for one; what we knew of it does not.
#[test]
fn what_a_replica_lost_with_our_take_over_is_noticed() {
    let server = RedisServer::start(&[]);
    let settings = in_redis(&server);
    let (before, owner) = (open(&settings), open(&settings));
    run(async {
        let (before, owner) = (before.stream("s"), owner.stream("s"));
        before.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(before.remember(&accepted("a", 1, 3, Level::High)));
        before.progress("t", 0, 5).await.expect("durable");
        let keys = Keys::new(&settings.key_prefix, "s");
        let replicated = [keys.tenures(), keys.subject(subject(1))];
        for key in &replicated {
            server.cli(&["COPY", key, &format!("{key}:replica")]);
        }
        let found = owner.assigned("t", 0, Some(5), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
        // The record at 6 has no outcome yet, so the progress stays.
        let decided = owner.remember(&dead_lettered("b", 1, 7));
        decided.await.expect("durable");
        let decided = owner.remember(&accepted("c", 1, 8, Level::Low));
        decided.await.expect("durable");
        for key in &replicated {
            server.cli(&["COPY", &format!("{key}:replica"), key, "REPLACE"]);
        }
        let fenced = owner.progress("t", 0, 5).await;
        assert!(
            matches!(fenced, Err(StateError::Fenced { .. })),
            "{fenced:?}"
        );
        owner.released("t", 0);
        let found = owner.assigned("t", 0, Some(5), 100).await;
        assert_eq!(found.expect("known"), Handover::TakenOver);
        let facts = owner.look_up(&question("d", 1)).await.expect("facts");
        assert_eq!(
            (facts.mark, facts.level),
            (None, None),
            "not what was before"
        );
    });
}
