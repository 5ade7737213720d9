//! `setbridge check`: every mistake of a configuration at once, with its place and its mend.

use std::fs;

use super::{Ran, Run, empty, repository, set_up, setbridge, use_key};

/// The line of the output that is about this key, and the mend below it.
fn mistake<'a>(ran: &'a Ran, key: &str) -> (&'a str, &'a str) {
    let mut lines = ran.err.lines();
    let line = lines
        .find(|line| line.contains(&format!(" {key}: ")))
        .unwrap_or_else(|| panic!("nothing about {key}: {}", ran.err));
    let mend = lines
        .next()
        .and_then(|line| line.strip_prefix("    mend: "));
    (line, mend.expect("a mend"))
}

#[test]
fn check_accepts_a_good_configuration() {
    let folder = set_up();
    let ran = setbridge(&folder, &["check", "demo.yaml"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out.starts_with("demo.yaml: ok, 1 stream, hash "),
        "{}",
        ran.out
    );
    let reference = repository("config/setbridge.yaml");
    let reference = reference.to_str().unwrap();
    let ran = setbridge(&folder, &["check", "--skip-files", reference]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn check_says_what_is_wrong_with_a_key() {
    let cases = [
        (None, "does not exist", "setbridge keys generate"),
        (
            Some("rsa-2048.pkcs8.encrypted.pem"),
            "is encrypted",
            "openssl pkey",
        ),
        (
            Some("rsa-2048.pkcs1.encrypted.pem"),
            "is encrypted",
            "openssl pkey",
        ),
        (
            Some("rsa-1024.pkcs8.pem"),
            "1024 bits",
            "setbridge keys generate",
        ),
        (
            Some("rsa-2048.public.pem"),
            "only a public key",
            "the private key",
        ),
        (
            Some("README.md"),
            "neither a PEM nor a JWK file",
            "a private key as PKCS#8",
        ),
    ];
    for (key, what, how) in cases {
        let folder = set_up();
        match key {
            None => fs::remove_file(folder.path().join("signing.pem")).unwrap(),
            Some(name) => use_key(&folder, name),
        }
        let ran = setbridge(&folder, &["check", "demo.yaml"]);
        assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{key:?}");
        let (line, mend) = mistake(&ran, "signing.keys[0].file");
        assert!(line.starts_with("demo.yaml:9:13: "), "{line}");
        assert!(line.contains(what), "{line}");
        assert!(mend.contains(how), "{mend}");
        assert!(
            ran.err.ends_with("demo.yaml: 1 mistake\n"),
            "{key:?}: {}",
            ran.err
        );

        let skipped = setbridge(&folder, &["check", "--skip-files", "demo.yaml"]);
        assert_eq!(skipped.code, 0, "{key:?}: {}", skipped.err);
        let run = setbridge(&folder, &["run", "-c", "demo.yaml"]);
        assert_eq!(run.code, 78, "run refuses it too: {}", run.err);
        assert!(run.err.contains(what), "{}", run.err);
    }
}

/// A good key of a kind that no stream signs by.
#[test]
fn check_says_that_no_key_fits_the_algorithm() {
    for name in ["ec-p256.pkcs8.pem", "ed25519.pkcs8.pem"] {
        let folder = set_up();
        use_key(&folder, name);
        let ran = setbridge(&folder, &["check", "demo.yaml"]);
        assert_eq!(ran.code, 78);
        let (line, mend) = mistake(&ran, "signing.keys");
        assert!(line.contains("no key signs by RS256"), "{line}");
        assert!(mend.contains("an RSA key"), "{mend}");
    }
}

#[test]
fn check_reads_the_other_files_too() {
    let folder = set_up();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let ran = setbridge(
        &folder,
        &[
            "check",
            "demo.yaml",
            "--set",
            "state.backend=sqlite",
            "--set",
            "state.path=nowhere/state.sqlite",
            "--set",
            "streams.0.receiver.tls.ca_file=empty.pem",
            "--set",
            "kafka.properties.security.protocol=ssl",
            "--set",
            "kafka.properties.ssl.ca.location=nowhere/ca.pem",
        ],
    );
    assert_eq!(ran.code, 78);
    for (key, what) in [
        ("state.path", "the folder nowhere does not exist"),
        (
            "streams[0].receiver.tls.ca_file",
            "holds no PEM certificate",
        ),
        ("kafka.properties.ssl.ca.location", "ssl.ca.location failed"),
    ] {
        let (line, _) = mistake(&ran, key);
        assert!(
            line.starts_with("flag --set ") && line.contains(what),
            "{line}"
        );
    }
    // The token of Kafka, the client's key of OAuth 2.0, a state that is no file.
    fs::write(folder.path().join("token"), "not a token").unwrap();
    let oauth = "streams.0.receiver.auth={oauth2: {token_url: 'https://a.example.com', client_id: c, private_key_file: nowhere.pem}}";
    for (key, setting, what) in [
        (
            "kafka.oauthbearer_token_file",
            "kafka.oauthbearer_token_file=nowhere/token",
            "the OAUTHBEARER token file cannot be read: No such file",
        ),
        (
            "kafka.oauthbearer_token_file",
            "kafka.oauthbearer_token_file=token",
            "no JWT with the claims sub and exp",
        ),
        (
            "kafka.properties",
            "kafka.properties.sasl.mechanism=OAUTHBEARER",
            "kafka.oauthbearer_token_file is not set",
        ),
        (
            "streams[0].receiver.auth.oauth2.private_key_file",
            oauth,
            "nowhere.pem",
        ),
        (
            "state.path",
            "state={backend: sqlite, path: .}",
            "cannot be opened",
        ),
    ] {
        let ran = setbridge(&folder, &["check", "demo.yaml", "--set", setting]);
        assert_eq!(ran.code, 78, "{setting}: {}", ran.err);
        let (line, _) = mistake(&ran, key);
        assert!(line.contains(what), "{line}");
        let skipped = ["check", "--skip-files", "demo.yaml", "--set", setting];
        assert_eq!(setbridge(&folder, &skipped).code, 0, "{setting}");
    }
    let client = "streams.0.receiver.tls={certificate_file: c.pem, key_file: k.pem}";
    let ran = setbridge(&folder, &["check", "demo.yaml", "--set", client]);
    assert_eq!(ran.code, 78, "{}", ran.err);
}

/// Each of these properties is right by itself; librdkafka refuses them together, and only when a client is made.
#[test]
fn properties_that_do_not_go_together_are_a_mistake_of_the_configuration() {
    let folder = set_up();
    let consumer = [
        "kafka.group_protocol=consumer",
        "kafka.properties.heartbeat.interval.ms=500",
    ];
    let producer = [
        "kafka.properties.message.timeout.ms=100",
        "kafka.properties.linger.ms=900",
    ];
    for (set, named) in [
        (consumer, "heartbeat.interval.ms"),
        (producer, "message.timeout.ms"),
    ] {
        for command in [&["check", "demo.yaml"][..], &["run", "-c", "demo.yaml"]] {
            let set = set.iter().flat_map(|set| ["--set", *set]);
            let args: Vec<&str> = command.iter().copied().chain(set).collect();
            let ran = setbridge(&folder, &args);
            assert_eq!(ran.code, 78, "{args:?}: {}", ran.err);
            let (line, _) = mistake(&ran, &format!("kafka.properties.{named}"));
            assert!(line.starts_with("flag --set "), "{line}");
        }
    }
}

#[test]
fn check_says_every_mistake_at_once_with_its_place() {
    let folder = empty();
    let text = "\
kafka:
  bootstrap_servers: localhost:9092
  prefech: 4MiB
signing:
  keys:
    - file: signing.pem
transmitter:
  issuer: https://ssf.example.com
streams:
  - id: okta
    topics: [detections]
    receiver:
      url: http://okta.example.com/events
  - id: okta
    topics: [detections]
    receiver:
      url: https://user:S3cret@okta.example.com/events
";
    fs::write(folder.path().join("bad.yaml"), text).unwrap();
    let ran = setbridge(&folder, &["check", "bad.yaml"]);
    assert_eq!((ran.code, ran.out.as_str()), (78, ""));
    assert_eq!(
        ran.err,
        "\
bad.yaml:3:3: kafka.prefech: unknown key
    mend: did you mean `prefetch`?
bad.yaml:13:12: streams[0].receiver.url: plain http can be read and changed on the way
    mend: use https (http is allowed to loopback, and for a receiver with `allow_http: true`)
bad.yaml:14:9: streams[1].id: streams[0] has the id \"okta\" too
    mend: give each stream an id of its own
bad.yaml:17:12: streams[1].receiver.url: there are credentials in the URL
    mend: remove them; use `auth`, where they can come from a file
bad.yaml: 4 mistakes
"
    );
    let run = setbridge(&folder, &["run", "-c", "bad.yaml"]);
    assert_eq!(run.code, 78);
    assert!(run.err.contains("bad.yaml:17:12"), "{}", run.err);
    assert!(!run.err.contains("S3cret"), "{}", run.err);
}

#[test]
fn a_secret_from_the_environment_is_needed_and_never_shown() {
    let folder = set_up();
    let path = folder.path().join("demo.yaml");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("      auth: { header: { name: Authorization, value: \"${TOKEN}\" } }\n");
    fs::write(&path, text).unwrap();
    let run = |environment: &[(&str, &str)]| {
        let run = Run {
            folder: folder.path(),
            input: b"",
            environment,
        };
        run.go(&["check", "demo.yaml"])
    };
    let missing = run(&[]);
    assert_eq!(missing.code, 78);
    assert!(missing.err.contains("TOKEN"), "{}", missing.err);
    let given = run(&[("TOKEN", "Bearer T0pSecret")]);
    assert_eq!(given.code, 0, "{}", given.err);
    let broken = run(&[("TOKEN", "T0pSecret\nSecond: line")]);
    assert_eq!(broken.code, 78, "{}", broken.err);
    assert!(!broken.err.contains("T0pSecret"), "{}", broken.err);
}
