//! What a stream asks its state, and waits for: while the state fails, the stream is held and the question is asked again.

use crate::config::Mode;
use crate::kafka::events::NewSeat;
use crate::state::{Facts, Flushed, Handover, JtiKey, Reply, StateError};

use super::desk::Forgetting;
use super::journey::{Draft, Lease, LetGo, Source, SourcePartition};
use super::outage::Waiting;
use super::passage::HeldSince;
use super::skips::Stop;
use super::stream::{FIRST_RETRY, MAX_RETRY, NotDurable, Stream};

/// So many jtis are forgotten by one call of the state: milliseconds of its thread.
const FORGET_AT_ONCE: usize = 1000;

impl Stream {
    /// Reads what a process before this one left about the stream as a whole; until it could, nothing is asked and
    /// nothing sent, and the stream is held.
    pub(super) async fn recall(&self, lease: &Lease) {
        let read = || async {
            let proven = self.parts.state.accepted_under().await? == Some(self.parts.fingerprint);
            // In shadow mode nothing is accepted, so a hold from before would never be over.
            let held_since = match self.parts.mode {
                Mode::Shadow => None,
                Mode::Live => Some(HeldSince::read(self.parts.state.clone()).await?),
            };
            Ok((proven, held_since))
        };
        if let Ok((proven, held_since)) = self.ask_until_answered(lease, read(), read).await {
            self.passage.recall(proven, held_since);
            self.recalled.cancel();
        }
    }

    /// Asks the state about a partition that was assigned, if the membership is sure. The question is asked when this
    /// returns.
    pub(super) fn ask_first(&self, seat: &NewSeat) -> Option<Reply<Handover>> {
        let is_sure = self.parts.membership.is_sure();
        is_sure.then(|| self.ask_about(seat))
    }

    fn ask_about(&self, seat: &NewSeat) -> Reply<Handover> {
        let state = &self.parts.state;
        state.assigned(&seat.topic, seat.partition, seat.committed, seat.log_end)
    }

    /// Waits for the answer, asking again until there is one; then the partition's SETs may ask too.
    ///
    /// Taking over makes us the owner and judges the state by where the log ended at the assignment. Who was stopped
    /// meanwhile may be neither: it asks only while the membership is sure.
    pub(super) async fn take_over(
        &self,
        seat: &NewSeat,
        first: Option<Reply<Handover>>,
        lease: &Lease,
        rewound: Option<Forgetting>,
    ) {
        let ask = |first: Option<Reply<Handover>>| async move {
            if let Some(asked) = first {
                return asked.await;
            }
            self.parts.membership.sure().await;
            self.ask_about(seat).await
        };
        let answer = self.ask_until_answered(lease, ask(first), || ask(None));
        let Ok(handover) = answer.await else {
            return;
        };
        let (topic, partition) = (&seat.topic, seat.partition);
        if matches!(handover, Handover::TakenOver | Handover::Recreated) && rewound.is_none() {
            self.parts.metrics.handovers.inc();
            tracing::info!(stream = self.id(), %topic, partition, ?handover, "levels and marks of the partition were dropped");
        }
        if let (Handover::First, Some(committed @ 1..)) = (handover, seat.committed) {
            // With a state in memory at each start; else another process had it, or a file or a Redis was lost.
            tracing::info!(stream = self.id(), %topic, partition, committed, "nothing is known here of what was decided before in this partition: SETs may go out again under the same jti, previous levels are not known");
        }
        if seat.committed.is_none() {
            // The group begins here: its own first commit must not look like somebody else's work after a crash. The
            // order of the state's calls is enough; nobody waits for it.
            drop(self.parts.state.progress(topic, partition, seat.start));
        }
        if let Some(Forgetting { jtis, done }) = rewound {
            if self.forget(lease, &jtis).await.is_err() {
                return;
            }
            // Who asked may have gone.
            let _ = done.send(());
        }
        if lease.wait(self.recalled.cancelled()).await.is_ok() {
            lease.taken_over.cancel();
        }
    }

    /// Forgets that these were delivered. A batch begins when the one before is durable: what other streams ask of the
    /// state goes between.
    async fn forget(&self, lease: &Lease, jtis: &[JtiKey]) -> Result<(), NotDurable> {
        for some in jtis.chunks(FORGET_AT_ONCE) {
            if lease.soft.is_cancelled() {
                return Err(NotDurable::LetGo);
            }
            let forgotten = self.parts.state.forget(some);
            self.durable(lease, None, forgotten).await?;
        }
        Ok(())
    }

