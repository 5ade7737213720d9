//! Variables and flags over the file.

use serde_json::json;

use super::*;

const FILE: &str = "kafka: {bootstrap_servers: 'a:1', client_id: x}\nstreams: [{id: one}]\n";

fn laid(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> (Tree, Vec<String>) {
    let mut tree = yaml::read(FILE, "f").unwrap();
    let environment = environment.iter().copied().collect();
    let flags: Vec<Override> = flags
        .iter()
        .map(|(key, value)| Override::new("--set", key, *value))
        .collect();
    let mistakes = overlay(&mut tree, &environment, &flags);
    (tree, mistakes.iter().map(Mistake::to_string).collect())
}

#[test]
fn a_flag_goes_over_the_environment_over_the_file() {
    let (tree, mistakes) = laid(
        &[
            ("SETBRIDGE_KAFKA__BOOTSTRAP_SERVERS", "b:2"),
            ("SETBRIDGE_KAFKA__CLIENT_ID", "77"),
            ("SETBRIDGE_KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2"),
            ("SETBRIDGE_LOG__LEVEL", ""),
            ("SETBRIDGE_SIGNING__THREADS", "4"),
            ("SETBRIDGE_STREAMS__0__TOPICS", "t1, t2"),
            ("SETBRIDGE_STREAMS__1__ID", "two"),
        ],
        &[
            ("kafka.bootstrap_servers", "c:3"),
            ("kafka.properties.security.protocol", "SSL"),
            ("streams[0].receiver.tls", "{ca_file: x}"),
            ("streams.1.limits.max_unsettled", "5"),
        ],
    );
    assert_eq!(mistakes, Vec::<String>::new());
    assert_eq!(
        tree.value,
        json!({
            "kafka": {"bootstrap_servers": "c:3", "client_id": "77",
                      "properties": {"sasl.password": "hunter2", "security.protocol": "SSL"}},
            "streams": [
                {"id": "one", "topics": ["t1", "t2"], "receiver": {"tls": {"ca_file": "x"}}},
                {"id": "two", "limits": {"max_unsettled": 5}}],
            "signing": {"threads": 4},
        })
    );
    assert_eq!(
        tree.places.value("/kafka/bootstrap_servers"),
        Place::Flag("--set".into())
    );
    assert_eq!(
        tree.places.value("/streams/1/id"),
        Place::Environment("SETBRIDGE_STREAMS__1__ID".into())
    );
    assert!(matches!(
        tree.places.value("/streams/0/id"),
        Place::File { line: 2, .. }
    ));
}

#[test]
fn a_variable_that_names_no_key_is_a_mistake() {
    let (_, mistakes) = laid(
        &[
            ("SETBRIDGE_KAFKA__BOOTSTRAP_SERVER", "x"),
            ("SETBRIDGE_STREAMS__7__ID", "x"),
            ("SETBRIDGE_STREAMS__ONE__ID", "x"),
            ("SETBRIDGE_ZEBRA", "x"),
        ],
        &[("kafka.zebra", "x")],
    );
    assert_eq!(
        mistakes,
        [
            "environment SETBRIDGE_KAFKA__BOOTSTRAP_SERVER: kafka.bootstrap_server: no such key in \
             the configuration\n    mend: did you mean SETBRIDGE_KAFKA__BOOTSTRAP_SERVERS…?",
            "environment SETBRIDGE_STREAMS__7__ID: streams: there are 1 elements, so 7 cannot be \
             set\n    mend: use an index up to 1; 1 adds an element",
            "environment SETBRIDGE_STREAMS__ONE__ID: streams.one: no such key in the \
             configuration\n    mend: name an element by its number, from 0",
            "environment SETBRIDGE_ZEBRA: zebra: no such key in the configuration\n    mend: \
             remove it; known there: admin, group_id, kafka, limits, log, shutdown, signing, state, \
             streams, transmitter",
            "flag --set: kafka.zebra: no such key in the configuration\n    mend: remove it; known \
             there: bootstrap_servers, client_id, group_protocol, max_poll_interval, \
             oauthbearer_token_file, prefetch, properties, session_timeout",
        ]
    );
}

#[test]
fn what_kubernetes_sets_is_left_alone() {
    for name in [
        "SETBRIDGE_SERVICE_HOST",
        "SETBRIDGE_SERVICE_PORT",
        "SETBRIDGE_SERVICE_PORT_HTTP",
        "SETBRIDGE_PORT",
        "SETBRIDGE_PORT_8080_TCP",
        "SETBRIDGE_PORT_8080_TCP_ADDR",
        "SETBRIDGE_ADMIN_SERVICE_HOST",
        "SETBRIDGE_ADMIN_PORT_9464_TCP_PROTO",
        "SETBRIDGE_CONFIG",
    ] {
        let (_, mistakes) = laid(&[(name, "tcp://10.0.0.1:8080")], &[]);
        assert_eq!(mistakes, Vec::<String>::new(), "{name}");
    }
}
