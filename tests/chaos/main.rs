//! The oracle's driver: three brokers, up to three members, a receiver that writes everything down, and a schedule of
//! faults that the seed decides. `make chaos`, or `scripts/chaos.sh --help`.
//!
//! It ends with a table, `target/chaos/summary.json`, and 1 when a promise was broken.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, reason = "it talks to whoever started it")]
#![allow(
    clippy::disallowed_methods,
    reason = "clippy.toml speaks of the service, not of its tests"
)]

mod cluster;
mod desk;
mod dice;
mod faults;
mod front;
mod kafka;
mod leaders;
mod link;
mod load;
mod names;
mod oracle;
mod plan;
mod receiver;
mod report;
mod run;
mod source;
mod stage;
mod store;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, reason = "what the tests over the wire need besides")]
mod support;
mod suspect;
mod told;
mod wishes;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let wishes = match wishes::Wishes::read_all(std::env::args().skip(1)) {
        Ok(wishes) => wishes,
        Err(mistake) => {
            println!("{mistake}\n{}", wishes::USAGE);
            return ExitCode::from(64);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    match runtime.block_on(run::all(&wishes)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the run says nothing about the bridge: {error}");
            ExitCode::from(70)
        }
    }
}
