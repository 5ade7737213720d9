//! `setbridge demo`: the main job between embedded peers, with something to see.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::indent::indented;
use super::run::block_on;
use super::{Console, Exit, LogArgs};
use crate::config::{LogFormat, LogSettings};
use crate::demo::{Demo, DemoSettings, Report};
use crate::okta::simulator::{Answered, Received};
use crate::shutdown::Signals;
use crate::telemetry;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End by itself; the exit code is not 0 when the numbers do not add up
    #[arg(long)]
    pub exit: bool,
    /// Records to produce
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub count: u64,
    /// Print one JSON object on stdout instead of the table
    #[arg(long)]
    pub json: bool,
    /// A Kafka of yours instead of the embedded one; the demo makes a topic of its own there
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap: Option<String>,
    /// A receiver of yours instead of the embedded one
    #[arg(long, value_name = "URL")]
    pub receiver: Option<String>,
    /// The key that your receiver knows; default a fresh one
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The issuer that your receiver knows
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The embedded receiver answers one of N requests with 429 and one with 503; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fault_every: u64,
}

pub(super) fn demo(args: &DemoArgs, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let settings = LogSettings {
        format: log.log_format.map_or(LogFormat::Text, Into::into),
        // Dead letters are part of the show; the table tells them.
        level: log.log_level.clone().unwrap_or_else(|| "error".to_owned()),
    };
    if let Err(error) = telemetry::start(&settings) {
        writeln!(console.err, "error: {}", telemetry::chain(&error))?;
        return Ok(Exit::Usage);
    }
    let mut failed = Ok(());
    let exit = block_on(async {
        match play(args, console).await {
            Ok(exit) => exit,
            Err(error) => {
                failed = Err(error);
                Exit::Io
            }
        }
    })?;
    failed.map(|()| exit)
}

async fn play(args: &DemoArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let settings = DemoSettings {
        count: args.count,
        bootstrap: args.bootstrap.clone(),
        receiver: args.receiver.clone(),
        key: args.key.clone(),
        issuer: args.issuer.clone(),
        fault_every: args.fault_every,
        public: usual_or_free(8080),
        admin: usual_or_free(9464),
    };
    let mut demo = match Demo::start(settings, Some(Signals::new()?)).await {
        Ok(demo) => demo,
        Err(error) => {
            writeln!(console.err, "error: {}", telemetry::chain(&error))?;
            return Ok(if args.bootstrap.is_some() {
                Exit::Unavailable
            } else {
                Exit::Software
            });
        }
    };
    let bar = progress(args.count);
    let played = demo
        .play(|_, metrics| {
            bar.set_position(metrics.records.get());
            let outcomes = metrics.outcomes.counts();
            let delivered = outcomes.get("delivered").copied().unwrap_or(0);
            let dead = outcomes.get("dead_lettered").copied().unwrap_or(0);
            bar.set_message(format!("delivered {delivered}, dead letters {dead}"));
        })
        .await;
    bar.finish_and_clear();
    let report = match played {
        Ok(report) => report,
        Err(error) => {
            writeln!(console.err, "error: {}", telemetry::chain(&error))?;
            return Ok(Exit::Unavailable);
        }
    };
    show(args, &demo, &report, console)?;
    if args.exit {
        demo.end().await;
    } else {
        invite(&demo, console)?;
        demo.wait().await;
    }
    Ok(if report.faults().is_empty() {
        Exit::Done
    } else {
        Exit::Software
    })
}

fn show(
    args: &DemoArgs,
    demo: &Demo,
    report: &Report,
    console: &mut Console<'_>,
) -> io::Result<()> {
    if args.json {
        serde_json::to_writer(&mut *console.out, report)?;
        writeln!(console.out)?;
    } else {
        if let Some(simulator) = demo.simulator() {
            let example = simulator.log(|log| {
                let mut taken = log.taken();
                taken.find_map(|received| Some((demo.record_of(received)?, received.clone())))
            });
            if let Some((record, received)) = &example {
                explain(record, received, console)?;
            }
        }
        writeln!(console.out, "{}", report.table())?;
    }
    console.out.flush()?;
    for fault in report.faults() {
        writeln!(console.err, "does not add up: {fault}")?;
    }
    Ok(())
}

/// One detection: the record, the SET that was made of it, the receiver's answer.
fn explain(record: &str, received: &Received, console: &mut Console<'_>) -> io::Result<()> {
    let out = &mut *console.out;
    writeln!(out, "One detection on its way:\n")?;
    writeln!(out, "  the record in Kafka\n    {record}\n")?;
    writeln!(out, "  the SET that was signed and pushed")?;
    for part in received.raw.split(|byte| *byte == b'.').take(2) {
        // What the receiver took as a token is one.
        let json = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        for line in indented(&String::from_utf8_lossy(&json)).lines() {
            writeln!(out, "    {line}")?;
        }
    }
    let answer = match received.answered {
        Answered::Status(status) => format!("HTTP {status}"),
        Answered::Reset => "connection reset".to_owned(),
        Answered::Never => "none".to_owned(),
    };
    writeln!(out, "\n  the receiver's answer\n    {answer}\n")
}

fn invite(demo: &Demo, console: &mut Console<'_>) -> io::Result<()> {
    let addresses = demo.addresses();
    let out = &mut *console.out;
    writeln!(out, "\nStill running, until Ctrl-C:")?;
    if let Some(public) = addresses.public {
        writeln!(out, "  public keys    http://{public}/jwks.json")?;
        writeln!(
            out,
            "  SSF metadata   http://{public}/.well-known/ssf-configuration"
        )?;
    }
    writeln!(out, "  metrics        http://{}/metrics", addresses.admin)?;
    writeln!(out, "  status         http://{}/status", addresses.admin)?;
    out.flush()
}

/// Live on a terminal, silent elsewhere.
fn progress(count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} records  {per_sec}  {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The usual port on loopback, or any free one when it is taken.
fn usual_or_free(port: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    let free = |address| TcpListener::bind(address).and_then(|listener| listener.local_addr());
    free(usual)
        .or_else(|_| free(SocketAddr::from(([127, 0, 0, 1], 0))))
        .unwrap_or(usual)
}
