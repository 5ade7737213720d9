//! A record of a side topic: a dead letter that comes back, and what of it is wanted (DESIGN "replay of an old dead
//! letter").
//!
//! Pure. It must never let a record be sent that the side topic's partition is not for: only who owns the source
//! partition has the lanes of its subjects.

use crate::kafka::dead_letter::{self, Cause, DeadLetter, LetterFault};
use crate::kafka::events::SideTopic;
use crate::record::{Origin, Record};
use crate::state::Facts;

/// A dead letter that is tried again.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Where it is read, and where its outcome is told.
    pub(crate) topic: SideTopic,
    /// Where the dead letter is; [`None`]: its headers do not say.
    pub(crate) of: Option<Origin>,
    /// Send it although something newer about the subject was accepted, and however old it is.
    pub(crate) force: bool,
    /// What was said when it stopped; [`None`]: the record is no dead letter.
    letter: Option<DeadLetter>,
}

/// Why a record of a side topic is not replayed: the dead letter's detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error(transparent)]
    Headers(#[from] LetterFault),
    #[error("it is a dead letter of another stream")]
    Stream,
    #[error(
        "its origin is another topic, or a partition with another number than the one that it came on"
    )]
    Place,
    #[error("its value was left out; `setbridge dlq replay` puts it back from the origin")]
    Omitted,
}

impl Replay {
    /// The record as it was at its origin, and what of it is wanted. What is not well-formed is no replay: then the
    /// record itself is at fault.
    pub(crate) fn open(
        record: &Record,
        topic: SideTopic,
        stream: &str,
    ) -> (Self, Result<Record, Malformed>) {
        let asked = dead_letter::Replay::parse(&record.headers);
        let letter = DeadLetter::parse(&record.headers);
        let (of, force) = match &asked {
            Ok(asked) => (Some(asked.of.clone()), asked.force),
            Err(_) => (None, false),
        };
        let whole = match (&asked, &letter) {
            (Err(fault), _) | (_, Err(fault)) => Err(fault.clone().into()),
            (Ok(_), Ok(letter)) => restore(letter, record, &topic, stream),
        };
        let replay = Self {
            topic,
            of,
            force,
            letter: letter.ok().filter(|_| whole.is_ok()),
        };
        (replay, whole)
    }

    /// Whether this element of the record, with its SHA-256 if the record holds several, is wanted.
    pub(crate) fn wants_element(&self, number: u32, sha256: Option<&str>) -> bool {
        match self.letter.as_ref().and_then(|l| l.element.as_ref()) {
            None => true,
            Some((wanted, known)) => *wanted == number && sha256.is_none_or(|sha| sha == known),
        }
    }

    /// Whether these facts are too little to decide by: nobody could be asked, so it may be stale.
    pub(crate) fn is_unsure(&self, facts: &Facts) -> bool {
        facts.bypassed && !self.force
    }

    /// The only SET that is wanted, if the dead letter names one.
    pub(crate) fn jti(&self) -> Option<&str> {
        self.letter.as_ref()?.jti.as_deref()
    }

    /// The cause of another dead letter about the same: what was done before counts as well.
    pub(crate) fn add_up(&self, cause: &Cause) -> Cause {
        let mut cause = cause.clone();
        let Some(before) = &self.letter else {
            return cause;
        };
        cause.attempts = cause.attempts.saturating_add(before.attempts);
        cause.attempted_ms = match (before.attempted_ms, cause.attempted_ms) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (before, now) => now.or(before),
        };
        cause.jti = cause.jti.or_else(|| before.jti.clone());
        cause.element = cause.element.or_else(|| before.element.clone());
        cause
    }
}

fn restore(
    letter: &DeadLetter,
    record: &Record,
    topic: &SideTopic,
    stream: &str,
) -> Result<Record, Malformed> {
    if letter.stream != stream {
        return Err(Malformed::Stream);
    }
    let origin = &letter.origin;
    if origin.topic != topic.source || origin.partition != record.origin.partition {
        return Err(Malformed::Place);
    }
    letter.restore(record).ok_or(Malformed::Omitted)
}

#[cfg(test)]
mod tests;
