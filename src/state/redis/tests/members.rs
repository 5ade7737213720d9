//! Two processes on one Redis: a hand-over keeps everything, and who has lost a partition changes nothing.

use std::net::{TcpListener, TcpStream};

use super::*;

fn is_refused(noted: Result<(), StateError>) {
    assert!(matches!(noted, Err(StateError::Fenced { .. })), "{noted:?}");
}

#[test]
fn a_hand_over_keeps_levels_and_marks() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (a, b) = (open(&settings), open(&settings));
    run(async {
        let (a, b) = (a.stream("s"), b.stream("s"));
        let found = a.assigned("t", 0, Some(0), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
        drop(a.remember(&accepted("a", 1, 5, Level::High)));
        drop(a.remember(&dead_lettered("b", 1, 6)));
        a.progress("t", 0, 7).await.expect("durable");
        // Not everything that was settled is committed.
        let found = b.assigned("t", 0, Some(6), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
        let facts = b.look_up(&question("a", 1)).await.expect("facts");
        assert!(facts.delivered);
        assert_eq!((facts.level, facts.mark), (Some(Level::High), Some(at(6))));
    });
}

#[test]
fn a_late_write_of_a_paused_owner_changes_nothing() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(zombie.remember(&accepted("a", 1, 5, Level::Medium)));
        zombie.progress("t", 0, 6).await.expect("durable");
        let found = owner.assigned("t", 0, Some(6), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
        drop(owner.remember(&accepted("c", 1, 7, Level::Low)));
        owner.progress("t", 0, 8).await.expect("durable");
        // It wakes up, with an older SET on the wire and an older progress.
        is_refused(zombie.remember(&accepted("b", 1, 6, Level::High)).await);
        is_refused(zombie.progress("t", 0, 7).await);
        let facts = owner.look_up(&question("b", 1)).await.expect("facts");
        assert!(facts.delivered, "that it was accepted is true");
        assert!(facts.delivered_late, "and nobody knows it otherwise");
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(7))));
        is_refused(zombie.flush_of("t", 0).await);
        zombie.flush_of("t", 1).await.expect("nothing was refused");
        owner.flush_of("t", 0).await.expect("nothing was refused");
        let found = owner.assigned("t", 0, Some(8), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
    });
}

/// What a zombie delivered, and could not note under its mark, is made up for by the owner that finds it delivered.
#[test]
fn who_finds_a_late_acceptance_makes_up_for_it() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        owner.assigned("t", 0, Some(0), 100).await.expect("known");
        is_refused(zombie.remember(&accepted("a", 1, 1, Level::High)).await);
        let facts = owner.look_up(&question("a", 1)).await.expect("facts");
        assert!(facts.delivered_late && facts.level.is_none(), "{facts:?}");
        drop(owner.remember(&accepted("a", 1, 1, Level::High)));
        let facts = owner.look_up(&question("a", 1)).await.expect("facts");
        assert!(facts.delivered && !facts.delivered_late, "{facts:?}");
        assert_eq!((facts.level, facts.mark), (Some(Level::High), Some(at(1))));
        // Sent once more, long after.
        is_refused(zombie.remember(&accepted("a", 1, 1, Level::High)).await);
        let facts = owner.look_up(&question("a", 1)).await.expect("facts");
        assert!(!facts.delivered_late, "it is known already");
    });
}

/// Everything is lost, and a zombie writes first: the owner takes the partition over again, and the zombie cannot.
#[test]
fn after_a_loss_who_is_assigned_the_partition_has_it() {
    let server = RedisServer::start(&[]);
    let settings = impatient(&server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        zombie.progress("t", 0, 6).await.expect("durable");
        owner.assigned("t", 0, Some(6), 100).await.expect("known");
        owner.progress("t", 0, 7).await.expect("durable");
        server.cli(&["FLUSHALL"]);
        is_refused(zombie.remember(&accepted("a", 1, 5, Level::High)).await);
        is_refused(owner.remember(&accepted("b", 1, 7, Level::Low)).await);
        assert_eq!(owner.take_lost(), 1);
        let found = owner.assigned("t", 0, Some(7), 100).await;
        assert_eq!(found.expect("known"), Handover::First);
        drop(owner.remember(&accepted("b", 1, 7, Level::Low)));
        is_refused(zombie.progress("t", 0, 6).await);
        owner.progress("t", 0, 8).await.expect("durable");
        let facts = owner.look_up(&question("b", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(7))));
    });
}

/// A write that was kept through an outage is refused when it is sent at last: whoever waits for it must hear that.
#[test]
fn a_kept_write_that_is_refused_is_not_called_durable() {
    let mut server = RedisServer::start(&[]);
    let settings = impatient(&server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        server.kill();
        let late = zombie.remember(&dead_lettered("a", 1, 1)).await;
        assert!(matches!(late, Err(StateError::RemoteUnreachable { .. })));
        server.start_again();
        let key = format!("{}{{s}}:p", settings.key_prefix);
        server.cli(&["DEL", &key]);
        owner.assigned("t", 0, Some(0), 100).await.expect("known");
        loop {
            match zombie.flush_of("t", 0).await {
                Err(StateError::Fenced { .. }) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                Ok(()) => panic!("it is not there"),
            }
        }
        zombie.released("t", 0);
        zombie
            .flush_of("t", 0)
            .await
            .expect("it is no more ours to keep");
    });
}

