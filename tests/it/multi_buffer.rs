//! Eight signatures at once, over the wire: with the library, with one that lies, and without one where it is required.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use setbridge::signing::MultiBuffer;

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::one_stream::OneStream;

const RECORDS: usize = 2000;

/// The library of scripts/crypto_mb.sh, unless this CPU cannot run it.
fn library() -> Option<PathBuf> {
    if !MultiBuffer::cpu_is_able() {
        // The last lines of `make test` say it for all of these tests.
        return None;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_setbridge"));
    let library = program.with_file_name("../lib/libcrypto_mb.so");
    assert!(
        library.exists(),
        "this CPU has AVX512-IFMA, but the library is missing: run scripts/crypto_mb.sh"
    );
    Some(library)
}

/// A library that passes calls on to the real one, and spoils a bit of one signature once `switch` exists.
fn compile(liar: &Path, real: &Path, switch: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/multi_buffer/faulty.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-DFAULT=WRONG_BIT", "-o"])
        .arg(liar)
        .arg(format!("-DREAL=\"{}\"", real.display()))
        .arg(format!("-DSWITCH=\"{}\"", switch.display()))
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(made.unwrap().success());
}

async fn send(one: &OneStream) {
    let detections = (0..RECORDS).map(|n| record(&risk(&n.to_string(), &user(n % 200), "high")));
    one.produce(detections).await;
}

/// Every SET was taken, and none was refused for its signature.
fn assert_all_taken(one: &OneStream) {
    let tally = one.org.tally();
    let all = RECORDS as u64;
    assert_eq!((tally.taken, tally.requests), (all, all), "{}", one.name);
}

/// What the bridge says about its library: whether it signs, its signatures, its wrong batches.
async fn shown(bridge: &Bridge) -> [f64; 3] {
    let metrics = bridge.metrics().await;
    let names = ["on", "signatures_total", "mismatches_total"];
    names.map(|name| metrics.sum(&format!("setbridge_sign_multi_buffer_{name}"), &[]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_beside_the_program_signs_most_of_a_backlog() {
    let Some(_) = library() else { return };
    for broker in brokers() {
        let one = OneStream::on(&broker, 4).await;
        let one = one.set("signing.multi_buffer", "required");
        send(&one).await;
        let mut bridge = one.start().await;
        bridge.outcomes("okta", "delivered", RECORDS as u64).await;
        assert_all_taken(&one);
        let [on, signed, wrong] = shown(&bridge).await;
        assert_eq!((on, wrong), (1.0, 0.0));
        assert!(signed > RECORDS as f64 / 2.0, "{signed} of {RECORDS}");
        bridge.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_lies_from_the_start_never_signs() {
    let Some(real) = library() else { return };
    for broker in brokers() {
        let one = OneStream::on(&broker, 4).await;
        let folder = one.configuration.folder().to_owned();
        let (liar, switch) = (folder.join("liar.so"), folder.join("switch"));
        compile(&liar, &real, &switch);
        fs::write(&switch, "").unwrap();
        let one = one.set("signing.multi_buffer_library", json!(liar));
        send(&one).await;
        let mut bridge = one.start().await;
        bridge.outcomes("okta", "delivered", RECORDS as u64).await;
        assert_all_taken(&one);
        assert_eq!(shown(&bridge).await, [0.0, 0.0, 1.0], "the trial");
        bridge.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_wrong_batches_at_work_switch_it_off() {
    let Some(real) = library() else { return };
    for broker in brokers() {
        let one = OneStream::on(&broker, 4).await;
        let folder = one.configuration.folder().to_owned();
        let (liar, switch) = (folder.join("liar.so"), folder.join("switch"));
        compile(&liar, &real, &switch);
        let one = one.set("signing.multi_buffer_library", json!(liar));
        let mut bridge = one.start().await;
        assert_eq!(shown(&bridge).await, [1.0, 0.0, 0.0]);
        fs::write(&switch, "").unwrap();
        send(&one).await;
        bridge.outcomes("okta", "delivered", RECORDS as u64).await;
        assert_all_taken(&one);
        let [on, _, wrong] = shown(&bridge).await;
        assert_eq!((on, wrong), (0.0, 3.0));
        let lines = bridge.lines();
        let errors = lines.iter().filter(|line| line["level"] == "ERROR");
        assert_eq!(
            errors.count(),
            4,
            "each batch, and the end: {}",
            bridge.log_text()
        );
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_required_library_that_is_missing_is_refused_at_the_start() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await;
        let one = one.set("signing.multi_buffer", "required");
        let one = one.set("signing.multi_buffer_library", "nowhere.so");
        let ended = Bridge::try_start(&one.configuration).await;
        let ended = ended.err().expect("refused");
        assert_eq!(ended.code, Some(78), "{}", ended.log);
        let said = "signing.multi_buffer_library: there is no libcrypto_mb.so";
        assert!(ended.log.contains(said), "{}", ended.log);
    }
}
