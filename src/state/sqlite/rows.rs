//! A question as the rows that answer it, and a decided SET as the rows that it writes.

use super::{
    Asked, Remembered,
    ledger::Ledger,
    tables::{Added, Fact, FactRow, Tables},
};
use crate::{
    set::{Level, SubjectKey, Timestamp},
    state::{
        Decision, Facts, JtiKey, Position,
        tenure::Partitions,
        window::{Bucket, Window},
    },
};

/// Reads what is known about a SET: two statements, one for the jti and one for the subject.
pub(super) fn look_up(
    tables: &mut Tables<'_>,
    ledger: &Ledger,
    id: usize,
    asked: &Asked,
    (window, now): (Window, Timestamp),
) -> rusqlite::Result<Facts> {
    let stream = ledger.stream(id);
    let mut facts = Facts {
        delivered: tables.is_delivered(id, asked.jti, stream.live_buckets(window, now))?,
        ..Facts::default()
    };
    let partitions = &stream.partitions;
    let (topic, partition) = &asked.place;
    let asked_in = partitions.number(topic, *partition);
    let asked_of = ledger.event_type(asked.event);
    tables.read_subject(id, asked.subject, |row| {
        note(&mut facts, &row, partitions, (asked_in, asked_of))
    })?;
    Ok(facts)
}

/// Adds what one row says to the facts about a SET of this partition and event type, by their numbers.
fn note(
    facts: &mut Facts,
    row: &FactRow,
    partitions: &Partitions,
    (asked_in, asked_of): (Option<usize>, Option<i64>),
) {
    match row.fact {
        Fact::Mark(position) if partitions.mark_counts(row.partition, row.epoch) => {
            if Some(row.partition) == asked_in {
                facts.mark = Some(position);
            } else {
                facts.other_partition = true;
            }
        }
        Fact::Accepted {
            event_type,
            level,
            event_time,
            position,
        } if Some(event_type) == asked_of && partitions.level_counts(row.partition, row.epoch) => {
            facts.level = level;
            facts.level_event_time = Some(Timestamp::from_secs(event_time));
            facts.accepted_at = position.filter(|_| Some(row.partition) == asked_in);
        }
        Fact::Mark(_) | Fact::Accepted { .. } => {}
    }
}

/// What is to be written.
pub(super) enum Change {
    Decided(Write),
    /// These jtis of a stream are no longer known as delivered.
    Forgotten(usize, Vec<JtiKey>),
}

impl Change {
    pub(super) fn apply(
        &self,
        tables: &mut Tables<'_>,
        ledger: &Ledger,
    ) -> rusqlite::Result<Added> {
        let (stream, jtis) = match self {
            Self::Decided(write) => return write.apply(tables, ledger),
            Self::Forgotten(stream, jtis) => (*stream, jtis),
        };
        let mut added = Added {
            stream,
            ..Added::default()
        };
        for bucket in ledger.stream(stream).all_buckets() {
            for jti in jtis {
                if tables.drop_jti(stream, bucket, *jti)? {
                    added.jtis_out.push(bucket);
                }
            }
        }
        Ok(added)
    }
}

/// A remembered SET: what it means was worked out once, so writing it again after a failure means
/// the same, whatever was assigned since.
pub(super) struct Write {
    stream: usize,
    subject: SubjectKey,
    other_subject: Option<SubjectKey>,
    partition: usize,
    marks_epoch: i64,
    levels_epoch: i64,
    position: Position,
    accepted: Option<Accepted>,
    /// It was replayed: the mark stays.
    replayed: bool,
}

struct Accepted {
    jti: JtiKey,
    bucket: i64,
    event_type: i64,
    level: Option<Level>,
    event_time: i64,
}

impl Write {
    /// Works out the rows; what the ledger has not met yet, it meets.
    pub(super) fn of(
        ledger: &mut Ledger,
        id: usize,
        remembered: &Remembered,
        bucket: Bucket,
    ) -> Self {
        let asked = &remembered.asked;
        let event_type = ledger.meet_event_type(asked.event);
        let stream = ledger.stream_mut(id);
        let partition = stream.partitions.meet(&asked.place.0, asked.place.1);
        let replayed = matches!(remembered.decision, Decision::Replayed { .. });
        let tenure = stream.tenure_mut(partition);
        if !replayed {
            tenure.marked(remembered.position.offset);
        }
        let (marks_epoch, levels_epoch) = (tenure.marks_epoch, tenure.levels_epoch);
        let accepted = match remembered.decision {
            Decision::Final => None,
            Decision::Accepted { level, event_time } | Decision::Replayed { level, event_time } => {
                stream.open_bucket(bucket);
                Some(Accepted {
                    jti: asked.jti,
                    bucket: bucket.start,
                    event_type,
                    level,
                    event_time: event_time.as_secs(),
                })
            }
        };
        Self {
            stream: id,
            subject: asked.subject,
            other_subject: remembered.other_subject.filter(|o| *o != asked.subject),
            partition,
            marks_epoch,
            levels_epoch,
            position: remembered.position,
            accepted,
            replayed,
        }
    }