#[test]
fn a_late_write_of_another_epoch_changes_nothing() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(zombie.remember(&accepted("a", 1, 50, Level::Medium)));
        zombie.progress("t", 0, 51).await.expect("durable");
        // The topic was made anew: offset 50 is another one there.
        let found = owner.assigned("t", 0, None, 0).await;
        assert_eq!(found.expect("known"), Handover::Recreated);
        owner.progress("t", 0, 0).await.expect("durable");
        is_refused(zombie.remember(&accepted("b", 1, 60, Level::High)).await);
        is_refused(zombie.progress("t", 0, 61).await);
        let facts = owner.look_up(&question("b", 1)).await.expect("facts");
        assert!(facts.delivered);
        assert_eq!((facts.level, facts.mark), (Some(Level::Medium), None));
        drop(owner.remember(&accepted("c", 1, 1, Level::Low)));
        owner.progress("t", 0, 2).await.expect("durable");
        let facts = owner.look_up(&question("c", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(1))));
    });
}

#[test]
fn two_that_are_assigned_a_partition_at_once_agree() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (a, b) = (open(&settings), open(&settings));
    run(async {
        let (a, b) = (a.stream("s"), b.stream("s"));
        a.assigned("t", 0, Some(0), 100).await.expect("known");
        for round in 1..50 {
            let committed = Some(round * 10);
            let (one, other) = (
                a.assigned("t", 0, committed, 1000),
                b.assigned("t", 0, committed, 1000),
            );
            let mut found = [one.await.expect("known"), other.await.expect("known")];
            found.sort_by_key(|handover| *handover == Handover::Continued);
            // The second one sees what the first one wrote.
            assert_eq!(found, [Handover::TakenOver, Handover::Continued], "{round}");
        }
    });
}

/// A member that was stopped wakes after its partition moved and the Redis was restarted: nothing is lost, so it must not
/// take the new owner for itself before a loss.
#[test]
fn a_zombie_that_finds_a_restarted_server_fences_nobody() {
    let mut server = RedisServer::start(&[]);
    let settings = impatient(&server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        drop(zombie.remember(&accepted("a", 1, 8, Level::High)));
        zombie.progress("t", 0, 9).await.expect("durable");
        // Not all of that was committed when the group gave the partition to somebody else.
        let found = owner.assigned("t", 0, Some(5), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
        server.kill();
        server.start_again();
        // Both find another run of the server; the zombie first.
        for state in [&zombie, &owner] {
            while state.look_up(&question("a", 1)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        drop(owner.remember(&accepted("b", 1, 9, Level::Low)));
        owner.progress("t", 0, 10).await.expect("durable");
        let facts = owner.look_up(&question("b", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(9))));
        let found = owner.assigned("t", 0, Some(10), 100).await;
        assert_eq!(found.expect("known"), Handover::Continued);
    });
}

/// Only one member loses the Redis, forgets writes, and gives the partition up meanwhile.
#[test]
fn levels_of_a_partition_that_was_given_up_are_not_dropped() {
    let server = RedisServer::start(&[]);
    let user = ["ACL", "SETUSER", "a", "on", ">a password", "~*", "+@all"];
    server.cli(&user);
    let settings = RedisSettings {
        on_unavailable: OnUnavailable::Continue,
        ..in_redis(&server)
    };
    let cut_off = RedisSettings {
        username: Some("a".to_owned()),
        password: Some(crate::secret::Secret::literal("a password")),
        ..settings.clone()
    };
    let (loser, owner) = (open(&cut_off), open(&settings));
    run(async {
        let (loser, owner) = (loser.stream("s"), owner.stream("s"));
        loser.assigned("t", 0, Some(0), 100).await.expect("known");
        loser.progress("t", 0, 1).await.expect("durable");
        server.cli(&["ACL", "SETUSER", "a", "off"]);
        server.cli(&["CLIENT", "KILL", "USER", "a"]);
        while !loser.is_bypassed() {
            drop(loser.look_up(&question("a", 1)).await);
        }
        for n in 0..25_000 {
            drop(loser.remember(&dead_lettered("x", 2, n)));
        }
        loser.released("t", 0);
        loser.flush().await.expect("goes on");
        let found = owner.assigned("t", 0, Some(10), 100).await;
        assert_eq!(found.expect("known"), Handover::TakenOver);
        drop(owner.remember(&accepted("b", 1, 20, Level::High)));
        owner.progress("t", 0, 21).await.expect("durable");
        server.cli(&user);
        while loser.is_bypassed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let facts = owner.look_up(&question("b", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (Some(Level::High), Some(at(20))));
        drop(owner.remember(&accepted("c", 1, 22, Level::Low)));
        owner.progress("t", 0, 23).await.expect("durable");
        let facts = owner.look_up(&question("c", 1)).await.expect("facts");
        assert_eq!((facts.level, facts.mark), (Some(Level::Low), Some(at(22))));
    });
}

/// A commit that lags behind what the owner has settled does not make the owner's work somebody else's.
#[test]
fn a_late_assignment_of_a_zombie_does_not_cost_the_owner_its_marks() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        owner.assigned("t", 0, Some(0), 100).await.expect("known");
        owner.progress("t", 0, 10).await.expect("durable");
        // 10 is tried again and again; 11 is a dead letter, 12 was accepted after it.
        owner
            .remember(&dead_lettered("11", 1, 11))
            .await
            .expect("durable");
        owner
            .remember(&accepted("12", 1, 12, Level::Low))
            .await
            .expect("durable");
        // The zombie was assigned the partition when 5 was committed; it asks only now.
        zombie.assigned("t", 0, Some(5), 100).await.expect("known");
        is_refused(owner.progress("t", 0, 10).await);
        // The group says that the owner is right: it goes on from what it stored.
        let found = owner.assigned("t", 0, Some(10), 100).await.expect("known");
        let facts = owner.look_up(&question("11", 1)).await.expect("facts");
        assert_eq!(found, Handover::Continued);
        assert_eq!(facts.mark, Some(at(12)), "11 would go out after 12");
        assert_eq!(facts.level, Some(Level::Low));
    });
}

