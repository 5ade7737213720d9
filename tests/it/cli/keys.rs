//! `setbridge keys`: made, shown, and exported.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{empty, setbridge};

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

/// The lines of `keys list --json`: kid and state.
fn states(folder: &tempfile::TempDir) -> Vec<(String, String)> {
    let listed = setbridge(folder, &["keys", "list", "--ring", "ring", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let lines = listed
        .out
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).unwrap() });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|key| (text(&key["kid"]), text(&key["state"])))
        .collect()
}

#[test]
fn a_ring_is_rotated_and_its_keys_retire() {
    let folder = empty();
    let keys = |args: &[&str]| {
        let args = [&["keys"], args, &["--ring", "ring"]].concat();
        setbridge(&folder, &args)
    };
    assert_eq!(keys(&["list"]).code, 66, "there is no ring yet");
    assert_eq!(keys(&["retire", "a"]).code, 66);
    let first = keys(&["rotate"]);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    let a = states(&folder)[0].0.clone();
    assert_eq!(states(&folder), [(a.clone(), "active".to_owned())]);
    assert!(
        first
            .out
            .contains(&format!("{a} is published, and signs\n")),
        "{}",
        first.out
    );
    let alone = keys(&["retire", &a]);
    assert_eq!(alone.code, 65);
    assert!(
        alone.err.contains("no other key could sign"),
        "{}",
        alone.err
    );

    let second = keys(&["rotate", "--publish-before-use", "1h", "--bits", "3072"]);
    assert_eq!(second.code, 0, "{}", second.err);
    let b = states(&folder)[1].0.clone();
    let states_are = |wanted: &[(&String, &str)]| {
        let found = states(&folder);
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(kid, state)| ((*kid).clone(), (*state).to_owned()))
            .collect();
        assert_eq!(found, wanted);
    };
    states_are(&[(&a, "active"), (&b, "next")]);
    let text = keys(&["list"]).out;
    assert!(text.lines().nth(2).unwrap().contains("3072"), "{text}");
    // One waits already; and a ring that nobody may change twice at once is not changed by a refusal.
    let before = fs::read(folder.path().join("ring/ring.json")).unwrap();
    assert_eq!(keys(&["rotate"]).code, 65);
    assert_eq!(keys(&["retire", &a]).code, 65);
    assert_eq!(keys(&["retire", "nobody"]).code, 65);
    assert_eq!(
        fs::read(folder.path().join("ring/ring.json")).unwrap(),
        before
    );

    assert_eq!(keys(&["rotate", "--now"]).code, 0);
    states_are(&[(&a, "retiring"), (&b, "active")]);
    let leaked = keys(&["retire", &a, "--now"]);
    assert_eq!(leaked.code, 0, "{}", leaked.err);
    assert!(leaked.out.contains("is deleted"), "{}", leaked.out);
    states_are(&[(&b, "active")]);
    let mut files: Vec<_> = fs::read_dir(folder.path().join("ring"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut wanted = [
        ".lock".to_owned(),
        format!("{b}.pem"),
        "ring.json".to_owned(),
    ];
    wanted.sort();
    assert_eq!(files, wanted, "the leaked key is gone");

    // Another algorithm has a turn of its own.
    assert_eq!(keys(&["rotate", "--algorithm", "ES256"]).code, 0);
    let c = states(&folder)[1].0.clone();
    states_are(&[(&b, "active"), (&c, "active")]);
    assert_eq!(keys(&["retire", &c]).code, 65, "nobody else signs by ES256");

    fs::write(folder.path().join("ring/ring.json"), "{}").unwrap();
    let broken = keys(&["rotate"]);
    assert_eq!(broken.code, 65);
    assert!(
        broken.err.contains("is no manifest of a ring"),
        "{}",
        broken.err
    );
    assert_eq!(keys(&["rotate", "--keep", "soon"]).code, 64);
}

const TWO_RINGS: &str = "group_id: g
kafka: {bootstrap_servers: 127.0.0.1:1}
signing: {ring: ring}
transmitter: {issuer: 'http://127.0.0.1:1'}
streams:
  - {id: one, topics: [one], receiver: {url: 'http://127.0.0.1:1/'}}
  - {id: other, topics: [other], receiver: {url: 'http://127.0.0.1:2/'}}
  - id: own
    topics: [own]
    issuer: http://127.0.0.1:1/own
    signing: {ring: ring-of-own, publish_before_use: 1h}
    receiver: {url: 'http://127.0.0.1:3/'}
";

#[test]
fn a_stream_with_keys_of_its_own_has_a_ring_of_its_own() {
    let folder = empty();
    fs::write(folder.path().join("c.yaml"), TWO_RINGS).unwrap();
    let keys = |args: &[&str]| setbridge(&folder, &[&["keys"], args, &["-c", "c.yaml"]].concat());
    // Each command says whose keys it changes; the ring of several streams is not changed in the name of one.
    let top = keys(&["rotate"]);
    assert_eq!(
        (top.code, top.err.as_str()),
        (0, "these are the keys of: one, other\n")
    );
    let own = keys(&["rotate", "--stream", "own"]);
    assert_eq!(
        (own.code, own.err.as_str()),
        (0, "these are the keys of: own\n")
    );
    for act in [vec!["rotate"], vec!["retire", "x"]] {
        let shared = keys(&[&act[..], &["--stream", "one"]].concat());
        assert_eq!(shared.code, 64, "{}", shared.out);
        assert!(
            shared.err.contains("has no keys of its own"),
            "{}",
            shared.err
        );
        assert!(
            shared.err.contains("mend: leave out --stream"),
            "{}",
            shared.err
        );
    }
    for act in [
        vec!["list"],
        vec!["rotate"],
        vec!["retire", "x"],
        vec!["jwks"],
        vec!["verify"],
    ] {
        let unknown = keys(&[&act[..], &["--stream", "nobody"]].concat());
        assert_eq!(unknown.code, 64, "{act:?}");
        let mend = "error: there is no stream \"nobody\"\n    mend: --stream ID, one of: one, other, own\n";
        assert_eq!(unknown.err, mend, "{act:?}");
    }
    let listed = |args: &[&str]| -> Vec<(String, String, String)> {
        let listed = keys(&[&["list", "--json"], args].concat());
        assert_eq!(listed.code, 0, "{}", listed.err);
        let lines = listed.out.lines();
        let key = |line| {
            let key: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| key[name].as_str().unwrap().to_owned();
            (text("ring"), text("kid"), text("state"))
        };
        lines.map(key).collect()
    };
    let all = listed(&[]);
    let rings: Vec<&str> = all.iter().map(|(ring, ..)| ring.as_str()).collect();
    assert_eq!(rings, ["(default)", "own"]);
    assert_eq!(listed(&["--stream", "own"]), all[1..]);
    assert_eq!(listed(&["--stream", "other"]), all[..1]);
    let text = keys(&["list"]).out;
    assert!(
        text.lines()
            .next()
            .unwrap()
            .trim_start()
            .starts_with("RING"),
        "{text}"
    );
    for (args, kid, other) in [
        (vec!["jwks"], &all[0].1, &all[1].1),
        (vec!["jwks", "--stream", "one"], &all[0].1, &all[1].1),
        (vec!["jwks", "--stream", "own"], &all[1].1, &all[0].1),
    ] {
        let jwks = keys(&args).out;
        assert!(
            jwks.contains(kid.as_str()) && !jwks.contains(other.as_str()),
            "{args:?}: {jwks}"
        );
    }

    // What waits in one ring does not keep the other from rotating, and the stream's own waiting time counts.
    assert!(
        keys(&["rotate", "--stream", "own"])
            .out
            .contains("signs from")
    );
    assert_eq!(keys(&["rotate", "--stream", "own"]).code, 65);
    assert_eq!(keys(&["rotate"]).code, 0);

    // A broken ring hides no other one.
    fs::write(folder.path().join("ring-of-own/ring.json"), "{").unwrap();
    let listed = keys(&["list"]);
    assert_eq!(listed.code, 65);
    assert!(listed.err.starts_with("ring own: "), "{}", listed.err);
    assert!(listed.out.contains(&all[0].1), "{}", listed.out);
    let checked = setbridge(&folder, &["check", "c.yaml"]);
    assert_eq!(checked.code, 78);
    assert!(
        checked.err.contains("streams[2].signing.ring: "),
        "{}",
        checked.err
    );

    // Rings are there to keep keys apart.
    fs::remove_dir_all(folder.path().join("ring-of-own")).unwrap();
    let kid = &all[0].1;
    fs::copy(
        folder.path().join(format!("ring/{kid}.pem")),
        folder.path().join("copy.pem"),
    )
    .unwrap();
    let copied = TWO_RINGS.replace(
        "{ring: ring-of-own,",
        "{keys: [{file: copy.pem, kid: another}],",
    );
    fs::write(folder.path().join("c.yaml"), copied).unwrap();
    let checked = setbridge(&folder, &["check", "c.yaml"]);
    assert_eq!(checked.code, 78);
    let told = "the key another is in two rings, signing and streams[2].signing";
    assert!(checked.err.contains(told), "{}", checked.err);
    let listed_in_files = keys(&["rotate", "--stream", "own"]);
    assert_eq!(listed_in_files.code, 64);
    let mend = "set streams[2].signing.ring to it";
    assert!(
        listed_in_files.err.contains(mend),
        "{}",
        listed_in_files.err
    );
}

#[test]
fn a_ring_with_a_passphrase_gets_no_key_without_it() {
    let folder = empty();
    fs::write(folder.path().join("passphrase"), "correct horse").unwrap();
    let keys = |act: &str, more: &[&str]| {
        setbridge(&folder, &[&["keys", act, "--ring", "ring"], more].concat())
    };
    let passphrase = ["--passphrase-file", "passphrase"];
    assert_eq!(keys("rotate", &passphrase).code, 0);
    let files = || {
        let ring = fs::read_dir(folder.path().join("ring")).unwrap();
        let each = ring.map(|entry| {
            let path = entry.unwrap().path();
            (path.clone(), fs::read(path).unwrap())
        });
        each.collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = files();
    let without = keys("rotate", &[]);
    assert_eq!(without.code, 65, "{}", without.out);
    assert_eq!(files(), before, "nothing was made");
    assert_eq!(keys("rotate", &passphrase).code, 0);
}

#[test]
fn what_cannot_be_verified_says_why() {
    let folder = empty();
    let configuration = "group_id: g
kafka: {bootstrap_servers: 127.0.0.1:1}
signing: {ring: ring}
transmitter: {issuer: 'http://127.0.0.1:1'}
streams: [{id: okta, topics: [t], receiver: {url: 'http://127.0.0.1:1/'}}]
";
    fs::write(folder.path().join("c.yaml"), configuration).unwrap();
    let no_ring = setbridge(&folder, &["keys", "verify", "-c", "c.yaml"]);
    assert_eq!(no_ring.code, 66, "{}", no_ring.err);
    let made = setbridge(&folder, &["keys", "rotate", "-c", "c.yaml"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let down = setbridge(&folder, &["keys", "verify", "-c", "c.yaml"]);
    assert_eq!(down.code, 69, "{}", down.err);
    assert!(
        down.out
            .contains("http://127.0.0.1:1/jwks.json cannot be fetched"),
        "{}",
        down.out
    );
    let listed = configuration.replace("ring: ring", "keys: [{file: a.pem}]");
    fs::write(folder.path().join("d.yaml"), listed).unwrap();
    assert_eq!(
        setbridge(&folder, &["keys", "rotate", "-c", "d.yaml"]).code,
        64
    );
}
