//! The steps of a turn: each is one command to the server, and an answer to whoever asked.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use redis::Value;

use super::{
    Command,
    calls::facts,
    hold::Word,
    places::{Assignment, Place, Places},
    text, trouble,
    writer::reply,
};
use crate::clock::epoch_ms;
use crate::state::{
    Decided, Decision, Facts, Handover, JtiKey, Question, StateError, reply::Answer,
};

/// What is written, and may be written again.
#[derive(Debug)]
pub(super) enum Write {
    Remember(Box<Decided>),
    Progress(Place, i64),
    /// What an operator said about holding the stream.
    Hold(Word),
    /// A fact about the stream; none removes it.
    Note(&'static str, Option<String>),
    /// The partition was assigned in a bypass. That is never written: the group has to confirm it first.
    Assigned(Assignment),
    /// These were not delivered, as far as anybody knows.
    Forget(Vec<JtiKey>),
    /// Nothing to write: the partition is not ours any more.
    Released(Place),
}

impl Write {
    /// The partition that this one makes ours, or not ours any more.
    pub(super) fn place_that_moves(&self) -> Option<&Place> {
        match self {
            Self::Assigned(assignment) => Some(&assignment.place),
            Self::Released(place) => Some(place),
            _ => None,
        }
    }

    /// The partition about which the server did not take it, if it did not.
    fn refused(&self, answer: &Value) -> Option<Refused> {
        let place = match self {
            Self::Remember(decided) => {
                let question = &decided.question;
                text::place(&question.topic, question.partition).into()
            }
            Self::Progress(place, _) => Arc::clone(place),
            _ => return None,
        };
        let is_lost = matches!(answer, Value::Int(2));
        (!Step::is_one(Some(answer))).then_some(Refused { place, is_lost })
    }

    /// The server took it.
    fn taken(&self, places: &mut Places) {
        match self {
            Self::Released(place) => places.end(place),
            Self::Progress(place, next_offset) => places.settled(place, *next_offset),
            Self::Remember(decided) if !matches!(decided.decision, Decision::Replayed { .. }) => {
                let question = &decided.question;
                let place = text::place(&question.topic, question.partition);
                places.marked(&place, decided.position.offset);
            }
            _ => {}
        }
    }

    /// What an operator said, and whose partition it is, is never forgotten.
    pub(super) fn may_be_forgotten(&self) -> bool {
        matches!(self, Self::Remember(_) | Self::Progress(..))
    }
}

/// The server did not take a write, because the partition has another owner there, or none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) place: Place,
    /// Nothing at all is known about the partition.
    pub(super) is_lost: bool,
}

/// The error about a partition that has another owner.
pub(super) fn fenced(place: &Place) -> Result<(), StateError> {
    Err(StateError::Fenced {
        place: Arc::clone(place),
    })
}

/// Who waits until everything that was noted, about one partition or all, is durable.
pub(super) type Flushing = (Option<Place>, Answer<()>);

pub(super) enum Step {
    /// With who waits for it; what is sent again was answered when it failed.
    Write(Write, Option<Answer<()>>),
    LookUp(Box<Question>, Answer<Facts>),
    AcceptedUnder(Answer<Option<[u8; 32]>>),
    OperatorHold(Answer<Option<String>>),
    HeldSince(Answer<Option<i64>>),
    /// Takes round trips of its own.
    Assigned {
        assignment: Assignment,
        answer: Answer<Handover>,
    },
}

/// A pipeline has at most so many commands.
pub(super) const MAX_COMMANDS: usize = 256;
/// And so many keys, unless one command has more: the server answers for them within `request_timeout`.
const MAX_KEYS: usize = 10_000;

/// So many of the steps go into one pipeline: not beyond the next assignment. At least one, if there is one.
pub(super) fn in_one_pipeline(steps: &VecDeque<Step>) -> usize {
    let mut keys = 0;
    let fits = |step: &&Step| {
        keys += match step {
            Step::Write(Write::Forget(jtis), _) => jtis.len(),
            _ => 1,
        };
        step.assignment().is_none() && keys <= MAX_KEYS
    };
    let count = steps.iter().take(MAX_COMMANDS).take_while(fits).count();
    count.max(1).min(steps.len())
}

