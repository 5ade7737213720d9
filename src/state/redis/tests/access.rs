//! Who may do what, TLS, a cluster, several servers.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::secret::Secret;

/// The rule that docs/operations.md gives.
const RULE: &str = "~test* resetchannels -@all +hget +hset +hdel +hkeys +hgetall +get +set \
                    +evalsha +script|load +info";

/// What it adds for a cluster.
const RULE_IN_A_CLUSTER: &str = "+cluster|slots +ping";

async fn works(state: &StreamState) {
    let found = state.assigned("t", 0, Some(0), 100).await;
    assert_eq!(found.expect("known"), Handover::First);
    drop(state.remember(&accepted("a", 1, 1, Level::High)));
    let mut renamed = accepted("b", 1, 2, Level::None);
    renamed.other_subject = Some(subject(2));
    drop(state.remember(&renamed));
    state.progress("t", 0, 3).await.expect("durable");
    state.set_held_since(Some(5)).await.expect("durable");
    state.set_held_since(None).await.expect("durable");
    let facts = state.look_up(&question("a", 2)).await.expect("facts");
    assert!(facts.delivered);
    assert_eq!((facts.level, facts.mark), (Some(Level::High), Some(at(2))));
}

#[test]
fn a_user_with_the_documented_rule_may_do_all_that_we_do() {
    let server = RedisServer::start(&[]);
    let mut rule = vec!["ACL", "SETUSER", "setbridge", "on", ">correct horse"];
    rule.extend(RULE.split_whitespace());
    server.cli(&rule);
    let password = server.folder().join("password");
    std::fs::write(&password, "wrong\n").expect("a file");
    let settings = RedisSettings {
        username: Some("setbridge".to_owned()),
        password: Some(Secret::from_file(&password).expect("a secret")),
        ..in_redis(&server)
    };
    let store = open(&settings);
    run(async {
        let state = store.stream("s");
        let refused = state.flush().await;
        let refused = refused.and(state.look_up(&question("a", 1)).await.map(drop));
        let error = refused.expect_err("a wrong password");
        assert!(
            matches!(error, StateError::RemoteRefused { .. }),
            "{error:?}"
        );
        let said = crate::telemetry::chain(&error);
        assert!(
            said.contains("127.0.0.1") && !said.contains("wrong\n"),
            "{said}"
        );
        // A rotated password is found without a restart.
        std::fs::write(&password, "correct horse\n").expect("a file");
        while state.look_up(&question("a", 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        works(&state).await;
    });
    // Not a command less: each one that is taken away is missed.
    for command in RULE
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('+'))
    {
        if command == "info" {
            continue; // asked for warnings only
        }
        let taken = format!("-{command}");
        server.cli(&["ACL", "SETUSER", "setbridge", &taken]);
        server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        server.cli(&["SCRIPT", "FLUSH"]);
        let prefix = format!("{}{command}", settings.key_prefix);
        let store = open(&RedisSettings {
            key_prefix: prefix,
            ..settings.clone()
        });
        run(async {
            let state = store.stream("s");
            let mut renamed = accepted("b", 1, 2, Level::None);
            renamed.other_subject = Some(subject(2));
            let all = [
                state.remember(&accepted("a", 1, 1, Level::High)).await,
                state.remember(&renamed).await,
                state.set_held_since(None).await,
                state.look_up(&question("a", 1)).await.map(drop),
            ];
            assert!(all.iter().any(Result::is_err), "nobody needs {command}");
        });
        let given = format!("+{command}");
        server.cli(&["ACL", "SETUSER", "setbridge", &given]);
    }
}

/// An authority and a certificate under it, which both sides use.
fn certificates(folder: &std::path::Path) -> [PathBuf; 3] {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A leaf of the same name would look like its own authority.
    params
        .distinguished_name
        .push(DnType::CommonName, "an authority");
    let ca = params.self_signed(&key).expect("an authority").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).expect("names");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate").pem();
    [
        ("ca.pem", ca),
        ("leaf.pem", leaf),
        ("leaf.key", key.serialize_pem()),
    ]
    .map(|(name, pem)| {
        let path = folder.join(name);
        std::fs::write(&path, pem).expect("a PEM file");
        path
    })
}

#[test]
fn tls_checks_both_sides() {
    let folder = tempfile::tempdir().expect("tempdir");
    let [ca, leaf, key] = certificates(folder.path());
    let words = [&ca, &leaf, &key].map(|path| path.display().to_string());
    let mut server = RedisServer::prepare(&[]);
    let port = server.port().to_string();
    server.with(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &words[0],
        "--tls-cert-file",
        &words[1],
        "--tls-key-file",
        &words[2],
        "--tls-auth-clients",
        "yes",
    ]);
    server.start_again();
    let tls = RedisTls {
        ca_file: Some(ca.clone()),
        identity: Some((leaf, key)),
    };
    let settings = |tls| RedisSettings {
        tls: Some(tls),
        ..in_redis(&server)
    };
    run(async {
        let store = open(&settings(tls.clone()));
        works(&store.stream("s")).await;
        let stranger = tempfile::tempdir().expect("tempdir");
        let [stranger, ..] = certificates(stranger.path());
        for (why, tls) in [
            (
                "a stranger's authority",
                RedisTls {
                    ca_file: Some(stranger.clone()),
                    ..tls.clone()
                },
            ),
            (
                "no certificate of ours",
                RedisTls {
                    identity: None,
                    ..tls.clone()
                },
            ),
        ] {
            let store = open(&settings(tls));
            let asked = store.stream("s").look_up(&question("a", 1)).await;
            assert!(asked.is_err(), "{why}");
        }
    });
    let missing = RedisTls {
        ca_file: Some(folder.path().join("nowhere.pem")),
        identity: None,
    };
    let settings = StateSettings::Redis(Box::new(settings(missing)));
    let opened = StateStore::open(&settings, system_clock());
    assert!(matches!(opened, Err(StateError::RemoteFile { .. })));
}

