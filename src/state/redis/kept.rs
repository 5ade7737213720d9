//! The writes that the server has not acknowledged, in order. Pure.

use std::collections::VecDeque;

use super::steps::Write;

/// In a bypass so many are kept: about 5 MB. More is not worth it, for a gap costs levels only.
const MOST: usize = 20_000;

/// See the module. Without a bypass callers wait for what is in here, so `max_unsettled` bounds it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    writes: VecDeque<Write>,
    /// Some had to be forgotten, and the server has not made up for it yet.
    pub(super) has_gap: bool,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn take(&mut self) -> VecDeque<Write> {
        std::mem::take(&mut self.writes)
    }

    pub(super) fn push(&mut self, write: Write) {
        self.writes.push_back(write);
    }

    /// As [`Self::push`], but the oldest goes when there are too many.
    pub(super) fn push_bounded(&mut self, write: Write) {
        // Of a partition that comes and goes the last word counts, so those are as many as partitions.
        if let Some(place) = write.place_that_moves() {
            self.writes
                .retain(|kept| kept.place_that_moves() != Some(place));
        } else if self.writes.len() >= MOST {
            let oldest = self.writes.iter().position(Write::may_be_forgotten);
            if oldest.and_then(|at| self.writes.remove(at)).is_some() {
                self.has_gap = true;
            }
        }
        self.writes.push_back(write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_leaves_a_gap() {
        let mut kept = Kept::default();
        kept.push_bounded(Write::Released("t:0".into()));
        for offset in 0..MOST as i64 + 10 {
            kept.push_bounded(Write::Progress("t:1".into(), offset));
            kept.push_bounded(Write::Released("t:1".into()));
        }
        assert!(kept.has_gap);
        let writes = kept.take();
        assert!(writes.len() <= MOST + 1, "{}", writes.len());
        assert!(matches!(&writes[0], Write::Released(place) if &**place == "t:0"));
        assert!(matches!(&writes[1], Write::Progress(_, offset) if *offset > 1));
        let last = MOST as i64 + 9;
        let newest = writes.iter().rev().nth(1);
        assert!(matches!(newest, Some(Write::Progress(_, offset)) if *offset == last));
    }
}
