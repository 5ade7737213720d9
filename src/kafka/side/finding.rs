//! Which side topics are there, and taking their partitions up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::{Side, SideNames, SidePlace, Source};
use crate::ffi::{self, Doing, TopicId};
use crate::kafka::consumer::{Closing, Leaving, Poller};
use crate::kafka::context::Context;
use crate::kafka::events::{NewSeat, Notice, Seat, SideTopic};
use crate::kafka::start;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(15);
/// Longest wait for one answer: nobody polls meanwhile, and nothing is lost by asking again.
const ASK: Duration = Duration::from_secs(2);

/// Longest wait for what an ACL allows. A broker that does not tell is no reason to wait.
const MAY: Duration = Duration::from_millis(500);
/// More topics than that are asked about with all of the cluster, at once.
const EACH: usize = 16;

/// A side topic that is there.
struct Found {
    source: Arc<str>,
    names: SideNames,
    partitions: usize,
}

impl Poller {
    /// Partitions were assigned.
    pub(in crate::kafka) fn look_for_sides_soon(&mut self) {
        if let Some(side) = &mut self.side {
            side.look_at = Instant::now();
        }
    }

    /// Looks which side topics are there, every now and then and after each assignment, and takes up those of their
    /// partitions whose source partition is ours. The topics are made by who replays, never here.
    pub(super) fn find_sides(&mut self, consumer: &BaseConsumer<Context>) {
        let due = self
            .side
            .as_ref()
            .is_some_and(|side| side.look_at <= Instant::now());
        if !due || self.places.is_empty() || self.rebalances() {
            return;
        }
        let sources: Vec<Arc<str>> = self
            .places
            .values()
            .filter_map(|of| Some(Arc::clone(&of.values().next()?.topic)))
            .collect();
        let Some(side) = &mut self.side else { return };
        side.look_at = Instant::now() + LOOK;
        let found = match side.look(consumer, sources) {
            Ok((found, gone)) => {
                self.lose_sides(gone);
                found
            }
            Err(error) => {
                tracing::debug!(%error, "which side topics are there is not known; asking again");
                return;
            }
        };
        for found in found {
            let taken = self.take_up(consumer, &found);
            let Some(side) = &mut self.side else { return };
            match taken {
                Ok(false) => {}
                // Asking took a while. The others come after the next poll.
                Ok(true) => {
                    side.look_at = Instant::now();
                    return;
                }
                Err(error) => {
                    if side.told.insert(found.names.side.clone()) {
                        tracing::warn!(%error, topic = found.names.side, group = side.settings.group, "the side topic cannot be read; trying again every {LOOK:?}. This principal needs Read and Describe on it, and Read on the group");
                    }
                    return;
                }
            }
        }
    }

    /// Starts those partitions of the side topic that are not read yet; says whether there were any.
    fn take_up(&mut self, consumer: &BaseConsumer<Context>, found: &Found) -> KafkaResult<bool> {
        let Some(side) = &mut self.side else {
            return Ok(false);
        };
        let there = side.places.get(&found.names.side);
        let ours = self.places.get(&*found.source).into_iter().flatten();
        let missing = ours.filter(|(n, place)| {
            let in_topic = usize::try_from(**n).is_ok_and(|n| n < found.partitions);
            let is_read = there.is_some_and(|of| of.contains_key(*n));
            place.leaving == Leaving::No && in_topic && !is_read
        });
        let missing: Vec<i32> = missing.map(|(n, _)| *n).collect();
        if missing.is_empty() || !side.is_ready(consumer, &found.names)? {
            return Ok(false);
        }
        let starts = side.starts(&found.names.side, &missing)?;
        let topic: Arc<str> = Arc::from(found.names.side.as_str());
        let mut seats = Vec::with_capacity(missing.len());
        for (partition, start) in missing.into_iter().zip(starts) {
            self.next_seat += 1;
            let seat = Seat(self.next_seat);
            seats.push(NewSeat {
                seat,
                topic: Arc::clone(&topic),
                partition,
                side: Some(SideTopic {
                    source: Arc::clone(&found.source),
                    outcomes: Arc::from(found.names.outcomes.as_str()),
                }),
                committed: start.committed,
                start: start.offset,
                log_end: start.log_end,
            });
            if start.lost > 0 {
                let (topic, records) = (Arc::clone(&topic), start.lost);
                let lost = Notice::RecordsLost {
                    topic,
                    partition,
                    records,
                };
                // A desk that is gone has already told everybody to stop.
                let _ = self.lines.notices.send(lost);
            }
        }
        // The desk knows the seats before the first record can arrive.
        let _ = self.lines.notices.send(Notice::Assigned(seats.clone()));
        let read = side.read_from(&found.source, &topic, &seats);
        if read.is_err() {
            // What is not read must not look as if it were: it is taken up again.
            self.lose_sides(seats.iter().map(|seat| seat.seat).collect());
        }
        read.map(|()| true)
    }
}

