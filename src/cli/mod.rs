//! The commands: one file a subcommand. They read arguments, call the library, and write the
//! result; they decide nothing about data.

mod args;
mod check;
mod completion;
mod demo;
mod dlq;
mod exit;
mod explain;
mod indent;
mod kafka;
pub mod keys;
mod map;
mod run;
mod schema;
mod stream;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Parser, Subcommand};

use crate::signing;

pub use args::{ConfigArgs, LogArgs, OverrideArgs};
pub use exit::Exit;

const AFTER_HELP: &str = "\
Exit codes: 0 done · 64 wrong usage · 65, 66, 73 what was given is no good, not there,
or in the way · 69 a dependency is down (one-shot commands) · 70 a fault of
setbridge itself · 74 input or output failed · 77 not allowed · 78 wrong configuration

Precedence: flag > SETBRIDGE_… environment > file > default. SETBRIDGE_KAFKA__BOOTSTRAP_SERVERS sets
kafka.bootstrap_servers; `--set` takes any key: --set streams.0.receiver.url=https://…";

/// Reads security detections from Kafka and pushes them as signed Security Event Tokens.
#[derive(Debug, Parser)]
#[command(name = "setbridge", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge until SIGTERM or SIGINT; SIGHUP reloads keys and credentials
    Run(run::RunArgs),
    /// Show the main job between an embedded Kafka and an embedded receiver
    Demo(demo::DemoArgs),
    /// Check configuration files: every mistake at once, with its line and its mend
    Check(check::CheckArgs),
    /// Show what the mapping makes of a record on standard input, or why it makes nothing
    Map(map::MapArgs),
    /// Show what would become of records that are in Kafka, rule by rule; changes and sends nothing
    Explain(explain::ExplainArgs),
    /// List, show and replay dead letters
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Make signing keys, and show what is published about them
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Hold, resume or rewind a stream of a running bridge, or skip what blocks it
    #[command(subcommand)]
    Stream(stream::StreamCommand),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

/// Where a command writes.
pub struct Console<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
}

/// Runs the command that the arguments name; the first is the program's own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    // Before anything can sign: `jsonwebtoken` settles on a provider at its first use.
    signing::provider::install();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let exit = match Cli::try_parse_from(args) {
        Ok(cli) => dispatch(cli, &mut console),
        Err(error) => usage(&error, &mut console),
    };
    match exit.and_then(|exit| console.out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        // Whoever read us has seen enough (`setbridge schema | head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            // Nobody is left to tell when this fails too.
            let _ = writeln!(console.err, "setbridge: {error}");
            Exit::Io
        }
    }
}

fn dispatch(cli: Cli, console: &mut Console<'_>) -> io::Result<Exit> {
    match cli.command {
        Command::Run(args) => run::run(&args, &cli.log, console),
        Command::Demo(args) => demo::demo(&args, &cli.log, console),
        Command::Map(args) => map::map(&args, &cli.log, console),
        Command::Explain(args) => explain::explain(&args, &cli.log, console),
        Command::Dlq(command) => command.run(&cli.log, console),
        Command::Keys(command) => command.run(&cli.log, console),
        Command::Stream(command) => command.run(&cli.log, console),
        Command::Check(args) => check::check(&args, &cli.log, console),
        Command::Schema => schema::schema(console),
        Command::Completion(args) => completion::completion(&args, console),
    }
}

/// Help and version are what was asked for; everything else is wrong usage.
fn usage(error: &clap::Error, console: &mut Console<'_>) -> io::Result<Exit> {
    let text = error.render();
    if error.use_stderr() {
        write!(console.err, "{text}")?;
        Ok(Exit::Usage)
    } else {
        write!(console.out, "{text}")?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests;
