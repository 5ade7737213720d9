//! `setbridge explain --at topic:partition:offset | --last N`: what would become of a record now, and why.
//!
//! Read-only on Kafka (no group is joined, nothing is committed) and on the state, which the bridge may be working with
//! at the same time. Nothing is signed or sent.

mod sight;
mod text;

use std::io;

use clap::Args;
use tokio::runtime::Runtime;

use super::args::choose;
use super::{ConfigArgs, Console, Exit, LogArgs, kafka};
use crate::bridge::assembly;
use crate::config::{Config, StreamConfig};
use crate::kafka::dead_letter::DeadLetter;
use crate::kafka::reader::{ReadError, Reader};
use crate::record::{Origin, Record};
use crate::state::{StateStore, StateView, system_clock};
use crate::telemetry;
use sight::RecordSight;

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed or sent, and no consumer group is joined: it can be run beside the bridge. The claims are shown as
they would be sent; iat and previous_level are of now. A record of the stream's dead-letter topic is explained as the record that it was.")]
pub struct ExplainArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Whose mapping and state; may be left out when there is one stream
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,
    /// The record at this place; can be repeated
    #[arg(long, value_name = "TOPIC:PARTITION:OFFSET", value_parser = kafka::origin,
          required_unless_present = "last", conflicts_with = "last")]
    pub at: Vec<Origin>,
    /// The last N records of the stream's topics by Kafka's timestamp, oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub last: Option<u16>,
    /// One JSON object a record
    #[arg(long)]
    pub json: bool,
}

pub(super) fn explain(
    args: &ExplainArgs,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let config = match args.config.load(log, console)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let Some(stream) = choose(&config, args.stream.as_deref(), console)? else {
        return Ok(Exit::Usage);
    };
    let reader = match kafka::reader(&config, &stream.group_id) {
        Ok(reader) => reader,
        Err(error) => return kafka::refuse(&error, console),
    };
    let scene = Scene::new(&config, stream, &reader);
    let mut exit = Exit::Done;
    if let Some(count) = args.last {
        match last(stream, &reader, usize::from(count)) {
            Ok(records) => {
                for record in records {
                    scene.show(&record, None, args.json, console)?;
                }
            }
            Err(error) => exit = kafka::refuse(&error, console)?,
        }
    }
    for place in &args.at {
        exit = match scene.at(place, args.json, console)? {
            Exit::Done => exit,
            not => not,
        };
    }
    Ok(exit)
}

/// The last records of all topics of the stream.
fn last(stream: &StreamConfig, reader: &Reader, count: usize) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    for topic in kafka::source_topics(stream, reader)? {
        records.extend(reader.last(&topic, count)?);
    }
    records.sort_by_key(|record| record.timestamp_ms);
    Ok(records.split_off(records.len().saturating_sub(count)))
}

/// The state to look at, and what drives its connection, or why there is none.
fn state(config: &Config) -> Result<(StateView, Runtime), String> {
    let settings = assembly::state_settings(&config.state);
    let view = StateStore::open_read_only(&settings, system_clock());
    let view = view
        .map_err(|error| telemetry::chain(&error))?
        .ok_or("state.backend is memory: only the bridge itself knows what it has delivered")?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build();
    Ok((view, runtime.map_err(|error| error.to_string())?))
}

/// What one stream knows, at the moment.
struct Scene<'a> {
    stream: &'a StreamConfig,
    reader: &'a Reader,
    /// With what drives its connection, or why it cannot be seen.
    state: Result<(StateView, Runtime), String>,
    state_name: String,
}

impl<'a> Scene<'a> {
    fn new(config: &Config, stream: &'a StreamConfig, reader: &'a Reader) -> Self {
        Self {
            stream,
            reader,
            state: state(config),
            state_name: assembly::state_name(stream),
        }
    }

    /// The record at this place, or what it was before it became a dead letter.
    fn at(&self, place: &Origin, json: bool, console: &mut Console<'_>) -> io::Result<Exit> {
        let record = match self.reader.one(place) {
            Ok(record) => record,
            Err(error) => return kafka::refuse(&error, console),
        };
        if kafka::reads(self.stream, &place.topic) {
            return self.show(&record, None, json, console).map(|()| Exit::Done);
        }
        match DeadLetter::parse(&record.headers) {
            Ok(letter) if letter.stream == self.stream.id.as_str() => {
                let restored = match letter.restore(&record) {
                    Some(restored) => Ok(restored),
                    None => self.reader.one(&letter.origin),
                };
                match restored {
                    Ok(restored) => self.show(&restored, Some(&letter), json, console)?,
                    Err(error) => return kafka::refuse(&error, console),
                }
                Ok(Exit::Done)
            }
            other => {
                let why = match other {
                    Ok(letter) => format!("it is a dead letter of stream {:?}", letter.stream),
                    Err(fault) => fault.to_string(),
                };
                writeln!(
                    console.err,
                    "error: stream {} does not read topic {}, and {}\n    mend: another --stream, or the place of one \
                     of its records or dead letters",
                    self.stream.id,
                    place.topic,
                    kafka::printable(&why)
                )?;
                Ok(Exit::Usage)
            }
        }
    }

    fn show(
        &self,
        record: &Record,
        letter: Option<&DeadLetter>,
        json: bool,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let sight = RecordSight::new(self, record, letter);
        if json {
            return writeln!(console.out, "{}", serde_json::to_string(&sight)?);
        }
        text::write(&sight, console.out)
    }
}
