//! What is sent to the server for a step, and what its answer to a look-up says. Pure.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{
    link::Link,
    places::Places,
    scripts::Script,
    steps::{ACCEPTED_UNDER, HELD_SINCE, OPERATOR, Step, Write},
    text::{self, Keys},
};
use crate::state::{Decided, Decision, Facts};

impl Step {
    /// What is sent for it.
    pub(super) fn command(
        &self,
        link: &Link,
        keys: &Keys,
        places: &Places,
        window: Duration,
    ) -> Cmd {
        match self {
            Self::Write(Write::Remember(decided), _) => {
                remember(decided, link, keys, places, window)
            }
            Self::Write(Write::Progress(place, next_offset), _) => {
                let mut call = link.call(Script::Progress, &[&keys.tenures()]);
                call.arg(&**place).arg(places.token(place));
                call.arg(text::offset(*next_offset));
                call
            }
            Self::Write(Write::Hold(word), _) => {
                let mut call = link.call(Script::Hold, &[&keys.stream()]);
                call.arg(word.spelled());
                call
            }
            Self::Write(Write::Note(field, Some(value)), _) => {
                let mut set = redis::cmd("HSET");
                set.arg(keys.stream()).arg(*field).arg(value);
                set
            }
            Self::Write(Write::Note(field, None), _) => {
                let mut delete = redis::cmd("HDEL");
                delete.arg(keys.stream()).arg(*field);
                delete
            }
            Self::Write(Write::Forget(jtis), _) => {
                let mut delete = redis::cmd("DEL");
                for jti in jtis {
                    delete.arg(keys.jti(*jti));
                }
                delete
            }
            Self::LookUp(question, _) => {
                let (jti, subject) = (keys.jti(question.jti), keys.subject(question.subject));
                let mut call = link.call(Script::LookUp, &[&jti, &subject, &keys.tenures()]);
                call.arg(text::place(&question.topic, question.partition));
                call.arg(question.event.as_str());
                call
            }
            Self::AcceptedUnder(_) => read(keys, ACCEPTED_UNDER),
            Self::OperatorHold(_) => read(keys, OPERATOR),
            Self::HeldSince(_) => read(keys, HELD_SINCE),
            // Nothing is asked, so any cheap question will do: a step is a command.
            Self::Write(Write::Released(_) | Write::Assigned(_), _) | Self::Assigned { .. } => {
                read(keys, text::SCHEMA_FIELD)
            }
        }
    }
}

fn read(keys: &Keys, field: &str) -> Cmd {
    let mut get = redis::cmd("HGET");
    get.arg(keys.stream()).arg(field);
    get
}

fn remember(decided: &Decided, link: &Link, keys: &Keys, places: &Places, window: Duration) -> Cmd {
    let question = &decided.question;
    let (jti, subject) = (keys.jti(question.jti), keys.subject(question.subject));
    let tenures = keys.tenures();
    let other = decided.other_subject.filter(|o| *o != question.subject);
    let other = other.map(|other| keys.subject(other));
    let mut all = vec![jti.as_str(), &subject, &tenures];
    all.extend(other.as_deref());
    let mut call = link.call(Script::Remember, &all);
    let place = text::place(&question.topic, question.partition);
    call.arg(&place).arg(places.token(&place));
    call.arg(text::position(decided.position));
    call.arg(text::offset(decided.position.offset));
    let replayed = matches!(decided.decision, Decision::Replayed { .. });
    match decided.decision {
        Decision::Accepted { level, event_time } | Decision::Replayed { level, event_time } => call
            .arg(
                u64::try_from(window.as_millis())
                    .unwrap_or(u64::MAX >> 12)
                    .max(1),
            )
            .arg(question.event.as_str())
            .arg(text::accepted(event_time, level, decided.position))
            .arg(i64::from(replayed)),
        Decision::Final => call.arg("").arg("").arg("").arg(0),
    };
    call
}

/// The answer of `scripts/look_up.lua`; [`None`]: it is of another form.
pub(super) fn facts(answer: &Value) -> Option<Facts> {
    let Value::Array(found) = answer else {
        return None;
    };
    let [delivered, mark, last, other, is_here] = found.as_slice() else {
        return None;
    };
    let mark = Step::text(Some(mark))?;
    let last = Step::text(Some(last))?;
    let last = text::read_accepted(&last);
    Some(Facts {
        delivered: matches!(delivered, Value::Int(1 | 2)),
        delivered_late: matches!(delivered, Value::Int(2)),
        mark: text::read_position(&mark),
        level: last.and_then(|(_, level, _)| level),
        level_event_time: last.map(|(event_time, ..)| event_time),
        accepted_at: last
            .filter(|_| Step::is_one(Some(is_here)))
            .and_then(|(.., at)| at),
        other_partition: Step::is_one(Some(other)),
        bypassed: false,
    })
}
