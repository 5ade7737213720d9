//! A dead letter read back, and what a replay adds to it.
//!
//! The record's own headers may have our names, because it was a dead letter already: the *last* `setbridge-version`
//! begins ours, what stands before it is the record's. Headers are input like any other: whoever may write to the topic
//! may have written them, so nothing of them is trusted further than its type.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::{HEADER_PREFIX, Headers, Stage, add, sha256_hex};
use crate::record::{Origin, Record};

/// What headers of a record as it was read look like.
type Read = [(String, Option<Bytes>)];

/// Headers that say of what the letter lacks; gone once it is whole again.
const OMITTED: [&str; 6] = [
    "value-omitted",
    "value-bytes",
    "value-sha256",
    "key-omitted",
    "key-bytes",
    "headers-omitted",
];

/// Headers that a replay adds.
const REPLAY: [&str; 3] = ["replay-of", "replay-force", "replay-ms"];

/// What setbridge said about a record that went no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// So many headers are the record's own; they stand first.
    own: usize,
    /// Version of the setbridge that wrote it.
    pub version: String,
    /// Id of the stream.
    pub stream: String,
    /// Where the record came from.
    pub origin: Origin,
    /// The record's Kafka timestamp, in ms since 1970.
    pub origin_timestamp_ms: Option<i64>,
    /// Where it stopped.
    pub stage: Stage,
    /// Why; `snake_case`, of the list in docs/operations.md if the writer was of our version.
    pub reason: String,
    /// Path and type of what was wrong.
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
    /// What was left out, because it was too large for the topic.
    pub omitted: Option<Omitted>,
}

/// What a dead letter lacks of its record: the value, or even the key and the record's own headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omitted {
    /// Size of the value.
    pub bytes: u64,
    /// SHA-256 of the value, in lower-case hex.
    pub sha256: String,
    /// The key and the record's own headers are left out too.
    pub key_and_headers: bool,
}

/// Why a record is no dead letter of ours, or no replay of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LetterFault {
    /// No header `setbridge-version`: somebody else wrote it.
    #[error("it is no dead letter of setbridge: it has no header setbridge-version")]
    Foreign,
    /// A header that each of ours has is not there.
    #[error("its header setbridge-{0} is missing")]
    Missing(&'static str),
    /// A header that is there once is there again.
    #[error("its header setbridge-{0} is there more than once")]
    Repeated(&'static str),
    /// A header is not what it should be: a number, UTF-8, one of a list.
    #[error("its header setbridge-{0} cannot be read")]
    Unreadable(&'static str),
}

/// Why a record is not the one that a dead letter without a value is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OtherRecord {
    /// The place is another one.
    #[error("it is not the record at the origin")]
    Place,
    /// Size or SHA-256 of the value do not fit: the topic was made anew, or its log cut and written again.
    #[error("the value at the origin is another one: its size or SHA-256 does not fit")]
    Value,
}

/// Our headers, each at most once.
struct Ours<'a>(&'a Read);

impl<'a> Ours<'a> {
    /// Those from the last `setbridge-version` on, and how many stand before it.
    fn of(headers: &'a Read) -> Option<(usize, Self)> {
        let version = |(name, _): &(String, _)| is(name, "version");
        let own = headers.iter().rposition(version)?;
        Some((own, Self(headers.get(own..)?)))
    }

    fn bytes(&self, name: &'static str) -> Result<Option<&'a [u8]>, LetterFault> {
        let mut named = self.0.iter().filter(|(n, _)| is(n, name));
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => {
                let value = value.as_deref().ok_or(LetterFault::Unreadable(name))?;
                Ok(Some(value))
            }
            (Some(_), Some(_)) => Err(LetterFault::Repeated(name)),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, LetterFault> {
        let Some(bytes) = self.bytes(name)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|_| LetterFault::Unreadable(name))?;
        Ok(Some(text))
    }

    fn some<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, LetterFault> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        // `+7` and `007` are numbers for Rust, but not as we write them; nothing depends on that.
        let parsed = text.parse().map_err(|_| LetterFault::Unreadable(name))?;
        Ok(Some(parsed))
    }

