//! Replay of a stream's dead letters (DESIGN "Side topics").

use super::super::topics::{TopicName, TopicTemplate};
use super::{Rate, StreamConfig};

/// How a stream's dead letters come back.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// Name of the side topic by source topic, which is part of it; default `{topic}.{stream}.replay`.
    pub topic: TopicTemplate,
    /// Records a second that one process reads of all its side topics.
    pub rate: Rate,
}

/// The topics of a replay, by its source topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayTopics {
    /// The side topic: it brings the dead letters, and has the partitions of the source topic.
    pub side: TopicName,
    /// Where the outcomes are told: the stream's `outcome_topic`, else `<side topic>.outcomes`.
    pub outcomes: TopicName,
}

impl StreamConfig {
    /// The topics of replays for this source topic; [`None`]: a name would be too long.
    #[must_use]
    pub fn replay_topics(&self, source: &str) -> Option<ReplayTopics> {
        let side = self.replay.topic.name_for(source).ok()?;
        let outcomes = match &self.outcome_topic {
            Some(topic) => topic.clone(),
            None => TopicName::parse(&format!("{side}{}", ReplayConfig::OUTCOMES)).ok()?,
        };
        Some(ReplayTopics { side, outcomes })
    }

    /// The consumer group that keeps how far the side topics are settled. Nobody joins it.
    #[must_use]
    pub fn replay_group_id(&self) -> String {
        format!("{}.replay", self.group_id)
    }
}

impl ReplayConfig {
    /// What the topic for outcomes has behind the side topic's name.
    pub const OUTCOMES: &str = ".outcomes";
}