/// A question after a refused write of the same partition would be answered without what was refused.
#[test]
fn a_question_behind_a_refused_write_is_not_answered() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let (zombie, owner) = (open(&settings), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        owner.assigned("t", 0, Some(0), 100).await.expect("known");
        let first = owner.remember(&accepted("1", 1, 1, Level::Low));
        first.await.expect("durable");
        zombie.assigned("t", 0, Some(0), 100).await.expect("known");
        let refused = owner.remember(&accepted("2", 1, 2, Level::High));
        // The lane is free at once, so the next SET about the subject asks right behind it.
        let asked = owner.look_up(&question("3", 1)).await;
        is_refused(refused.await);
        is_refused(asked.map(drop));
        // The group says that the owner is right; what was refused is found again and made up for.
        owner.assigned("t", 0, Some(0), 100).await.expect("known");
        let facts = owner.look_up(&question("2", 1)).await.expect("facts");
        assert!(facts.delivered_late, "{facts:?}");
    });
}

/// Leads from the port to the Redis, whoever connects, until the test ends.
fn lead(port: u16, to: u16) {
    std::thread::spawn(move || {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
        for one in listener.incoming() {
            let here = one.expect("a connection");
            let there = TcpStream::connect(("127.0.0.1", to)).expect("the Redis");
            for (mut from, mut into) in [
                (
                    here.try_clone().expect("two"),
                    there.try_clone().expect("two"),
                ),
                (there, here),
            ] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut into));
            }
        }
    });
}

/// Assigned in a bypass, and nobody has asked the group since: that is never written.
#[test]
fn a_kept_assignment_of_a_zombie_fences_nobody() {
    let server = RedisServer::start(&[]);
    let settings = impatient(&server);
    // The zombie's network to the Redis is cut, the owner's is not.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let mut cut_off = RedisSettings {
        on_unavailable: OnUnavailable::Continue,
        ..settings.clone()
    };
    cut_off.addresses[0].port = port;
    let (zombie, owner) = (open(&cut_off), open(&settings));
    run(async {
        let (zombie, owner) = (zombie.stream("s"), owner.stream("s"));
        let found = zombie.assigned("t", 0, Some(5), 100).await;
        assert_eq!(found.expect("bypassed"), Handover::First);
        let told = zombie.remember(&accepted("10", 1, 10, Level::High));
        told.await.expect("goes on");
        owner.assigned("t", 0, Some(5), 200).await.expect("known");
        owner.progress("t", 0, 10).await.expect("durable");
        let eleventh = owner.remember(&dead_lettered("11", 1, 11));
        eleventh.await.expect("durable");
        let twelfth = owner.remember(&accepted("12", 1, 12, Level::Low));
        twelfth.await.expect("durable");
        // The network is back; the group has not spoken to the zombie yet.
        lead(port, server.port());
        while zombie.is_bypassed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        is_refused(zombie.look_up(&question("11", 1)).await.map(drop));
        is_refused(zombie.flush_of("t", 0).await);
        is_refused(zombie.progress("t", 0, 11).await);
        owner.progress("t", 0, 10).await.expect("ours still");
        let facts = owner.look_up(&question("11", 1)).await.expect("facts");
        assert_eq!((facts.mark, facts.level), (Some(at(12)), Some(Level::Low)));
        let facts = owner.look_up(&question("10", 1)).await.expect("facts");
        assert!(facts.delivered_late, "that it was accepted is true");
        // Had the group confirmed the zombie, it would have begun anew.
        let found = zombie.assigned("t", 0, Some(10), 200).await;
        assert_eq!(found.expect("known"), Handover::Continued);
        zombie.progress("t", 0, 11).await.expect("ours now");
        is_refused(owner.progress("t", 0, 13).await);
    });
}
