//! State in memory: gone when the process ends, never on a thread of its own, bounded.
//!
//! Each stream keeps at most `max_entries` jtis and as many subjects. Over that, the oldest bucket
//! of jtis goes (a bucket is closed when it holds a quarter of the room, whatever the time), and
//! the older generation of subjects, each of which was not written for at least half the room.
//! What is forgotten costs a repeat or a `previous_level`. For order, `max_entries` must exceed
//! twice `max_unsettled` and the SETs of `max_uncommitted` records: a mark matters while its record
//! may come again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::{
    Backend, Clock, Decided, Decision, Facts, Flushed, Handover, JtiKey, Position, Question, Reply,
    StateError, StateStats,
    tenure::Partitions,
    window::{Bucket, Window},
};
use crate::set::{EventType, Level, SubjectKey, Timestamp};

/// One stream's state.
pub(super) struct MemoryStream {
    known: Mutex<Known>,
    clock: Clock,
}

impl MemoryStream {
    pub(super) fn new(max_entries: usize, window: Duration, clock: Clock) -> Self {
        let known = Known {
            delivered: Delivered::new(max_entries, Window::new(window)),
            subjects: Subjects::new(max_entries),
            partitions: Partitions::default(),
            accepted_under: None,
            operator_hold: None,
            held_since: None,
        };
        Self {
            known: Mutex::new(known),
            clock,
        }
    }

    pub(super) fn stats(&self) -> StateStats {
        self.known.lock().map_or_else(
            |_| StateStats::default(),
            |known| StateStats {
                jtis: known.delivered.len() as u64,
                levels: known.subjects.young.levels + known.subjects.old.levels,
                marks: known.subjects.young.marks + known.subjects.old.marks,
                ..StateStats::default()
            },
        )
    }

    /// Answers at once. After a panic under the lock nothing here can be trusted any more.
    fn with<T>(&self, answer: impl FnOnce(MutexGuard<'_, Known>) -> T) -> Reply<T> {
        let known = self.known.lock().map_err(|_| StateError::Stopped);
        Reply::now(known.map(answer))
    }
}

impl Backend for MemoryStream {
    fn look_up(&self, question: &Question) -> Reply<Facts> {
        let now = (self.clock)();
        self.with(|known| known.look_up(question, now))
    }

    fn remember(&self, decided: &Decided) -> Flushed {
        let now = (self.clock)();
        self.with(|mut known| known.remember(decided, now))
    }

    fn progress(&self, topic: &str, partition: i32, next_offset: i64) -> Flushed {
        self.with(|mut known| {
            let number = known.partitions.meet(topic, partition);
            known.partitions.get_mut(number).next_offset = Some(next_offset);
        })
    }

    fn assigned(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    ) -> Reply<Handover> {
        self.with(|mut known| {
            let partitions = &mut known.partitions;
            partitions.assigned(topic, partition, committed, log_end).1
        })
    }

    fn forget(&self, jtis: &[JtiKey]) -> Flushed {
        let gone: HashSet<&JtiKey> = jtis.iter().collect();
        self.with(|mut known| {
            for (_, delivered) in &mut known.delivered.buckets {
                delivered.retain(|jti| !gone.contains(jti));
            }
        })
    }

    fn flush(&self) -> Flushed {
        self.with(|_| ())
    }

    fn accepted_under(&self) -> Reply<Option<[u8; 32]>> {
        self.with(|known| known.accepted_under)
    }

    fn set_accepted_under(&self, fingerprint: [u8; 32]) -> Flushed {
        self.with(|mut known| known.accepted_under = Some(fingerprint))
    }

    fn operator_hold(&self) -> Reply<Option<String>> {
        self.with(|known| known.operator_hold.clone())
    }

    fn set_operator_hold(&self, reason: Option<&str>) -> Flushed {
        self.with(|mut known| known.operator_hold = reason.map(str::to_owned))
    }

    fn held_since(&self) -> Reply<Option<i64>> {
        self.with(|known| known.held_since)
    }

