//! The pure core stays pure (DESIGN §4): it takes `now` as an argument, does no I/O, logs nothing, counts nothing, and
//! knows neither the configuration nor the metrics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders of the core.
const CORE: [&str; 16] = [
    "src/set",
    "src/detection",
    "src/mapping",
    "src/record.rs",
    "src/lanes.rs",
    "src/kafka/offsets.rs",
    "src/state/tenure.rs",
    "src/delivery/age.rs",
    "src/delivery/verdict.rs",
    "src/delivery/retry.rs",
    "src/delivery/advice.rs",
    "src/delivery/pacing.rs",
    "src/delivery/guard.rs",
    "src/delivery/hold.rs",
    "src/delivery/policy.rs",
    "src/delivery/receiver_fault.rs",
];

/// What it must not touch, as it would stand in a path or a macro.
const IMPURE: [&str; 16] = [
    "tokio::",
    "reqwest::",
    "rdkafka::",
    "tracing::",
    "prometheus::",
    "rusqlite::",
    "axum::",
    "hyper::",
    "crate::config",
    "crate::metrics",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
];

/// The one exception, with its reason: `backoff` wants a start time that is read only for a limit which is off.
const EXCEPTION: (&str, &str) = (
    "src/delivery/retry.rs",
    "            start_time: Instant::now(),",
);

/// The modules of ours that the core may name: itself.
const MODULES: [&str; 5] = ["set", "detection", "mapping", "record", "lanes"];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|kind| kind == "rs") && !is_test(path) {
        found.push(path.to_owned());
    }
}

fn is_test(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "tests" || part.to_string_lossy().ends_with("tests.rs"))
}

/// The lines of a file without comments and without its `#[cfg(test)]` module, which ends the file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let code = &text[..tests];
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn the_core_touches_nothing_impure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in CORE {
        let path = root.join(part);
        assert!(path.exists(), "{part} is gone: mend the list");
        sources(&path, &mut found);
    }
    assert!(found.len() > 30, "only {} files", found.len());
    let mut wrong = BTreeMap::new();
    for path in found {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for line in code(&text) {
            let impure = IMPURE.iter().any(|word| line.contains(word)) || leaves(line);
            if impure && (name.as_str(), line) != EXCEPTION {
                wrong.insert(name.clone(), line.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether the line names a module of ours outside of the core.
fn leaves(line: &str) -> bool {
    line.split("crate::").skip(1).any(|rest| {
        let module = rest
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        !module.is_some_and(|module| MODULES.contains(&module))
    })
}

#[test]
fn the_set_imports_nothing_of_ours() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src/set"), &mut found);
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for line in code(&text) {
            let outside = line.contains("crate::") && !line.contains("crate::set");
            assert!(!outside, "{}: {line}", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    found.retain(|path| {
        let text = fs::read_to_string(path).unwrap();
        code(&text).any(|line| line.contains("unsafe_code"))
    });
    assert_eq!(found, [root.join("src/ffi.rs")]);
}
