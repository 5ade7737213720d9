//! Bad input gets a clear answer, good input the settings that it asks for.

mod bad_input;
mod bad_streams;
mod bad_vault;
mod reference;
mod rings;

use std::time::Duration;

use super::*;

/// The smallest file to which a test adds what it is about.
const BASE: &str = "\
kafka:
  bootstrap_servers: localhost:9092
signing:
  keys: [{file: signing.pem}]
transmitter:
  issuer: https://ssf.example.com
streams:
  - id: okta
    topics: [detections]
    receiver:
      url: https://org.okta.com/security/api/v1/security-events
";

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
    let sources = Sources {
        environment: &environment.iter().copied().collect(),
        overrides: &[],
        files: Files::Read,
    };
    load_text(text, "f", &sources)
}

fn good(text: &str) -> Config {
    load_with(text, &[]).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)))
}

fn shown(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

#[test]
fn the_smallest_file_has_sensible_defaults() {
    let config = good(BASE);
    let stream = &config.streams[0];
    assert_eq!(stream.group_id, "setbridge.okta");
    assert_eq!(&*stream.audience, "https://org.okta.com");
    assert_eq!(stream.issuer.as_str(), "https://ssf.example.com");
    assert_eq!(stream.profile, Profile::Okta);
    assert_eq!(stream.mapping.rules().count(), 2, "the native mapping");
    assert_eq!(stream.start_at, StartAt::Earliest);
    assert!(matches!(stream.receiver.auth, AuthConfig::None));
    assert!(matches!(stream.receiver.proxy, ProxyConfig::Environment));
    assert_eq!(stream.receiver.request_timeout, Duration::from_secs(10));
    assert_eq!(stream.limits.max_record_bytes, 1 << 20);
    let replay = stream.replay_topics("detections").unwrap();
    assert_eq!(replay.side.as_str(), "detections.okta.replay");
    assert_eq!(replay.outcomes.as_str(), "detections.okta.replay.outcomes");
    assert_eq!(stream.replay_group_id(), "setbridge.okta.replay");
    let name = stream.dead_letter.topic.name_for("detections").unwrap();
    assert_eq!(name.as_str(), "detections.okta.dlq");
    assert_eq!(stream.max_event_age, None);
    let error = stream.receiver_error.unwrap();
    assert_eq!((error.attempts.get(), error.other_subjects.get()), (20, 20));
    assert_eq!(config.kafka.session_timeout, Some(Duration::from_secs(45)));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    let metadata = &config.transmitter.issuers[0];
    assert_eq!(
        metadata.jwks_uri.as_str(),
        "https://ssf.example.com/jwks.json"
    );
    assert!(matches!(&config.state, StateConfig::Sqlite { window, .. }
        if *window == Duration::from_secs(86_400)));
}

#[test]
fn a_full_stream_is_understood() {
    let text = BASE.replace("    topics: [detections]\n", "")
        + r#"      rate: 2.5
      proxy: none
      auth:
        oauth2: {token_url: "https://login.example.com/token", client_id: c, client_secret: s3cret, scopes: [a, b]}
      tls: {ca_file: ca.pem, certificate_file: c.pem, key_file: k.pem}
    topic_pattern: ^detections\.[a-z]+$
    start_at: 2026-01-31T08:00:00Z
    mode: shadow
    issuer: https://ssf.example.com/two
    audience: https://org.okta.com/
    profile: ssf-1.0
    on_no_subject: filter
    max_event_age: 12h
    receiver_error: {enabled: false}
    guard: {refusals: {enabled: false}, records: {faults: 5, keys: 2}}
    outcome_topic: outcomes
    limits: {max_unsettled: 50}
    mapping: {rules: [{name: lab, when: "true", drop: true}]}
"#;
    let config = good(&text);
    let stream = &config.streams[0];
    assert_eq!(stream.group_id, "setbridge.okta.shadow");
    assert_eq!(
        stream.start_at,
        StartAt::Time {
            epoch_ms: 1_769_846_400_000
        }
    );
    assert_eq!(&*stream.audience, "https://org.okta.com/");
    assert_eq!(stream.profile, Profile::Ssf10);
    assert_eq!(stream.receiver.rate.unwrap().per_second(), 2.5);
    assert!(matches!(stream.receiver.proxy, ProxyConfig::Direct));
    let half_a_day = Duration::from_secs(43_200);
    assert_eq!(stream.max_event_age, Some(half_a_day));
    assert!(stream.receiver_error.is_none() && stream.guard.refusals.is_none());
    assert_eq!(stream.guard.records.unwrap().faults.get(), 5);
    assert_eq!(stream.limits.max_unsettled.get(), 50);
    assert_eq!(stream.limits.max_uncommitted.get(), 20_000);
    assert!(matches!(&stream.topics, TopicSelection::Pattern(p) if p.matches("detections.edr")));
    assert_eq!(
        stream
            .mapping
            .rules()
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>(),
        ["lab"]
    );
    let issuers: Vec<&str> = config
        .transmitter
        .issuers
        .iter()
        .map(|i| i.issuer.as_str())
        .collect();
    assert_eq!(
        issuers,
        ["https://ssf.example.com", "https://ssf.example.com/two"]
    );
}

#[test]
fn the_environment_goes_over_the_file_and_a_flag_over_both() {
    let environment = [
        ("SETBRIDGE_GROUP_ID", "from-environment"),
        ("SETBRIDGE_KAFKA__CLIENT_ID", "from-environment"),
        ("NAME", "from-variable"),
    ];
    let text = format!("group_id: ${{NAME}}\n{BASE}");
    let sources = Sources {
        environment: &environment.into_iter().collect(),
        overrides: &[Override::new("--set", "kafka.client_id", "from-flag")],
        files: Files::Read,
    };
    let config = load_text(&text, "f", &sources).unwrap();
    assert_eq!(config.streams[0].group_id, "from-environment.okta");
    assert_eq!(config.kafka.client_id, "from-flag");
    let config = load_with(&text, &[("NAME", "from-variable")]).unwrap();
    assert_eq!(config.streams[0].group_id, "from-variable.okta");
    assert_eq!(config.kafka.client_id, "setbridge");
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let mistakes =
        load_with(BASE, &[("SETBRIDGE_STREAMS__0__RECEIVER__RATE", "fast")]).unwrap_err();
    assert_eq!(
        shown(&mistakes),
        "environment SETBRIDGE_STREAMS__0__RECEIVER__RATE: streams[0].receiver.rate: this is a \
         text, wanted is a number\n    mend: write a number"
    );
}

#[test]
fn secrets_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = BASE.replace(
        "localhost:9092",
        "localhost:9092\n  properties: {sasl.password: hunter2}",
    ) + &format!(
        "      auth: {{header: {{value: 'file:{}'}}}}\n      proxy: http://u:hunter2@proxy:1\n",
        file.display()
    );
    let config = good(&text);
    assert!(!format!("{config:?}").contains("hunter2"));
    let AuthConfig::Header { name, value } = &config.streams[0].receiver.auth else {
        panic!("not a header");
    };
    assert_eq!(
        (name.as_str(), value.reveal()),
        ("Authorization", "hunter2")
    );
    assert_eq!(config.kafka.properties["sasl.password"].reveal(), "hunter2");

    // Wherever a secret is wrong, the message does not repeat it.
    for wrong in [
        "auth: {header: {value: \"hunter2\\u0007\"}}",
        "auth: {header: {value: [hunter2]}}",
        "auth: {oauth2: {token_url: 'https://a/', client_id: a, client_secret: {hunter2: hunter2}}}",
        "auth: {oauth2: {token_url: 'https://u:hunter2@a/', client_id: a, client_secret: a}}",
        "proxy: hunter2",
    ] {
        let mistakes = load_with(&format!("{BASE}      {wrong}\n"), &[]).unwrap_err();
        assert!(
            !shown(&mistakes).contains("hunter2"),
            "{}",
            shown(&mistakes)
        );
    }
    let wrong = BASE.replace(
        "localhost:9092",
        "localhost:9092\n  properties: {linger.ms: hunter2}",
    );
    let mistakes = load_with(&wrong, &[]).unwrap_err();
    assert!(
        !shown(&mistakes).contains("hunter2"),
        "{}",
        shown(&mistakes)
    );
}