/// What the broker says about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Described {
    /// It is there, with so many partitions.
    Here(usize),
    Absent,
    Refused(Code),
}

/// Asks about these topics, and makes none of them.
fn describe(consumer: &BaseConsumer<Context>, topics: &[&str]) -> KafkaResult<Vec<Described>> {
    let read = |metadata: &Metadata, name: &str| {
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        match found.map(|topic| (topic.error().map(Code::from), topic.partitions().len())) {
            Some((None, partitions)) => Described::Here(partitions),
            None | Some((Some(Code::UnknownTopicOrPartition | Code::UnknownTopic), _)) => {
                Described::Absent
            }
            Some((Some(code), _)) => Described::Refused(code),
        }
    };
    if topics.len() > EACH {
        let all = consumer.fetch_metadata(None, ASK)?;
        return Ok(topics.iter().map(|name| read(&all, name)).collect());
    }
    let one = |name: &&str| Ok(read(&consumer.fetch_metadata(Some(name), ASK)?, name));
    topics.iter().map(one).collect()
}

impl Side {
    /// The side topics that may be read, and the seats of those that are gone.
    fn look(
        &mut self,
        consumer: &BaseConsumer<Context>,
        sources: Vec<Arc<str>>,
    ) -> KafkaResult<(Vec<Found>, Vec<Seat>)> {
        let named = sources.into_iter().filter_map(|source| {
            let names = (self.settings.names)(&source)?;
            Some((source, names))
        });
        let named: Vec<(Arc<str>, SideNames)> = named.collect();
        let sides: Vec<&str> = named.iter().map(|(_, names)| names.side.as_str()).collect();
        let described = describe(consumer, &sides)?;
        let mut gone = self.outside()?;
        let mut found = Vec::new();
        for ((source, names), described) in named.iter().zip(described) {
            match described {
                Described::Here(partitions) => found.push(Found {
                    source: Arc::clone(source),
                    names: names.clone(),
                    partitions,
                }),
                Described::Absent => {
                    self.ids.remove(&names.side);
                    gone.extend(self.seats_of(&names.side));
                }
                Described::Refused(code) => {
                    if self.told.insert(names.side.clone()) {
                        tracing::info!(topic = names.side, %code, "whether there is a side topic is not told: for replays this principal needs Describe and Read on it");
                    }
                }
            }
        }
        Ok((found, gone))
    }

    /// Whether the outcomes of a side topic can be told: else the log says once what is missing.
    fn is_ready(
        &mut self,
        consumer: &BaseConsumer<Context>,
        names: &SideNames,
    ) -> KafkaResult<bool> {
        let SideNames { side, outcomes } = names;
        let mend = match describe(consumer, &[outcomes])?.pop() {
            Some(Described::Here(_)) => {
                let may = ffi::may(consumer.client(), Doing::Write, outcomes, MAY);
                if !matches!(may, Ok(Some(false))) {
                    self.told.remove(side);
                    return Ok(true);
                }
                format!(
                    "this principal may not write to {outcomes}, where their outcomes are told: allow it Write and Describe"
                )
            }
            Some(Described::Refused(_)) => format!(
                "this principal may not describe {outcomes}, where their outcomes are told: allow it Write and Describe"
            ),
            Some(Described::Absent) | None => format!(
                "the topic {outcomes}, where their outcomes are told, does not exist: `setbridge dlq replay` makes it, or kafka-topics.sh --create --topic {outcomes} --partitions 1"
            ),
        };
        if self.told.insert(side.clone()) {
            tracing::warn!(topic = side, "replays wait: {mend}");
        }
        Ok(false)
    }

