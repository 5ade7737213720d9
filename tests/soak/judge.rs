//! What is looked at, and when it counts as flat.
//!
//! The first two fifths of the time are warm-up. Of the rest the median of the first third is compared with that of the
//! last third: a leak moves the median whatever single seconds do, a burst does not.

use std::fmt;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::support::bridge::Bridge;
use super::support::redis_server::RedisServer;

const MIB: f64 = 1024.0 * 1024.0;

/// The process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    pub(crate) rss_mib: f64,
    pub(crate) files: f64,
    pub(crate) threads: f64,
    /// What is in the file and its log together: pages in use
    pub(crate) sqlite_mib: f64,
    /// SQLite's log
    pub(crate) log_mib: f64,
    /// Keys in Redis
    pub(crate) keys: f64,
    /// What Redis says that it uses
    pub(crate) redis_mib: f64,
}

/// Where the bridge remembers.
pub(crate) enum State {
    Sqlite,
    Redis(RedisServer),
}

impl Look {
    /// `folder` is where a file of its state is.
    pub(crate) fn at(bridge: &Bridge, state: &State, folder: &Path) -> Look {
        let process = bridge.process();
        let open = fs::read_dir(process.join("fd")).expect("the process runs");
        let tasks = fs::read_dir(process.join("task")).expect("the process runs");
        let look = Look {
            rss_mib: bridge.resident_bytes() as f64 / MIB,
            files: open.count() as f64,
            threads: tasks.count() as f64,
            ..Look::default()
        };
        match state {
            State::Sqlite => {
                let file = folder.join("state.sqlite");
                let log = fs::metadata(file.with_extension("sqlite-wal"));
                Look {
                    sqlite_mib: pages(&file) * 4096.0 / MIB,
                    log_mib: log.map_or(0.0, |file| file.len() as f64 / MIB),
                    ..look
                }
            }
            State::Redis(server) => {
                let memory = server.cli(&["info", "memory"]);
                let mut lines = memory.lines();
                let used = lines.find_map(|line| line.trim().strip_prefix("used_memory:"));
                let used: Option<f64> = used.and_then(|bytes| bytes.parse().ok());
                Look {
                    keys: server.cli(&["dbsize"]).parse().expect("a number of keys"),
                    redis_mib: used.expect("the memory in use") / MIB,
                    ..look
                }
            }
        }
    }
}

/// Pages in use of the state, as any operator may ask for them.
fn pages(state: &Path) -> f64 {
    let ask = |name: &str| -> rusqlite::Result<f64> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = Connection::open_with_flags(state, flags)?;
        file.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map(|pages| pages as f64)
    };
    let count = |name| ask(name).expect("the state can be looked at");
    count("page_count") - count("freelist_count")
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RSS {:.1} MiB, {} files, {} threads, ",
            self.rss_mib, self.files, self.threads
        )?;
        if self.keys > 0.0 {
            let (keys, used) = (self.keys, self.redis_mib);
            return write!(f, "{keys} keys in Redis, {used:.1} MiB");
        }
        let (used, log) = (self.sqlite_mib, self.log_mib);
        write!(f, "SQLite {used:.1} MiB, its log {log:.1} MiB")
    }
}

/// How much something may grow between the two medians: by a part of it, and by so much at any rate; or how large it may be.
pub(crate) struct Limit {
    name: &'static str,
    key: &'static str,
    of: fn(&Look) -> f64,
    part: f64,
    least: f64,
    /// It grows by design, up to this.
    cap: f64,
}