    /// Writes the rows: the jti, the marks, and, when the subject's mark moved, the level. Of a replay no mark, and the
    /// level when nothing newer is known.
    fn apply(&self, tables: &mut Tables<'_>, ledger: &Ledger) -> rusqlite::Result<Added> {
        let mut added = Added {
            stream: self.stream,
            ..Added::default()
        };
        let is_last = if self.replayed {
            !self.is_outdated(tables, ledger)?
        } else {
            self.mark(tables, &mut added)?
        };
        let Some(accepted) = &self.accepted else {
            return Ok(added);
        };
        if tables.put_jti(self.stream, accepted.bucket, accepted.jti)? {
            added.jti_in = Some(accepted.bucket);
        }
        if is_last {
            self.apply_level(accepted, &mut added, tables, ledger)?;
        }
        Ok(added)
    }

    /// Says whether the subject's mark moved.
    fn mark(&self, tables: &mut Tables<'_>, added: &mut Added) -> rusqlite::Result<bool> {
        let place = (self.partition, self.marks_epoch);
        let moved = tables.mark(added, self.subject, place, self.position)?;
        if let Some(other) = self.other_subject {
            tables.mark(added, other, place, self.position)?;
        }
        Ok(moved)
    }

    /// Whether something newer than this replayed SET is known.
    fn is_outdated(&self, tables: &mut Tables<'_>, ledger: &Ledger) -> rusqlite::Result<bool> {
        let Some(accepted) = &self.accepted else {
            return Ok(true);
        };
        let partitions = &ledger.stream(self.stream).partitions;
        let asked = (Some(self.partition), Some(accepted.event_type));
        let mut facts = Facts::default();
        tables.read_subject(self.stream, self.subject, |row| {
            note(&mut facts, &row, partitions, asked)
        })?;
        let event_time = Timestamp::from_secs(accepted.event_time);
        Ok(facts.outdates(event_time, self.position))
    }

    fn apply_level(
        &self,
        accepted: &Accepted,
        added: &mut Added,
        tables: &mut Tables<'_>,
        ledger: &Ledger,
    ) -> rusqlite::Result<()> {
        if let Some(other) = self.other_subject {
            self.move_levels(tables, ledger, added, other)?;
        }
        let row = FactRow {
            fact: Fact::Accepted {
                event_type: accepted.event_type,
                level: accepted.level,
                event_time: accepted.event_time,
                position: Some(self.position),
            },
            partition: self.partition,
            epoch: self.levels_epoch,
        };
        tables.set_level(added, self.subject, &row)
    }

    /// Takes the subject's levels to the other one. What is newer there stays if this was replayed.
    fn move_levels(
        &self,
        tables: &mut Tables<'_>,
        ledger: &Ledger,
        added: &mut Added,
        other: SubjectKey,
    ) -> rusqlite::Result<()> {
        let partitions = &ledger.stream(self.stream).partitions;
        let mut levels_of = |subject| -> rusqlite::Result<Vec<_>> {
            let mut levels = Vec::new();
            tables.read_subject(self.stream, subject, |row| {
                if let Fact::Accepted {
                    event_type,
                    event_time,
                    ..
                } = row.fact
                {
                    levels.push((event_type, event_time, row));
                }
            })?;
            Ok(levels)
        };
        let (rows, theirs) = (levels_of(self.subject)?, levels_of(other)?);
        let counts = |row: &FactRow| partitions.level_counts(row.partition, row.epoch);
        for (event_type, event_time, row) in &rows {
            let newer = theirs
                .iter()
                .any(|(of, at, row)| of == event_type && at > event_time && counts(row));
            if counts(row) && !(self.replayed && newer) {
                tables.set_level(added, other, row)?;
            }
            tables.drop_level(added, self.subject, *event_type)?;
        }
        Ok(())
    }
}
