//! What this machine can do and what processes cost on it: `openssl speed`, `/proc`.

use std::process::Command;
use std::sync::OnceLock;

use crate::Fallible;

/// RSA-2048 signatures per second by OpenSSL.
pub(crate) struct Openssl {
    pub(crate) one: f64,
    pub(crate) multi: f64,
    pub(crate) cores: usize,
}

/// 3 s on one core, 3 s on all.
pub(crate) fn openssl_speed() -> Fallible<Openssl> {
    let cores = std::thread::available_parallelism()?.get();
    Ok(Openssl {
        one: speed(&[])?,
        multi: speed(&["-multi", &cores.to_string()])?,
        cores,
    })
}

/// Reads the last line: `rsa 2048 bits 0.000670s 0.000020s   1492.2  49929.3`
fn speed(how: &[&str]) -> Fallible<f64> {
    let out = Command::new("openssl")
        .args(["speed", "-seconds", "3"])
        .args(how)
        .arg("rsa2048")
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text
        .lines()
        .rev()
        .find(|line| line.trim_start().starts_with("rsa"))
        .ok_or("openssl speed says nothing about rsa")?;
    let rate = line.split_whitespace().nth_back(1).unwrap_or_default();
    Ok(rate.parse()?)
}

/// Seconds of CPU, user and system, of a process and all its threads so far.
pub(crate) fn cpu_of(pid: u32) -> Fallible<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold blanks; utime and stime are fields 14 and 15 of proc(5).
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc/PID/stat")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap_or_default().parse::<f64>();
    Ok((ticks()? + ticks()?) / ticks_per_second())
}

/// Seconds of CPU that all processes together have used so far, those of other people included.
pub(crate) fn cpu_of_all() -> Fallible<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal: what is neither idle nor waiting for a disk.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|n| ticks.get(*n));
    Ok(busy.sum::<f64>() / ticks_per_second())
}

fn ticks_per_second() -> f64 {
    static TICKS: OnceLock<f64> = OnceLock::new();
    *TICKS.get_or_init(|| {
        let said = Command::new("getconf").arg("CLK_TCK").output();
        let said = said.map(|out| String::from_utf8_lossy(&out.stdout).trim().parse());
        said.ok().and_then(Result::ok).unwrap_or(100.0)
    })
}