/// Of every bridge.
const PROCESS: [Limit; 3] = [
    // An allocator keeps pages back in steps; 3 MiB between the medians of 5 minutes
    // at 100 a second are 260 bytes a SET.
    Limit {
        name: "RSS, MiB",
        key: "rss_mib",
        of: |look| look.rss_mib,
        part: 0.05,
        least: 3.0,
        cap: f64::INFINITY,
    },
    // Connections to the receiver come and go with its weather: max_requests_in_flight of them at most.
    Limit {
        name: "open files",
        key: "files",
        of: |look| look.files,
        part: 0.0,
        least: 8.0,
        cap: f64::INFINITY,
    },
    Limit {
        name: "threads",
        key: "threads",
        of: |look| look.threads,
        part: 0.0,
        least: 1.0,
        cap: f64::INFINITY,
    },
];
/// Of a state in SQLite.
const SQLITE: [Limit; 2] = [
    Limit {
        name: "SQLite, MiB",
        key: "sqlite_mib",
        of: |look| look.sqlite_mib,
        part: 0.1,
        least: 0.5,
        cap: f64::INFINITY,
    },
    // Copied into the file every 8,000 pages (32 MiB), and begun anew then.
    Limit {
        name: "SQLite's log, MiB",
        key: "log_mib",
        of: |look| look.log_mib,
        part: 0.0,
        least: 0.0,
        cap: 40.0,
    },
];
/// Of a state in Redis. What has expired is deleted some time later, so the number of keys swings.
const REDIS: [Limit; 2] = [
    Limit {
        name: "keys in Redis",
        key: "redis_keys",
        of: |look| look.keys,
        part: 0.1,
        least: 300.0,
        cap: f64::INFINITY,
    },
    Limit {
        name: "Redis, MiB",
        key: "redis_mib",
        of: |look| look.redis_mib,
        part: 0.1,
        least: 0.5,
        cap: f64::INFINITY,
    },
];

/// What has to stay flat.
pub(crate) fn limits(state: &State) -> Vec<Limit> {
    let backend = match state {
        State::Sqlite => SQLITE,
        State::Redis(_) => REDIS,
    };
    PROCESS.into_iter().chain(backend).collect()
}

/// What one figure came to.
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    pub(crate) early: f64,
    pub(crate) late: f64,
    pub(crate) allowed: f64,
    pub(crate) most: f64,
    pub(crate) flat: bool,
}

impl Limit {
    /// # Panics
    /// With fewer than 10 looks there is nothing to compare.
    pub(crate) fn judge(&self, looks: &[Look]) -> Verdict {
        assert!(looks.len() >= 10, "{} looks say nothing", looks.len());
        let values: Vec<f64> = looks.iter().map(self.of).collect();
        let warm = &values[values.len() * 2 / 5..];
        let third = warm.len() / 3;
        let (early, late) = (median(&warm[..third]), median(&warm[warm.len() - third..]));
        let growth = (early * self.part).max(self.least);
        let allowed = if self.cap.is_finite() {
            self.cap
        } else {
            early + growth
        };
        let most = values.iter().copied().fold(0.0, f64::max);
        let judged = if self.cap.is_finite() { most } else { late };
        Verdict {
            name: self.name,
            key: self.key,
            early,
            late,
            allowed,
            most,
            flat: judged <= allowed,
        }
    }
}

/// The rule finds a leak of 50 KiB a second through bursts of 12 MiB, and takes bursts alone for what they are.
///
/// # Panics
/// When it does not: then a run would say nothing.
pub(crate) fn prove_the_rule() {
    let series = |leak: f64| -> Vec<Look> {
        let second = |n: u32| {
            let burst = f64::from(n * 7919 % 13);
            let rss_mib = 50.0 + burst + leak * f64::from(n);
            let log_mib = 32.0 * f64::from(n % 10) / 10.0;
            Look {
                rss_mib,
                log_mib,
                ..Look::default()
            }
        };
        (0..300).map(second).collect()
    };
    let ([rss, ..], [_, log]) = (PROCESS, SQLITE);
    assert!(rss.judge(&series(0.0)).flat && log.judge(&series(0.0)).flat);
    assert!(!rss.judge(&series(0.05)).flat, "a leak");
    assert!(rss.judge(&series(-0.05)).flat, "less is no leak");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