/// The partitions that these steps make ours (`true`), or not ours any more; the last word about each counts.
pub(super) fn that_move(steps: &VecDeque<Step>) -> HashMap<&Place, bool> {
    let moves = steps.iter().filter_map(|step| match step {
        Step::Write(Write::Released(place), _) => Some((place, false)),
        _ => Some((&step.assignment()?.place, true)),
    });
    moves.collect()
}

/// Fields of the stream's own hash.
pub(super) const ACCEPTED_UNDER: &str = "accepted_under";
pub(super) const OPERATOR: &str = "operator";
/// One for all members, though each may be held for a reason of its own: what waited for the end of a hold goes along with
/// its partition, to a member that did not see the hold, and processes have no names that outlive them. An acceptance by
/// any member ends it, for it shows that the receiver takes SETs again.
pub(super) const HELD_SINCE: &str = "held_since";

impl Step {
    /// The step of a command. A flush is none: who asks for it waits until all else is done. What an operator says is a
    /// word after the version that is known.
    pub(super) fn of(
        command: Command,
        flushing: &mut Vec<Flushing>,
        known: &mut i64,
    ) -> Option<Self> {
        Some(match command {
            Command::LookUp(question, answer) => Self::LookUp(question, answer),
            Command::AcceptedUnder(answer) => Self::AcceptedUnder(answer),
            Command::OperatorHold(answer) => Self::OperatorHold(answer),
            Command::HeldSince(answer) => Self::HeldSince(answer),
            Command::Assigned(assignment, answer) => Self::Assigned { assignment, answer },
            Command::Flush(of, answer) => {
                flushing.push((of, answer));
                return None;
            }
            Command::Forget(jtis, answer) => Self::Write(Write::Forget(jtis), Some(answer)),
            Command::Released(place) => Self::Write(Write::Released(place), None),
            Command::Remember(decided, answer) => {
                Self::Write(Write::Remember(decided), Some(answer))
            }
            Command::Progress(place, next_offset, answer) => {
                Self::Write(Write::Progress(place, next_offset), Some(answer))
            }
            Command::Hold(reason, answer) => {
                let word = Word::after(*known, epoch_ms(), reason);
                *known = word.version;
                Self::Write(Write::Hold(word), Some(answer))
            }
            Command::Note(field, value, answer) => {
                Self::Write(Write::Note(field, value), Some(answer))
            }
        })
    }

    /// The write that the server did not take, if it did not.
    pub(super) fn refused(&self, answer: &Value) -> Option<Refused> {
        match self {
            Self::Write(write, _) => write.refused(answer),
            _ => None,
        }
    }

    /// The server answered; `operator` is the last word of one.
    pub(super) fn done(
        self,
        answer: &Value,
        places: &mut Places,
        operator: Option<&Word>,
        at: &Arc<str>,
    ) {
        let said = || Self::text(Some(answer));
        match self {
            Self::LookUp(question, to) => {
                let place = Place::from(text::place(&question.topic, question.partition));
                // What was refused is missing in what is known.
                let not_fenced = match places.is_fenced(&place) {
                    true => fenced(&place),
                    false => Ok(()),
                };
                let known = || facts(answer).ok_or_else(|| trouble::strange(at));
                reply(to, not_fenced.and_then(|()| known()));
            }
            Self::AcceptedUnder(to) => {
                reply(to, Ok(said().as_deref().and_then(text::read_fingerprint)));
            }
            Self::OperatorHold(to) => reply(to, Ok(operator.and_then(|word| word.reason.clone()))),
            Self::HeldSince(to) => reply(to, Ok(said().and_then(|text| text.parse().ok()))),
            Self::Write(write, to) => {
                let taken = write
                    .refused(answer)
                    .map_or(Ok(()), |refused| fenced(&refused.place));
                if taken.is_ok() {
                    write.taken(places);
                }
                if let Some(to) = to {
                    reply(to, taken);
                }
            }
            Self::Assigned { .. } => {}
        }
    }

