//! The whole path as three processes on this machine, against `openssl speed` run right before it:
//!
//! ```text
//! broker (mock cluster, 5 MiB a partition) ──▶ setbridge run ──▶ receiver (simulator, verifies 1 in 100)
//! ```
//!
//! Started by `make bench`. This one binary is the driver and, by its first argument, the broker, the receiver and a client
//! that only posts; the bridge is the product's binary with a configuration made here. Each round: openssl, bare POSTs, the
//! path with the state in memory, the path with SQLite; both by aws-lc-rs, then, where it can be, with eight signatures at once. Rates and CPU times are those between 10 % and 95 % of the SETs, so that neither joining the group
//! nor the last few SETs count. The summary is the round whose memory ratio is the median.
//!
//! `--rounds N` (3) · `--seconds S` (12, of each run, about) · `--sign FILE` (figures of the sign bench) ·
//! `--summary FILE` · `--strict` (a missed bar is a failure) · `--hold` (run once, print the bridge's pid: for profilers)

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program"
)]

mod broker;
mod machine;
mod poster;
mod receiver;
mod report;
mod run;
#[path = "../sample.rs"]
mod sample;

use run::{Signing, State};
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// What the driver was asked to do.
struct Wishes {
    rounds: usize,
    seconds: f64,
    sign: Option<PathBuf>,
    summary: Option<PathBuf>,
    strict: bool,
    hold: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["broker", count, partitions] => broker::run(count, partitions).map(|()| true),
        ["receiver", issuer, jwks] => receiver::run(issuer, jwks).map(|()| true),
        ["poster", url, issuer, pem, count] => poster::run(url, issuer, pem, count).map(|()| true),
        _ => wishes(&words).and_then(|wishes| drive(&wishes)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn wishes(words: &[&str]) -> Fallible<Wishes> {
    let mut wishes = Wishes {
        rounds: 3,
        seconds: 12.0,
        sign: None,
        summary: None,
        strict: false,
        hold: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match *word {
            "--rounds" => wishes.rounds = value()?.parse::<usize>()?.max(1),
            "--seconds" => wishes.seconds = value()?.parse::<f64>()?.clamp(1.0, 600.0),
            "--sign" => wishes.sign = Some(value()?.into()),
            "--summary" => wishes.summary = Some(value()?.into()),
            "--strict" => wishes.strict = true,
            "--hold" => wishes.hold = true,
            // Cargo says this to every bench.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(wishes)
}

/// True: no bar was missed, or nobody asked to be strict.
fn drive(wishes: &Wishes) -> Fallible<bool> {
    let sign = report::SignRates::read(wishes.sign.as_deref())?;
    let with_library = sign
        .as_ref()
        .is_some_and(|sign| sign.multi_buffer.is_some());
    if !with_library {
        println!(
            "no figures of eight signatures at once: this CPU cannot, or target/lib/libcrypto_mb.so is missing"
        );
    }
    let mut rounds = Vec::new();
    for number in 1..=wishes.rounds {
        println!("round {number} of {}", wishes.rounds);
        let openssl = machine::openssl_speed()?;
        println!(
            "  openssl speed rsa2048: {:.0} sign/s, -multi {}: {:.0} sign/s",
            openssl.one, openssl.cores, openssl.multi
        );
        let count = run::load(openssl.multi, wishes.seconds);
        let post = run::bare_post()?;
        println!("  a bare POST by reqwest: {:.1} CPU µs", post * 1e6);
        let paths = |signing, count| -> Fallible<report::Paths> {
            let memory = run::whole_path((State::Memory, signing), count, false)?;
            report::print_run("memory", &memory, &openssl);
            let sqlite = run::whole_path((State::Sqlite, signing), count, false)?;
            report::print_run("sqlite", &sqlite, &openssl);
            Ok(report::Paths { memory, sqlite })
        };
        if wishes.hold {
            let signing = if with_library {
                Signing::MultiBuffer
            } else {
                Signing::Single
            };
            let memory = run::whole_path((State::Memory, signing), count, true)?;
            report::print_run("memory", &memory, &openssl);
            return Ok(true);
        }
        let single = paths(Signing::Single, count)?;
        let multi_buffer = if with_library {
            println!("  eight signatures at once:");
            let count = run::load(openssl.multi * 1.5, wishes.seconds);
            Some(paths(Signing::MultiBuffer, count)?)
        } else {
            None
        };
        rounds.push(report::Round {
            openssl,
            post,
            single,
            multi_buffer,
        });
    }
    let median = report::median(rounds);
    let passed = report::finish(&median, sign.as_ref(), wishes.summary.as_deref())?;
    Ok(passed || !wishes.strict)
}
