//! One row a mistake: what is changed in the base file, and the line that says so.

use super::*;

/// `(what to replace, by what, place, key and message, part of the mend)`
pub(super) type Row = (&'static str, &'static str, &'static str, &'static str);

pub(super) fn check(rows: &[Row]) {
    for (from, to, expected, mend) in rows {
        assert!(BASE.contains(from), "{from}");
        let text = BASE.replace(from, to);
        let mistakes = match load_with(&text, &[]) {
            Ok(_) => panic!("accepted: {to}"),
            Err(mistakes) => mistakes,
        };
        assert_eq!(mistakes.len(), 1, "{to}\n{}", shown(&mistakes));
        let text = mistakes[0].to_string();
        let (message, mended) = text.split_once("\n    mend: ").unwrap();
        assert_eq!(message, *expected, "{to}");
        assert!(mended.contains(mend), "{to}\n{mended}");
    }
}

#[test]
fn a_redis_for_the_state() {
    const AT: &str = "signing:\n";
    check(&[
        (
            AT,
            "state: {backend: redis}\nsigning:\n",
            "f:3:8: state.redis.urls: `backend: redis` needs a Redis",
            "urls: [redis://host:6379]",
        ),
        (
            AT,
            "state: {redis: {urls: [redis://r]}}\nsigning:\n",
            "f:3:23: state.redis.urls: there is a Redis, but `state.backend` is another one",
            "set `state.backend: redis`",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [http://r]}}\nsigning:\n",
            "f:3:40: state.redis.urls[0]: no address of a Redis",
            "rediss://host:6379 for TLS",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: ['redis://u:p@r']}}\nsigning:\n",
            "f:3:40: state.redis.urls[0]: there are credentials in the URL",
            "use `username` and `password`",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r/1]}}\nsigning:\n",
            "f:3:40: state.redis.urls[0]: there is something behind host and port",
            "database 0",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r, rediss://r]}}\nsigning:\n",
            "f:3:39: state.redis.urls: redis:// and rediss:// are both there",
            "in one way",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r], username: u}}\nsigning:\n",
            "f:3:62: state.redis.username: a user without a password",
            "add `password`",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r], key_prefix: 'a{b}'}}\nsigning:\n",
            "f:3:64: state.redis.key_prefix: \"a{b}\" has not the right form",
            "no braces",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r], tls: {ca_file: x}}}\nsigning:\n",
            "f:3:57: state.redis.tls: there are files for TLS, but the URLs are redis://",
            "write rediss://",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [rediss://r], tls: {key_file: x}}}\nsigning:\n",
            "f:3:58: state.redis.tls: a key without its certificate",
            "add `certificate_file`",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r], on_unavailable: stop}}\nsigning:\n",
            "f:3:68: state.redis.on_unavailable: \"stop\" is not known here",
            "hold, continue",
        ),
        (
            AT,
            "state: {backend: redis, redis: {urls: [redis://r], request_timeout: 20s}}\nsigning:\n",
            "f:3:69: state.redis.request_timeout: request_timeout (20s) has to be shorter than drain_deadline (20s)",
            "shorten request_timeout",
        ),
    ]);
}

#[test]
fn redis_addresses_are_understood() {
    let text = format!(
        "{BASE}state: {{backend: redis, redis: {{urls: ['rediss://[::1]', 'rediss://r.example.com:7000', 'rediss://10.0.0.1']}}}}\n"
    );
    let StateConfig::Redis(redis) = good(&text).state else {
        panic!("no Redis");
    };
    let nodes = [("::1", 6379), ("r.example.com", 7000), ("10.0.0.1", 6379)];
    assert_eq!(
        redis.nodes,
        nodes.map(|(host, port)| (host.to_owned(), port))
    );
    assert!(redis.tls.is_some() && redis.on_unavailable == OnUnavailable::Hold);
}

