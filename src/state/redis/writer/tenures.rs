//! What one stream's task does to tenures: it takes partitions over, and begins new epochs of its own.

use std::{collections::VecDeque, sync::Arc};

use super::super::{
    places::{Assignment, Held, Place},
    scripts::Script,
    steps::{self, MAX_COMMANDS, Step},
    text, trouble,
};
use super::{Writer, reply};
use crate::state::StateError;

/// A tenure that changes under our hands is read again so often. Two members that are assigned the
/// same partition at once is all that does it.
const MAX_CHANGES: usize = 10;

impl Writer {
    /// The partition is ours (again): the tenure that all members share says what that means.
    pub(super) async fn assigned(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StateError> {
        let Some(assignment) = steps.front().and_then(Step::assignment).cloned() else {
            return Ok(());
        };
        if let Some(Step::Write(..)) = steps.front() {
            steps.pop_front();
            self.unconfirmed(&assignment);
            return Ok(());
        }
        let has_gap = self.kept.has_gap;
        let known = self.places.known(&assignment.place);
        let meaning = |found: &str| {
            let (handover, mut tenure) = assignment.tenure(found, &known);
            // What was forgotten in a bypass may have been levels: those that are there may be too old.
            tenure.levels_epoch += i64::from(has_gap);
            let spelled = text::tenure(&tenure, &assignment.token);
            Some(((handover, tenure), spelled))
        };
        let meaning = self.change(&assignment.place, meaning).await?;
        let tenure = meaning.as_ref().map(|(_, tenure)| tenure);
        self.places
            .begin(&assignment.place, &assignment.token, tenure);
        if let (Some(Step::Assigned { answer, .. }), Some((handover, _))) =
            (steps.pop_front(), meaning)
        {
            reply(answer, Ok(handover));
        }
        Ok(())
    }

    /// The partition was assigned in a bypass. The group may have given it to somebody else since, so nothing is taken
    /// over: it counts as fenced until it is assigned anew, which the group confirms first. Our token stands nowhere.
    fn unconfirmed(&mut self, assignment: &Assignment) {
        let Assignment { place, token, .. } = assignment;
        self.places.begin(place, token, None);
        self.places.fence(place);
        tracing::info!(stream = %self.stream, %place, at = %self.common.at, "the partition was assigned while the Redis was away: it is taken over when the group has confirmed that it is ours");
    }

    /// Changes a tenure, whatever others do to it meanwhile. [`None`]: it was left as it is.
    async fn change<T>(
        &mut self,
        place: &Place,
        change: impl Fn(&str) -> Option<(T, String)>,
    ) -> Result<Option<T>, StateError> {
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        let tenures = self.keys.tenures();
        for _ in 0..MAX_CHANGES {
            let mut read = redis::cmd("HGET");
            read.arg(&tenures).arg(&**place);
            let found = link.send(&[read]).await?;
            let found = Step::text(found.first()).unwrap_or_default();
            let Some((meaning, tenure)) = change(&found) else {
                return Ok(None);
            };
            let mut swap = link.call(Script::TakeOver, &[&tenures]);
            swap.arg(&**place).arg(found).arg(tenure);
            let swapped = link.send(&[swap]).await?;
            if Step::is_one(swapped.first()) {
                return Ok(Some(meaning));
            }
        }
        Err(trouble::strange(&self.common.at))
    }

    /// Not all that was decided in a bypass could be kept: levels of our partitions may be too old. Of those that the Redis
    /// says are somebody else's nothing is touched; those that were assigned meanwhile are dropped when they are taken over.
    pub(super) async fn drop_levels(&mut self, steps: &VecDeque<Step>) -> Result<(), StateError> {
        let moves = steps::that_move(steps);
        let mut dropped = 0;
        for (place, held) in self.places.held() {
            if moves.contains_key(&place) {
                continue;
            }
            let meaning = |found: &str| Some(((), held.without_levels(found)?));
            dropped += usize::from(self.change(&place, meaning).await?.is_some());
        }
        self.health.lost(dropped);
        tracing::warn!(stream = %self.stream, at = %self.common.at, "not everything that was decided without the Redis could be kept for it: levels of our partitions are dropped");
        Ok(())
    }

    /// On another server than before, or after a restart of it: is what was acknowledged still there? A partition that it
    /// says is somebody else's, or that it does not know, shows with the next write.
    pub(super) async fn look_for_losses(&mut self) -> Result<(), StateError> {
        let held = self.places.held();
        for some in held.chunks(MAX_COMMANDS) {
            for (place, held) in self.that_lost(some).await? {
                let meaning = |found: &str| Some(((), held.without_what_is_lost(found)?));
                if self.change(&place, meaning).await?.is_some() {
                    self.health.lost(1);
                    tracing::error!(stream = %self.stream, %place, at = %self.common.at, "the Redis has lost what it had acknowledged: it was restarted without its latest writes, or a replica took over that did not have them. Levels and marks of the partition are dropped; SETs may be repeated");
                }
            }
        }
        Ok(())
    }

    async fn that_lost(
        &mut self,
        some: &[(Place, Held)],
    ) -> Result<Vec<(Place, Held)>, StateError> {
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        let tenures = self.keys.tenures();
        let read = |(place, _): &(Place, Held)| {
            let mut read = redis::cmd("HGET");
            read.arg(&tenures).arg(&**place);
            read
        };
        let commands: Vec<_> = some.iter().map(read).collect();
        let found = link.send(&commands).await?;
        let lost = some.iter().zip(&found).filter(|((_, held), found)| {
            Step::text(Some(found)).is_some_and(|found| held.has_lost(&found))
        });
        Ok(lost
            .map(|((place, held), _)| (Arc::clone(place), held.clone()))
            .collect())
    }
}
