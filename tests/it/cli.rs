//! The binary as an operator meets it: every command, what it writes where, and its exit code.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// How one run ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

/// One run: nothing of the caller's environment, and a folder of its own to work in.
struct Run<'a> {
    folder: &'a Path,
    input: &'a [u8],
    environment: &'a [(&'a str, &'a str)],
}

impl Run<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_setbridge"));
        command
            .args(args)
            .env_clear()
            .envs(self.environment.iter().copied());
        command
            .current_dir(self.folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn go(&self, args: &[&str]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A command that does not read has closed its end.
        let _ = child.stdin.take().unwrap().write_all(self.input);
        let ended = child.wait_with_output().unwrap();
        Ran {
            code: ended.status.code().expect("no signal"),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }
}

fn setbridge(folder: &TempDir, args: &[&str]) -> Ran {
    let run = Run {
        folder: folder.path(),
        input: b"",
        environment: &[],
    };
    run.go(args)
}

fn empty() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder with the smallest configuration and the key that it names.
fn set_up() -> TempDir {
    let folder = empty();
    fs::copy(
        repository("config/demo.yaml"),
        folder.path().join("demo.yaml"),
    )
    .unwrap();
    use_key(&folder, "rsa-2048.pkcs8.pem");
    folder
}

fn use_key(folder: &TempDir, name: &str) {
    let key = repository("tests/fixtures/keys").join(name);
    fs::copy(key, folder.path().join("signing.pem")).unwrap();
}

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
fn wrong_usage_is_64() {
    let folder = empty();
    for args in [
        &["runn"][..],
        &[],
        &["check"],
        &["run"],
        &["map"],
        &["demo", "--count", "0"],
        &["check", "x.yaml", "--set", "novalue"],
        &["keys", "generate", "--out", "k.pem", "--bits", "1024"],
        &["completion", "cobol"],
    ] {
        let ran = setbridge(&folder, args);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{args:?}");
        assert!(!ran.err.is_empty(), "{args:?}");
    }
    let help = setbridge(&folder, &["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    let version = setbridge(&folder, &["--version"]);
    assert_eq!(
        version.out,
        concat!("setbridge ", env!("CARGO_PKG_VERSION"), "\n")
    );
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
            Some("ec-p256.pkcs8.pem"),
            "an EC key",
            "setbridge keys generate",
        ),
        (
            Some("ed25519.pkcs8.pem"),
            "an Ed25519 key",
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
            "RSA private key",
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
fn a_flag_goes_over_the_environment_and_that_over_the_file() {
    let folder = set_up();
    let issuer = |environment: &[(&str, &str)], args: &[&str]| {
        let input =
            br#"{"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": "low"}"#;
        let run = Run {
            folder: folder.path(),
            input,
            environment,
        };
        let ran = run.go(&[&["map"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.json()["iss"].as_str().unwrap().to_owned()
    };
    let file = ("SETBRIDGE_CONFIG", "demo.yaml");
    let variable = (
        "SETBRIDGE_TRANSMITTER__ISSUER",
        "https://environment.example",
    );
    let flag = ["--set", "transmitter.issuer=https://flag.example"];
    assert_eq!(issuer(&[file], &[]), "http://localhost:8080");
    assert_eq!(
        issuer(&[file, variable], &[]),
        "https://environment.example"
    );
    assert_eq!(issuer(&[file, variable], &flag), "https://flag.example");
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

#[test]
fn map_shows_the_claims_or_why_not() {
    let folder = set_up();
    let map = |record: &[u8]| {
        let run = Run {
            folder: folder.path(),
            input: record,
            environment: &[],
        };
        run.go(&[
            "map",
            "-c",
            "demo.yaml",
            "--stream",
            "demo",
            "--timestamp-ms",
            "1750980770999",
        ])
    };
    let good =
        map(br#"{"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": "High"}"#);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    let event = &good.json()["events"]["https://schemas.okta.com/secevent/okta/event-type/user-risk-change"];
    assert_eq!(event["current_level"], "high");
    assert_eq!(event["event_timestamp"], 1_750_980_770);

    let risk =
        |rest: &str| format!(r#"{{"id": 1, "kind": "user-risk-change"{rest}}}"#).into_bytes();
    let bad = [
        (b"not JSON".to_vec(), "invalid_json"),
        (b"".to_vec(), "empty_value"),
        (b"[7]".to_vec(), "not_an_object"),
        (b"{\"id\": \"\xff\"}".to_vec(), "invalid_utf8"),
        (
            [vec![b'['; 10_000], vec![b']'; 10_000]].concat(),
            "too_deep",
        ),
        (vec![b'x'; 5_000_000], "too_large"),
        (br#"{"kind": "unheard-of"}"#.to_vec(), "no_rule"),
        (
            risk(r#", "user": "a@b.example", "level": "purple""#),
            "bad_level",
        ),
        (risk(r#", "level": "low""#), "no_subject"),
        (risk(r#", "user": "nobody", "level": "low""#), "bad_email"),
        (
            risk(r#", "user": "a@b.example", "level": "low", "time": "57000-01-01T00:00:00Z""#),
            "bad_time",
        ),
        (
            risk(r#", "user": "a@b.example", "level": "low", "time": 1750980770123000000"#),
            "time_out_of_range",
        ),
    ];
    for (record, reason) in bad {
        let ran = map(&record);
        assert_eq!((ran.code, ran.out.as_str()), (65, ""), "{reason}");
        assert!(
            ran.err.contains(&format!("dead letter, {reason}: ")),
            "{reason}: {}",
            ran.err
        );
    }
    let half = map(
        br#"[7, {"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": "low"}]"#,
    );
    assert_eq!(half.code, 65, "one of the two is bad");
    assert!(half.json()["jti"].is_string() && half.err.contains("element 0"));
    assert_eq!(
        setbridge(&folder, &["map", "-c", "demo.yaml", "--stream", "x"]).code,
        64
    );
}

#[test]
fn keys_are_made_shown_and_exported() {
    let folder = empty();
    let made = setbridge(&folder, &["keys", "generate", "--out", "a.pem"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let kid = made.out.trim();
    let mode = |path: &str| {
        fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("a.pem"), 0o600);
    let again = setbridge(&folder, &["keys", "generate", "--out", "a.pem"]);
    assert_eq!(again.code, 73, "the key that is there stays");

    let jwks = setbridge(&folder, &["keys", "jwks", "a.pem"]).json();
    assert_eq!(jwks["keys"][0]["kid"], kid);
    let members = |jwks: &Value| {
        let mut members: Vec<String> = jwks["keys"][0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        members.sort();
        members
    };
    let public = ["alg", "e", "kid", "kty", "n", "use"];
    assert_eq!(members(&jwks), public);

    let issuer = "https://ssf.example.com/tenant1";
    let args = [
        "keys", "export", "out", "--issuer", issuer, "--key", "a.pem",
    ];
    let exported = setbridge(&folder, &args);
    assert_eq!(exported.code, 0, "{}", exported.err);
    let read = |path: &str| -> Value {
        assert_eq!(mode(path), 0o644);
        serde_json::from_slice(&fs::read(folder.path().join(path)).unwrap()).unwrap()
    };
    assert_eq!(members(&read("out/jwks.json")), public);
    let metadata = read("out/.well-known/ssf-configuration/tenant1");
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["jwks_uri"], "https://ssf.example.com/jwks.json");

    let args = [
        "keys",
        "export",
        "out",
        "--issuer",
        "http://ssf.example.com",
        "--key",
        "a.pem",
    ];
    assert_eq!(setbridge(&folder, &args).code, 64);
    assert_eq!(setbridge(&folder, &["keys", "jwks", "b.pem"]).code, 66);
    fs::write(folder.path().join("garbage.pem"), "garbage").unwrap();
    assert_eq!(
        setbridge(&folder, &["keys", "jwks", "garbage.pem"]).code,
        65
    );
}

#[test]
fn the_schema_is_one_and_knows_the_sections() {
    let schema = setbridge(&empty(), &["schema"]).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    // That it accepts config/setbridge.yaml is checked in src/config, which reads YAML with every line uncommented.
    for section in ["kafka", "signing", "transmitter", "streams"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"kafak": {}})));
}

#[test]
fn completions_are_scripts() {
    let folder = empty();
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef setbridge"),
        ("fish", "complete -c setbridge"),
    ] {
        let ran = setbridge(&folder, &["completion", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.contains(word), "{shell}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let folder = set_up();
    let run = Run {
        folder: folder.path(),
        input: b"",
        environment: &[],
    };
    let mut child = run
        .command(&["map", "-c", "demo.yaml"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // It writes only when its input has ended.
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(
            br#"{"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": "low"}"#,
        )
        .unwrap();
    drop(input);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn the_demo_ends_with_one_object_whose_numbers_add_up() {
    let ran = setbridge(&empty(), &["demo", "--exit", "--count", "300", "--json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out.lines().count(), 1);
    let report = ran.json();
    let keys: Vec<&str> = report
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "consumed",
            "sets",
            "delivered",
            "duplicates",
            "filtered",
            "dead_lettered",
            "unsettled",
            "seconds",
            "sets_per_second",
            "latency_ms"
        ]
    );
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(number("consumed"), 300);
    assert_eq!((number("delivered"), number("duplicates")), (294, 3));
    assert_eq!((number("filtered"), number("unsettled")), (0, 0));
    assert_eq!(
        report["dead_lettered"],
        serde_json::json!({"bad_email": 1, "bad_level": 1, "invalid_json": 1})
    );
    let latency = &report["latency_ms"];
    assert_eq!(latency.as_object().unwrap().len(), 2);
    assert!(
        latency["p50"].as_f64() <= latency["p99"].as_f64(),
        "{latency}"
    );
}

#[test]
fn a_broker_that_is_down_ends_the_demo_with_69() {
    let args = [
        "demo",
        "--exit",
        "--count",
        "10",
        "--bootstrap",
        "127.0.0.1:1",
    ];
    let ran = setbridge(&empty(), &args);
    assert_eq!((ran.code, ran.out.as_str()), (69, ""), "{}", ran.err);
}