    /// The assignment that the step is.
    pub(super) fn assignment(&self) -> Option<&Assignment> {
        match self {
            Self::Write(Write::Assigned(assignment), _) | Self::Assigned { assignment, .. } => {
                Some(assignment)
            }
            _ => None,
        }
    }

    /// What an operator said last, if the step tells.
    pub(super) fn operator_word(&self, answer: &Value) -> Option<Word> {
        match self {
            Self::OperatorHold(_) | Self::Write(Write::Hold(_), _) => {
                let text = Self::text(Some(answer)).unwrap_or_default();
                Some(Word::read(&text))
            }
            _ => None,
        }
    }

    /// An operator's word that somebody waits for, when the server knew a newer one: said again after that.
    pub(super) fn say_again(self, newer: &Word) -> Result<Self, Self> {
        match self {
            Self::Write(Write::Hold(word), Some(to)) if word != *newer => {
                let word = Word::after(newer.version, 0, word.reason);
                Ok(Self::Write(Write::Hold(word), Some(to)))
            }
            step => Err(step),
        }
    }

    /// Without the server: nothing is known but what an operator said last, and not even that before the server
    /// has told it once: then the question is refused.
    pub(super) fn bypass(self, operator: &mut Option<Word>, error: &StateError) -> Option<Write> {
        match self {
            Self::Write(write, to) => {
                if let Write::Hold(word) = &write {
                    *operator = Some(word.clone());
                }
                if let Some(to) = to {
                    reply(to, Ok(()));
                }
                return Some(write);
            }
            Self::LookUp(_, to) => reply(
                to,
                Ok(Facts {
                    bypassed: true,
                    ..Facts::default()
                }),
            ),
            Self::AcceptedUnder(to) => reply(to, Ok(None)),
            Self::OperatorHold(to) => {
                let said = operator.as_ref().map(|word| word.reason.clone());
                reply(to, said.ok_or_else(|| error.clone()));
            }
            Self::HeldSince(to) => reply(to, Ok(None)),
            Self::Assigned { assignment, answer } => {
                reply(answer, Ok(Handover::First));
                return Some(Write::Assigned(assignment));
            }
        }
        None
    }

    /// The server did not answer, or not well: a write is given back, to be written later.
    pub(super) fn refuse(self, error: &StateError) -> Option<Write> {
        match self {
            Self::Write(write, to) => {
                if let Some(to) = to {
                    reply(to, Err(error.clone()));
                }
                return Some(write);
            }
            Self::LookUp(_, to) => reply(to, Err(error.clone())),
            Self::AcceptedUnder(to) => reply(to, Err(error.clone())),
            Self::OperatorHold(to) => reply(to, Err(error.clone())),
            Self::HeldSince(to) => reply(to, Err(error.clone())),
            Self::Assigned { answer, .. } => reply(answer, Err(error.clone())),
        }
        None
    }

    /// A text of the server, if it is one.
    pub(super) fn text(answer: Option<&Value>) -> Option<String> {
        match answer? {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            Value::SimpleString(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn is_one(answer: Option<&Value>) -> bool {
        matches!(answer, Some(Value::Int(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_bounded_by_commands_and_by_keys() {
        let forget = |jtis| Step::Write(Write::Forget(vec![JtiKey([0; 16]); jtis]), None);
        let note = || Step::Write(Write::Note(HELD_SINCE, None), None);
        let count = |steps: Vec<Step>| in_one_pipeline(&steps.into());
        assert_eq!(count((0..300).map(|_| forget(1000)).collect()), 10);
        assert_eq!(count((0..300).map(|_| note()).collect()), MAX_COMMANDS);
        assert_eq!(
            count(vec![forget(50_000), note()]),
            1,
            "none is left for ever"
        );
        let assignment = Assignment {
            place: "t:0".into(),
            token: "a1".into(),
            committed: None,
            log_end: 0,
        };
        let assigned = Step::Write(Write::Assigned(assignment), None);
        assert_eq!(count(vec![note(), note(), assigned, note()]), 2);
    }
}
