//! The switch that breaks a bridge on purpose exists in no other build.

use std::process::Command;

const SWITCH: &str = "SETBRIDGE_BREAK";

fn bridge() -> &'static str {
    env!("CARGO_BIN_EXE_setbridge")
}

#[test]
fn this_build_does_not_know_the_switch() {
    let program = std::fs::read(bridge()).expect("the program");
    let holds = |text: &str| {
        let mut windows = program.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    };
    assert!(holds("SETBRIDGE_CONFIG"), "the program is read as a whole");
    assert!(!holds(SWITCH));
    assert!(!holds("store_early"));
}

/// As every variable of ours that names no key, it is refused and not just ignored: nobody believes in vain that it works.
#[test]
fn with_the_switch_this_build_does_not_even_start() {
    let said = Command::new(bridge())
        .args(["check", "config/demo.yaml"])
        .env(SWITCH, "skip_lane")
        .output()
        .expect("setbridge check");
    assert!(!said.status.success());
    let text = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
    assert!(text.contains(SWITCH), "{text}");
}
