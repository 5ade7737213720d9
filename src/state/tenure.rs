//! Who worked on a partition, and which of our levels and marks about it are still true.
//!
//! Pure. Nothing is searched for and deleted when a partition was taken over: each mark and level
//! carries the epoch of its partition in which it was written, and counts only while that epoch is
//! the partition's present one. To drop them all is to begin a new epoch.

use std::{collections::HashMap, sync::Arc};

use super::Handover;

/// What is known about one partition of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tenure {
    /// The next offset that this process settled, or found committed when it was assigned.
    pub(super) next_offset: Option<i64>,
    /// The highest offset that any mark of the present epoch has.
    pub(super) newest_mark: Option<i64>,
    /// Marks of other epochs do not count.
    pub(super) marks_epoch: i64,
    /// Levels of other epochs do not count.
    pub(super) levels_epoch: i64,
}

impl Tenure {
    /// The partition is ours (again). `committed` is the group's committed offset, `log_end` the
    /// offset that the next record will get.
    pub(super) fn assigned(&mut self, committed: Option<i64>, log_end: i64) -> Handover {
        // A partition gets a commit before it is read; one without belongs to another topic of that name.
        let recreated = committed.is_none()
            || self.newest_mark.is_some_and(|mark| mark >= log_end)
            || self.next_offset.is_some_and(|next| next > log_end);
        let worked_on = committed.is_some_and(|offset| offset > self.next_offset.unwrap_or(0));
        let handover = match (recreated, worked_on) {
            (true, _) => Handover::Recreated,
            (false, true) => Handover::TakenOver,
            (false, false) => Handover::Continued,
        };
        if handover != Handover::Continued {
            self.marks_epoch += 1;
            self.newest_mark = None;
        }
        // In a recreated log every commit is a new one, and we have settled nothing in it.
        if worked_on || (recreated && committed.is_some_and(|offset| offset > 0)) {
            self.levels_epoch += 1;
        }
        // Also when the committed offset was moved back: whoever works on from there shows then.
        self.next_offset = committed;
        handover
    }

    pub(super) fn marked(&mut self, offset: i64) {
        self.newest_mark = self.newest_mark.max(Some(offset));
    }
}

/// The partitions that one stream has met, numbered from 0 in the order of meeting them.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    numbers: HashMap<Arc<str>, HashMap<i32, usize>>,
    names: Vec<(Arc<str>, i32)>,
    tenures: Vec<Tenure>,
}

impl Partitions {
    pub(super) fn number(&self, topic: &str, partition: i32) -> Option<usize> {
        self.numbers.get(topic)?.get(&partition).copied()
    }

    /// The partition's number; a new one if it was not met before.
    pub(super) fn meet(&mut self, topic: &str, partition: i32) -> usize {
        if let Some(number) = self.number(topic, partition) {
            return number;
        }
        let number = self.tenures.len();
        self.tenures.push(Tenure::default());
        let topic: Arc<str> = Arc::from(topic);
        self.names.push((Arc::clone(&topic), partition));
        self.numbers
            .entry(topic)
            .or_default()
            .insert(partition, number);
        number
    }

    /// The topic, the partition and the tenure of a number that `meet` gave out.
    pub(super) fn row(&self, number: usize) -> Option<(&str, i32, Tenure)> {
        let (topic, partition) = self.names.get(number)?;
        Some((topic, *partition, *self.tenures.get(number)?))
    }

    pub(super) fn get(&self, number: usize) -> Option<&Tenure> {
        self.tenures.get(number)
    }

    /// # Panics
    /// When the number was not given out by `meet`.
    pub(super) fn get_mut(&mut self, number: usize) -> &mut Tenure {
        &mut self.tenures[number]
    }

    /// Whether a mark that was written in that epoch of the partition still counts.
    pub(super) fn mark_counts(&self, number: usize, epoch: i64) -> bool {
        self.get(number).is_some_and(|t| t.marks_epoch == epoch)
    }

    /// Whether a level that was written in that epoch of the partition still counts.
    pub(super) fn level_counts(&self, number: usize, epoch: i64) -> bool {
        self.get(number).is_some_and(|t| t.levels_epoch == epoch)
    }

    /// The partition is ours (again); returns its number and what that means.
    pub(super) fn assigned(
        &mut self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    ) -> (usize, Handover) {
        let known = self.number(topic, partition).is_some();
        let number = self.meet(topic, partition);
        if known {
            return (number, self.get_mut(number).assigned(committed, log_end));
        }
        self.get_mut(number).next_offset = committed;
        (number, Handover::First)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Tenure = Tenure {
        next_offset: Some(50),
        newest_mark: Some(60),
        marks_epoch: 1,
        levels_epoch: 1,
    };

    /// Committed offset, log end → what it means, whether marks and levels stay, the progress.
    #[test]
    fn what_an_assignment_means() {
        use Handover::{Continued, Recreated, TakenOver};
        let table = [
            (Some(50), 100, Continued, true, true, Some(50)),
            (Some(20), 100, Continued, true, true, Some(20)),
            (None, 100, Recreated, false, true, None),
            (Some(51), 100, TakenOver, false, false, Some(51)),
            (Some(50), 61, Continued, true, true, Some(50)),
            (Some(50), 60, Recreated, false, false, Some(50)),
            (None, 60, Recreated, false, true, None),
            (Some(0), 0, Recreated, false, true, Some(0)),
            (None, 0, Recreated, false, true, None),
            (Some(51), 55, Recreated, false, false, Some(51)),
        ];
        for (committed, log_end, handover, marks, levels, next) in table {
            let mut tenure = OURS;
            assert_eq!(
                tenure.assigned(committed, log_end),
                handover,
                "{committed:?} {log_end}"
            );
            assert_eq!(
                tenure.marks_epoch == OURS.marks_epoch,
                marks,
                "{committed:?} {log_end}"
            );
            assert_eq!(
                tenure.levels_epoch == OURS.levels_epoch,
                levels,
                "{committed:?} {log_end}"
            );
            assert_eq!(tenure.next_offset, next, "{committed:?} {log_end}");
        }
    }

    #[test]
    fn moved_back_then_worked_on_by_others_is_noticed() {
        let mut tenure = OURS;
        assert_eq!(tenure.assigned(Some(0), 100), Handover::Continued);
        assert_eq!(tenure.assigned(Some(40), 100), Handover::TakenOver);
    }

    #[test]
    fn a_log_that_ends_below_our_progress_is_another_one() {
        let mut tenure = Tenure {
            newest_mark: None,
            ..OURS
        };
        assert_eq!(tenure.assigned(Some(50), 50), Handover::Continued);
        assert_eq!(tenure.assigned(Some(50), 49), Handover::Recreated);
    }
}
