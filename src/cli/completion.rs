//! `setbridge completion SHELL`: a completion script on standard output.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Console, Exit};

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

pub(super) fn completion(args: &CompletionArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    // `generate` panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "setbridge", &mut script);
    console.out.write_all(&script)?;
    Ok(Exit::Done)
}
