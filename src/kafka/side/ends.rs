//! Asking where the logs of source partitions end, for the replays that do not know it yet.
//!
//! librdkafka answers for all of them or for none: one partition without a leader leaves the others without an answer, and
//! the poller waits meanwhile. So after a failure each is asked alone, one a turn, and who fails then is left in peace
//! longer and longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::Side;
use super::handing::Source;
use crate::kafka::context::Context;

/// Longest wait for the ends of logs; nobody polls meanwhile, and nothing is lost by asking again.
const ASK: Duration = Duration::from_millis(500);
/// Time between two questions to a partition that does not answer, at first.
const AGAIN: Duration = Duration::from_secs(1);
/// The same at most.
const AGAIN_AT_MOST: Duration = Duration::from_secs(15);
/// Between two questions in vain nothing is asked alone for so long at most, whoever it is about: the poller polls.
const BETWEEN: Duration = Duration::from_secs(5);

/// How a source partition answers where its log ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Answers {
    /// As it should: it is asked with the others.
    #[default]
    Well,
    /// Perhaps not: a question about several had no answer. It is asked alone.
    Perhaps,
    /// Not: it is asked alone, not before, and then after so long.
    Not(Instant, Duration),
}

impl Answers {
    /// One more question about it alone had no answer.
    fn fails(&mut self, now: Instant) -> Duration {
        let pause = match self {
            Self::Well | Self::Perhaps => AGAIN,
            Self::Not(_, pause) => (*pause * 2).min(AGAIN_AT_MOST),
        };
        *self = Self::Not(now + pause, pause);
        pause
    }
}

/// A source partition.
type Asked = (Arc<str>, i32);

/// Who is asked now, of those that somebody waits for: all that answer well together, and then one of the others, if that is
/// allowed. For there may always be some that answer well.
fn chosen(wanted: &BTreeMap<Asked, Answers>, now: Instant, alone: bool) -> [Vec<Asked>; 2] {
    let of = |which: &dyn Fn(Answers) -> bool| {
        let found = wanted.iter().filter(|(_, answers)| which(**answers));
        found.map(|(asked, _)| asked.clone()).collect::<Vec<_>>()
    };
    let well = of(&|answers| answers == Answers::Well);
    if !alone {
        return [well, Vec::new()];
    }
    let perhaps = of(&|answers| answers == Answers::Perhaps)
        .into_iter()
        .next();
    let due = wanted.iter().filter_map(|(asked, answers)| match answers {
        Answers::Not(at, _) if *at <= now => Some((*at, asked)),
        _ => None,
    });
    let one = perhaps.or_else(|| Some(due.min()?.1.clone()));
    [well, one.into_iter().collect()]
}

/// The ends of these logs, without those that do not tell.
fn ends(consumer: &BaseConsumer<Context>, of: &[Asked]) -> KafkaResult<BTreeMap<Asked, i64>> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in of {
        list.add_partition_offset(topic, *partition, Offset::End)?;
    }
    let told = consumer.offsets_for_times(list, ASK)?;
    let end = |asked: &Asked| {
        let element = told.find_partition(&asked.0, asked.1)?;
        match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(end)) => Some((asked.clone(), end)),
            _ => None,
        }
    };
    Ok(of.iter().filter_map(end).collect())
}

impl Side {
    /// Asks where the logs end, for those replays that do not know it yet.
    pub(super) fn ask_for_ends(&mut self, consumer: &BaseConsumer<Context>) {
        let now = Instant::now();
        let wanted = self.wanted_ends();
        for asked in chosen(&wanted, now, self.ends_at <= now) {
            if asked.is_empty() {
                continue;
            }
            let told = ends(consumer, &asked).unwrap_or_else(|error| {
                tracing::debug!(%error, partitions = asked.len(), "where the logs of source partitions end is not known; asking again");
                BTreeMap::new()
            });
            self.are_told(&asked, &told, Instant::now());
        }
    }

    /// The source partitions whose end a replay waits for.
    fn wanted_ends(&self) -> BTreeMap<Asked, Answers> {
        let of = |origin: &crate::record::Origin| {
            let place = self.places.get(&*origin.topic)?.get(&origin.partition)?;
            let Source { topic, answers, .. } = &place.source;
            Some(((Arc::clone(topic), origin.partition), *answers))
        };
        let unknown = self.waiting.iter().filter(|one| one.behind.is_none());
        unknown
            .filter_map(|one| of(&one.seated.record.origin))
            .collect()
    }