#[test]
fn shapes() {
    check(&[
        (
            "kafka:\n",
            "kafka:\n  client-id: x\n",
            "f:2:3: kafka.client-id: unknown key",
            "did you mean `client_id`?",
        ),
        (
            "kafka:\n",
            "kafka:\n  jwks_uri: x\n",
            "f:2:3: kafka.jwks_uri: unknown key",
            "`jwks_uri` belongs under `transmitter`",
        ),
        (
            "kafka:\n",
            "kafka:\n  zebra: x\n",
            "f:2:3: kafka.zebra: unknown key",
            "known here: bootstrap_servers, client_id",
        ),
        (
            "kafka:\n",
            "kafka:\n  <<: {}\n",
            "f:2:3: kafka.<<: unknown key",
            "YAML 1.2 has no merge keys",
        ),
        (
            "  bootstrap_servers: localhost:9092\n",
            "  client_id: x\n",
            "f:1:1: kafka.bootstrap_servers: this key is missing",
            "write host:port",
        ),
        (
            "localhost:9092",
            "localhost",
            "f:2:22: kafka.bootstrap_servers: \"localhost\" has not the right form",
            "write host:port",
        ),
        (
            "localhost:9092",
            "localhost:99999",
            "f:2:22: kafka.bootstrap_servers: \"localhost:99999\" has no port between 1 and 65535",
            "",
        ),
        (
            "kafka:\n",
            "kafka:\n  group_protocol: clasic\n",
            "f:2:19: kafka.group_protocol: \"clasic\" is not known here",
            "did you mean `classic`? Known: classic, consumer",
        ),
        (
            "kafka:\n",
            "kafka:\n  max_poll_interval: 5 minutes\n",
            "f:2:22: kafka.max_poll_interval: \"5 minutes\" has not the right form",
            "500ms, 30s, 5m",
        ),
        (
            "kafka:\n",
            "kafka:\n  max_poll_interval: 300\n",
            "f:2:22: kafka.max_poll_interval: this is a whole number, wanted is a text",
            "500ms, 30s, 5m",
        ),
        (
            "kafka:\n",
            "kafka:\n  prefetch: 64MB\n",
            "f:2:13: kafka.prefetch: \"64MB\" has not the right form",
            "64MiB",
        ),
        (
            "kafka:\n",
            "kafka:\n  prefetch: 0B\n",
            "f:2:13: kafka.prefetch: zero makes no sense here",
            "",
        ),
        (
            "kafka:\n",
            "admin: {token: too-short}\nkafka:\n",
            "f:1:16: admin.token: the token has fewer than 16 characters",
            "openssl rand -hex 32",
        ),
        (
            "kafka:\n",
            "admin: {token: \"0123456789abcdef\\n\"}\nkafka:\n",
            "f:1:16: admin.token: there is a character in it that no header can carry",
            "",
        ),
        (
            "kafka:\n",
            "limits: {max_unsettled: 0}\nkafka:\n",
            "f:1:25: limits.max_unsettled: 0 is too small",
            "use 1 or more",
        ),
        (
            "kafka:\n",
            "limits: {max_unsettled: 1.5}\nkafka:\n",
            "f:1:25: limits.max_unsettled: this is a number with a fraction, wanted is a whole number",
            "",
        ),
        (
            "[{file: signing.pem}]",
            "[]",
            "f:4:3: signing: there is no key that signs",
            "setbridge keys generate",
        ),
        (
            "signing:\n  keys: [{file: signing.pem}]\n",
            "signing:\n",
            "f:3:1: signing: this key is missing",
            "add `signing`",
        ),
        (
            "streams:\n",
            "stream: {}\nstreams:\n",
            "f:7:1: stream: unknown key",
            "did you mean `streams`?",
        ),
    ]);
}

#[test]
fn kafka_and_keys() {
    check(&[
        (
            "kafka:\n",
            "kafka:\n  group_protocol: consumer\n  session_timeout: 6s\n",
            "f:3:20: kafka.session_timeout: with `group_protocol: consumer` the broker decides this",
            "remove it",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {enable.auto.commit: true}\n",
            "f:2:36: kafka.properties.enable.auto.commit: the bridge sets this itself: an offset may be stored only when every SET of its record is settled",
            "remove it",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {auto.offset.reset: latest}\n",
            "f:2:35: kafka.properties.auto.offset.reset: the bridge sets this itself: an offset out of range has to be noticed and counted",
            "start_at",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {group.id: x}\n",
            "f:2:26: kafka.properties.group.id: the bridge sets this itself: each stream has a group of its own",
            "`group_id`",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {test.mock.num.brokers: 3}\n",
            "f:2:39: kafka.properties.test.mock.num.brokers: the bridge sets this itself: it makes librdkafka talk to itself",
            "setbridge demo",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {securty.protocol: SSL}\n",
            "f:2:34: kafka.properties.securty.protocol: librdkafka knows no such property",
            "CONFIGURATION.md",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {security.protocol: TLS}\n",
            "f:2:35: kafka.properties.security.protocol: librdkafka does not take this value",
            "",
        ),
        (
            "kafka:\n",
            "kafka:\n  properties: {sasl.password: [x]}\n",
            "f:2:31: kafka.properties.sasl.password: this is a list, wanted is a text, a number or a truth value",
            "",
        ),
        (
            "{file: signing.pem}",
            "{file: signing.pem, published_only: true}",
            "f:4:9: signing.keys: every key is `published_only`, so none signs",
            "",
        ),
        (
            "{file: signing.pem}",
            "{file: a.pem}, {file: a.pem}",
            "f:4:32: signing.keys[1].file: this key file is listed twice",
            "",
        ),
        (
            "keys: [{file: signing.pem}]",
            "keys: [{file: signing.pem}]\n  ring: keys",
            "f:5:9: signing.ring: there are `keys` and a `ring`",
            "give one of them",
        ),
        (
            "{file: signing.pem}",
            "{file: signing.pem, not_before: tomorrow}",
            "f:4:42: signing.keys[0].not_before: \"tomorrow\" is no time of the calendar",
            "2026-01-31T08:00:00Z",
        ),
        (
            "{file: signing.pem}",
            "{file: signing.pem, not_before: '2026-01-02T00:00:00Z', not_after: '2026-01-01T00:00:00Z'}",
            "f:4:77: signing.keys[0].not_after: not_after is not after not_before",
            "",
        ),
        (
            "https://ssf.example.com",
            "http://ssf.example.com",
            "f:6:11: transmitter.issuer: plain http can be read and changed on the way",
            "use https",
        ),
        (
            "https://ssf.example.com",
            "https://ssf.example.com?a=b",
            "f:6:11: transmitter.issuer: an issuer has no query",
            "",
        ),
        (
            "https://ssf.example.com",
            "https://ssf.example.com#a",
            "f:6:11: transmitter.issuer: a URL with a fragment cannot be fetched",
            "",
        ),
        (
            "  issuer: https://ssf.example.com",
            "",
            "f:8:5: streams[0]: the stream has no issuer",
            "transmitter.issuer",
        ),
        (
            "transmitter:\n",
            "transmitter:\n  listen: here\n",
            "f:6:11: transmitter.listen: \"here\" is no address to listen on",
            "0.0.0.0:8080",
        ),
        (
            "transmitter:\n",
            "transmitter:\n  tls: {certificate_file: a.pem}\n",
            "f:6:8: transmitter.tls: a certificate without its key",
            "add `key_file`",
        ),
        (
            "transmitter:\n",
            "transmitter:\n  listen: none\n  tls: {certificate_file: a.pem, key_file: a.key}\n",
            "f:7:8: transmitter.tls: there is no public listener that could speak TLS",
            "",
        ),
        (
            "transmitter:\n",
            "admin: {listen: ':8080'}\ntransmitter:\n",
            "f:5:17: admin.listen: port 8080 is the public listener's too",
            "",
        ),
        (
            "transmitter:\n",
            "log: {level: 'a=b=c'}\ntransmitter:\n",
            "f:5:14: log.level: \"a=b=c\" is no log filter: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
            "",
        ),
    ]);
}