    fn set_held_since(&self, since_ms: Option<i64>) -> Flushed {
        self.with(|mut known| known.held_since = since_ms)
    }
}

struct Known {
    delivered: Delivered,
    subjects: Subjects,
    partitions: Partitions,
    accepted_under: Option<[u8; 32]>,
    operator_hold: Option<String>,
    held_since: Option<i64>,
}

impl Known {
    fn look_up(&self, question: &Question, now: Timestamp) -> Facts {
        let mut facts = Facts {
            delivered: self.delivered.contains(question.jti, now),
            ..Facts::default()
        };
        let Some(subject) = self.subjects.get(question.subject) else {
            return facts;
        };
        let asked = self.partitions.number(&question.topic, question.partition);
        for mark in subject.marks.iter() {
            if !self.partitions.mark_counts(mark.partition, mark.epoch) {
                continue;
            }
            if Some(mark.partition) == asked {
                facts.mark = Some(mark.position);
            } else {
                facts.other_partition = true;
            }
        }
        let last = subject.level(question.event);
        if let Some(last) = last.filter(|l| self.partitions.level_counts(l.partition, l.epoch)) {
            facts.level = last.level;
            facts.level_event_time = Some(last.event_time);
            facts.accepted_at = (Some(last.partition) == asked).then_some(last.position);
        }
        facts
    }

    fn remember(&mut self, decided: &Decided, now: Timestamp) {
        let question = &decided.question;
        let partition = self.partitions.meet(&question.topic, question.partition);
        let other = decided.other_subject.filter(|o| *o != question.subject);
        let (level, event_time, is_last) = match decided.decision {
            Decision::Final => {
                self.mark(decided, partition, other);
                return;
            }
            Decision::Accepted { level, event_time } => {
                (level, event_time, self.mark(decided, partition, other))
            }
            Decision::Replayed { level, event_time } => {
                let facts = self.look_up(question, now);
                let is_last = !facts.outdates(event_time, decided.position);
                (level, event_time, is_last)
            }
        };
        self.delivered.insert(question.jti, now);
        if !is_last {
            return;
        }
        if let Some(other) = other {
            let replayed = matches!(decided.decision, Decision::Replayed { .. });
            self.move_levels(question.subject, other, replayed);
        }
        let last = LastLevel {
            event: question.event,
            level,
            event_time,
            partition,
            position: decided.position,
            epoch: self.partitions.get_mut(partition).levels_epoch,
        };
        self.subjects.set_level(question.subject, last);
    }

    /// Moves the marks of the subject and of the other one; says whether that of the subject moved.
    fn mark(&mut self, decided: &Decided, partition: usize, other: Option<SubjectKey>) -> bool {
        let tenure = self.partitions.get_mut(partition);
        tenure.marked(decided.position.offset);
        let mark = Mark {
            partition,
            epoch: tenure.marks_epoch,
            position: decided.position,
        };
        let moved = self.subjects.mark(decided.question.subject, mark);
        if let Some(other) = other {
            self.subjects.mark(other, mark);
        }
        moved
    }

    /// `unless_newer`: what is newer at its new place stays.
    fn move_levels(&mut self, old: SubjectKey, new: SubjectKey, unless_newer: bool) {
        for last in self.subjects.take_levels(old) {
            if !self.partitions.level_counts(last.partition, last.epoch) {
                continue;
            }
            let there = self.subjects.level(new, last.event);
            let there = there.filter(|l| self.partitions.level_counts(l.partition, l.epoch));
            if !unless_newer || there.is_none_or(|there| there.event_time <= last.event_time) {
                self.subjects.set_level(new, last);
            }
        }
    }
}

/// The jtis that were accepted within the window.
struct Delivered {
    max_entries: usize,
    window: Window,
    /// In the order in which they were begun.
    buckets: VecDeque<(Bucket, HashSet<JtiKey>)>,
}

impl Delivered {
    fn new(max_entries: usize, window: Window) -> Self {
        Self {
            max_entries: max_entries.max(1),
            window,
            buckets: VecDeque::new(),
        }
    }

    fn len(&self) -> usize {
        self.buckets.iter().map(|(_, jtis)| jtis.len()).sum()
    }

    fn contains(&self, jti: JtiKey, now: Timestamp) -> bool {
        let mut newest_first = self.buckets.iter().rev();
        newest_first.any(|(b, jtis)| !self.window.is_over(b.end, now) && jtis.contains(&jti))
    }

