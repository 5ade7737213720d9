//! The partitions that this process was assigned, and the token under which it owns each. Pure.
//!
//! A token is drawn for each assignment and stands in the tenure that all members share. Every write names it, and one
//! that names another than the one there is refused: whoever took the partition later, or a loss of data, has ended our
//! tenure. It says who wrote last, not who is right; that only the group knows.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::text::{self, NOBODY};
use crate::state::{Handover, tenure::Tenure};

/// A topic and a partition of it, as they are spelled in Redis.
pub(super) type Place = Arc<str>;

/// Names one assignment of one partition to one process.
pub(super) type Token = Arc<str>;

/// A partition that becomes ours.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) place: Place,
    pub(super) token: Token,
    pub(super) committed: Option<i64>,
    pub(super) log_end: i64,
}

impl Assignment {
    /// What it means, from the tenure as it is spelled in Redis and from what was known of one of our own, and the tenure to
    /// be. What cannot be read counts as never seen. Then its epochs begin anywhere: of marks and levels that are there all
    /// the same none belongs to them.
    pub(super) fn tenure(&self, found: &str, known: &Known) -> (Handover, Tenure) {
        if let Some((mut tenure, _)) = text::read_tenure(found) {
            let settled = tenure.next_offset;
            let is_outdated = known.is_newer_than(&tenure);
            let handover = tenure.assigned(self.committed, self.log_end);
            if handover == Handover::Continued && known.is_another_log {
                known.begin_marks(&mut tenure);
                return (Handover::Recreated, tenure);
            }
            if handover == Handover::Continued {
                // All members share it, and a commit may lag behind it: what they have settled is not somebody else's work
                // when it is committed later. So of offsets that were set back (by an operator, or in a rewind) it is only
                // beyond the old progress that the work of somebody without this Redis shows.
                tenure.next_offset = tenure.next_offset.max(settled);
            }
            if handover == Handover::Continued && is_outdated {
                known.begin_marks(&mut tenure);
                known.begin_levels(&mut tenure);
                return (Handover::TakenOver, tenure);
            }
            return (handover, tenure);
        }
        let digits = self.token.get(..15).unwrap_or_default();
        let epoch = i64::from_str_radix(digits, 16).unwrap_or_default();
        let tenure = Tenure {
            next_offset: self.committed,
            newest_mark: None,
            marks_epoch: epoch,
            levels_epoch: epoch,
        };
        (Handover::First, tenure)
    }
}

/// What a process knows about a partition from before it was assigned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// It was assigned as another log than the one before, and the server could not be told.
    pub(super) is_another_log: bool,
    /// The last tenure of its own here, with what the server had acknowledged.
    last: Option<Held>,
}

impl Known {
    /// The server had acknowledged more than what stands there, or a later epoch: a replica took over that did not have it.
    fn is_newer_than(&self, tenure: &Tenure) -> bool {
        self.last.as_ref().is_some_and(|last| {
            let here = (tenure.marks_epoch, tenure.levels_epoch);
            last.epochs > here || (last.epochs == here && last.has_more_than(tenure))
        })
    }

    /// Begins an epoch to which none of the marks there belongs.
    fn begin_marks(&self, tenure: &mut Tenure) {
        let last = self.last.as_ref().map_or(0, |last| last.epochs.0);
        tenure.marks_epoch = tenure.marks_epoch.max(last) + 1;
        tenure.newest_mark = None;
    }

    /// The same for levels, and goes on from the progress that was acknowledged.
    fn begin_levels(&self, tenure: &mut Tenure) {
        let Some(last) = &self.last else { return };
        tenure.levels_epoch = tenure.levels_epoch.max(last.epochs.1) + 1;
        tenure.next_offset = tenure.next_offset.max(last.settled);
    }
}

/// What a process knows about a partition of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) token: Token,
    /// Of marks and of levels, as they were when the partition was assigned; 0: the server was not asked.
    pub(super) epochs: (i64, i64),
    /// The progress that the server acknowledged since the assignment.
    pub(super) settled: Option<i64>,
    /// The highest offset of a mark that the server acknowledged since then.
    pub(super) newest_mark: Option<i64>,
}

impl Held {
    /// The tenure is ours and does not have what was acknowledged.
    fn is_ahead_of(&self, tenure: &Tenure, owner: &str) -> bool {
        owner == &*self.token && self.has_more_than(tenure)
    }

