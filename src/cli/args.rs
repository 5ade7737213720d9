//! Flags that several commands share, and what they override in the configuration.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Console, Exit};
use crate::config::{Config, Environment, Files, LogFormat, Override, Sources, StreamConfig, load};

/// Which configuration to load.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file; also SETBRIDGE_CONFIG
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What goes over the file.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// What goes over the file.
#[derive(Clone, Debug, Default, Args)]
pub struct OverrideArgs {
    /// Kafka's bootstrap servers, over those of the file
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: Option<String>,
    /// Any key of the configuration, e.g. limits.max_unsettled=500; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<Setting>,
}

/// One `--set`.
#[derive(Clone)]
pub struct Setting {
    /// Dotted path.
    pub key: String,
    /// Text; may be a secret.
    pub value: String,
}

impl std::fmt::Debug for Setting {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Setting({})", self.key)
    }
}

fn key_and_value(text: &str) -> Result<Setting, &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Setting {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("write KEY=VALUE"),
    }
}

/// How to log, over the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// Shape of the logs, over log.format
    #[arg(long, global = true, value_enum)]
    pub log_format: Option<LogFormatArg>,
    /// Level or filter of the logs, over log.level
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The values of `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// Text on a terminal, JSON otherwise
    Auto,
    /// Text
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> Self {
        match format {
            LogFormatArg::Auto => Self::Auto,
            LogFormatArg::Text => Self::Text,
            LogFormatArg::Json => Self::Json,
        }
    }
}

impl LogArgs {
    /// As overrides of the configuration.
    pub fn overrides(&self) -> Vec<Override> {
        let format = self.log_format.map(|format| {
            let word = match format {
                LogFormatArg::Auto => "auto",
                LogFormatArg::Text => "text",
                LogFormatArg::Json => "json",
            };
            Override::new("--log-format", "log.format", word)
        });
        let level = self.log_level.as_ref();
        let level = level.map(|level| Override::new("--log-level", "log.level", level));
        format.into_iter().chain(level).collect()
    }
}

impl OverrideArgs {
    /// As overrides of the configuration; `--set` comes last and wins.
    pub fn overrides(&self) -> Vec<Override> {
        let servers = self.bootstrap_servers.as_ref().map(|servers| {
            Override::new("--bootstrap-servers", "kafka.bootstrap_servers", servers)
        });
        let set = self.set.iter().map(|setting| {
            let flag = format!("--set {}", setting.key);
            Override::new(&flag, &setting.key, &setting.value)
        });
        servers.into_iter().chain(set).collect()
    }
}

impl ConfigArgs {
    /// Loads the configuration, or writes every mistake and says with what to exit.
    ///
    /// # Errors
    /// The mistakes cannot be written.
    pub fn load(
        &self,
        log: &LogArgs,
        console: &mut Console<'_>,
    ) -> io::Result<Result<Config, Exit>> {
        let environment = Environment::current();
        let from_environment = environment.get("SETBRIDGE_CONFIG").map(PathBuf::from);
        let Some(path) = self.config.clone().or(from_environment) else {
            writeln!(
                console.err,
                "error: no configuration file\n    mend: give one: --config FILE"
            )?;
            return Ok(Err(Exit::Usage));
        };
        let overrides = [log.overrides(), self.overrides.overrides()].concat();
        let sources = Sources {
            environment: &environment,
            overrides: &overrides,
            files: Files::Read,
        };
        match load(&path, &sources) {
            Ok(config) => Ok(Ok(config)),
            Err(mistakes) => {
                for mistake in &mistakes {
                    writeln!(console.err, "{mistake}")?;
                }
                Ok(Err(Exit::Config))
            }
        }
    }
}

/// The stream of this id, or the only one; [`None`]: it was said what there is.
pub(super) fn choose<'a>(
    config: &'a Config,
    id: Option<&str>,
    console: &mut Console<'_>,
) -> io::Result<Option<&'a StreamConfig>> {
    let found = match id {
        Some(id) => config
            .streams
            .iter()
            .find(|stream| stream.id.as_str() == id),
        None if config.streams.len() == 1 => config.streams.first(),
        None => None,
    };
    if found.is_none() {
        let ids: Vec<&str> = config
            .streams
            .iter()
            .map(|stream| stream.id.as_str())
            .collect();
        let question = match id {
            Some(id) => format!("there is no stream {id:?}"),
            None => "which stream?".to_owned(),
        };
        writeln!(
            console.err,
            "error: {question}\n    mend: --stream ID, one of: {}",
            ids.join(", ")
        )?;
    }
    Ok(found)
}
