//! The small rows of the file, in memory: streams, event types, partitions, buckets. The copy in
//! memory leads; the file follows with each commit, and a failed one leaves the rows marked as
//! changed for the next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use super::tables::{Added, BucketRow, StreamRow, Tables};
use crate::{
    set::{EventType, Timestamp},
    state::{
        StateStats,
        tenure::{Partitions, Tenure},
        window::{Bucket, Window},
    },
};

#[derive(Default)]
pub(super) struct Ledger {
    streams: Vec<Stream>,
    by_name: HashMap<Arc<str>, usize>,
    event_types: HashMap<String, i64>,
    new_event_types: Vec<(i64, &'static str)>,
}

/// One stream; its id in the file is its index in the ledger.
pub(super) struct Stream {
    pub(super) row: StreamRow,
    changed: bool,
    pub(super) partitions: Partitions,
    changed_partitions: BTreeSet<usize>,
    /// By start: end and number of jtis.
    buckets: BTreeMap<i64, (i64, i64)>,
    changed_buckets: BTreeSet<i64>,
}

impl Stream {
    fn new(row: StreamRow) -> Self {
        Self {
            row,
            changed: false,
            partitions: Partitions::default(),
            changed_partitions: BTreeSet::new(),
            buckets: BTreeMap::new(),
            changed_buckets: BTreeSet::new(),
        }
    }

    /// The row, to be changed.
    pub(super) fn row_mut(&mut self) -> &mut StreamRow {
        self.changed = true;
        &mut self.row
    }

    /// A partition's tenure, to be changed.
    pub(super) fn tenure_mut(&mut self, number: usize) -> &mut Tenure {
        self.changed_partitions.insert(number);
        self.partitions.get_mut(number)
    }

    /// Notes that a partition's tenure was changed.
    pub(super) fn partition_changed(&mut self, number: usize) {
        self.changed_partitions.insert(number);
    }

    /// The starts of the buckets that are within the window, newest first.
    pub(super) fn live_buckets(&self, window: Window, now: Timestamp) -> impl Iterator<Item = i64> {
        let newest_first = self.buckets.iter().rev();
        newest_first
            .filter(move |(_, (end, _))| !window.is_over(*end, now))
            .map(|(start, _)| *start)
    }

    /// The starts of all buckets.
    pub(super) fn all_buckets(&self) -> impl Iterator<Item = i64> {
        self.buckets.keys().copied()
    }

    /// Makes sure that a bucket is known. Two windows of different length may give one start: then
    /// the later end counts.
    pub(super) fn open_bucket(&mut self, bucket: Bucket) {
        let (end, _) = self.buckets.entry(bucket.start).or_insert_with(|| {
            self.changed_buckets.insert(bucket.start);
            (bucket.end, 0)
        });
        if *end < bucket.end {
            *end = bucket.end;
            self.changed_buckets.insert(bucket.start);
        }
    }

    /// A sweep took jtis out of a bucket, and wrote that down itself.
    pub(super) fn swept(&mut self, start: i64, deleted: i64, is_empty: bool) {
        if is_empty {
            self.buckets.remove(&start);
            self.changed_buckets.remove(&start);
        } else if let Some((_, entries)) = self.buckets.get_mut(&start) {
            *entries -= deleted;
            self.changed_buckets.insert(start);
        }
    }
}

impl Ledger {
    /// Reads everything; some milliseconds for thousands of partitions.
    pub(super) fn load(tables: &Tables<'_>) -> rusqlite::Result<Self> {
        let mut ledger = Self::default();
        for row in tables.streams()? {
            ledger
                .by_name
                .insert(Arc::clone(&row.name), ledger.streams.len());
            ledger.streams.push(Stream::new(row));
        }
        ledger.event_types = tables.event_types()?.into_iter().collect();
        for (stream, topic, partition, tenure) in tables.partitions()? {
            if let Some(stream) = ledger.streams.get_mut(stream) {
                let number = stream.partitions.meet(&topic, partition);
                *stream.partitions.get_mut(number) = tenure;
            }
        }
        for (stream, row) in tables.buckets()? {
            if let Some(stream) = ledger.streams.get_mut(stream) {
                stream.buckets.insert(row.start, (row.end, row.entries));
            }
        }
        Ok(ledger)
    }