/// Three nodes without replicas; waits until they are one cluster.
fn cluster() -> Vec<RedisServer> {
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            RedisServer::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])
        })
        .collect();
    let addresses: Vec<_> = nodes
        .iter()
        .map(|n| format!("127.0.0.1:{}", n.port()))
        .collect();
    let mut words = vec!["--cluster", "create"];
    words.extend(addresses.iter().map(String::as_str));
    words.push("--cluster-yes");
    nodes[0].cli(&words);
    for node in &nodes {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while !node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            assert!(std::time::Instant::now() < until, "no cluster");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    nodes
}

#[test]
fn streams_spread_over_a_cluster_and_one_node_is_not_anothers_trouble() {
    let mut nodes = cluster();
    for node in &nodes {
        let mut rule = vec!["ACL", "SETUSER", "setbridge", "on", ">a password"];
        rule.extend(
            RULE.split_whitespace()
                .chain(RULE_IN_A_CLUSTER.split_whitespace()),
        );
        node.cli(&rule);
        rule.truncate(2);
        rule.extend(["reader", "on", ">a password"]);
        rule.extend(looking::RULE.split_whitespace());
        rule.extend(RULE_IN_A_CLUSTER.split_whitespace());
        node.cli(&rule);
    }
    let settings = RedisSettings {
        cluster: true,
        username: Some("setbridge".to_owned()),
        password: Some(Secret::literal("a password")),
        ..in_redis(&nodes[0])
    };
    let store = open(&settings);
    run(async {
        let names: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
        for name in &names {
            works(&store.stream(name)).await;
        }
        let keys =
            |node: &RedisServer| -> usize { node.cli(&["DBSIZE"]).parse().expect("a number") };
        assert!(nodes.iter().all(|node| keys(node) > 0), "they are spread");
        // Who may only read sees all of them.
        let view = looking::view(&RedisSettings {
            username: Some("reader".to_owned()),
            ..settings.clone()
        });
        for name in &names {
            let seen = view.look_up(name, &[question("a", 2)]).await.expect("seen");
            assert_eq!(
                (seen[0].delivered, seen[0].mark),
                (true, Some(at(2))),
                "{name}"
            );
        }
        // The last node goes: its streams are held, the others go on.
        let lost = nodes.pop().expect("three");
        let theirs = lost.cli(&["KEYS", "*:stream"]);
        let theirs: Vec<&str> = theirs.lines().collect();
        let mut lost = lost;
        lost.kill();
        for name in &names {
            let is_there = theirs
                .iter()
                .any(|key| key.contains(&format!("{{{name}}}")));
            if is_there {
                let asked = store.stream(name).look_up(&question("a", 1)).await;
                assert!(asked.is_err(), "{name} was there");
            }
        }
        lost.start_again();
        let mut rule = vec!["ACL", "SETUSER", "setbridge", "on", ">a password"];
        rule.extend(
            RULE.split_whitespace()
                .chain(RULE_IN_A_CLUSTER.split_whitespace()),
        );
        lost.cli(&rule);
        for name in &names {
            let state = store.stream(name);
            while !state
                .look_up(&question("a", 1))
                .await
                .is_ok_and(|f| f.delivered)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

#[test]
fn of_several_servers_the_primary_is_used() {
    let primary = RedisServer::start(&[]);
    let port = primary.port().to_string();
    let replica = RedisServer::start(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let mut settings = in_redis(&replica);
    settings
        .addresses
        .push(in_redis(&primary).addresses.remove(0));
    let store = open(&settings);
    run(async { works(&store.stream("s")).await });
    assert!(primary.cli(&["DBSIZE"]) != "0");
}

#[test]
fn what_a_newer_setbridge_wrote_is_refused() {
    let server = RedisServer::shared();
    let settings = in_redis(server);
    let key = format!("{}{{s}}:stream", settings.key_prefix);
    server.cli(&["HSET", &key, "schema", "3"]);
    let store = open(&settings);
    run(async {
        let asked = store.stream("s").look_up(&question("a", 1)).await;
        let (found, known) = match asked {
            Err(StateError::RemoteNewer { found, known, .. }) => (found, known),
            other => panic!("{other:?}"),
        };
        assert_eq!((found, known), (3, 2));
    });
}
