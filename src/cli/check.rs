//! `setbridge check FILE…`: offline; every mistake of every file at once.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::{Console, Exit, LogArgs, OverrideArgs};
use crate::bridge::files;
use crate::config::{Environment, Files, Sources, load};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Leave the files alone that the configuration names (keys, certificates, secrets), which this machine lacks
    #[arg(long)]
    pub skip_files: bool,
    /// What goes over each file.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

pub(super) fn check(
    args: &CheckArgs,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let environment = Environment::current();
    let overrides = [log.overrides(), args.overrides.overrides()].concat();
    let sources = Sources {
        environment: &environment,
        overrides: &overrides,
        files: match args.skip_files {
            true => Files::Skip,
            false => Files::Read,
        },
    };
    let mut exit = Exit::Done;
    for file in &args.files {
        let loaded = load(file, &sources).and_then(|config| {
            let mistakes = match args.skip_files {
                true => Vec::new(),
                false => files::mistakes(&config),
            };
            if mistakes.is_empty() {
                Ok(config)
            } else {
                Err(mistakes)
            }
        });
        match loaded {
            Ok(config) => {
                let streams = config.streams.len();
                let plural = if streams == 1 { "" } else { "s" };
                let (name, hash) = (file.display(), config.hash);
                writeln!(
                    console.out,
                    "{name}: ok, {streams} stream{plural}, hash {hash}"
                )?;
            }
            Err(mistakes) => {
                exit = Exit::Config;
                for mistake in &mistakes {
                    writeln!(console.err, "{mistake}")?;
                }
                let count = mistakes.len();
                let plural = if count == 1 { "" } else { "s" };
                writeln!(console.err, "{}: {count} mistake{plural}", file.display())?;
            }
        }
    }
    Ok(exit)
}
