//! The binary as an operator meets it: every command, what it writes where, and its exit code.

mod check;
mod commands;
mod demo;
mod dlq;
mod exit_codes;
mod explain;
mod keys;
mod map;

use std::fs;
use std::io::Write;
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
