//! What the caller wants.

use std::ffi::OsString;
use std::time::Duration;

use super::plan::State;

pub(crate) const USAGE: &str = "\
--seed N         the schedule and the records (default 1)
--minutes M      how long records come and faults happen (default 2)
--records N      how many records come (default 20000)
--state S        sqlite-alone, sqlite-each or redis (default: the seed decides)
--protocol P     classic or consumer (default: the seed decides)
--max-rss-mb N   a process may use so much memory (default 300)
--env NAME=VALUE an environment variable of the bridges
--bin FILE       another bridge than SETBRIDGE_BIN or that of the driver's build
--finds KIND     the bridge is broken: lost or out_of_order has to be found, and the run ends when it is
--plan           write the schedule and do nothing
--then           another run on the same brokers, with what follows";

/// How a broken bridge shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    Lost,
    OutOfOrder,
}

/// The protocol of the consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Classic,
    Consumer,
}

#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) records: u64,
    pub(crate) state: State,
    pub(crate) protocol: Protocol,
    pub(crate) max_rss_mb: u64,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) program: Option<OsString>,
    pub(crate) finds: Option<Breach>,
    pub(crate) plan_only: bool,
}

impl Wishes {
    /// One after the other.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn read_all(words: impl Iterator<Item = String>) -> Result<Vec<Wishes>, String> {
        let words: Vec<String> = words.collect();
        let runs = words.split(|word| word == "--then");
        runs.map(|words| Wishes::read(words.iter().cloned()))
            .collect()
    }

    /// # Errors
    /// In words.
    fn read(words: impl Iterator<Item = String>) -> Result<Wishes, String> {
        let (mut seed, mut minutes, mut records, mut max_rss_mb) = (1, 2.0, 20_000, 300);
        let (mut state, mut protocol) = (None, None);
        let (mut environment, mut plan_only) = (Vec::new(), false);
        let (mut program, mut finds) = (None, None);
        let mut words = words;
        while let Some(word) = words.next() {
            if word == "--plan" {
                plan_only = true;
                continue;
            }
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let wrong = || format!("{word} {value}: not understood");
            match word.as_str() {
                "--seed" => seed = value.parse().map_err(|_| wrong())?,
                "--minutes" => minutes = value.parse().map_err(|_| wrong())?,
                "--records" => records = value.parse().map_err(|_| wrong())?,
                "--max-rss-mb" => max_rss_mb = value.parse().map_err(|_| wrong())?,
                "--state" => {
                    let known = State::ALL.into_iter().find(|s| s.as_str() == value);
                    state = Some(known.ok_or_else(wrong)?);
                }
                "--protocol" => {
                    protocol = Some(match value.as_str() {
                        "classic" => Protocol::Classic,
                        "consumer" => Protocol::Consumer,
                        _ => return Err(wrong()),
                    });
                }
                "--bin" => program = Some(value.into()),
                "--finds" => {
                    finds = Some(match value.as_str() {
                        "lost" => Breach::Lost,
                        "out_of_order" => Breach::OutOfOrder,
                        _ => return Err(wrong()),
                    });
                }
                "--env" => {
                    let (name, value) = value.split_once('=').ok_or_else(wrong)?;
                    environment.push((name.to_owned(), value.to_owned()));
                }
                _ => return Err(format!("{word}: not understood")),
            }
        }
        if !(0.1..=240.0).contains(&minutes) {
            return Err("--minutes: from 0.1 to 240".to_owned());
        }
        Ok(Wishes {
            seed,
            time: Duration::from_secs_f64(minutes * 60.0),
            records,
            state: state.unwrap_or(STATES[usize::try_from(seed % 3).expect("of three")]),
            protocol: protocol.unwrap_or(PROTOCOLS[usize::try_from(seed % 2).expect("of two")]),
            max_rss_mb,
            environment,
            program,
            finds,
            plan_only,
        })
    }
}

/// By the seed: six in a row are all pairs of state and protocol.
const STATES: [State; 3] = [State::Redis, State::SqliteAlone, State::SqliteEach];
const PROTOCOLS: [Protocol; 2] = [Protocol::Consumer, Protocol::Classic];
