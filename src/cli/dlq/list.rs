//! `setbridge dlq list`.

use std::collections::BTreeMap;
use std::io;

use comfy_table::Table;
use serde_json::{Value, json};

use super::At;
use super::letters::{Before, Found, Scan, replayed, scan};
use crate::cli::kafka::{self, printable, short, time};
use crate::cli::{Console, Exit};

/// So many are listed unless more are asked for.
const MOST: usize = 100;

pub(super) fn list(at: &At<'_>, console: &mut Console<'_>) -> io::Result<Exit> {
    let limit = at.choice.limit.unwrap_or(match at.choice.json {
        true => usize::MAX,
        false => MOST,
    });
    let found = replayed(at).and_then(|replayed| scan(at, &replayed, Before::Keep, limit));
    let scan = match found {
        Ok(scan) => scan,
        Err(error) => return kafka::refuse(&error, console),
    };
    if scan.topics == 0 {
        return at.nothing(console);
    }
    if at.choice.json {
        for found in &scan.found {
            writeln!(console.out, "{}", as_json(found))?;
        }
    } else {
        write!(console.out, "{}", text(&scan.found))?;
    }
    said(&scan, console)?;
    Ok(Exit::Done)
}

/// One dead letter for programs.
pub(super) fn as_json(found: &Found) -> Value {
    let letter = &found.letter;
    json!({
        "place": found.place.to_string(),
        "at_ms": found.at_ms,
        "stream": letter.stream,
        "origin": letter.origin.to_string(),
        "origin_timestamp_ms": letter.origin_timestamp_ms,
        "stage": letter.stage.as_str(),
        "reason": letter.reason,
        "detail": letter.detail,
        "element": letter.element.as_ref().map(|(element, _)| element),
        "jti": letter.jti,
        "status": letter.status,
        "err": letter.err,
        "attempts": letter.attempts,
        "value_omitted": letter.omitted.is_some(),
        "bytes": found.bytes,
        "replayed": found.replayed,
    })
}

/// A table, and how many of each reason.
pub(super) fn text(found: &[Found]) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "dead letter",
        "since",
        "origin",
        "stage, reason",
        "requests",
        "jti or detail",
        "replayed",
    ]);
    for one in found {
        let letter = &one.letter;
        *reasons.entry(&letter.reason).or_default() += 1;
        let what = letter.jti.as_deref().or(letter.detail.as_deref());
        let element = letter.element.as_ref();
        let element = element.map_or_else(String::new, |(element, _)| format!("[{element}]"));
        table.add_row([
            one.place.to_string(),
            time(one.at_ms),
            format!("{}{element}", printable(&letter.origin.to_string())),
            format!("{}, {}", letter.stage.as_str(), short(&letter.reason, 40)),
            letter.attempts.to_string(),
            short(what.unwrap_or("-"), 60),
            if one.replayed { "yes" } else { "" }.to_owned(),
        ]);
    }
    let counts = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {}", short(reason, 40)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    match found.len() {
        0 => "no dead letters\n".to_owned(),
        count => format!("{}\n{count}: {counts}\n", table.trim_fmt()),
    }
}

/// What else is in the topics.
pub(super) fn said(scan: &Scan, console: &mut Console<'_>) -> io::Result<()> {
    if scan.beyond > 0 {
        writeln!(
            console.err,
            "{} more; --limit N shows or takes more",
            scan.beyond
        )?;
    }
    if scan.others > 0 {
        writeln!(console.err, "{} of other streams are left out", scan.others)?;
    }
    if let Some((place, fault)) = &scan.first_foreign {
        writeln!(
            console.err,
            "{} records that are no dead letters of setbridge are left out, the first is {place}: {}",
            scan.foreign,
            printable(fault)
        )?;
    }
    Ok(())
}
