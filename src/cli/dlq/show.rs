//! `setbridge dlq show`: dead letters as they are, by their places or by what they are about.

use std::io;

use serde_json::json;

use super::letters::{Before, Found, Replayed, scan};
use super::{At, ShowArgs, kafka, list};
use crate::cli::kafka::{printable, text_of, time};
use crate::cli::{Console, Exit};
use crate::kafka::dead_letter::DeadLetter;
use crate::record::Record;

/// So much of a value is shown to people.
const MOST: usize = 20_000;

pub(super) fn show(at: &At<'_>, args: &ShowArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let mut places = args.places.clone();
    if places.is_empty() {
        let limit = at.choice.limit.unwrap_or(1);
        // Whether they were replayed does not matter here.
        let scan = match scan(at, &Replayed::default(), Before::Keep, limit) {
            Ok(scan) => scan,
            Err(error) => return kafka::refuse(&error, console),
        };
        if scan.topics == 0 {
            return at.nothing(console);
        }
        places.extend(scan.found.iter().map(|found| found.place.clone()));
        list::said(&scan, console)?;
    }
    let mut exit = Exit::Done;
    for place in &places {
        let record = match at.reader.one(place) {
            Ok(record) => record,
            Err(error) => {
                exit = kafka::refuse(&error, console)?;
                continue;
            }
        };
        match DeadLetter::parse(&record.headers) {
            Ok(letter) => one(record, letter, at.choice.json, console)?,
            Err(fault) => {
                writeln!(
                    console.err,
                    "error: {place}: {}\n    mend: `setbridge dlq list` shows where dead letters are",
                    printable(&fault.to_string())
                )?;
                exit = Exit::Data;
            }
        }
    }
    Ok(exit)
}

fn one(
    record: Record,
    letter: DeadLetter,
    json: bool,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let text = |bytes: &bytes::Bytes| text_of(bytes, MOST);
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.as_ref().map(text)));
    let headers: Vec<_> = headers.collect();
    let (key, value) = (record.key.as_ref().map(text), record.value.as_ref());
    let (value, at_ms) = (
        value.map(|value| String::from_utf8_lossy(value).into_owned()),
        record.timestamp_ms,
    );
    if json {
        let found = Found {
            place: record.origin.clone(),
            at_ms,
            bytes: record.size(),
            letter,
            replayed: false,
        };
        let mut shown = list::as_json(&found);
        if let Some(shown) = shown.as_object_mut() {
            // Only a list knows.
            shown.remove("replayed");
            shown.insert("key".to_owned(), json!(key));
            shown.insert("headers".to_owned(), json!(headers));
            shown.insert("value".to_owned(), json!(value));
        }
        return writeln!(console.out, "{shown}");
    }
    let out = &mut console.out;
    writeln!(out, "{} · {}", record.origin, time(at_ms))?;
    writeln!(out, "  key: {}", key.as_deref().unwrap_or("none"))?;
    for (name, value) in &headers {
        writeln!(
            out,
            "  {}: {}",
            printable(name),
            value.as_deref().unwrap_or("null")
        )?;
    }
    match (value, &letter.omitted) {
        (Some(value), _) => writeln!(out, "{}\n", kafka::short(&value, MOST)),
        (None, Some(omitted)) => writeln!(
            out,
            "  the value was too large for the topic ({} bytes); it was at {}\n",
            omitted.bytes, letter.origin
        ),
        (None, None) => writeln!(out, "  no value\n"),
    }
}
