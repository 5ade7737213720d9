//! Dead letters: the untouched record, and in its headers why it went no further.
//!
//! A dead letter counts only when the broker has acknowledged it; the origin is settled after that, never before.
//! No value of the record and no `description` of the receiver is ever put into a header (DESIGN P8).

use aws_lc_rs::digest;

use crate::record::Record;

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

fn headers(stream: &str, record: &Record, cause: &Cause) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers: Vec<(String, Option<Vec<u8>>)> = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.as_ref().map(|v| v.to_vec())))
        .collect();
    let mut add = |name: &str, value: String| {
        headers.push((format!("{HEADER_PREFIX}{name}"), Some(value.into_bytes())))
    };
    add("version", env!("CARGO_PKG_VERSION").to_owned());
    add("stream", stream.to_owned());
    add("origin-topic", record.origin.topic.to_string());
    add("origin-partition", record.origin.partition.to_string());
    add("origin-offset", record.origin.offset.to_string());
    if let Some(ms) = record.timestamp_ms {
        add("origin-timestamp-ms", ms.to_string());
    }
    add("stage", cause.stage.as_str().to_owned());
    add("reason", cause.reason.to_owned());
    if let Some(detail) = &cause.detail {
        add("detail", detail.clone());
    }
    if let Some((element, sha256)) = &cause.element {
        add("element", element.to_string());
        add("element-sha256", sha256.clone());
    }
    if let Some(jti) = &cause.jti {
        add("jti", jti.clone());
    }
    if let Some(status) = cause.status {
        add("http-status", status.to_string());
    }
    if let Some(err) = &cause.err {
        add("err", err.clone());
    }
    add("attempts", cause.attempts.to_string());
    if let Some((first, last)) = cause.attempted_ms {
        add("first-attempt-ms", first.to_string());
        add("last-attempt-ms", last.to_string());
    }
    headers
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
    let mut headers = headers(stream, record, cause);
    let key = record.key.as_deref();
    let whole = Outgoing {
        topic,
        key,
        value: record.value.as_deref(),
        headers: headers.clone(),
    };
    match producer.write(whole).await {
        Err(WriteError::TooLarge { .. }) => {}
        result => return result,
    }
    let value = record.value.as_deref().unwrap_or_default();
    let mut add = |name: &str, value: String| {
        headers.push((format!("{HEADER_PREFIX}{name}"), Some(value.into_bytes())))
    };
    add("value-omitted", "true".to_owned());
    add("value-bytes", value.len().to_string());
    add("value-sha256", sha256_hex(value));
    let without_value = Outgoing {
        topic,
        key,
        value: None,
        headers: headers.clone(),
    };
    match producer.write(without_value).await {
        Err(WriteError::TooLarge { .. }) => {}
        result => return result,
    }
    // The key, or the record's own headers: what is left is ours and small.
    headers.retain(|(name, _)| name.starts_with(HEADER_PREFIX));
    let mut add = |name: &str, value: String| {
        headers.push((format!("{HEADER_PREFIX}{name}"), Some(value.into_bytes())));
    };
    add("key-omitted", "true".to_owned());
    add("key-bytes", key.unwrap_or_default().len().to_string());
    add("headers-omitted", record.headers.len().to_string());
    producer
        .write(Outgoing {
            topic,
            key: None,
            value: None,
            headers,
        })
        .await
}
