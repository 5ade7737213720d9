//! What the commands that look into Kafka have in common: their errors and exit codes, places, times, safe text.

use std::fmt::Write as _;
use std::io;

use jiff::Timestamp;

use super::{Console, Exit};
use crate::bridge::assembly;
use crate::config::{Config, StreamConfig, TopicSelection};
use crate::kafka::client::Trouble;
use crate::kafka::dead_letter::{place, read_place};
use crate::kafka::reader::{ReadError, Reader};
use crate::record::Origin;

/// Says what went wrong and how to mend it; returns what to exit with.
pub(super) fn refuse(error: &ReadError, console: &mut Console<'_>) -> io::Result<Exit> {
    let (mend, exit) = match error {
        ReadError::NoTopic(_) | ReadError::NoPartition { .. } => (
            "look at the name, and at kafka.bootstrap_servers: is it this cluster?",
            Exit::NoInput,
        ),
        ReadError::Gone { .. } => (
            "retention or a deletion was faster; nothing can bring it back",
            Exit::NoInput,
        ),
        ReadError::NotYet { .. } | ReadError::Hole(_) => {
            ("name the place of a record", Exit::NoInput)
        }
        ReadError::Kafka { trouble, .. } => of_kafka(*trouble),
    };
    writeln!(
        console.err,
        "error: {}\n    mend: {mend}",
        printable(&error.to_string())
    )?;
    Ok(exit)
}

/// What to do about trouble with Kafka, and what to exit with.
pub(super) fn of_kafka(trouble: Trouble) -> (&'static str, Exit) {
    match trouble {
        Trouble::Auth => (
            "user, password, token and mechanism in kafka.properties",
            Exit::Config,
        ),
        Trouble::Tls => ("ssl.ca.location, the certificates, the port", Exit::Config),
        Trouble::Acl => (
            "an ACL is missing: docs/operations.md#acls has what each command needs",
            Exit::Config,
        ),
        Trouble::UnknownTopic => ("look at the topic's name", Exit::NoInput),
        Trouble::Unreachable => (
            "is Kafka up, and kafka.bootstrap_servers right? Nothing was changed; run it again",
            Exit::Unavailable,
        ),
        Trouble::Other => ("nothing was changed; run it again", Exit::Unavailable),
    }
}

/// A reader in the name of this group, which it does not join.
pub(super) fn reader(config: &Config, group: &str) -> Result<Reader, ReadError> {
    Reader::new(&assembly::client(config), group)
}

/// The topics that a stream reads, sorted. With a pattern: those that are there and match.
pub(super) fn source_topics(
    stream: &StreamConfig,
    reader: &Reader,
) -> Result<Vec<String>, ReadError> {
    let mut topics: Vec<String> = match &stream.topics {
        TopicSelection::Names(names) => names.iter().map(|n| n.as_str().to_owned()).collect(),
        TopicSelection::Pattern(pattern) => {
            let mut topics = reader.topics()?;
            topics.retain(|topic| pattern.matches(topic));
            topics
        }
    };
    topics.sort_unstable();
    Ok(topics)
}

/// Whether the stream reads this topic.
pub(super) fn reads(stream: &StreamConfig, topic: &str) -> bool {
    match &stream.topics {
        TopicSelection::Names(names) => names.iter().any(|name| name.as_str() == topic),
        TopicSelection::Pattern(pattern) => pattern.matches(topic),
    }
}

/// `topic:partition:offset`, or with slashes: a topic's name has neither.
pub(super) fn origin(text: &str) -> Result<Origin, &'static str> {
    let slashed = text.replace(':', "/");
    let wrong = "write TOPIC:PARTITION:OFFSET, for example detections:3:1042";
    let origin = read_place(&slashed).ok_or(wrong)?;
    // Numbers that Rust takes and nobody writes (`+7`) are a slip.
    (place(&origin) == slashed).then_some(origin).ok_or(wrong)
}

/// An RFC 3339 time, or how long ago: `90s`, `15m`, `6h`, `2d`. In ms since 1970.
pub(super) fn moment(text: &str) -> Result<i64, &'static str> {
    let ago = || {
        let unit = text.chars().last()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let count: i64 = text.strip_suffix(unit)?.parse().ok()?;
        let ms = count.checked_mul(seconds)?.checked_mul(1000)?;
        (count >= 0).then(|| crate::pipeline::now_ms().saturating_sub(ms))
    };
    let absolute = || {
        text.parse::<Timestamp>()
            .ok()
            .map(Timestamp::as_millisecond)
    };
    ago()
        .or_else(absolute)
        .ok_or("write a time as 2026-01-31T03:00:00Z, or how long ago: 90s, 15m, 6h, 2d")
}

/// A moment for people; `-` when it is not known.
pub(super) fn time(ms: Option<i64>) -> String {
    let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}

/// How long, roughly: `42 s`, `12 min`, `5 h`, `3 d`.
pub(super) fn span(ms: i64) -> String {
    match ms.unsigned_abs() / 1000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// Text of somebody else's on a terminal: what would move the cursor is shown as an escape.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || hidden {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same, cut after so many characters.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// Bytes that are text mostly.
pub(super) fn text_of(bytes: &[u8], most: usize) -> String {
    short(&String::from_utf8_lossy(bytes), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_times_and_text() {
        let found = origin("a.b-c_d:3:42").unwrap();
        assert_eq!(
            (&*found.topic, found.partition, found.offset),
            ("a.b-c_d", 3, 42)
        );
        for bad in [
            "", "a", "a:1", "a:1:-1", "a:x:1", ":1:1", "a:+1:1", "a:1:1:1",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("2026-01-31T03:00:00Z"), Ok(1_769_828_400_000));
        let ago = crate::pipeline::now_ms() - moment("2h").unwrap();
        assert!((7_200_000..7_260_000).contains(&ago), "{ago}");
        for bad in ["", "h", "-1h", "1w", "99999999999999999d", "yesterday"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
        assert_eq!(time(Some(1_769_828_400_123)), "2026-01-31T03:00:00.123Z");
        assert_eq!([span(-90_000), span(7_200_000)], ["90 s", "2 h"]);
        assert_eq!(
            printable("a\u{1b}[2Jb\u{202e}é\n"),
            "a\\u{1b}[2Jb\\u{202e}é\\u{a}"
        );
        assert_eq!([short("äöü", 2), short("äöü", 3)], ["äö…", "äöü"]);
    }
}
