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
    /// Eight at once: ours and the bare loop, where there is a library.
    pub(crate) multi_buffer: Option<[f64; 2]>,
    /// At 100 a second, µs: the p99 of a token; one bare signature by itself, median and p99.
    pub(crate) low_load: [f64; 3],
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
            multi_buffer: match rates["sign_mb_per_s"].as_f64() {
                Some(ours) => Some([ours, rate("sign_mb_raw_per_s")?]),
                None => None,
            },
            low_load: [
                rate("sign_p99_us_at_100_per_s")?,
                rate("sign_one_us")?,
                rate("sign_one_p99_us")?,
            ],
        }))
    }
}

/// The whole path, signed in one way.
pub(crate) struct Paths {
    pub(crate) memory: Measured,
    pub(crate) sqlite: Measured,
}

/// One round.
pub(crate) struct Round {
    pub(crate) openssl: Openssl,
    /// CPU seconds of one POST by reqwest alone.
    pub(crate) post: f64,
    /// One signature at a time.
    pub(crate) single: Paths,
    /// Eight at once.
    pub(crate) multi_buffer: Option<Paths>,
}

impl Round {
    fn ratio(&self) -> f64 {
        let paths = self.multi_buffer.as_ref().unwrap_or(&self.single);
        paths.memory.per_second() / self.openssl.multi
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

/// What is to be reached, and whether all of it was.
struct Bars(bool);

impl Bars {
    fn at_least(&mut self, what: &str, value: f64, limit: f64) {
        self.judge(what, value, value >= limit, limit);
    }

    fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        self.judge(what, value, value <= limit, limit);
    }

    fn judge(&mut self, what: &str, value: f64, met: bool, limit: f64) {
        self.0 &= met;
        let word = if met { "PASS" } else { "FAIL" };
        println!("  {word} {what}: {value:.2} (bar: {limit})");
    }
}

/// Prints ratios and bars, writes the summary. False: a bar was missed.
pub(crate) fn finish(
    round: &Round,
    sign: Option<&SignRates>,
    file: Option<&Path>,
) -> Fallible<bool> {
    println!("\nthe median round, by the ratio with the state in memory:");
    let mut bars = Bars(true);
    if let Some(sign) = sign {
        signing(&mut bars, sign, round.openssl.one);
    }
    whole_path(&mut bars, round);
    if let Some(sign) = sign {
        scaled(round, sign);
    }
    if let Some(file) = file {
        let summary = summary(round, sign);
        std::fs::write(file, serde_json::to_string_pretty(&summary)? + "\n")?;
        println!("  summary: {}", file.display());
    }
    Ok(bars.0)
}

fn signing(bars: &mut Bars, sign: &SignRates, openssl: f64) {
    bars.at_least("cached key / raw aws-lc-rs", sign.cached / sign.raw, 0.95);
    if let Some([ours, bare]) = sign.multi_buffer {
        bars.at_least(
            "eight at once / bare loop over the library",
            ours / bare,
            0.95,
        );
        bars.at_least("eight at once / openssl, per core", ours / openssl, 2.9);
        println!(
            "       the bare loop itself / openssl: {:.2}",
            bare / openssl
        );
    }
    let [p99, one, one_p99] = sign.low_load;
    bars.at_most(
        "p99 of a signature at 100 a second / one signature",
        p99 / one,
        2.0,
    );
    println!(
        "       the p99 of a bare signature in between / one signature: {:.2}",
        one_p99 / one
    );
}

fn whole_path(bars: &mut Bars, round: &Round) {
    let multi = round.openssl.multi;
    let rest = without_rsa(&round.single.memory);
    let state = without_rsa(&round.single.sqlite) - rest;
    let ratio = |run: &Measured| run.per_second() / multi;
    let Paths { memory, sqlite } = &round.single;
    bars.at_least("whole path / openssl -multi, memory", ratio(memory), 0.78);
    bars.at_least("whole path / openssl -multi, sqlite", ratio(sqlite), 0.70);
    if let Some(Paths { memory, sqlite }) = &round.multi_buffer {
        bars.at_least(
            "eight at once, whole path / openssl -multi, memory",
            ratio(memory),
            1.8,
        );
        bars.at_least(
            "eight at once, whole path / openssl -multi, sqlite",
            ratio(sqlite),
            1.5,
        );
    }
    bars.at_most("CPU µs per SET without RSA", rest, 30.0);
    bars.at_most("CPU µs per SET for SQLite", state, 30.0);
    let post = round.post * 1e6;
    println!(
        "  of the CPU without RSA a bare POST by reqwest takes {post:.1} µs, so ours is {:.1} µs",
        rest - post
    );
}

/// CPU µs for a SET. RSA costs the same with each state, so the difference of two of these is the state's.
fn without_rsa(run: &Measured) -> f64 {
    run.per_set(run.bridge - run.signing)
}

fn scaled(round: &Round, sign: &SignRates) {
    let scale = sign.raw / REFERENCE_RAW;
    let rest = without_rsa(&round.single.memory);
    let state = without_rsa(&round.single.sqlite) - rest;
    println!(
        "  scaled by RSA speed to the machine that the µs bars were set on (raw {REFERENCE_RAW:.0}/s; not in the summary): \
         without RSA {:.1} µs, SQLite {:.1} µs",
        rest * scale,
        state * scale
    );
}

fn summary(round: &Round, sign: Option<&SignRates>) -> Map<String, Value> {
    let mut summary = Map::new();
    let mut put = |name: &str, value: f64, digits: i32| {
        let unit = 10_f64.powi(digits);
        summary.insert(name.to_owned(), Value::from((value * unit).round() / unit));
    };
    let Paths { memory, sqlite } = &round.single;
    put("openssl_sign_per_s", round.openssl.one, 1);
    put("openssl_multi_sign_per_s", round.openssl.multi, 1);
    if let Some(sign) = sign {
        put("sign_raw_per_s", sign.raw, 1);
        put("sign_stock_per_s", sign.stock, 1);
        put("sign_cached_per_s", sign.cached, 1);
        put("sign_p99_us_at_100_per_s", sign.low_load[0], 1);
        put("sign_one_us", sign.low_load[1], 1);
        put("sign_one_p99_us", sign.low_load[2], 1);
        if let Some([ours, bare]) = sign.multi_buffer {
            put("sign_mb_per_s", ours, 1);
            put("sign_mb_raw_per_s", bare, 1);
        }
    }
    put("whole_path_sets_per_s", memory.per_second(), 1);
    put("whole_path_sqlite_sets_per_s", sqlite.per_second(), 1);
    if let Some(paths) = &round.multi_buffer {
        put("whole_path_mb_sets_per_s", paths.memory.per_second(), 1);
        put(
            "whole_path_mb_sqlite_sets_per_s",
            paths.sqlite.per_second(),
            1,
        );
        put(
            "cpu_us_per_set_mb",
            paths.memory.per_set(paths.memory.bridge),
            2,
        );
        put(
            "cpu_us_per_set_mb_without_rsa",
            without_rsa(&paths.memory),
            2,
        );
    }
    let rest = without_rsa(memory);
    put("cpu_us_per_set", memory.per_set(memory.bridge), 2);
    put("cpu_us_per_set_without_rsa", rest, 2);
    put("cpu_us_per_set_state", without_rsa(sqlite) - rest, 2);
    put("cpu_us_per_post_bare", round.post * 1e6, 2);
    summary
}
