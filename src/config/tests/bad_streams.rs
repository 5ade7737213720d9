//! Mistakes in a stream and its receiver, and streams that do not go together.

use super::bad_input::check;
use super::*;

const RECEIVER: &str = "    receiver:\n";

#[test]
fn streams() {
    check(&[
        (
            "id: okta",
            "id: Okta",
            "f:8:9: streams[0].id: \"Okta\" has not the right form",
            "lower-case",
        ),
        (
            "    topics: [detections]\n",
            "",
            "f:8:5: streams[0]: the stream has no topics",
            "topic_pattern",
        ),
        (
            "topics: [detections]",
            "topics: []",
            "f:9:13: streams[0].topics: the list is empty",
            "",
        ),
        (
            "topics: [detections]",
            "topics: [a, a]",
            "f:9:17: streams[0].topics[1]: this topic is listed twice",
            "",
        ),
        (
            "topics: [detections]",
            "topics: ['a b']",
            "f:9:14: streams[0].topics[0]: a topic name consists of ASCII letters, digits, '.', '_' and '-', not ' '",
            "",
        ),
        (
            "topics: [detections]",
            "topics: [^det]",
            "f:9:14: streams[0].topics[0]: a topic name consists of ASCII letters, digits, '.', '_' and '-', not '^'",
            "topic_pattern",
        ),
        (
            "topics: [detections]",
            "topics: [det.okta.dlq]",
            "f:9:14: streams[0].topics[0]: det.okta.dlq has the name of a dead-letter topic of the stream okta",
            "would come back",
        ),
        (
            "topics: [detections]",
            "topics: [det.okta.replay]",
            "f:9:14: streams[0].topics[0]: det.okta.replay has the name of a side topic of the stream okta",
            "",
        ),
        (
            "topics: [detections]",
            "topics: [det.okta.replay.outcomes]",
            "f:9:14: streams[0].topics[0]: det.okta.replay.outcomes has the name of a topic for outcomes of replays of the stream okta",
            "",
        ),
        (
            "topics: [detections]",
            "topic_pattern: ^det[a-z.]+again$\n    replay: {topic: '{topic}.{stream}.again'}",
            "f:9:20: streams[0].topic_pattern: it can match a side topic of the stream okta, {topic}.okta.again",
            "leave dots out",
        ),
        (
            "id: okta",
            "id: okta\n    replay: {topic: replays}",
            "f:9:21: streams[0].replay.topic: each source topic of each stream needs a side topic of its own",
            "{topic}.{stream}.replay",
        ),
        (
            "id: okta",
            "id: okta\n    replay: {topic: '{topic}.replay'}",
            "f:9:21: streams[0].replay.topic: each source topic of each stream needs a side topic of its own",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    replay: {topic: '{topic}.{stream}.dlq'}",
            "f:9:21: streams[0].replay.topic: it is a topic that the stream writes to",
            "for ever",
        ),
        (
            "topics: [detections]",
            "topics: [detections]\n    dead_letter: {topic: detections.okta.replay}",
            "f:8:5: streams[0].replay.topic: it is a topic that the stream writes to",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    replay: {rate: 0}",
            "f:9:20: streams[0].replay.rate: 0 is too small",
            "",
        ),
        (
            "topics: [detections]",
            "topics: [a]\n    outcome_topic: a",
            "f:9:14: streams[0].topics[0]: a has the name of the outcome topic of the stream okta",
            "",
        ),
        (
            "topics: [detections]",
            "topic_pattern: det",
            "f:9:20: streams[0].topic_pattern: a topic pattern starts with '^'",
            "",
        ),
        (
            "topics: [detections]",
            "topics: [a]\n    topic_pattern: ^b$",
            "f:10:20: streams[0].topic_pattern: `topics` and `topic_pattern` are both there",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    start_at: yesterday",
            "f:9:15: streams[0].start_at: \"yesterday\" has not the right form",
            "2026-01-31",
        ),
        (
            "id: okta",
            "id: okta\n    start_at: 2026-02-31T08:00:00Z",
            "f:9:15: streams[0].start_at: \"2026-02-31T08:00:00Z\" is no time of the calendar",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    profile: ssf",
            "f:9:14: streams[0].profile: \"ssf\" is not known here",
            "ssf-1.0",
        ),
        (
            "id: okta",
            "id: okta\n    dead_letter: {topic: '{topc}.dlq'}",
            "f:9:26: streams[0].dead_letter.topic: a topic name consists of ASCII letters, digits, '.', '_' and '-', not '{'",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    retry: {initial_delay: 2m}",
            "f:9:28: streams[0].retry.initial_delay: the first wait (2m) is longer than the longest (30s)",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    max_event_age: 0s",
            "f:9:20: streams[0].max_event_age: zero makes no sense here",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    max_event_age: 2h\n    mapping: {max_past_seconds: 3600, rules: [{name: a, drop: true}]}",
            "f:9:20: streams[0].max_event_age: the mapping refuses events that are more than 3600 s old, so none gets 2h old",
            "max_past_seconds",
        ),
        (
            "id: okta",
            "id: okta\n    hold: {max_probe_delay: 1s}",
            "f:9:11: streams[0].hold.initial_probe_delay: the first wait (5s) is longer than the longest (1s)",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    guard: {records: {faults: 5}}",
            "f:9:22: streams[0].guard.records.keys: 5 faults never come from 10 keys",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    limits: {max_unsettled: 5, max_requests_in_flight: 5}",
            "f:9:29: streams[0].limits.max_unsettled: max_unsettled (5) leaves no room for guard.refusals.subjects (10)",
            "",
        ),
        (
            "id: okta",
            "id: okta\n    limits: {max_record_bytes: 1GiB}",
            "f:9:13: streams[0].limits.max_unsettled_bytes: max_unsettled_bytes (16777216) leaves no room for max_record_bytes (1073741824)",
            "",
        ),
    ]);
}

