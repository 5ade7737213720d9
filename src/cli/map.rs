//! `setbridge map -c FILE --stream ID < record.json`: what the mapping makes of a record, or why it makes nothing.
//!
//! Offline: no Kafka, no state, no keys. What only the moment can tell is marked: `iat` is now, `previous_level` is what
//! the mapping says, else `none`.

use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;

use super::args::choose;
use super::{ConfigArgs, Console, Exit, LogArgs};
use crate::config::StreamConfig;
use crate::detection::{self, Decoded, Detection};
use crate::mapping::{MapInput, Mapped};
use crate::pipeline::now_ms;
use crate::record::{Origin, Record};
use crate::set::Timestamp;

/// Arguments of `map`.
#[derive(Debug, Args)]
pub struct MapArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Whose mapping; may be left out when there is one stream
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,
    /// The record's key
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// A header of the record; can be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The record's Kafka timestamp in ms since 1970; default now
    #[arg(long, value_name = "MS")]
    pub timestamp_ms: Option<i64>,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn map(args: &MapArgs, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let config = match args.config.load(log, console)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let Some(stream) = choose(&config, args.stream.as_deref(), console)? else {
        return Ok(Exit::Usage);
    };
    let mut value = Vec::new();
    io::stdin().lock().read_to_end(&mut value)?;
    let now_ms = now_ms();
    let record = Record {
        origin: Origin {
            topic: Arc::from("stdin"),
            partition: 0,
            offset: 0,
        },
        key: args.key.as_ref().map(|key| Bytes::from(key.clone())),
        value: Some(Bytes::from(value)),
        headers: args
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Some(Bytes::from(value.clone()))))
            .collect(),
        timestamp_ms: Some(args.timestamp_ms.unwrap_or(now_ms)),
    };
    show(
        stream,
        &record,
        Timestamp::from_secs(now_ms / 1000),
        console,
    )
}

fn show(
    stream: &StreamConfig,
    record: &Record,
    now: Timestamp,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let (limits, needs) = (stream.decode_limits(), stream.mapping.needs());
    let elements = match detection::decode(record.value.as_ref(), &limits, needs) {
        Ok(Decoded::Tombstone) => {
            return refuse(
                console,
                "the record has no value (a tombstone): settled, nothing sent",
            );
        }
        Ok(Decoded::Elements(elements)) => elements,
        Err(error) => {
            return refuse(
                console,
                &format!("dead letter, {}: {error}", error.reason()),
            );
        }
    };
    let mut exit = Exit::Done;
    for (element, detection) in elements {
        let detection = match detection {
            Ok(detection) => detection,
            Err(error) => {
                exit = refuse(
                    console,
                    &format!(
                        "element {element}: dead letter, {}: {error}",
                        error.reason()
                    ),
                )?;
                continue;
            }
        };
        let said = element_of(stream, record, now, (element, &detection), console)?;
        if said != Exit::Done {
            exit = said;
        }
    }
    Ok(exit)
}

/// What one element becomes.
fn element_of(
    stream: &StreamConfig,
    record: &Record,
    now: Timestamp,
    (element, detection): (u32, &Detection),
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let (issuer, id) = (stream.issuer.as_str(), stream.id.as_str());
    let input = MapInput {
        detection,
        record,
        issuer,
        stream: id,
        now,
    };
    let sets = match stream.mapping.map(&input) {
        Mapped::Filtered(reason) => {
            let reason = reason.as_str();
            writeln!(console.err, "element {element}: filtered, {reason}")?;
            return Ok(Exit::Done);
        }
        Mapped::Sets(sets) => sets,
    };
    let (envelope, mut exit) = (stream.envelope(), Exit::Done);
    for set in sets {
        match set {
            Ok(claims) => {
                let token = claims.complete(None, now, &envelope);
                writeln!(console.out, "{}", serde_json::to_string_pretty(&token)?)?;
            }
            Err(error) => {
                let (reason, detail) = (error.reason(), error.detail());
                let text = format!("element {element}: dead letter, {reason}: {detail}");
                exit = refuse(console, &text)?;
            }
        }
    }
    Ok(exit)
}

fn refuse(console: &mut Console<'_>, text: &str) -> io::Result<Exit> {
    writeln!(console.err, "{text}")?;
    Ok(Exit::Data)
}
