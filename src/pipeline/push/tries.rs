//! What was tried about a SET, and what its dead letter tells of that.

use super::Pushed;
use crate::delivery::policy::Attempts;
use crate::delivery::{Answer, Verdict};
use crate::kafka::dead_letter::{Cause, Stage};
use crate::pipeline::journey::{Draft, Outcome};
use crate::pipeline::skips::SKIPPED;
use crate::pipeline::stream::now_ms;

/// What was tried about a SET.
#[derive(Default)]
pub(super) struct Tries {
    pub(super) attempts: Attempts,
    pub(super) last: LastAnswer,
}

impl Tries {
    pub(super) fn refused(&self) -> Pushed {
        Pushed::DeadLetter(self.last.reason.unwrap_or("refused"))
    }
}

/// What an operator skipped before anything was tried.
pub(in crate::pipeline) fn skipped(draft: &Draft) -> Outcome {
    LastAnswer::default().dead_letter(draft, SKIPPED, 0)
}

/// What the receiver said last, for the dead letter's headers.
#[derive(Default)]
pub(super) struct LastAnswer {
    reason: Option<&'static str>,
    status: Option<u16>,
    err: Option<String>,
    first_ms: Option<i64>,
    last_ms: i64,
}

impl LastAnswer {
    pub(super) fn note(&mut self, answer: &Answer) {
        self.last_ms = now_ms();
        self.first_ms.get_or_insert(self.last_ms);
        self.status = answer.status;
        self.err = answer.err.as_ref().map(|err| err.as_str().to_owned());
        if let Verdict::Refused(refusal) = answer.verdict {
            self.reason = Some(refusal.as_str());
        }
    }

    pub(super) fn times(&self) -> (i64, i64) {
        (self.first_ms.unwrap_or(self.last_ms), self.last_ms)
    }

    pub(super) fn dead_letter(self, draft: &Draft, reason: &'static str, attempts: u32) -> Outcome {
        let element = draft.source.element.as_ref();
        Outcome::DeadLettered(Box::new(Cause {
            stage: Stage::Push,
            reason,
            detail: None,
            element: element.and_then(|(element, sha)| Some((*element, sha.clone()?))),
            jti: Some(draft.claims.jti.as_str().to_owned()),
            status: self.status,
            err: self.err,
            attempts,
            attempted_ms: self.first_ms.map(|first| (first, self.last_ms)),
        }))
    }
}
