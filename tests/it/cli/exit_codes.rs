//! Exit codes that take more than a wrong word on the command line. 70 is in `static_members.rs`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::Stdio;

use super::{Ran, Run, empty, set_up, setbridge};

#[test]
fn output_that_cannot_be_written_is_74() {
    let folder = empty();
    let run = Run {
        folder: folder.path(),
        input: b"",
        environment: &[],
    };
    // Every write to it fails as on a full disk.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = run.command(&["schema"]);
    let ended = command.stdin(Stdio::null()).stdout(full).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(74), "{said}");
    assert!(said.starts_with("setbridge: "), "{said}");
}

/// `run` with the demo's configuration, its ports chosen by the system, and these settings over it.
fn run(folder: &tempfile::TempDir, settings: &[&str]) -> Ran {
    let free = [
        "log.format=json",
        "transmitter.listen=127.0.0.1:0",
        "admin.listen=127.0.0.1:0",
    ];
    let mut args = vec!["run", "-c", "demo.yaml"];
    for setting in free.iter().chain(settings) {
        args.extend(["--set", setting]);
    }
    setbridge(folder, &args)
}

#[test]
fn a_port_that_is_taken_is_74() {
    let folder = set_up();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for key in ["admin.listen", "transmitter.listen"] {
        let ran = run(&folder, &[&format!("{key}={taken}")]);
        assert_eq!(ran.code, 74, "{key}: {}", ran.err);
        assert!(
            ran.err.contains(&taken.to_string()),
            "{key}: it names the address: {}",
            ran.err
        );
    }
}

#[test]
fn a_state_that_cannot_be_opened_is_74() {
    let folder = set_up();
    fs::write(folder.path().join("other.txt"), "not SQLite. ".repeat(100)).unwrap();
    let settings = ["state.backend=sqlite", "state.path=other.txt"];
    let ran = run(&folder, &settings);
    assert_eq!(ran.code, 74, "{}", ran.err);
    assert!(ran.err.contains("state file"), "{}", ran.err);
    let kept = fs::read_to_string(folder.path().join("other.txt")).unwrap();
    assert!(kept.starts_with("not SQLite. "), "it is left alone: {kept}");
}