    fn seats_of(&self, topic: &str) -> Vec<Seat> {
        let of = self.places.get(topic).into_iter().flatten();
        of.map(|(_, place)| place.seat).collect()
    }

    /// After librdkafka met a position outside of its log: whose that is.
    fn outside(&mut self) -> KafkaResult<Vec<Seat>> {
        if !self.outside {
            return Ok(Vec::new());
        }
        let Some(reader) = &self.reader else {
            return Ok(Vec::new());
        };
        let mut seats = Vec::new();
        for (topic, partition, place) in self.all() {
            let (low, high) = reader.0.fetch_watermarks(topic, partition, ASK)?;
            if !(low..=high).contains(&place.next) {
                tracing::warn!(
                    topic,
                    partition,
                    "the log of the side topic is not what it was; reading it anew"
                );
                seats.push(place.seat);
            }
        }
        self.outside = false;
        Ok(seats)
    }

    fn starts(&mut self, topic: &str, partitions: &[i32]) -> KafkaResult<Vec<start::Start>> {
        if self.reader.is_none() {
            let context = Context::new(self.token_file.clone());
            let reader: BaseConsumer<Context> = self.config.create_with_context(context)?;
            self.reader = Some(Closing(reader));
        }
        let Some(reader) = &self.reader else {
            return Ok(Vec::new());
        };
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let committed = reader.0.committed_offsets(list, ASK)?;
        let start = |partition: &i32| {
            let (low, high) = reader.0.fetch_watermarks(topic, *partition, ASK)?;
            let found = committed.find_partition(topic, *partition);
            let at = match found.map(|element| element.offset()) {
                Some(Offset::Offset(at)) => Some(at),
                _ => None,
            };
            Ok(start::decide(at, low, high))
        };
        partitions.iter().map(start).collect()
    }

    fn read_from(
        &mut self,
        source: &Arc<str>,
        topic: &Arc<str>,
        seats: &[NewSeat],
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for seat in seats {
            list.add_partition_offset(topic, seat.partition, Offset::Offset(seat.start))?;
            let place = SidePlace {
                seat: seat.seat,
                topic: Arc::clone(topic),
                source: Source::new(Arc::clone(source)),
                leaving: Leaving::No,
                start: seat.start,
                next: seat.start,
                handed: seat.start,
                settled: seat.start,
                ordered: false,
                committed: seat.committed,
                asked: None,
                waiting: (0, 0),
                paused: false,
            };
            let of = self.places.entry(topic.to_string()).or_default();
            of.insert(seat.partition, place);
        }
        let Some(reader) = &self.reader else {
            return Ok(());
        };
        reader.0.incremental_assign(&list)?;
        // librdkafka keeps a partition paused that was paused when it left and comes back.
        reader.0.resume(&list)
    }

    /// The side topics that are read.
    pub(in crate::kafka) fn topics(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    /// This is the id of one of them; if it was another one before, the seats in what is gone.
    pub(in crate::kafka) fn identified(&mut self, topic: &str, id: TopicId) -> Vec<Seat> {
        let before = self.ids.insert(topic.to_owned(), id);
        if before.is_none_or(|before| before == id) {
            return Vec::new();
        }
        tracing::warn!(
            topic,
            "the side topic was made anew; it is read from its first record"
        );
        self.look_at = Instant::now();
        self.seats_of(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_of_a_failed_start_can_be_forgotten() {
        let settings = super::super::tests::settings();
        let side_settings = settings.side.clone().expect("a side");
        let mut side = Side::new(side_settings, &settings);
        let seat = |number: u64, partition, start| NewSeat {
            seat: Seat(number),
            topic: "side".into(),
            partition,
            side: None,
            committed: None,
            start,
            log_end: 0,
        };
        // No offset is below 0: the second one fails when the first was noted.
        let seats = [seat(1, 0, 0), seat(2, 1, -9)];
        side.read_from(&Arc::from("detections"), &Arc::from("side"), &seats)
            .expect_err("no valid offset");
        side.forget(&[Seat(1), Seat(2)]);
        assert!(side.topics().is_empty());
    }
}
