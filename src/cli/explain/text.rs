//! What is seen of a record, for somebody who was woken by it.

use std::io::{self, Write};

use super::sight::{Contents, Element, Fault, Known, Made, RecordSight, Rule, Set};
use crate::cli::indent::indented;
use crate::cli::kafka::{printable, short, span, time};
use crate::pipeline::now_ms;

pub(super) fn write(sight: &RecordSight, out: &mut dyn Write) -> io::Result<()> {
    head(sight, out)?;
    match &sight.contents {
        Contents::Tombstone => writeln!(out, "  no value (a tombstone): settles, nothing is sent")?,
        Contents::DeadLetter(fault) => {
            write!(out, "  ")?;
            dead_letter(fault, out)?;
        }
        Contents::Detections { elements } if elements.is_empty() => {
            writeln!(out, "  an empty batch: settles, nothing is sent")?;
        }
        Contents::Detections { elements } => {
            let many = elements.iter().any(|element| element.sha256.is_some());
            for element in elements {
                if many {
                    writeln!(out, "  detection {} of {}", element.element, elements.len())?;
                }
                write_element(element, out)?;
            }
        }
    }
    writeln!(out)
}

fn head(sight: &RecordSight, out: &mut dyn Write) -> io::Result<()> {
    let age = sight.timestamp_ms.map(|ms| span(now_ms() - ms));
    let age = age.map_or_else(String::new, |age| format!(" ({age} ago)"));
    let key = match &sight.key {
        Some(key) => format!("key {}", printable(key)),
        None => "no key".to_owned(),
    };
    writeln!(
        out,
        "{} · {}{age} · {key} · {} bytes",
        sight.origin,
        time(sight.timestamp_ms),
        sight.bytes
    )?;
    if let Some(letter) = &sight.dead_letter {
        let detail = letter
            .detail
            .as_deref()
            .map(|detail| format!(": {}", printable(detail)));
        let attempts = match letter.attempts {
            0 => String::new(),
            count => format!(", requests made: {count}"),
        };
        writeln!(
            out,
            "  it is a dead letter: {} ({}){}{attempts}. What it would become now:",
            printable(&letter.reason),
            letter.stage,
            detail.unwrap_or_default(),
        )?;
    }
    write!(
        out,
        "  stream {} ({}), group {}: ",
        sight.stream, sight.mode, sight.group
    )?;
    match (&sight.committed_unseen, sight.committed, sight.settled) {
        (Some(why), _, _) => writeln!(out, "how far it is, is not known: {}", printable(why))?,
        (_, Some(next), Some(true)) => writeln!(out, "settled (the next offset is {next})")?,
        (_, Some(next), _) => writeln!(out, "not settled yet (the next offset is {next})")?,
        (_, None, _) => writeln!(out, "nothing is settled on this partition yet")?,
    }
    if let Some(why) = &sight.state_unseen {
        writeln!(
            out,
            "  the state cannot be seen, so duplicates and marks are not known: {}",
            printable(why)
        )?;
    }
    Ok(())
}

fn dead_letter(fault: &Fault, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "dead letter, {}: {}",
        fault.reason,
        printable(&fault.detail)
    )
}

fn write_element(element: &Element, out: &mut dyn Write) -> io::Result<()> {
    if let Some(fault) = &element.dead_letter {
        write!(out, "  ")?;
        dead_letter(fault, out)?;
    }
    for rule in &element.rules {
        write_rule(rule, out)?;
    }
    if let Some(reason) = element.filtered {
        writeln!(out, "  filtered, {reason}: settles, nothing is sent")?;
    }
    for set in &element.sets {
        write_set(set, element.sets.len(), out)?;
    }
    Ok(())
}

fn write_rule(rule: &Rule, out: &mut dyn Write) -> io::Result<()> {
    let (mark, said) = match (rule.verdict, rule.sets) {
        ("no_match", _) => ('✗', "does not match".to_owned()),
        ("failed", _) => ('!', "fails on this detection".to_owned()),
        ("dropped", _) => ('✓', "matches, and drops it".to_owned()),
        ("nobody", _) => ('✓', "matches, but there is nobody to report".to_owned()),
        ("not_asked", _) => (
            '·',
            "not asked: a rule before it had the last word".to_owned(),
        ),
        (_, Some(1)) => ('✓', "matches: 1 SET".to_owned()),
        (_, sets) => ('✓', format!("matches: {} SETs", sets.unwrap_or_default())),
    };
    writeln!(out, "  {mark} rule {:?}: {said}", rule.rule)?;
    if rule.verdict == "not_asked" {
        return Ok(());
    }
    if let Some(when) = &rule.when {
        writeln!(out, "      when {}", short(when.trim(), 300))?;
    }
    for (name, value) in &rule.looked_at {
        let value = value.as_ref().map_or_else(
            || "nothing there".to_owned(),
            |value| short(&value.to_string(), 100),
        );
        writeln!(out, "      {} = {value}", printable(name))?;
    }
    Ok(())
}

fn write_set(set: &Set, of: usize, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "  SET {} of {of}: ", set.set + 1)?;
    let Some(made) = &set.made else {
        return match &set.dead_letter {
            Some(fault) => dead_letter(fault, out),
            None => writeln!(out),
        };
    };
    writeln!(out, "{}", verdict(set.verdict, made))?;
    writeln!(out, "      {} by rule {:?}", made.event, made.rule)?;
    writeln!(out, "      jti   {}", made.jti)?;
    writeln!(out, "      lane  {}", made.lanes.join(" and "))?;
    if let Some(known) = &made.known {
        writeln!(out, "      state {}", what_is_known(known))?;
    }
    for line in indented(made.claims.get()).lines() {
        writeln!(out, "      {}", printable(line))?;
    }
    Ok(())
}

fn verdict(verdict: &str, made: &Made) -> String {
    match verdict {
        "duplicate" => "duplicate: the receiver accepted this jti within state.window; settles unsent".to_owned(),
        "already_decided" => "already decided: this SET, or a newer one about the subject from this partition, has its \
                              outcome; settles unsent"
            .to_owned(),
        "expired" => format!(
            "too old: {} since the event, more than max_event_age; a dead letter, unless the stream was held meanwhile",
            span(made.older_than_max_event_age.unwrap_or_default().saturating_mul(1000))
        ),
        "fresh" => "fresh: it would be sent".to_owned(),
        _ => "it would be sent, unless the receiver has it already".to_owned(),
    }
}

fn what_is_known(known: &Known) -> String {
    let mark = known.mark.map_or_else(
        || "no mark".to_owned(),
        |(offset, element, set)| {
            format!(
                "mark at offset {offset}, element {element}, SET {}",
                set + 1
            )
        },
    );
    let at = known
        .level_event_time
        .map(|seconds| time(Some(seconds.saturating_mul(1000))));
    let level = match (known.level, at) {
        (Some(level), Some(at)) => format!("last accepted level {level}, of {at}"),
        (None, Some(at)) => format!("last accepted SET of {at}, without a level"),
        (_, None) => "no accepted SET known".to_owned(),
    };
    let spread = if known.other_partition {
        "; the subject was also seen on another partition"
    } else {
        ""
    };
    format!("{mark}; {level}{spread}")
}