    /// These were asked, and these told their end.
    fn are_told(&mut self, asked: &[Asked], told: &BTreeMap<Asked, i64>, now: Instant) {
        for (place, partition) in self
            .places
            .values_mut()
            .flat_map(|of| of.iter_mut().map(|(partition, place)| (place, *partition)))
        {
            let source = (Arc::clone(&place.source.topic), partition);
            if !asked.contains(&source) {
                continue;
            }
            let answers = &mut place.source.answers;
            if told.contains_key(&source) {
                *answers = Answers::Well;
            } else if asked.len() > 1 {
                *answers = Answers::Perhaps;
            } else {
                self.ends_at = now + answers.fails(now).min(BETWEEN);
            }
        }
        for one in self.waiting.iter_mut().filter(|one| one.behind.is_none()) {
            let origin = &one.seated.record.origin;
            let of = self.places.get(&*origin.topic);
            let place = of.and_then(|of| of.get(&origin.partition));
            one.behind = place.and_then(|place| {
                let source = (Arc::clone(&place.source.topic), origin.partition);
                told.get(&source).copied()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::events::Seat;
    use crate::kafka::side::handing::Waiting;
    use crate::kafka::side::tests::{place, settings, waiting};

    /// Three partitions, a replay of each waits.
    fn side() -> Side {
        let settings = settings();
        let mut side = Side::new(settings.side.clone().expect("a side"), &settings);
        for n in 0..3 {
            let of = side.places.entry("side".to_owned()).or_default();
            of.insert(n, place());
            let mut seated = waiting(0);
            (seated.seat, seated.record.origin.partition) = (Seat(1), n);
            side.waiting.push_back(Waiting::new(seated));
        }
        side
    }

    fn asked(side: &Side, now: Instant) -> Vec<i32> {
        let asked = chosen(&side.wanted_ends(), now, side.ends_at <= now);
        let asked = asked.into_iter().flatten();
        asked.map(|(_, partition)| partition).collect()
    }

    /// One turn; `silent` makes a question fail for whoever is asked with it.
    fn turn(side: &mut Side, silent: i32, now: Instant) -> Vec<i32> {
        let mut all = Vec::new();
        for asked in chosen(&side.wanted_ends(), now, side.ends_at <= now) {
            let partitions: Vec<i32> = asked.iter().map(|(_, partition)| *partition).collect();
            let told = match partitions.contains(&silent) {
                true => BTreeMap::new(),
                false => asked.iter().map(|one| (one.clone(), 7)).collect(),
            };
            if !asked.is_empty() {
                side.are_told(&asked, &told, now);
            }
            all.extend(partitions);
        }
        all
    }

    /// Of one partition there is always a replay that wants to know.
    #[test]
    fn one_that_answers_well_keeps_none_of_the_others_waiting() {
        let mut side = side();
        let now = side.ends_at;
        turn(&mut side, 1, now);
        let mut asked = Vec::new();
        for _ in 0..3 {
            side.waiting[0].behind = None;
            asked.extend(turn(&mut side, 9, now));
        }
        assert!(asked.contains(&1) && asked.contains(&2), "{asked:?}");
        assert!(side.waiting.iter().all(|one| one.behind == Some(7)));
    }

    #[test]
    fn one_that_does_not_answer_leaves_the_others_theirs() {
        let mut side = side();
        let mut now = side.ends_at;
        assert_eq!(turn(&mut side, 1, now), [0, 1, 2], "in vain");
        assert_eq!(turn(&mut side, 1, now), [0], "one a turn");
        assert_eq!(turn(&mut side, 1, now), [1]);
        assert!(asked(&side, now).is_empty(), "not right after a failure");
        now += AGAIN;
        assert_eq!(turn(&mut side, 1, now), [2]);
        let known: Vec<_> = side.waiting.iter().map(|one| one.behind).collect();
        assert_eq!(known, [Some(7), None, Some(7)]);
        // A new replay of an other one does not wait for it.
        side.waiting[0].behind = None;
        assert_eq!(turn(&mut side, 1, now), [0, 1]);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let before = now;
            while asked(&side, now).is_empty() {
                now += Duration::from_millis(100);
            }
            assert_eq!(turn(&mut side, 1, now), [1]);
            pauses.push((now - before).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 15, 15, 15]);
        now += AGAIN_AT_MOST;
        assert_eq!(turn(&mut side, 9, now), [1], "it answers");
        assert!(side.waiting.iter().all(|one| one.behind == Some(7)));
        assert!(side.wanted_ends().is_empty());
        side.waiting.iter_mut().for_each(|one| one.behind = None);
        assert_eq!(asked(&side, now), [0, 1, 2], "together again");
    }
}
