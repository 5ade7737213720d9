//! `setbridge dlq list|show|replay`: what is in the dead-letter topics of a stream, and bringing it back.
//!
//! Replaying only produces to the side topic: the running bridge does the rest, so that nothing is sent about a subject
//! behind the lanes' back (DESIGN "Side topics").

mod follow;
mod letters;
mod list;
mod replay;
mod report;
mod show;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::args::choose;
use super::{ConfigArgs, Console, Exit, LogArgs, kafka};
use crate::config::{Config, StreamConfig};
use crate::kafka::reader::{ReadError, Reader};
use crate::record::Origin;

/// List, show and replay dead letters
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List the dead letters of a stream: why, whence, whether they were replayed
    List(ListArgs),
    /// Show dead letters whole: headers, key, value
    Show(ShowArgs),
    /// Bring dead letters back: the running bridge sends what they name again, under the same jti
    Replay(ReplayArgs),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Choice {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Whose dead letters; may be left out when there is one stream
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,
    /// Only from this source topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only for this reason (docs/operations.md#reasons-of-dead-letters); can be repeated
    #[arg(long = "reason", value_name = "REASON")]
    pub reasons: Vec<String>,
    /// Only those that became dead letters at this time or later: 2026-01-31T03:00:00Z, or 6h ago as `6h`
    #[arg(long, value_name = "TIME", value_parser = kafka::moment)]
    pub since: Option<i64>,
    /// … before this time
    #[arg(long, value_name = "TIME", value_parser = kafka::moment)]
    pub until: Option<i64>,
    /// Only about this SET; can be repeated
    #[arg(long = "jti", value_name = "JTI", allow_hyphen_values = true)]
    pub jtis: Vec<String>,
    /// At most so many, the oldest first
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dlq list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which.
    #[command(flatten)]
    pub choice: Choice,
}

/// Arguments of `dlq show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Which, when no place is given; one unless --limit says more.
    #[command(flatten)]
    pub choice: Choice,
    /// Places of dead letters, as `dlq list` shows them
    #[arg(value_name = "TOPIC:PARTITION:OFFSET", value_parser = kafka::origin,
          conflicts_with_all = ["topic", "reasons", "since", "until", "jtis", "limit"])]
    pub places: Vec<Origin>,
}

/// Arguments of `dlq replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
A dead letter is replayed once, whatever the filters were; one that fails again is a new dead letter. While one command
produces replays of a stream, another one is refused. The bridge has to run in live mode, and sends only the SET (or detection) that the dead letter names. What is outdated by something newer
about the subject is `stale` and not sent.

Exit codes: 0 all settled, none failed again · 65 some were dead-lettered again or cannot be replayed ·
69 Kafka is down, or not all were settled within --wait")]
pub struct ReplayArgs {
    /// Which.
    #[command(flatten)]
    pub choice: Choice,
    /// Show what would be replayed; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Send also what something newer about the subject has outdated, or what is too old
    #[arg(long)]
    pub force: bool,
    /// Also those that were replayed before
    #[arg(long)]
    pub again: bool,
    /// Follow the outcomes for so many seconds at most; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub wait: Duration,
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let seconds: u32 = text.parse().map_err(|_| "write a number of seconds")?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

impl DlqCommand {
    pub(super) fn run(&self, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
        let config = match self {
            Self::List(args) => &args.choice.config,
            Self::Show(args) => &args.choice.config,
            Self::Replay(args) => &args.choice.config,
        };
        let config = match config.load(log, console)? {
            Ok(config) => config,
            Err(exit) => return Ok(exit),
        };
        match self {
            Self::List(args) => with_stream(&config, &args.choice, console, list::list),
            Self::Show(args) => with_stream(&config, &args.choice, console, |at, console| {
                show::show(at, args, console)
            }),
            Self::Replay(args) => with_stream(&config, &args.choice, console, |at, console| {
                replay::replay(at, args, console)
            }),
        }
    }
}

/// What a command works with.
struct At<'a> {
    config: &'a Config,
    stream: &'a StreamConfig,
    choice: &'a Choice,
    reader: Reader,
    /// Source topics that are meant.
    sources: Vec<String>,
}

fn with_stream(
    config: &Config,
    choice: &Choice,
    console: &mut Console<'_>,
    work: impl FnOnce(&At<'_>, &mut Console<'_>) -> io::Result<Exit>,
) -> io::Result<Exit> {
    let Some(stream) = choose(config, choice.stream.as_deref(), console)? else {
        return Ok(Exit::Usage);
    };
    if let Some(topic) = choice.topic.as_deref().filter(|t| !kafka::reads(stream, t)) {
        writeln!(
            console.err,
            "error: stream {} does not read topic {topic}\n    mend: --topic is a source topic, not one of dead letters",
            stream.id
        )?;
        return Ok(Exit::Usage);
    }
    let found = kafka::reader(config, &stream.group_id).and_then(|reader| {
        let sources = match &choice.topic {
            Some(topic) => vec![topic.clone()],
            None => kafka::source_topics(stream, &reader)?,
        };
        Ok((reader, sources))
    });
    match found {
        Ok((reader, sources)) => {
            let at = At {
                config,
                stream,
                choice,
                reader,
                sources,
            };
            work(&at, console)
        }
        Err(error) => kafka::refuse(&error, console),
    }
}

impl At<'_> {
    /// The dead-letter topics of the source topics, each once.
    fn letter_topics(&self) -> BTreeSet<String> {
        let name = |source: &String| self.stream.dead_letter.topic.name_for(source).ok();
        let names = self.sources.iter().filter_map(name);
        names.map(|name| name.as_str().to_owned()).collect()
    }

    /// The same, whatever `--topic` says.
    fn all_letter_topics(&self) -> Result<BTreeSet<String>, ReadError> {
        let sources = kafka::source_topics(self.stream, &self.reader)?;
        let name = |source: &String| self.stream.dead_letter.topic.name_for(source).ok();
        let names = sources.iter().filter_map(name);
        Ok(names.map(|name| name.as_str().to_owned()).collect())
    }

    /// The group that remembers what was replayed. Its only member is who replays.
    fn group(&self) -> String {
        format!("{}.dlq", self.stream.group_id)
    }

    /// Says that there are no dead-letter topics.
    fn nothing(&self, console: &mut Console<'_>) -> io::Result<Exit> {
        let error = ReadError::NoTopic(
            self.letter_topics()
                .into_iter()
                .collect::<Vec<_>>()
                .join(", "),
        );
        writeln!(
            console.err,
            "error: stream {} has no dead letters: {error}\n    mend: none, if it never ran; else look at \
             dead_letter.topic and kafka.bootstrap_servers",
            self.stream.id
        )?;
        Ok(Exit::NoInput)
    }
}
