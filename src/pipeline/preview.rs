//! What would become of a record now, and why. Nothing is done: no state is moved, nothing is signed, sent or settled.
//!
//! The steps are those of the page, made by the same functions: decode, match, map here; *admit* by
//! [`super::admit`] with the facts about [`SetPreview::question`], which whoever asks looks up. For commands, and for
//! what has to know which SETs lie in a range of records.

use crate::detection::{self, DecodeError, DecodeLimits, Decoded};
use crate::kafka::dead_letter::sha256_hex;
use crate::mapping::{Claims, MapError, MapInput, Mapped, Mapping, RuleTrace};
use crate::record::Record;
use crate::set::Timestamp;
use crate::state::{Position, Question};

use super::journey;

/// The part of a stream that decides what a record becomes.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// Detection → claims.
    pub mapping: &'a Mapping,
    /// Bounds of one record.
    pub limits: DecodeLimits,
    /// `iss` of the SETs: a part of the jti.
    pub issuer: &'a str,
    /// Id of the stream: a part of the jti.
    pub stream: &'a str,
    /// For times in the far future or past.
    pub now: Timestamp,
}

/// What a record holds.
#[derive(Debug)]
pub enum Preview {
    /// No value: it settles, nothing is sent.
    Tombstone,
    /// A dead letter as a whole.
    Refused(DecodeError),
    /// Detections, in order; an empty batch has none.
    Elements(Vec<ElementPreview>),
}

/// One detection, or what is none.
#[derive(Debug)]
pub struct ElementPreview {
    /// Its place in the record, from 0.
    pub element: u32,
    /// SHA-256 of its bytes in hex, when the record is a batch: dead letters name it.
    pub sha256: Option<String>,
    /// What the rules make of it, or why it is a dead letter.
    pub found: Result<Traced, DecodeError>,
}

/// What the rules made of a detection.
#[derive(Debug)]
pub struct Traced {
    /// Rule by rule, in their order.
    pub rules: Vec<RuleTrace>,
    /// What became of it.
    pub mapped: Mapped,
}

/// One SET that would be made.
#[derive(Debug, Clone, Copy)]
pub struct SetPreview<'a> {
    /// Where in its partition it stands.
    pub position: Position,
    /// All that the detection says about it.
    pub claims: &'a Claims,
}

impl Preview {
    /// Decodes and maps a record.
    #[must_use]
    pub fn of(record: &Record, terms: &Terms<'_>) -> Self {
        let needs = terms.mapping.needs();
        let elements = match detection::decode(record.value.as_ref(), &terms.limits, needs) {
            Ok(Decoded::Tombstone) => return Self::Tombstone,
            Ok(Decoded::Elements(elements)) => elements,
            Err(error) => return Self::Refused(error),
        };
        let mut elements = elements;
        let mut previews = Vec::new();
        while let Some((element, detection)) = elements.next() {
            let sha256 = elements
                .is_many()
                .then(|| sha256_hex(elements.last_bytes()));
            let found = detection.map(|detection| {
                let (mapped, rules) = terms.mapping.trace(&MapInput {
                    detection: &detection,
                    record,
                    issuer: terms.issuer,
                    stream: terms.stream,
                    now: terms.now,
                });
                Traced { rules, mapped }
            });
            previews.push(ElementPreview {
                element,
                sha256,
                found,
            });
        }
        Self::Elements(previews)
    }

    /// Every SET of the record, in the order in which they leave.
    pub fn sets<'a>(&'a self, record: &Record) -> impl Iterator<Item = SetPreview<'a>> {
        let elements = match self {
            Self::Elements(elements) => elements.as_slice(),
            Self::Tombstone | Self::Refused(_) => &[],
        };
        let offset = record.origin.offset;
        elements
            .iter()
            .flat_map(move |element| element.sets(offset))
    }
}

impl ElementPreview {
    /// Its SETs and refusals with the place of each. `offset` is the record's.
    pub fn numbered(
        &self,
        offset: i64,
    ) -> impl Iterator<Item = (Position, &Result<Claims, MapError>)> {
        let sets = match &self.found {
            Ok(Traced {
                mapped: Mapped::Sets(sets),
                ..
            }) => sets.as_slice(),
            _ => &[],
        };
        let element = self.element;
        let place = move |set| Position {
            offset,
            element,
            set,
        };
        (0..).map(place).zip(sets)
    }

    /// Its SETs.
    fn sets(&self, offset: i64) -> impl Iterator<Item = SetPreview<'_>> {
        self.numbered(offset).filter_map(|(position, set)| {
            let claims = set.as_ref().ok()?;
            Some(SetPreview { position, claims })
        })
    }
}

impl SetPreview<'_> {
    /// What the state is to be asked about it.
    #[must_use]
    pub fn question(&self, record: &Record) -> Question {
        journey::question(self.claims, &record.origin)
    }
}

#[cfg(test)]
mod tests;
