//! What the rounds come to: lines for people, bars, and the flat summary for programs.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Fallible;
use crate::machine::Openssl;
use crate::run::Measured;

/// Raw RSA-2048 signatures per second and core of the machine that the bars in µs were set on (DESIGN §6: 3,504 are 98 %).
const REFERENCE_RAW: f64 = 3575.0;

/// Figures of the sign bench.
pub(crate) struct SignRates {
    pub(crate) raw: f64,
    pub(crate) stock: f64,
    pub(crate) cached: f64,
}

impl SignRates {
    pub(crate) fn read(file: Option<&Path>) -> Fallible<Option<Self>> {
        let Some(file) = file else { return Ok(None) };
        let rates: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let rate = |name: &str| {
            rates[name]
                .as_f64()
                .ok_or(format!("no {name} in {}", file.display()))
        };
        Ok(Some(Self {
            raw: rate("sign_raw_per_s")?,
            stock: rate("sign_stock_per_s")?,
            cached: rate("sign_cached_per_s")?,
        }))
    }
}

/// One round.
pub(crate) struct Round {
    pub(crate) openssl: Openssl,
    /// CPU seconds of one POST by reqwest alone.
    pub(crate) post: f64,
    pub(crate) memory: Measured,
    pub(crate) sqlite: Measured,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.memory.per_second() / self.openssl.multi
    }
}

pub(crate) fn print_run(state: &str, run: &Measured, openssl: &Openssl) {
    // What the ratio comes to on a machine where nobody else works: one bare signature against all that a SET costs.
    let all = run.per_set(run.bridge + run.receiver + run.broker);
    let by_cpu = 1e6 / openssl.one / all;
    println!(
        "  {state}: {:.0} SET/s in {:.1} s, {:.2} of openssl -multi {} ({by_cpu:.2} by CPU time); other people's CPU: {:.0} % of the machine",
        run.per_second(),
        run.seconds,
        run.per_second() / openssl.multi,
        openssl.cores,
        100.0 * run.others / run.seconds / openssl.cores as f64,
    );
    println!(
        "    CPU µs per SET: bridge {:.0} (signing {:.0}, the rest {:.1}), receiver {:.0}, broker {:.0}",
        run.per_set(run.bridge),
        run.per_set(run.signing),
        run.per_set(run.bridge - run.signing),
        run.per_set(run.receiver),
        run.per_set(run.broker),
    );
}

/// The round whose memory ratio is in the middle.
pub(crate) fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let middle = rounds.len() / 2;
    rounds.swap_remove(middle)
}

/// Prints ratios and bars, writes the summary. False: a bar was missed.
pub(crate) fn finish(
    round: &Round,
    sign: Option<&SignRates>,
    file: Option<&Path>,
) -> Fallible<bool> {
    let Round {
        openssl,
        post,
        memory,
        sqlite,
    } = round;
    let rest = memory.per_set(memory.bridge - memory.signing);
    // RSA costs the same with both, so the difference of the rests is SQLite's.
    let state = sqlite.per_set(sqlite.bridge - sqlite.signing) - rest;
    let mut summary = Map::new();
    let mut put = |name: &str, value: f64, digits: i32| {
        let unit = 10_f64.powi(digits);
        summary.insert(name.to_owned(), Value::from((value * unit).round() / unit));
    };
    put("openssl_sign_per_s", openssl.one, 1);
    put("openssl_multi_sign_per_s", openssl.multi, 1);
    if let Some(sign) = sign {
        put("sign_raw_per_s", sign.raw, 1);
        put("sign_stock_per_s", sign.stock, 1);
        put("sign_cached_per_s", sign.cached, 1);
    }
    put("whole_path_sets_per_s", memory.per_second(), 1);
    put("whole_path_sqlite_sets_per_s", sqlite.per_second(), 1);
    put("cpu_us_per_set", memory.per_set(memory.bridge), 2);
    put("cpu_us_per_set_without_rsa", rest, 2);
    put("cpu_us_per_set_state", state, 2);
    put("cpu_us_per_post_bare", post * 1e6, 2);
    println!("\nthe median round, by the ratio with the state in memory:");
    println!(
        "  whole path / openssl rsa2048 on one core: {:.2} (memory), {:.2} (sqlite)",
        memory.per_second() / openssl.one,
        sqlite.per_second() / openssl.one
    );
    let mut passed = true;
    let mut bar = |what: &str, value: f64, met: bool, limit: &str| {
        passed &= met;
        println!(
            "  {} {what}: {value:.2} (bar: {limit})",
            if met { "PASS" } else { "FAIL" }
        );
    };
    if let Some(sign) = sign {
        let ratio = sign.cached / sign.raw;
        bar("cached key / raw aws-lc-rs", ratio, ratio >= 0.95, "0.95");
    }
    let ratio = round.ratio();
    bar(
        "whole path / openssl -multi, memory",
        ratio,
        ratio >= 0.75,
        "0.75",
    );
    let ratio = sqlite.per_second() / openssl.multi;
    bar(
        "whole path / openssl -multi, sqlite",
        ratio,
        ratio >= 0.70,
        "0.70",
    );
    bar("CPU µs per SET without RSA", rest, rest <= 30.0, "30");
    bar("CPU µs per SET for SQLite", state, state <= 30.0, "30");
    println!(
        "  of the CPU without RSA a bare POST by reqwest takes {:.1} µs, so ours is {:.1} µs",
        post * 1e6,
        rest - post * 1e6
    );
    if let Some(sign) = sign {
        let scale = sign.raw / REFERENCE_RAW;
        println!(
            "  scaled by RSA speed to the machine that the µs bars were set on (raw {REFERENCE_RAW:.0}/s; not in the summary): \
             without RSA {:.1} µs, SQLite {:.1} µs",
            rest * scale,
            state * scale
        );
    }
    if let Some(file) = file {
        std::fs::write(file, serde_json::to_string_pretty(&summary)? + "\n")?;
        println!("  summary: {}", file.display());
    }
    Ok(passed)
}
