//! `setbridge run`: the bridge until it is told to end.

use std::io;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{ConfigArgs, Console, Exit, LogArgs};
use crate::bridge::{Bridge, BridgeEnd, StartError, files};
use crate::config::Config;
use crate::shutdown::{Shutdown, Signals};
use crate::telemetry;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs until SIGTERM or SIGINT, and drains. Kafka or a receiver that is down never ends it.
pub(super) fn run(args: &RunArgs, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let config = match args.config.load(log, console)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    // As `check` does: a fault of a file is told with its key and its mend, and before anything starts.
    let mistakes = files::mistakes(&config);
    if !mistakes.is_empty() {
        for mistake in &mistakes {
            writeln!(console.err, "{mistake}")?;
        }
        return Ok(Exit::Config);
    }
    if let Err(error) = telemetry::start(&config.log) {
        writeln!(console.err, "error: {}", telemetry::chain(&error))?;
        return Ok(Exit::Software);
    }
    open_files();
    block_on(work(&config))
}

/// Runs a future on a runtime of its own.
pub(super) fn block_on(work: impl Future<Output = Exit>) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()?;
    let exit = runtime.block_on(work);
    // Blocking calls of librdkafka may still wait for a broker that is gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(exit)
}

/// One worker for three cores. Signing has a thread for each core and is four fifths of the work or more, so more
/// workers only pass tasks, their memory and wake-ups around: about 120 instead of 90 µs of CPU a SET with two on two cores.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(3))
}

/// As many open files as the system allows: the usual soft limit of 1,024 is for programs that use select(2), and the
/// public port alone may have as many connections.
fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = limit.current, "the limit of open files stays as it is");
    }
}

async fn work(config: &Config) -> Exit {
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be listened to");
            return Exit::Software;
        }
    };
    let bridge = match Bridge::start(config, Shutdown::default()).await {
        Ok(bridge) => bridge,
        Err(error) => return refuse(&error),
    };
    let addresses = bridge.addresses();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config_hash = %config.hash,
        streams = config.streams.len(),
        public = addresses.public.map(tracing::field::display),
        admin = %addresses.admin,
        "setbridge runs"
    );
    match bridge.run(Some(signals)).await {
        BridgeEnd::Drained => {
            tracing::info!("drained; everything that was decided is stored");
            Exit::Done
        }
        BridgeEnd::Aborted => {
            tracing::warn!(
                "ended before all answers were there; what was on the wire is sent again after the restart"
            );
            Exit::Done
        }
        BridgeEnd::Broken(_) => Exit::Software,
    }
}

fn refuse(error: &StartError) -> Exit {
    tracing::error!("{}", telemetry::chain(error));
    match error {
        StartError::Keys(errors) => {
            for error in errors {
                tracing::error!("{}", telemetry::chain(error));
            }
            Exit::Config
        }
        StartError::Stream { .. }
        | StartError::Tls(_)
        | StartError::MultiBuffer(_)
        | StartError::Vault(_) => Exit::Config,
        StartError::State(_) | StartError::Listen { .. } => Exit::Io,
        StartError::System(_) => Exit::Software,
    }
}