#[test]
fn receivers() {
    let url = "https://org.okta.com/security/api/v1/security-events";
    check(&[
        (
            url,
            "http://org.okta.com/x",
            "f:11:12: streams[0].receiver.url: plain http can be read and changed on the way",
            "allow_http",
        ),
        (
            url,
            "https://u:p@org.okta.com/x",
            "f:11:12: streams[0].receiver.url: there are credentials in the URL",
            "`auth`",
        ),
        (
            url,
            "https://org.okta.com/x#y",
            "f:11:12: streams[0].receiver.url: a URL with a fragment cannot be fetched",
            "",
        ),
        (
            url,
            "https://org-admin.okta.com/x",
            "f:11:12: streams[0].receiver.url: this is the address of the admin console",
            "without `-admin`",
        ),
        (
            url,
            "'\"https://org.okta.com/x\"'",
            "f:11:12: streams[0].receiver.url: a URL has no blanks, quotes or backslashes in it",
            "",
        ),
        (
            url,
            "org.okta.com",
            "f:11:12: streams[0].receiver.url: not a URL: relative URL without a base",
            "https://host/path",
        ),
        (
            url,
            "https:org.okta.com",
            "f:11:12: streams[0].receiver.url: no URL with `://`",
            "",
        ),
        (
            url,
            "ftp://org.okta.com",
            "f:11:12: streams[0].receiver.url: ftp is no scheme for this",
            "use https",
        ),
        (
            RECEIVER,
            "    receiver:\n      rate: 0\n",
            "f:11:13: streams[0].receiver.rate: 0 is too small",
            "more than 0",
        ),
        (
            RECEIVER,
            "    receiver:\n      auth: {header: {value: a}, oauth2: {token_url: 'https://a', client_id: a, client_secret: a}}\n",
            "f:11:13: streams[0].receiver.auth: `header` and `oauth2` are both there",
            "",
        ),
        (
            RECEIVER,
            "    receiver:\n      auth: {oauth2: {token_url: 'https://a', client_id: a}}\n",
            "f:11:22: streams[0].receiver.auth.oauth2: the client has nothing to prove itself with",
            "private_key_file",
        ),
        (
            RECEIVER,
            "    receiver:\n      auth: {oauth2: {token_url: 'http://a', client_id: a, client_secret: a}}\n",
            "f:11:34: streams[0].receiver.auth.oauth2.token_url: plain http can be read and changed on the way",
            "",
        ),
        (
            RECEIVER,
            "    receiver:\n      auth: {header: {name: Host, value: a}}\n",
            "f:11:29: streams[0].receiver.auth.header.name: the header Host is set by the protocol",
            "",
        ),
        (
            RECEIVER,
            "    receiver:\n      auth: {header: {value: \"a\\nb\"}}\n",
            "f:11:30: streams[0].receiver.auth.header.value: there is a character in it that no header can carry",
            "",
        ),
        (
            RECEIVER,
            "    receiver:\n      tls: {key_file: a}\n",
            "f:11:12: streams[0].receiver.tls: a key without its certificate",
            "certificate_file",
        ),
        (
            RECEIVER,
            "    receiver:\n      proxy: socks\n",
            "f:11:14: streams[0].receiver.proxy: not the URL of a proxy",
            "",
        ),
        (
            RECEIVER,
            "    receiver:\n      request_timeout: 20s\n",
            "f:11:24: streams[0].receiver.request_timeout: request_timeout (20s) has to be shorter than drain_deadline (20s)",
            "",
        ),
        (
            RECEIVER,
            "    receiver:\n      connect_timeout: 10s\n",
            "f:11:7: streams[0].receiver.request_timeout: connect_timeout (10s) has to be shorter than request_timeout (10s)",
            "",
        ),
    ]);
}

