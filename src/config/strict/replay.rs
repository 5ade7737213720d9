//! The side topic of a stream's replays.

use super::super::domain::*;
use super::super::pointer::child;
use super::super::raw::RawStream;
use super::super::topics::{TopicName, TopicTemplate};
use super::Checker;

pub(super) fn replay(raw: &RawStream, at: &str, checker: &mut Checker<'_>) -> Option<ReplayConfig> {
    let at = child(at, "topic");
    let text = &raw.replay.topic;
    let topic = match TopicTemplate::parse(text, &raw.id) {
        Ok(topic) => topic,
        Err(error) => {
            return checker.wrong(
                &at,
                error.to_string(),
                "write a topic's name; {topic} and {stream} are filled in",
            );
        }
    };
    if !topic.has_topic() || !text.contains("{stream}") {
        return checker.wrong(
            &at,
            "each source topic of each stream needs a side topic of its own",
            "write {topic} and {stream} into it: {topic}.{stream}.replay",
        );
    }
    let letters = TopicTemplate::parse(&raw.dead_letter.topic, &raw.id).ok();
    let outcomes = raw.outcome_topic.as_deref();
    let written = |name: &str| {
        let dead_letter = letters.as_ref().and_then(|l| l.name_for(name).ok());
        let side = topic.name_for(name).ok();
        let is_dead_letter = side.is_some() && side == dead_letter;
        is_dead_letter || side.is_some_and(|side| Some(side.as_str()) == outcomes)
    };
    let mut names = raw.topics.iter().flatten().map(String::as_str);
    if letters.as_ref() == Some(&topic) || names.any(written) {
        return checker.wrong(
            &at,
            "it is a topic that the stream writes to",
            "name it otherwise: a dead letter would be replayed at once, for ever",
        );
    }
    for name in raw.topics.iter().flatten() {
        // The outcomes have a topic of their own, unless the stream's outcome topic is theirs.
        let longest = topic
            .name_for(name)
            .and_then(|side| TopicName::parse(&format!("{side}{}", ReplayConfig::OUTCOMES)));
        if TopicName::parse(name).is_ok() && longest.is_err() {
            return checker.wrong(
                &at,
                format!("for the topic {name} the name, with .outcomes behind it, would be longer than 249 characters"),
                "choose a shorter one",
            );
        }
    }
    Some(ReplayConfig {
        topic,
        rate: Rate(raw.replay.rate),
    })
}