#[test]
fn times_that_contain_one_another() {
    check(&[
        (
            "kafka:\n",
            "shutdown: {drain_deadline: 40s}\nkafka:\n",
            "f:1:28: shutdown.drain_deadline: drain_deadline (40s) has to be shorter than termination_grace (30s)",
            "raise termination_grace",
        ),
        (
            "kafka:\n",
            "kafka:\n  max_poll_interval: 15s\n  session_timeout: 6s\n",
            "f:1:1: shutdown.drain_deadline: drain_deadline (20s) has to be shorter than max_poll_interval (15s)",
            "",
        ),
        (
            "kafka:\n",
            "admin: {liveness_threshold: 20s}\nkafka:\n",
            "f:1:29: admin.liveness_threshold: drain_deadline (20s) has to be shorter than liveness_threshold (20s)",
            "",
        ),
        (
            "kafka:\n",
            "kafka:\n  max_poll_interval: 30s\n",
            "f:2:22: kafka.max_poll_interval: session_timeout (45s, the default) has to be shorter than max_poll_interval (30s)",
            "",
        ),
    ]);
}

#[test]
fn all_mistakes_are_reported_together_in_the_order_of_the_file() {
    let text = "\
kafka:
  bootstrap_server: localhost:9092
  group_protocol: klassic
  properties: {group.id: x}
signing:
  keys: [{file: ''}]
transmitter:
  issuer: ${ISSUER}
shutdown: {drain_deadline: 40s}
state: {windwo: 1h}
streams:
  - id: okta
    topics: [detections]
    start_at: 2026-02-31T08:00:00Z
    receiver:
      url: http://org.okta.com/
      rate: fast
  - id: okta
    topics: [x]
";
    let mistakes = load_with(text, &[("SETBRIDGE_ZEBRA", "1")]).unwrap_err();
    let lines: Vec<String> = mistakes
        .iter()
        .map(|mistake| format!("{}: {}", mistake.place, mistake.key))
        .collect();
    assert_eq!(
        lines,
        [
            "f:2:3: kafka.bootstrap_server",
            "f:3:19: kafka.group_protocol",
            "f:4:26: kafka.properties.group.id",
            "f:6:17: signing.keys[0].file",
            "f:8:11: transmitter.issuer",
            "f:10:9: state.windwo",
            "f:14:15: streams[0].start_at",
            "f:17:13: streams[0].receiver.rate",
            "f:18:5: streams[1].receiver",
            "f:18:9: streams[1].id",
            "environment SETBRIDGE_ZEBRA: zebra",
        ],
        "{}",
        shown(&mistakes)
    );
}

#[test]
fn a_file_that_says_nothing_lacks_everything() {
    for text in ["", "# nothing\n", "{}"] {
        let mistakes = load_with(text, &[]).unwrap_err();
        let keys: Vec<&str> = mistakes.iter().map(|m| m.key.as_str()).collect();
        assert_eq!(keys, ["kafka", "signing", "streams"], "{text}");
    }
    let mistakes = load_with("[1, 2]", &[]).unwrap_err();
    assert!(shown(&mistakes).contains("this is a list, wanted is a section with keys"));
}