#[test]
fn secret_files_can_be_left_alone() {
    let text = format!("{BASE}      auth: {{header: {{value: 'file:/nowhere/x'}}}}\n");
    let mut sources = Sources {
        environment: &Environment::default(),
        overrides: &[],
        files: Files::Skip,
    };
    assert!(load_text(&text, "f", &sources).is_ok());
    sources.files = Files::Read;
    let mistakes = load_text(&text, "f", &sources).unwrap_err();
    assert!(shown(&mistakes).starts_with(
        "f:12:30: streams[0].receiver.auth.header.value: cannot read the secret file /nowhere/x: \
         No such file"
    ));
}

#[test]
fn fingerprints_follow_what_a_receiver_checks() {
    let base = good(BASE);
    let of = |text: &str| good(text).streams[0].fingerprint;
    assert_eq!(
        of(&format!("{BASE}      rate: 5\n")),
        base.streams[0].fingerprint
    );
    for (from, to) in [
        ("org.okta.com", "other.okta.com"),
        ("https://ssf.example.com", "https://ssf.example.org"),
        ("id: okta", "id: okta\n    profile: dual"),
        ("id: okta", "id: okta\n    audience: x"),
        (
            "    receiver:\n",
            "    receiver:\n      auth: {header: {value: x}}\n",
        ),
    ] {
        assert_ne!(
            of(&BASE.replace(from, to)),
            base.streams[0].fingerprint,
            "{to}"
        );
    }
}

#[test]
fn the_hash_knows_settings_and_no_secrets() {
    let properties = |text: &str| {
        BASE.replace(
            "localhost:9092",
            &format!("localhost:9092\n  properties: {{{text}}}"),
        )
    };
    let hash = |text: &str| good(text).hash;
    assert_eq!(hash(BASE), hash(&format!("group_id: setbridge\n{BASE}")));
    assert_ne!(hash(BASE), hash(&format!("group_id: other\n{BASE}")));
    assert_ne!(hash(BASE), hash(&properties("linger.ms: 7")));
    assert_eq!(
        hash(&properties("sasl.password: a")),
        hash(&properties("sasl.password: b"))
    );
    let hash = hash(BASE);
    assert_eq!(format!("{:012x}", hash.as_metric()), hash.to_string());
    assert_eq!(hash.as_metric() as f64 as u64, hash.as_metric());
}

proptest::proptest! {
    /// Whatever is cut, doubled or put in, the answer is a configuration or mistakes.
    #[test]
    fn no_text_makes_it_panic(at in 0..BASE.len(), length in 0..40_usize, put in r#"[ -~\n]{0,12}"#) {
        let end = (at + length).min(BASE.len());
        let text = format!("{}{put}{}", &BASE[..at], &BASE[end..]);
        if let Err(mistakes) = load_with(&text, &[]) {
            proptest::prop_assert!(!mistakes.is_empty());
        }
    }
}
