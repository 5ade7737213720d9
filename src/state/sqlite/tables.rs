//! Every SQL statement, prepared once, behind calls that name what they do. No decisions here but
//! the compare-and-set on the mark.

use std::sync::Arc;

use rusqlite::{Connection, Row, Statement, params};

use crate::{
    set::{Level, SubjectKey},
    state::{JtiKey, Position, tenure::Tenure},
};

pub(super) struct StreamRow {
    pub(super) name: Arc<str>,
    pub(super) accepted_under: Option<[u8; 32]>,
    pub(super) operator_hold: Option<String>,
    pub(super) marks: i64,
    pub(super) levels: i64,
    /// In ms since 1970.
    pub(super) held_since: Option<i64>,
}

impl StreamRow {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            accepted_under: None,
            operator_hold: None,
            marks: 0,
            levels: 0,
            held_since: None,
        }
    }
}

pub(super) struct BucketRow {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) entries: i64,
}

/// What is known about a subject: one row.
pub(super) struct FactRow {
    pub(super) fact: Fact,
    /// The partition that it stems from, by its number, and that partition's epoch.
    pub(super) partition: usize,
    pub(super) epoch: i64,
}

pub(super) enum Fact {
    Mark(Position),
    /// The last accepted SET of an event type, by its number.
    Accepted {
        event_type: i64,
        level: Option<Level>,
        event_time: i64,
        /// [`None`]: written by a setbridge that did not keep it.
        position: Option<Position>,
    },
}

/// The rows that one write added.
#[derive(Default)]
pub(super) struct Added {
    pub(super) stream: usize,
    pub(super) marks: i64,
    pub(super) levels: i64,
    /// The bucket that got a new jti.
    pub(super) jti_in: Option<i64>,
    /// The buckets that lost one.
    pub(super) jtis_out: Vec<i64>,
}

pub(super) struct Tables<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    find_jti: Statement<'c>,
    put_jti: Statement<'c>,
    drop_jti: Statement<'c>,
    read_subject: Statement<'c>,
    move_mark: Statement<'c>,
    add_mark: Statement<'c>,
    move_level: Statement<'c>,
    add_level: Statement<'c>,
    drop_level: Statement<'c>,
    put_stream: Statement<'c>,
    put_event_type: Statement<'c>,
    put_partition: Statement<'c>,
    put_bucket: Statement<'c>,
    drop_bucket: Statement<'c>,
    sweep: Statement<'c>,
}