    fn insert(&mut self, jti: JtiKey, now: Timestamp) {
        let window = self.window;
        self.buckets.retain(|(b, _)| !window.is_over(b.end, now));
        let bucket = window.bucket(now);
        let room = self.max_entries.div_ceil(4);
        let mut newest_first = self.buckets.iter_mut().rev();
        let open = newest_first.find(|(b, jtis)| *b == bucket && jtis.len() < room);
        if let Some((_, jtis)) = open {
            jtis.insert(jti);
        } else {
            self.buckets.push_back((bucket, HashSet::from([jti])));
        }
        if self.len() > self.max_entries {
            self.buckets.pop_front();
        }
    }
}

/// Marks and levels in two generations: what is written moves to the young one; when that has
/// filled half the room, the old one goes and the young one becomes old.
struct Subjects {
    room: usize,
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    subjects: HashMap<SubjectKey, SubjectFacts>,
    marks: u64,
    levels: u64,
}

#[derive(Default)]
struct SubjectFacts {
    /// One per partition.
    marks: Few<Mark>,
    /// One per event type.
    levels: Few<LastLevel>,
}

#[derive(Clone, Copy)]
struct Mark {
    partition: usize,
    epoch: i64,
    position: Position,
}

#[derive(Clone, Copy)]
struct LastLevel {
    event: EventType,
    level: Option<Level>,
    event_time: Timestamp,
    partition: usize,
    position: Position,
    epoch: i64,
}

impl SubjectFacts {
    fn level(&self, event: EventType) -> Option<&LastLevel> {
        self.levels.iter().find(|last| last.event == event)
    }
}

impl Subjects {
    fn new(max_entries: usize) -> Self {
        Self {
            room: max_entries.div_ceil(2).max(1),
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    fn get(&self, key: SubjectKey) -> Option<&SubjectFacts> {
        let young = self.young.subjects.get(&key);
        young.or_else(|| self.old.subjects.get(&key))
    }

    fn level(&self, key: SubjectKey, event: EventType) -> Option<LastLevel> {
        self.get(key)?.level(event).copied()
    }

    /// Moves the mark, unless the one there is as new; says whether it moved.
    fn mark(&mut self, key: SubjectKey, mark: Mark) -> bool {
        let generation = self.renew(key);
        let marks = &mut generation.subjects.entry(key).or_default().marks;
        let Some(there) = marks.find_mut(|there| there.partition == mark.partition) else {
            marks.push(mark);
            generation.marks += 1;
            return true;
        };
        let moves = there.epoch != mark.epoch || there.position < mark.position;
        if moves {
            *there = mark;
        }
        moves
    }

    fn set_level(&mut self, key: SubjectKey, last: LastLevel) {
        let generation = self.renew(key);
        let levels = &mut generation.subjects.entry(key).or_default().levels;
        if let Some(there) = levels.find_mut(|there| there.event == last.event) {
            *there = last;
        } else {
            levels.push(last);
            generation.levels += 1;
        }
    }

    fn take_levels(&mut self, key: SubjectKey) -> Vec<LastLevel> {
        let generation = self.renew(key);
        let subject = generation.subjects.get_mut(&key);
        let levels = subject
            .map(|s| mem::take(&mut s.levels))
            .unwrap_or_default();
        let levels: Vec<_> = levels.iter().copied().collect();
        generation.levels -= levels.len() as u64;
        levels
    }

    /// Brings the subject to the young generation, and returns that with room for it.
    fn renew(&mut self, key: SubjectKey) -> &mut Generation {
        if !self.young.subjects.contains_key(&key) {
            let found = self.old.subjects.remove(&key).unwrap_or_default();
            let (marks, levels) = (found.marks.len() as u64, found.levels.len() as u64);
            self.old.marks -= marks;
            self.old.levels -= levels;
            if self.young.subjects.len() >= self.room {
                self.old = mem::take(&mut self.young);
            }
            self.young.subjects.insert(key, found);
            self.young.marks += marks;
            self.young.levels += levels;
        }
        &mut self.young
    }
}

/// A list that mostly has one item; then it takes no allocation.
struct Few<T> {
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }
}

impl<T> Few<T> {
    fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.more)
    }

    fn find_mut(&mut self, mut is: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        all.find(|item| is(item))
    }

    fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.more.push(item);
        }
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }
}
