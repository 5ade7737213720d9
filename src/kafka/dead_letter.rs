//! Dead letters: the untouched record, and in its headers why it went no further.
//!
//! A dead letter counts only when the broker has acknowledged it; the origin is settled after that, never before.
//! No value of the record and no `description` of the receiver is ever put into a header (DESIGN P8).

use aws_lc_rs::digest;

use crate::record::Record;

mod letter;

pub use letter::{DeadLetter, LetterFault, Omitted, OtherRecord, Replay, place, read_place};

use super::producer::{AckedProducer, Outgoing, WriteError};

/// Prefix of every header that setbridge adds; the record's own headers are kept before them.
pub const HEADER_PREFIX: &str = "setbridge-";

/// At which step of its path a record stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Bytes → detections.
    Decode,
    /// Detection → claims.
    Map,
    /// SET → receiver.
    Push,
}

impl Stage {
    /// The header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Map => "map",
            Self::Push => "push",
        }
    }

    /// The stage with this header value.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Decode, Self::Map, Self::Push];
        all.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// Why, and after what.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Where it stopped.
    pub stage: Stage,
    /// Closed list, `snake_case`.
    pub reason: &'static str,
    /// Path and type of what was wrong; never a value.
    pub detail: Option<String>,
    /// Which detection of the record, counted from 0, with its SHA-256 in hex; [`None`]: the record as a whole.
    pub element: Option<(u32, String)>,
    /// jti of the SET, once there was one.
    pub jti: Option<String>,
    /// Last HTTP status.
    pub status: Option<u16>,
    /// Last RFC 8935 `err`.
    pub err: Option<String>,
    /// Requests made.
    pub attempts: u32,
    /// First and last request, in ms since 1970.
    pub attempted_ms: Option<(i64, i64)>,
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Headers to be written, in order.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// One header of ours behind those that are there.
fn add(headers: &mut Headers, name: &str, value: impl ToString) {
    headers.push((
        format!("{HEADER_PREFIX}{name}"),
        Some(value.to_string().into_bytes()),
    ));
}

/// The record's own headers.
fn own(record: &Record) -> Headers {
    let own = record.headers.iter();
    own.map(|(name, value)| (name.clone(), value.as_ref().map(|v| v.to_vec())))
        .collect()
}

/// What setbridge says about the record.
fn ours(stream: &str, record: &Record, cause: &Cause) -> Headers {
    let mut ours = Headers::new();
    let to = &mut ours;
    add(to, "version", env!("CARGO_PKG_VERSION"));
    add(to, "stream", stream);
    add(to, "origin-topic", &record.origin.topic);
    add(to, "origin-partition", record.origin.partition);
    add(to, "origin-offset", record.origin.offset);
    if let Some(ms) = record.timestamp_ms {
        add(to, "origin-timestamp-ms", ms);
    }
    add(to, "stage", cause.stage.as_str());
    add(to, "reason", cause.reason);
    if let Some(detail) = &cause.detail {
        add(to, "detail", detail);
    }
    if let Some((element, sha256)) = &cause.element {
        add(to, "element", element);
        add(to, "element-sha256", sha256);
    }
    if let Some(jti) = &cause.jti {
        add(to, "jti", jti);
    }
    if let Some(status) = cause.status {
        add(to, "http-status", status);
    }
    if let Some(err) = &cause.err {
        add(to, "err", err);
    }
    add(to, "attempts", cause.attempts);
    if let Some((first, last)) = cause.attempted_ms {
        add(to, "first-attempt-ms", first);
        add(to, "last-attempt-ms", last);
    }
    ours
}

/// Ours, and what became of a value that is left out.
fn without_value(ours: Headers, record: &Record) -> Headers {
    let mut ours = ours;
    let value = record.value.as_deref().unwrap_or_default();
    add(&mut ours, "value-omitted", true);
    add(&mut ours, "value-bytes", value.len());
    add(&mut ours, "value-sha256", sha256_hex(value));
    ours
}

/// The least that can be said. It holds nothing of the record but its topic's name, so it is small whatever the record is:
/// also when that is a dead letter itself, whose own headers have our names.
fn least(without_value: Headers, record: &Record) -> Headers {
    let mut least = without_value;
    let key = record.key.as_deref().unwrap_or_default();
    add(&mut least, "key-omitted", true);
    add(&mut least, "key-bytes", key.len());
    add(&mut least, "headers-omitted", record.headers.len());
    least
}

/// Writes one dead letter, once. A record that is too large for the topic is written without its value, with its size
/// and SHA-256 in the headers instead; the origin says where the value still is.
///
/// # Errors
/// Whatever [`AckedProducer::write`] met; the caller holds the stream and tries again.
pub async fn write(
    producer: &AckedProducer,
    topic: &str,
    stream: &str,
    record: &Record,
    cause: &Cause,
) -> Result<(), WriteError> {
    let ours = ours(stream, record, cause);
    let with_own = |ours: &Headers| [own(record), ours.clone()].concat();
    let whole = Outgoing {
        topic,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: with_own(&ours),
    };
    match producer.write(whole).await {
        Err(WriteError::TooLarge { .. }) => {}
        result => return result,
    }
    let ours = without_value(ours, record);
    let smaller = Outgoing {
        topic,
        key: record.key.as_deref(),
        value: None,
        headers: with_own(&ours),
    };
    match producer.write(smaller).await {
        Err(WriteError::TooLarge { .. }) => {}
        result => return result,
    }
    // The key, or the record's own headers: what is left is ours and small.
    let smallest = Outgoing {
        topic,
        key: None,
        value: None,
        headers: least(ours, record),
    };
    producer.write(smallest).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Origin;

    /// A dead letter of the stream `first`, as a record that is read again.
    fn letter(padding: usize) -> Record {
        let headers = [
            ("setbridge-stream", "first".to_owned()),
            ("setbridge-detail", "x".repeat(padding)),
            ("trace", "y".repeat(padding)),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), Some(value.into())));
        Record {
            origin: Origin {
                topic: Arc::from("detections.first.dlq"),
                partition: 3,
                offset: 7,
            },
            timestamp_ms: Some(1_750_980_771_999),
            key: Some("k".repeat(padding).into()),
            value: Some("v".repeat(padding).into()),
            headers: headers.into(),
        }
    }

    fn cause() -> Cause {
        Cause {
            stage: Stage::Decode,
            reason: "invalid_json",
            detail: None,
            element: None,
            jti: None,
            status: None,
            err: None,
            attempts: 0,
            attempted_ms: None,
        }
    }

    #[test]
    fn the_least_is_small_whatever_the_record_is() {
        let of = |padding| {
            let record = letter(padding);
            let ours = ours("second", &record, &cause());
            least(without_value(ours, &record), &record)
        };
        let headers = of(100_000);
        let size = |headers: &Headers| -> usize {
            let of = |(name, value): &(String, Option<Vec<u8>>)| {
                name.len() + value.as_ref().map_or(0, Vec::len)
            };
            headers.iter().map(of).sum()
        };
        assert!(size(&headers) < 1_000, "{}", size(&headers));
        let stream: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name == "setbridge-stream")
            .collect();
        let ours = ("setbridge-stream".to_owned(), Some(b"second".to_vec()));
        assert_eq!(stream, [&ours], "not what the record brought");
        let omitted = ("setbridge-headers-omitted".to_owned(), Some(b"3".to_vec()));
        assert_eq!(headers.last(), Some(&omitted));
    }
}