    /// The server had acknowledged what is not there.
    fn has_more_than(&self, tenure: &Tenure) -> bool {
        self.settled > tenure.next_offset || self.newest_mark > tenure.newest_mark
    }

    /// Whether the server, on which this tenure was found, has lost writes of ours that it had acknowledged.
    pub(super) fn has_lost(&self, found: &str) -> bool {
        text::read_tenure(found).is_some_and(|(tenure, owner)| self.is_ahead_of(&tenure, owner))
    }

    /// The same tenure with what was acknowledged, in epochs to which none of the marks and levels there belongs.
    /// [`None`]: nothing is lost, or it is not ours any more.
    pub(super) fn without_what_is_lost(&self, found: &str) -> Option<String> {
        let (mut tenure, owner) = text::read_tenure(found)?;
        if !self.is_ahead_of(&tenure, owner) {
            return None;
        }
        tenure.next_offset = tenure.next_offset.max(self.settled);
        // None of these marks is there, but the log reaches so far, and nothing more is missing.
        tenure.newest_mark = self.newest_mark;
        tenure.marks_epoch += 1;
        tenure.levels_epoch += 1;
        Some(text::tenure(&tenure, owner))
    }

    /// The same tenure in a new epoch of levels, to which none of those there belongs. [`None`]: it is not ours any more.
    pub(super) fn without_levels(&self, found: &str) -> Option<String> {
        let (mut tenure, owner) = text::read_tenure(found)?;
        tenure.levels_epoch += 1;
        (owner == &*self.token).then(|| text::tenure(&tenure, owner))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    held: HashMap<Place, Held>,
    /// Of partitions that were ours, or were assigned without the server: one entry a partition.
    known: HashMap<Place, Known>,
    /// A write about these was refused since they were assigned.
    fenced: HashSet<Place>,
}

impl Places {
    /// What is known about a partition that is assigned.
    pub(super) fn known(&self, place: &str) -> Known {
        self.known.get(place).cloned().unwrap_or_default()
    }

    /// It was assigned, and the server could not be told.
    pub(super) fn untold(&mut self, assignment: &Assignment) {
        // Without a commit it is another log, or one that is read once more: its marks count no longer.
        if assignment.committed.is_none() {
            let known = self.known.entry(Arc::clone(&assignment.place));
            known.or_default().is_another_log = true;
        }
    }

    /// The partition is ours under this token, in the tenure that the server has, if it has been told.
    pub(super) fn begin(&mut self, place: &Place, token: &Token, tenure: Option<&Tenure>) {
        if tenure.is_some() {
            self.known.remove(place);
        }
        let epochs = tenure.map(|tenure| (tenure.marks_epoch, tenure.levels_epoch));
        let held = Held {
            token: Arc::clone(token),
            epochs: epochs.unwrap_or_default(),
            settled: None,
            newest_mark: None,
        };
        self.fenced.remove(place);
        self.held.insert(Arc::clone(place), held);
    }

    /// The partition is not ours any more.
    pub(super) fn end(&mut self, place: &str) {
        self.fenced.remove(place);
        if let Some((place, held)) = self.held.remove_entry(place)
            && held.epochs != (0, 0)
        {
            self.known.entry(place).or_default().last = Some(held);
        }
    }

    /// A write about the partition was refused; says whether it is the first one of this tenure.
    pub(super) fn fence(&mut self, place: &Place) -> bool {
        self.fenced.insert(Arc::clone(place))
    }

    /// Whether a write about the partition was refused since it was assigned.
    pub(super) fn is_fenced(&self, place: &str) -> bool {
        self.fenced.contains(place)
    }

    /// What a write about the partition has to name.
    pub(super) fn token(&self, place: &str) -> &str {
        self.held.get(place).map_or(NOBODY, |held| &held.token)
    }

    /// The server acknowledged our progress.
    pub(super) fn settled(&mut self, place: &str, next_offset: i64) {
        if let Some(held) = self.held.get_mut(place) {
            held.settled = held.settled.max(Some(next_offset));
        }
    }

    /// The server acknowledged a mark of ours, or one that is newer than it.
    pub(super) fn marked(&mut self, place: &str, offset: i64) {
        if let Some(held) = self.held.get_mut(place) {
            held.newest_mark = held.newest_mark.max(Some(offset));
        }
    }

