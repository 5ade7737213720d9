//! Soak: a bridge under steady load from a receiver with faults, and whether it stays as large as it was. `make soak`.
//!
//! Once a second it looks at the process: resident memory, open files, threads, and the size of its SQLite files, or of
//! Redis. Dead letters come back all the time. At the end comes a table, `target/soak/summary.json`, and 1 when something grew or a detection has no outcome.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, reason = "it talks to whoever started it")]
#![allow(
    clippy::disallowed_methods,
    reason = "clippy.toml speaks of the service, not of its tests"
)]

mod judge;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, reason = "what the tests over the wire need besides")]
mod support;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Map, Value, json};
use setbridge::okta::simulator::{JwksSource, Reply, Simulator, SimulatorSettings};
use tokio::time::{Instant, MissedTickBehavior, interval};

use judge::{Look, State, Verdict};
use support::apache::Apache;
use support::bridge::Bridge;
use support::configuration::{Configuration, ISSUER, record, user};
use support::fresh;
use support::numbered::numbered;
use support::operator::setbridge;
use support::receipts::is_about;
use support::redis_server::RedisServer;
use support::wire::Wire;

/// So many people the detections are about: levels and marks are kept for each.
const USERS: usize = 500;
/// A jti is kept for up to one and a half times this; so the file is as large as it gets long before the warm-up is over.
const WINDOW: &str = "20s";
/// Seconds between two commands that bring dead letters back.
const REPLAY: usize = 20;
/// How long each kind of weather lasts.
const WEATHER: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    judge::prove_the_rule();
    let argument = |name: &str, default: f64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        let value = arguments.nth(1).map(|value| value.parse());
        value.unwrap_or(Ok(default)).expect("a number")
    };
    let time = Duration::from_secs_f64(60.0 * argument("--minutes", 5.0));
    let rate = argument("--rate", 100.0) as usize;
    let redis = std::env::args().any(|argument| argument == "--redis");
    let state = match redis {
        true => State::Redis(RedisServer::start(&[])),
        false => State::Sqlite,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if runtime.block_on(soak(time, rate, &state)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn soak(time: Duration, rate: usize, state: &State) -> bool {
    let kafka = Apache::shared().expect("Apache Kafka: run `make kafka` first");
    let (wire, topic) = (kafka.wire(), fresh("detections"));
    wire.create_topic(&topic, 4, &[]).await;
    let org = counting_receiver().await;
    let configuration = Configuration::new(wire).stream("okta", &topic, &org);
    let configuration = match state {
        State::Sqlite => configuration.sqlite(),
        State::Redis(server) => configuration.redis(server),
    };
    let configuration = configuration.set("state.window", WINDOW);
    let replays = Replays::of(&configuration, &topic);
    let group = configuration.group("okta");
    let mut bridge = Bridge::start(&configuration).await;

    let begin = Instant::now();
    let (mut looks, mut produced, mut faults) = (Vec::new(), 0, Faults::default());
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begin.elapsed() < time {
        second.tick().await;
        faults.blow(&org, begin.elapsed());
        if looks.len() % REPLAY == REPLAY - 1 {
            replays.bring_back().await;
        }
        let numbers = produced..produced + rate;
        let batch = numbers.map(|n| record(&numbered(&user(n % USERS), n / USERS)));
        wire.produce_all(&topic, batch).await;
        produced += rate;
        let look = Look::at(&bridge, state, configuration.folder());
        if looks.len() % 10 == 0 {
            println!(
                "{:4} s  {produced} detections  {look}",
                begin.elapsed().as_secs()
            );
        }
        looks.push(look);
    }
    org.recover();
    let total = i64::try_from(produced).expect("a number of ours");
    let soon = Duration::from_secs(120);
    wire.wait_committed(&group, &topic, total, soon).await;
    let replayed = replays.settled(wire, &group).await;
    let outcomes = bridge.metrics().await.sum("setbridge_outcomes_total", &[]);
    let letters = bridge
        .metrics()
        .await
        .sum("setbridge_dead_letters_total", &[]);
    bridge.drain().await;

    let limits = judge::limits(state);
    let verdicts: Vec<Verdict> = limits.iter().map(|limit| limit.judge(&looks)).collect();
    report(&verdicts, &looks, (produced, replayed), outcomes, letters);
    outcomes == (produced + replayed) as f64 && verdicts.iter().all(|verdict| verdict.flat)
}

/// Who brings dead letters back, by the command.
struct Replays {
    config: String,
    side: String,
}

impl Replays {
    fn of(configuration: &Configuration, topic: &str) -> Replays {
        Replays {
            config: configuration.write().display().to_string(),
            side: format!("{topic}.okta.replay"),
        }
    }

    /// Those that were not brought back yet, if there are any: `setbridge dlq replay` remembers.
    async fn bring_back(&self) {
        let args = [
            "dlq",
            "replay",
            "-c",
            &self.config,
            "--limit",
            "20",
            "--wait",
            "0",
        ];
        let said = setbridge(&args).await;
        // 66: nothing was ever dead-lettered; 69: not all have an outcome yet, which nobody waited for.
        assert!(matches!(said.code, 0 | 65 | 66 | 69), "{said:?}");
    }

    /// How many there were; all have an outcome.
    async fn settled(&self, wire: &Wire, group: &str) -> usize {
        let mut total = 0;
        for partition in wire.partitions(&self.side).await {
            total += wire.watermarks(&self.side, partition).await.1;
        }
        let soon = Duration::from_secs(120);
        let group = format!("{group}.replay");
        wire.wait_committed(&group, &self.side, total, soon).await;
        usize::try_from(total).expect("a number of ours")
    }
}

/// Keeps nothing, so that the test's own memory stays out of it.
async fn counting_receiver() -> Simulator {
    let nobody = JwksSource::Given(Box::new(JwkSet { keys: Vec::new() }));
    let mut settings = SimulatorSettings::new(ISSUER, "", nobody);
    settings.verify_every = 100;
    settings.keep = 0;
    Simulator::start(settings).await.expect("a simulated org")
}

/// The receiver's weather: well, then one fault after another for a third of the SETs.
#[derive(Default)]
struct Faults {
    kind: usize,
}

impl Faults {
    fn blow(&mut self, org: &Simulator, at: Duration) {
        let kind = (at.as_secs() / WEATHER.as_secs()) as usize;
        if std::mem::replace(&mut self.kind, kind) == kind {
            return;
        }
        org.recover();
        let third = |claims: &Value| {
            let jti = claims["jti"].as_str().unwrap_or_default();
            jti.bytes().next_back().is_some_and(|last| last % 3 == 0)
        };
        let (about, reply): (fn(&Value) -> bool, _) = match kind % 8 {
            1 => (third, Reply::status(500)),
            2 => (third, Reply::too_many_requests(1)),
            3 => (third, Reply::ResetRead),
            5 => (third, Reply::Judge.after(Duration::from_millis(300))),
            // Dead letters, while others are accepted.
            6 => (
                |claims| is_about(claims, &user(7)),
                Reply::refusal("invalid_request", "x"),
            ),
            7 => (|_| true, Reply::status(503)),
            _ => return,
        };
        org.answer_when(None, about, reply);
    }
}

fn report(
    verdicts: &[Verdict],
    looks: &[Look],
    (produced, replayed): (usize, usize),
    outcomes: f64,
    letters: f64,
) {
    let mut table = Table::new();
    table.set_header(["", "after warm-up", "at the end", "may be", "most", ""]);
    for verdict in verdicts {
        let end = if verdict.flat { "flat" } else { "GREW" };
        let cells = [verdict.early, verdict.late, verdict.allowed, verdict.most];
        let cells = cells.map(|value| format!("{value:.1}"));
        let [early, late, allowed, most] = cells;
        table.add_row([verdict.name, &early, &late, &allowed, &most, end]);
    }
    println!("{table}");
    println!(
        "{} s, {produced} detections, {replayed} replays, {outcomes} outcomes, {letters} of them dead letters",
        looks.len()
    );
    let mut summary = Map::new();
    for verdict in verdicts {
        summary.insert(format!("{}_early", verdict.key), json!(verdict.early));
        summary.insert(format!("{}_late", verdict.key), json!(verdict.late));
    }
    summary.insert("seconds".to_owned(), json!(looks.len()));
    summary.insert("produced".to_owned(), json!(produced));
    summary.insert("replayed".to_owned(), json!(replayed));
    summary.insert("outcomes".to_owned(), json!(outcomes));
    summary.insert("dead_letters".to_owned(), json!(letters));
    summary.insert("flat".to_owned(), json!(verdicts.iter().all(|v| v.flat)));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
    fs::create_dir_all(&folder).expect("a folder");
    let text = format!("{:#}\n", Value::Object(summary));
    fs::write(folder.join("summary.json"), text).expect("a file");
}