    /// The state's answer. While it fails the stream is held, and the question is asked again, unless it is about a
    /// partition that is fenced.
    async fn ask_until_answered<T, F>(
        &self,
        lease: &Lease,
        first: F,
        again: impl Fn() -> F,
    ) -> Result<T, LetGo>
    where
        F: Future<Output = Result<T, StateError>>,
    {
        let mut wait = FIRST_RETRY;
        let mut holding = None;
        let mut asked = first;
        loop {
            match lease.wait(asked).await? {
                Ok(answer) => {
                    self.state_outage.worked(self.id(), holding);
                    return Ok(answer);
                }
                // Asking again is no use: the partition has to be assigned anew.
                Err(StateError::Fenced { .. }) => {
                    lease.fenced.cancel();
                    return Err(LetGo);
                }
                Err(error) => holding = Some(self.state_failed(&error, holding)),
            }
            lease.sleep(wait).await?;
            wait = (wait * 2).min(MAX_RETRY);
            asked = again();
        }
    }

    /// Step *admit*, the question. [`None`]: an operator skips the replay that it is about. A live SET is not skipped
    /// before it is known whether the receiver has it, and without the state its mark could not be left either; a replay
    /// leaves none, and its dead letter may be replayed once more.
    pub(super) async fn look_up(&self, draft: &Draft) -> Result<Option<Facts>, LetGo> {
        let asked = self.ask_about_set(draft);
        if draft.source.replay.is_none() {
            return asked.await.map(Some);
        }
        match self.skips.unless(draft.id, asked).await {
            Ok(facts) => Ok(Some(facts)),
            Err(Stop::Skipped) => Ok(None),
            Err(Stop::LetGo) => Err(LetGo),
        }
    }

    /// While the state store is down the stream is held and asks again. Where live SETs go on without it, a replay waits
    /// for it all the same, unless it is forced.
    async fn ask_about_set(&self, draft: &Draft) -> Result<Facts, LetGo> {
        let lease = &draft.source.lease;
        if !lease.taken_over.is_cancelled() {
            lease.wait(lease.taken_over.cancelled()).await?;
        }
        let ask = || self.parts.state.look_up(&draft.question());
        let mut facts = self.ask_until_answered(lease, ask(), ask).await?;
        let mut wait = FIRST_RETRY;
        while draft.source.is_unsure(&facts) {
            lease.sleep(wait).await?;
            wait = (wait * 2).min(MAX_RETRY);
            facts = self.ask_until_answered(lease, ask(), ask).await?;
        }
        if facts.other_partition {
            self.parts.metrics.spread_subjects.inc();
        }
        if facts.bypassed {
            self.parts.metrics.sets_without_state.inc();
        }
        Ok(facts)
    }

    /// Counts, logs once, and holds the stream for as long as what is returned lives.
    pub(super) fn state_failed<'a>(
        &'a self,
        error: &StateError,
        before: Option<Waiting<'a>>,
    ) -> Waiting<'a> {
        self.parts.metrics.state_errors.inc();
        if matches!(error, StateError::Stopped) {
            let _ = self.broken.set(format!("the state store ended: {error}"));
        }
        self.state_outage
            .failed(self.id(), &self.passage, before, error)
    }

    /// Waits until what was remembered is durable. The state keeps what it could not write; it is asked again until it
    /// could, and the stream is held meanwhile.
    pub(super) async fn durable(
        &self,
        lease: &Lease,
        of: Option<&SourcePartition>,
        flushed: Flushed,
    ) -> Result<(), NotDurable> {
        let mut flushed = flushed;
        let mut wait = FIRST_RETRY;
        let mut holding = None;
        while let Err(error) = lease.finish(flushed).await? {
            if matches!(error, StateError::Fenced { .. }) {
                return Err(NotDurable::Fenced);
            }
            holding = Some(self.state_failed(&error, holding));
            lease.finish(tokio::time::sleep(wait)).await?;
            wait = (wait * 2).min(MAX_RETRY);
            flushed = self.flush(of);
        }
        self.state_outage.worked(self.id(), holding);
        Ok(())
    }

    /// The same for the outcome of a SET. One that a fenced partition has to let go is not decided.
    pub(super) async fn durable_for(&self, source: &Source, flushed: Flushed) -> Result<(), LetGo> {
        let of = source.source_partition();
        let durable = self.durable(&source.lease, Some(&of), flushed).await;
        durable.map_err(|why| {
            if why == NotDurable::Fenced {
                source.lease.fenced.cancel();
            }
            LetGo
        })
    }

    /// Asks once more whether what was noted, of one partition or of all, is durable.
    pub(super) fn flush(&self, of: Option<&SourcePartition>) -> Flushed {
        let state = &self.parts.state;
        of.map_or_else(
            || state.flush(),
            |(topic, partition)| state.flush_of(topic, *partition),
        )
    }
}