    fn needed<T: FromStr>(&self, name: &'static str) -> Result<T, LetterFault> {
        self.some(name)?.ok_or(LetterFault::Missing(name))
    }

    /// `true`, or not there.
    fn flag(&self, name: &'static str) -> Result<bool, LetterFault> {
        Ok(self.some(name)?.unwrap_or(false))
    }

    fn sha256(&self, name: &'static str) -> Result<Option<String>, LetterFault> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Some(text.to_owned()))
        } else {
            Err(LetterFault::Unreadable(name))
        }
    }

    /// Topic, partition and offset under these three names.
    fn origin(&self) -> Result<Origin, LetterFault> {
        let topic = self.needed::<String>("origin-topic")?;
        let (partition, offset): (i32, i64) = (
            self.needed("origin-partition")?,
            self.needed("origin-offset")?,
        );
        if topic.is_empty() {
            return Err(LetterFault::Unreadable("origin-topic"));
        }
        if partition < 0 {
            return Err(LetterFault::Unreadable("origin-partition"));
        }
        if offset < 0 {
            return Err(LetterFault::Unreadable("origin-offset"));
        }
        Ok(Origin {
            topic: Arc::from(topic),
            partition,
            offset,
        })
    }

    fn omitted(&self) -> Result<Option<Omitted>, LetterFault> {
        if !self.flag("value-omitted")? {
            return Ok(None);
        }
        let sha256 = self.sha256("value-sha256")?;
        Ok(Some(Omitted {
            bytes: self.needed("value-bytes")?,
            sha256: sha256.ok_or(LetterFault::Missing("value-sha256"))?,
            key_and_headers: self.flag("key-omitted")?,
        }))
    }
}

/// Both or neither.
fn pair<A, B>(
    first: (&'static str, Option<A>),
    second: (&'static str, Option<B>),
) -> Result<Option<(A, B)>, LetterFault> {
    match (first.1, second.1) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(LetterFault::Missing(first.0)),
        (Some(_), None) => Err(LetterFault::Missing(second.0)),
    }
}

/// Whether a header has this name of ours.
fn is(header: &str, name: &str) -> bool {
    header.strip_prefix(HEADER_PREFIX) == Some(name)
}

impl DeadLetter {
    /// Reads what the headers of a dead letter say, also of one in the side topic. Headers that are not known are left
    /// alone: a newer setbridge may have written them.
    ///
    /// # Errors
    /// See [`LetterFault`].
    pub fn parse(headers: &Read) -> Result<Self, LetterFault> {
        let (own, ours) = Ours::of(headers).ok_or(LetterFault::Foreign)?;
        let stage = ours.needed::<String>("stage")?;
        let element = (
            ("element", ours.some("element")?),
            ("element-sha256", ours.sha256("element-sha256")?),
        );
        let attempted_ms = (
            ("first-attempt-ms", ours.some("first-attempt-ms")?),
            ("last-attempt-ms", ours.some("last-attempt-ms")?),
        );
        Ok(Self {
            own,
            version: ours.needed("version")?,
            stream: ours.needed("stream")?,
            origin: ours.origin()?,
            origin_timestamp_ms: ours.some("origin-timestamp-ms")?,
            stage: Stage::named(&stage).ok_or(LetterFault::Unreadable("stage"))?,
            reason: ours.needed("reason")?,
            detail: ours.some("detail")?,
            element: pair(element.0, element.1)?,
            jti: ours.some("jti")?,
            status: ours.some("http-status")?,
            err: ours.some("err")?,
            attempts: ours.needed("attempts")?,
            attempted_ms: pair(attempted_ms.0, attempted_ms.1)?,
            omitted: ours.omitted()?,
        })
    }

    /// The record as it was at its origin. `letter` is the record that these headers are of. [`None`]: it lacks its
    /// value, see [`Self::complete`].
    #[must_use]
    pub fn restore(&self, letter: &Record) -> Option<Record> {
        self.omitted.is_none().then(|| Record {
            origin: self.origin.clone(),
            key: letter.key.clone(),
            value: letter.value.clone(),
            headers: letter.headers.iter().take(self.own).cloned().collect(),
            timestamp_ms: self.origin_timestamp_ms,
        })
    }

    /// The letter with key, value and own headers of the record at its origin, as it would be if nothing had been too
    /// large. It is a dead letter like any other: [`Self::parse`] reads it.
    ///
    /// # Errors
    /// It is another record: see [`OtherRecord`].
    pub fn complete(&self, letter: &Record, at_origin: &Record) -> Result<Record, OtherRecord> {
        let Some(omitted) = &self.omitted else {
            return Ok(letter.clone());
        };
        if at_origin.origin != self.origin {
            return Err(OtherRecord::Place);
        }
        let value = at_origin.value.as_deref().unwrap_or_default();
        if value.len() as u64 != omitted.bytes || sha256_hex(value) != omitted.sha256 {
            return Err(OtherRecord::Value);
        }
        let ours = letter.headers.iter().skip(self.own);
        let stays = |(name, _): &&(String, _)| !OMITTED.iter().any(|omitted| is(name, omitted));
        let ours = ours.filter(stays).cloned();
        Ok(Record {
            origin: letter.origin.clone(),
            key: at_origin.key.clone(),
            value: at_origin.value.clone(),
            headers: at_origin.headers.iter().cloned().chain(ours).collect(),
            timestamp_ms: letter.timestamp_ms,
        })
    }
}

/// That a dead letter is to be tried again: what the side topic's records have beyond the letter itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Where the letter is: dead-letter topic, partition, offset.
    pub of: Origin,
    /// Send it although something newer about the subject was accepted.
    pub force: bool,
    /// When somebody asked for it, in ms since 1970.
    pub at_ms: i64,
}