#[test]
fn plain_http_is_for_loopback_or_by_name() {
    let url = "https://org.okta.com/security/api/v1/security-events";
    for (url, extra) in [
        ("http://localhost:1/x", ""),
        ("http://127.0.0.1:1/x", ""),
        ("http://[::1]:1/x", ""),
        ("http://receiver.svc/x", "\n      allow_http: true"),
    ] {
        good(&BASE.replace(
            "https://org.okta.com/security/api/v1/security-events",
            &format!("{url}{extra}"),
        ));
    }
    assert!(load_with(&BASE.replace(url, "http://localhost.evil.example/x"), &[]).is_err());
}
#[test]
fn patterns_that_would_read_what_we_write() {
    for pattern in [
        "^det",
        r"^detections\..*$",
        r"^[a-z.]+$",
        r"^x\.okta\.park$",
    ] {
        let text = BASE.replace("topics: [detections]", &format!("topic_pattern: {pattern}"));
        let mistakes = load_with(&text, &[]).unwrap_err();
        assert!(
            shown(&mistakes).contains("f:9:20: streams[0].topic_pattern: it can match a"),
            "{}",
            shown(&mistakes)
        );
    }
    good(&BASE.replace(
        "topics: [detections]",
        r"topic_pattern: ^detections\.[a-z]+$",
    ));
}

#[test]
fn streams_among_each_other() {
    let second = "  - id: two\n    topics: [detections]\n    receiver:\n      \
                  url: https://org.okta.com/other\n";
    good(&format!("{BASE}{second}"));
    for (text, expected) in [
        (
            second.replace("two", "okta"),
            "f:12:9: streams[1].id: streams[0] has the id \"okta\" too",
        ),
        (
            second.replace("[detections]", "[a.okta.park]"),
            "f:13:14: streams[1].topics[0]: a.okta.park has the name of a side topic of the stream okta",
        ),
        (
            format!("{second}      rate: 5\n"),
            "f:16:13: streams[1].receiver.rate: streams[0] has another rate for https://org.okta.com",
        ),
    ] {
        let mistakes = load_with(&format!("{BASE}{text}"), &[]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{}", shown(&mistakes));
        assert!(
            shown(&mistakes).starts_with(expected),
            "{}",
            shown(&mistakes)
        );
    }
}

#[test]
fn okta_takes_rs256_only() {
    check(&[
        (
            "    topics: [detections]\n",
            "    topics: [detections]\n    signing: {algorithm: ES256}\n",
            "f:10:26: streams[0].signing.algorithm: Okta takes SETs signed by RS256, not by ES256",
            "RS256",
        ),
        (
            "    topics: [detections]\n",
            "    topics: [detections]\n    signing: {algorithm: HS256}\n",
            "f:10:26: streams[0].signing.algorithm: \"HS256\" is not known here",
            "",
        ),
    ]);
}