    /// The stream's id; a new one if it was not met before.
    pub(super) fn meet(&mut self, name: &Arc<str>) -> usize {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.streams.len();
        let mut stream = Stream::new(StreamRow::new(Arc::clone(name)));
        stream.changed = true;
        self.streams.push(stream);
        self.by_name.insert(Arc::clone(name), id);
        id
    }

    /// # Panics
    /// When `meet` did not give out the id.
    pub(super) fn stream(&self, id: usize) -> &Stream {
        &self.streams[id]
    }

    /// # Panics
    /// When `meet` did not give out the id.
    pub(super) fn stream_mut(&mut self, id: usize) -> &mut Stream {
        &mut self.streams[id]
    }

    /// The event type's number in the file, from 1 on; `None` when it was never written.
    pub(super) fn event_type(&self, event: EventType) -> Option<i64> {
        self.event_types.get(event.as_str()).copied()
    }

    /// The event type's number; a new one if it was not met before.
    pub(super) fn meet_event_type(&mut self, event: EventType) -> i64 {
        if let Some(number) = self.event_type(event) {
            return number;
        }
        let number = self.event_types.len() as i64 + 1;
        self.event_types.insert(event.as_str().to_owned(), number);
        self.new_event_types.push((number, event.as_str()));
        number
    }

    /// Counts the rows that a write added (`sign` 1), or that a rollback took away again (-1).
    pub(super) fn count(&mut self, added: &Added, sign: i64) {
        let stream = &mut self.streams[added.stream];
        if (added.marks, added.levels) != (0, 0) {
            stream.changed = true;
            stream.row.marks += sign * added.marks;
            stream.row.levels += sign * added.levels;
        }
        if let Some(start) = added.jti_in
            && let Some((_, entries)) = stream.buckets.get_mut(&start)
        {
            *entries += sign;
            stream.changed_buckets.insert(start);
        }
        for start in &added.jtis_out {
            if let Some((_, entries)) = stream.buckets.get_mut(start) {
                *entries -= sign;
                stream.changed_buckets.insert(*start);
            }
        }
    }

    /// The oldest bucket of any stream that is past the window: stream and start.
    pub(super) fn expired(&self, window: Window, now: Timestamp) -> Option<(usize, i64)> {
        let mut streams = self.streams.iter().enumerate();
        streams.find_map(|(id, stream)| {
            let mut buckets = stream.buckets.iter();
            let over = buckets.find(|(_, (end, _))| window.is_over(*end, now))?;
            Some((id, *over.0))
        })
    }

    /// Writes what changed since the last [`Self::written`], inside the caller's transaction.
    pub(super) fn write(&self, tables: &mut Tables<'_>) -> rusqlite::Result<()> {
        for (number, name) in &self.new_event_types {
            tables.put_event_type(*number, name)?;
        }
        for (id, stream) in self.streams.iter().enumerate() {
            if stream.changed {
                tables.put_stream(id, &stream.row)?;
            }
            for number in &stream.changed_partitions {
                if let Some((topic, partition, tenure)) = stream.partitions.row(*number) {
                    tables.put_partition(id, *number, topic, partition, &tenure)?;
                }
            }
            for start in &stream.changed_buckets {
                if let Some((end, entries)) = stream.buckets.get(start) {
                    let (start, end, entries) = (*start, *end, *entries);
                    tables.put_bucket(
                        id,
                        &BucketRow {
                            start,
                            end,
                            entries,
                        },
                    )?;
                }
            }
        }
        Ok(())
    }

    /// What [`Self::write`] wrote is committed.
    pub(super) fn written(&mut self) {
        self.new_event_types.clear();
        for stream in &mut self.streams {
            stream.changed = false;
            drop(mem::take(&mut stream.changed_partitions));
            drop(mem::take(&mut stream.changed_buckets));
        }
    }

    /// The counts, without those of flushes.
    pub(super) fn stats(&self) -> StateStats {
        let mut stats = StateStats::default();
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        for stream in &self.streams {
            stats.marks += count(stream.row.marks);
            stats.levels += count(stream.row.levels);
            let entries = stream.buckets.values().map(|(_, entries)| *entries);
            stats.jtis += count(entries.sum());
        }
        stats
    }
}
