//! How keys and values are spelled in Redis. Pure, but for the drawing of a token.
//!
//! All keys of a stream carry its id as hash tag, so they live in one slot of a cluster, where
//! pipelines and scripts work. Positions and offsets are decimal text of fixed width, so that Lua
//! compares them as text: as numbers they would pass through a double.

use std::{fmt::Write as _, sync::Arc};

use aws_lc_rs::rand;

use crate::{
    set::{Level, SubjectKey, Timestamp},
    state::{JtiKey, Position, tenure::Tenure},
};

/// Field of the stream's own hash: the version of the spelling.
pub(super) const SCHEMA_FIELD: &str = "schema";

/// Writes the names of one stream's keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    base: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, stream: &str) -> Self {
        Self {
            base: format!("{prefix}{{{stream}}}:"),
        }
    }

    /// A delivered jti.
    pub(super) fn jti(&self, jti: JtiKey) -> String {
        self.hex("j:", &jti.0)
    }

    /// Hash of the marks and levels of a subject.
    pub(super) fn subject(&self, subject: SubjectKey) -> String {
        self.hex("s:", subject.as_bytes())
    }

    /// Hash of the tenures, by place.
    pub(super) fn tenures(&self) -> String {
        format!("{}p", self.base)
    }

    /// Hash of what is known about the stream as a whole.
    pub(super) fn stream(&self) -> String {
        format!("{}stream", self.base)
    }

    fn hex(&self, kind: &str, bytes: &[u8; 16]) -> String {
        let mut key = String::with_capacity(self.base.len() + kind.len() + 32);
        key.push_str(&self.base);
        key.push_str(kind);
        // A String takes whatever is written.
        let _ = write!(key, "{:032x}", u128::from_be_bytes(*bytes));
        key
    }
}

/// A topic and a partition of it; neither has a blank or a colon in its name.
pub(super) fn place(topic: &str, partition: i32) -> String {
    format!("{topic}:{partition}")
}

/// An offset of a log is never negative.
pub(super) fn offset(offset: i64) -> String {
    format!("{:019}", offset.max(0))
}

pub(super) fn position(position: Position) -> String {
    let Position {
        offset,
        element,
        set,
    } = position;
    format!("{:019}.{element:010}.{set:010}", offset.max(0))
}

pub(super) fn read_position(text: &str) -> Option<Position> {
    let mut parts = text.split('.');
    let position = Position {
        offset: parts.next()?.parse().ok()?,
        element: parts.next()?.parse().ok()?,
        set: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(position)
}

/// A name that nobody has drawn before; [`None`]: the system has no random numbers.
pub(super) fn token() -> Option<Arc<str>> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)).into())
}

/// Owner of a partition that was assigned to nobody yet.
pub(super) const NOBODY: &str = "-";

/// `next_offset newest_mark marks_epoch levels_epoch owner`; `-` is none.
pub(super) fn tenure(tenure: &Tenure, owner: &str) -> String {
    let optional = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), offset);
    format!(
        "{} {} {} {} {owner}",
        optional(tenure.next_offset),
        optional(tenure.newest_mark),
        tenure.marks_epoch,
        tenure.levels_epoch
    )
}

/// The tenure and its owner; the first schema knew none.
pub(super) fn read_tenure(text: &str) -> Option<(Tenure, &str)> {
    let optional = |part: &str| match part {
        "-" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let mut parts = text.split(' ');
    let tenure = Tenure {
        next_offset: optional(parts.next()?)?,
        newest_mark: optional(parts.next()?)?,
        marks_epoch: parts.next()?.parse().ok()?,
        levels_epoch: parts.next()?.parse().ok()?,
    };
    Some((tenure, parts.next().unwrap_or(NOBODY)))
}

/// The mark of a subject on a partition: `marks_epoch position`.
pub(super) fn read_mark(text: &str) -> Option<(i64, &str)> {
    let (epoch, position) = text.split_once(' ')?;
    Some((epoch.parse().ok()?, position))
}

/// The level of a subject: `levels_epoch place`, and what was accepted there.
pub(super) fn read_level(text: &str) -> Option<(i64, &str, &str)> {
    let (epoch, rest) = text.split_once(' ')?;
    let (place, accepted) = rest.split_once(' ')?;
    Some((epoch.parse().ok()?, place, accepted))
}

/// What was accepted last: `event_time level position`; `-` is no level.
pub(super) fn accepted(event_time: Timestamp, level: Option<Level>, at: Position) -> String {
    let level = level.map_or("-", Level::as_str);
    format!("{} {level} {}", event_time.as_secs(), position(at))
}

/// When it happened, its level, and where it stands on its partition, which the first schema did not tell. A level that a
/// newer setbridge knows is none to us.
pub(super) fn read_accepted(text: &str) -> Option<(Timestamp, Option<Level>, Option<Position>)> {
    let mut parts = text.split(' ');
    let event_time = Timestamp::from_secs(parts.next()?.parse().ok()?);
    let level = Level::parse(parts.next()?).ok();
    Some((event_time, level, parts.next().and_then(read_position)))
}

pub(super) fn fingerprint(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn read_fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let there = Position {
            offset: i64::MAX,
            element: u32::MAX,
            set: 7,
        };
        assert_eq!(read_position(&position(there)), Some(there));
        for next_offset in [None, Some(0), Some(i64::MAX)] {
            let there = Tenure {
                next_offset,
                newest_mark: Some(5),
                marks_epoch: 3,
                levels_epoch: 4,
            };
            assert_eq!(read_tenure(&tenure(&there, "a1")), Some((there, "a1")));
        }
        let of_the_first_schema = read_tenure("- - 1 2").map(|(_, owner)| owner);
        assert_eq!(of_the_first_schema, Some(NOBODY));
        for level in Level::ALL.map(Some).into_iter().chain([None]) {
            let then = Timestamp::from_secs(-3);
            let text = accepted(then, level, there);
            assert_eq!(read_accepted(&text), Some((then, level, Some(there))));
        }
        let bytes = std::array::from_fn(|n| n as u8 * 8);
        assert_eq!(read_fingerprint(&fingerprint(&bytes)), Some(bytes));
    }

    #[test]
    fn text_has_the_order_of_positions() {
        let at = |offset, element, set| Position {
            offset,
            element,
            set,
        };
        let ascending = [
            at(0, 0, 0),
            at(9, 0, 0),
            at(9, 9, 11),
            at(9, 10, 2),
            at(10, 0, 0),
            at(i64::MAX, 0, 0),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
        let texts = ascending.map(position);
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
    }

    #[test]
    fn the_keys_of_a_stream_share_a_slot() {
        let keys = Keys::new("setbridge:", "okta");
        assert_eq!(keys.tenures(), "setbridge:{okta}:p");
        assert_eq!(keys.stream(), "setbridge:{okta}:stream");
        let subject = keys.subject(SubjectKey::from_bytes([0xab; 16]));
        assert_eq!(subject, format!("setbridge:{{okta}}:s:{}", "ab".repeat(16)));
        let jti = keys.jti(JtiKey([1; 16]));
        assert_eq!(jti, format!("setbridge:{{okta}}:j:{}", "01".repeat(16)));
    }
}