impl Replay {
    /// The headers of the letter, and behind them those of this replay.
    #[must_use]
    pub fn headers(&self, letter: &Record) -> Headers {
        let own = Ours::of(&letter.headers).map_or(letter.headers.len(), |(own, _)| own);
        let again = |name: &str| REPLAY.iter().any(|replay| is(name, replay));
        let (own, ours) = letter.headers.split_at(own);
        let stays = ours.iter().filter(|(name, _)| !again(name));
        let mut headers: Headers = own
            .iter()
            .chain(stays)
            .map(|(name, value)| (name.clone(), value.as_ref().map(|v| v.to_vec())))
            .collect();
        let to = &mut headers;
        let of = &self.of;
        add(to, "replay-of", place(of));
        if self.force {
            add(to, "replay-force", true);
        }
        add(to, "replay-ms", self.at_ms);
        headers
    }

    /// Reads them back; only what stands behind the last `setbridge-version` counts.
    ///
    /// # Errors
    /// See [`LetterFault`].
    pub fn parse(headers: &Read) -> Result<Self, LetterFault> {
        let (_, ours) = Ours::of(headers).ok_or(LetterFault::Foreign)?;
        let of = ours.needed::<String>("replay-of")?;
        Ok(Self {
            of: read_place(&of).ok_or(LetterFault::Unreadable("replay-of"))?,
            force: ours.flag("replay-force")?,
            at_ms: ours.needed("replay-ms")?,
        })
    }
}

/// `topic/partition/offset`: a topic's name has no slash.
#[must_use]
pub fn place(origin: &Origin) -> String {
    format!("{}/{}/{}", origin.topic, origin.partition, origin.offset)
}

/// Reads [`place`] back.
#[must_use]
pub fn read_place(text: &str) -> Option<Origin> {
    let mut parts = text.rsplitn(3, '/');
    let offset: i64 = parts.next()?.parse().ok()?;
    let partition: i32 = parts.next()?.parse().ok()?;
    let topic = parts.next()?;
    let good = offset >= 0 && partition >= 0 && !topic.is_empty() && !topic.contains('/');
    good.then(|| Origin {
        topic: Arc::from(topic),
        partition,
        offset,
    })
}

#[cfg(test)]
mod tests;