    pub(super) fn held(&self) -> Vec<(Place, Held)> {
        let each = self.held.iter();
        each.map(|(place, held)| (Arc::clone(place), held.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tenure_of_our_own_is_begun_anew() {
        let held = Held {
            token: "ours".into(),
            epochs: (3, 4),
            settled: Some(7),
            newest_mark: None,
        };
        let tenure = |next_offset, owner| {
            let tenure = Tenure {
                next_offset,
                newest_mark: Some(9),
                marks_epoch: 3,
                levels_epoch: 4,
            };
            text::tenure(&tenure, owner)
        };
        let ours = tenure(Some(7), "ours");
        assert_eq!(held.without_what_is_lost(&ours), None, "it is all there");
        assert!(!held.has_lost(&ours));
        let levels = held.without_levels(&ours).expect("ours");
        assert_eq!(
            levels,
            format!("{} {} 3 5 ours", text::offset(7), text::offset(9))
        );
        for behind in [Some(6), None] {
            let anew = held.without_what_is_lost(&tenure(behind, "ours"));
            let anew = anew.expect("ours");
            assert_eq!(anew, format!("{} - 4 5 ours", text::offset(7)));
            assert!(!held.has_lost(&anew), "asked again, it is all there");
        }
        let marked = |offset| Held {
            newest_mark: Some(offset),
            ..held.clone()
        };
        assert!(!marked(9).has_lost(&ours));
        let anew = marked(10).without_what_is_lost(&ours);
        let anew = anew.expect("a mark is lost, though no progress is");
        assert_eq!(
            anew,
            format!("{} {} 4 5 ours", text::offset(7), text::offset(10))
        );
        assert!(!marked(10).has_lost(&anew), "asked again, it is all there");
        for found in [tenure(Some(6), "theirs"), String::new()] {
            assert!(!held.has_lost(&found));
            assert_eq!(held.without_what_is_lost(&found), None);
            assert_eq!(held.without_levels(&found), None);
        }
    }
    /// What stands there, against the last tenure of our own: epochs 3 and 4, progress 7, a mark at 9.
    #[test]
    fn what_is_older_than_our_last_tenure_was_lost() {
        let assignment = Assignment {
            place: "t:0".into(),
            token: "again".into(),
            committed: Some(5),
            log_end: 100,
        };
        let last = Held {
            token: "ours".into(),
            epochs: (3, 4),
            settled: Some(7),
            newest_mark: Some(9),
        };
        let known = Known {
            is_another_log: false,
            last: Some(last),
        };
        let there = |next_offset, newest_mark, marks_epoch, levels_epoch| Tenure {
            next_offset: Some(next_offset),
            newest_mark: Some(newest_mark),
            marks_epoch,
            levels_epoch,
        };
        let anew = |next_offset, marks_epoch, levels_epoch| Tenure {
            newest_mark: None,
            ..there(next_offset, 0, marks_epoch, levels_epoch)
        };
        use Handover::{Continued, Recreated, TakenOver};
        let cases = [
            (there(7, 9, 3, 4), Continued, there(7, 9, 3, 4), "all of it"),
            (there(8, 12, 3, 4), Continued, there(8, 12, 3, 4), "more"),
            (
                there(5, 2, 4, 4),
                Continued,
                there(5, 2, 4, 4),
                "begun anew",
            ),
            (there(5, 2, 3, 5), Continued, there(5, 2, 3, 5), "the same"),
            (
                there(7, 8, 3, 4),
                TakenOver,
                anew(7, 4, 5),
                "a mark is lost",
            ),
            (
                there(6, 9, 3, 4),
                TakenOver,
                anew(7, 4, 5),
                "progress is lost",
            ),
            (
                there(8, 12, 2, 4),
                TakenOver,
                anew(8, 4, 5),
                "an epoch is lost",
            ),
            (
                there(8, 12, 3, 3),
                TakenOver,
                anew(8, 4, 5),
                "one of levels",
            ),
        ];
        let meaning = |tenure: &Tenure, known: &Known| {
            assignment.tenure(&text::tenure(tenure, "theirs"), known)
        };
        for (tenure, handover, to_be, what) in cases {
            assert_eq!(meaning(&tenure, &known), (handover, to_be), "{what}");
        }
        let another = Known {
            is_another_log: true,
            last: None,
        };
        let found = meaning(&there(8, 12, 3, 4), &another);
        assert_eq!(found, (Recreated, anew(5, 4, 4)));
        let nothing = meaning(&there(8, 12, 3, 4), &Known::default());
        assert_eq!(nothing, (Continued, there(8, 12, 3, 4)));
    }
}