impl<'c> Tables<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare(sql);
        Ok(Self {
            connection,
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            find_jti: prepare(
                "SELECT EXISTS (SELECT 1 FROM delivered WHERE stream = ?1 AND bucket = ?3 AND jti = ?2)
                 OR EXISTS (SELECT 1 FROM delivered WHERE stream = ?1 AND bucket = ?4 AND jti = ?2)
                 OR EXISTS (SELECT 1 FROM delivered WHERE stream = ?1 AND bucket = ?5 AND jti = ?2)",
            )?,
            put_jti: prepare("INSERT OR IGNORE INTO delivered VALUES (?1, ?2, ?3)")?,
            drop_jti: prepare(
                "DELETE FROM delivered WHERE stream = ?1 AND bucket = ?2 AND jti = ?3",
            )?,
            read_subject: prepare(
                "SELECT fact, partition, epoch, position, element, set_index, level, event_time
                 FROM subjects WHERE stream = ?1 AND subject = ?2",
            )?,
            move_mark: prepare(
                "UPDATE subjects SET epoch = ?5, position = ?6, element = ?7, set_index = ?8
                 WHERE stream = ?1 AND subject = ?2 AND fact = ?3 AND partition = ?4
                 AND (epoch <> ?5 OR (position, element, set_index) < (?6, ?7, ?8))",
            )?,
            add_mark: prepare(
                "INSERT OR IGNORE INTO subjects
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, NULL)",
            )?,
            move_level: prepare(
                "UPDATE subjects SET partition = ?4, epoch = ?5, level = ?6, event_time = ?7,
                 position = ?8, element = ?9, set_index = ?10
                 WHERE stream = ?1 AND subject = ?2 AND fact = ?3",
            )?,
            add_level: prepare(
                "INSERT INTO subjects VALUES (?1, ?2, ?3, ?4, ?5, ?8, ?9, ?10, ?6, ?7)",
            )?,
            drop_level: prepare(
                "DELETE FROM subjects WHERE stream = ?1 AND subject = ?2 AND fact = ?3",
            )?,
            put_stream: prepare("INSERT OR REPLACE INTO streams VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?,
            put_event_type: prepare("INSERT OR REPLACE INTO event_types VALUES (?1, ?2)")?,
            put_partition: prepare(
                "INSERT OR REPLACE INTO partitions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            put_bucket: prepare("INSERT OR REPLACE INTO buckets VALUES (?1, ?2, ?3, ?4)")?,
            drop_bucket: prepare("DELETE FROM buckets WHERE stream = ?1 AND start = ?2")?,
            sweep: prepare(
                "DELETE FROM delivered WHERE stream = ?1 AND bucket = ?2 AND jti <= (
                   SELECT max(jti) FROM (SELECT jti FROM delivered
                     WHERE stream = ?1 AND bucket = ?2 ORDER BY jti LIMIT ?3))",
            )?,
        })
    }

    /// Begins a write transaction; reads see its own writes.
    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.commit.execute([]).map(drop)
    }

    /// Ends a transaction without a trace, if one is open (some failures have ended it already).
    pub(super) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // When even this fails, the next BEGIN fails too, and says why.
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    /// Copies the whole log into the database and syncs that.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy = self
            .connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))?;
        if busy == 0 {
            return Ok(());
        }
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        Err(rusqlite::Error::SqliteFailure(code, None))
    }

    /// Probes the buckets, three (as many as a window has) in one statement.
    pub(super) fn is_delivered(
        &mut self,
        stream: usize,
        jti: JtiKey,
        buckets: impl Iterator<Item = i64>,
    ) -> rusqlite::Result<bool> {
        let mut buckets = buckets.fuse();
        while let Some(first) = buckets.next() {
            // A probe for NULL is over before it began.
            let (second, third) = (buckets.next(), buckets.next());
            let probes = params![stream as i64, jti.0, first, second, third];
            if self.find_jti.query_row(probes, |row| row.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says whether the jti is new in its bucket.
    pub(super) fn put_jti(
        &mut self,
        stream: usize,
        bucket: i64,
        jti: JtiKey,
    ) -> rusqlite::Result<bool> {
        let rows = self
            .put_jti
            .execute(params![stream as i64, bucket, jti.0])?;
        Ok(rows > 0)
    }

    /// Says whether the jti was in that bucket.
    pub(super) fn drop_jti(
        &mut self,
        stream: usize,
        bucket: i64,
        jti: JtiKey,
    ) -> rusqlite::Result<bool> {
        let rows = self
            .drop_jti
            .execute(params![stream as i64, bucket, jti.0])?;
        Ok(rows > 0)
    }

    /// Hands each row about the subject to `see`.
    pub(super) fn read_subject(
        &mut self,
        stream: usize,
        subject: SubjectKey,
        mut see: impl FnMut(FactRow),
    ) -> rusqlite::Result<()> {
        let mut rows = self
            .read_subject
            .query(params![stream as i64, subject.as_bytes()])?;
        while let Some(row) = rows.next()? {
            see(fact_row(row)?);
        }
        Ok(())
    }

    /// Compare-and-set: moves the mark unless the one there, of the same epoch, is as new. Returns
    /// whether it moved, and counts a new row.
    pub(super) fn mark(
        &mut self,
        added: &mut Added,
        subject: SubjectKey,
        (partition, epoch): (usize, i64),
        position: Position,
    ) -> rusqlite::Result<bool> {
        let values = params![
            added.stream as i64,
            subject.as_bytes(),
            -1 - partition as i64,
            partition as i64,
            epoch,
            position.offset,
            position.element,
            position.set
        ];
        if self.move_mark.execute(values)? > 0 {
            return Ok(true);
        }
        let new = self.add_mark.execute(values)? as i64;
        added.marks += new;
        Ok(new > 0)
    }

    /// Sets the last accepted SET of an event type, and counts a new row.
    pub(super) fn set_level(
        &mut self,
        added: &mut Added,
        subject: SubjectKey,
        row: &FactRow,
    ) -> rusqlite::Result<()> {
        let Fact::Accepted {
            event_type,
            level,
            event_time,
            position,
        } = row.fact
        else {
            return Ok(());
        };
        let values = params![
            added.stream as i64,
            subject.as_bytes(),
            event_type,
            row.partition as i64,
            row.epoch,
            level.map(Level::as_str),
            event_time,
            position.map(|at| at.offset),
            position.map(|at| at.element),
            position.map(|at| at.set)
        ];
        if self.move_level.execute(values)? == 0 {
            self.add_level.execute(values)?;
            added.levels += 1;
        }
        Ok(())
    }

    pub(super) fn drop_level(
        &mut self,
        added: &mut Added,
        subject: SubjectKey,
        event_type: i64,
    ) -> rusqlite::Result<()> {
        let key = params![added.stream as i64, subject.as_bytes(), event_type];
        added.levels -= self.drop_level.execute(key)? as i64;
        Ok(())
    }

    /// Deletes at most `limit` jtis of a bucket, from its left end; returns how many.
    pub(super) fn sweep(&mut self, stream: usize, start: i64, limit: i64) -> rusqlite::Result<i64> {
        let rows = self.sweep.execute(params![stream as i64, start, limit])?;
        Ok(rows as i64)
    }

    pub(super) fn drop_bucket(&mut self, stream: usize, start: i64) -> rusqlite::Result<()> {
        self.drop_bucket
            .execute(params![stream as i64, start])
            .map(drop)
    }

    pub(super) fn put_stream(&mut self, id: usize, row: &StreamRow) -> rusqlite::Result<()> {
        let values = params![
            id as i64,
            row.name,
            row.accepted_under,
            row.operator_hold,
            row.marks,
            row.levels,
            row.held_since
        ];
        self.put_stream.execute(values).map(drop)
    }

    pub(super) fn put_event_type(&mut self, number: i64, name: &str) -> rusqlite::Result<()> {
        self.put_event_type.execute(params![number, name]).map(drop)
    }

    pub(super) fn put_partition(
        &mut self,
        stream: usize,
        number: usize,
        topic: &str,
        partition: i32,
        tenure: &Tenure,
    ) -> rusqlite::Result<()> {
        let values = params![
            stream as i64,
            number as i64,
            topic,
            partition,
            tenure.next_offset,
            tenure.newest_mark,
            tenure.marks_epoch,
            tenure.levels_epoch
        ];
        self.put_partition.execute(values).map(drop)
    }

    pub(super) fn put_bucket(&mut self, stream: usize, row: &BucketRow) -> rusqlite::Result<()> {
        let values = params![stream as i64, row.start, row.end, row.entries];
        self.put_bucket.execute(values).map(drop)
    }

    /// All streams by id, which counts from 0 without gaps.
    pub(super) fn streams(&self) -> rusqlite::Result<Vec<StreamRow>> {
        let sql = "SELECT name, accepted_under, operator_hold, marks, levels, held_since
                   FROM streams ORDER BY id";
        self.all(sql, |row| {
            Ok(StreamRow {
                name: row.get::<_, String>(0)?.into(),
                accepted_under: row.get(1)?,
                operator_hold: row.get(2)?,
                marks: row.get(3)?,
                levels: row.get(4)?,
                held_since: row.get(5)?,
            })
        })
    }

    pub(super) fn event_types(&self) -> rusqlite::Result<Vec<(String, i64)>> {
        self.all("SELECT name, id FROM event_types", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Stream, topic, partition and tenure, in the order of the partitions' numbers.
    pub(super) fn partitions(&self) -> rusqlite::Result<Vec<(usize, String, i32, Tenure)>> {
        let sql = "SELECT stream, topic, partition, next_offset, newest_mark, marks_epoch,
                   levels_epoch FROM partitions ORDER BY stream, id";
        self.all(sql, |row| {
            let tenure = Tenure {
                next_offset: row.get(3)?,
                newest_mark: row.get(4)?,
                marks_epoch: row.get(5)?,
                levels_epoch: row.get(6)?,
            };
            Ok((index(row, 0)?, row.get(1)?, row.get(2)?, tenure))
        })
    }

    pub(super) fn buckets(&self) -> rusqlite::Result<Vec<(usize, BucketRow)>> {
        self.all("SELECT stream, start, end, entries FROM buckets", |row| {
            let bucket = BucketRow {
                start: row.get(1)?,
                end: row.get(2)?,
                entries: row.get(3)?,
            };
            Ok((index(row, 0)?, bucket))
        })
    }

    fn all<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare(sql)?.query_map([], read)?.collect()
    }
}

fn fact_row(row: &Row<'_>) -> rusqlite::Result<FactRow> {
    let fact = match row.get(0)? {
        event_type @ 1.. => Fact::Accepted {
            event_type,
            // A level that a newer setbridge knows is none to us.
            level: level(row.get_ref(6)?.as_str_or_null()?),
            event_time: row.get(7)?,
            position: match row.get(3)? {
                Some(offset) => Some(position(row, offset)?),
                None => None,
            },
        },
        _ => Fact::Mark(position(row, row.get(3)?)?),
    };
    Ok(FactRow {
        fact,
        partition: index(row, 1)?,
        epoch: row.get(2)?,
    })
}

fn position(row: &Row<'_>, offset: i64) -> rusqlite::Result<Position> {
    Ok(Position {
        offset,
        element: row.get(4)?,
        set: row.get(5)?,
    })
}

/// A number that we gave out ourselves, counting from 0.
fn index(row: &Row<'_>, column: usize) -> rusqlite::Result<usize> {
    Ok(row.get::<_, u32>(column)? as usize)
}

fn level(text: Option<&str>) -> Option<Level> {
    Level::parse(text?).ok()
}
