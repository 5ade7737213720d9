//! Steps *sign*, *push* and *judge*: one SET, as often as it takes.

mod signing;
mod tries;

use tokio::sync::oneshot;

use super::journey::{Draft, LetGo, Outcome};
use super::passage::{Next, Pass};
use super::skips::{SKIPPED, Stop};
use super::stream::{Stream, now_ms};
use super::wire::Approach;
use crate::config::Mode;
use crate::delivery::{Answer, Verdict};
use crate::signing::SignedSet;
pub(super) use signing::SignerOutage;
use tries::Tries;
pub(super) use tries::skipped;

impl Stream {
    /// Steps *sign*, *push* and *judge*, until the receiver, the guard or an operator has decided. Every attempt under one
    /// key sends the same bytes (P4): the token is complete, and RS256 is deterministic.
    pub(super) async fn push_until_decided(
        &self,
        draft: &Draft,
        token: &[u8],
        approach: Approach,
    ) -> Result<Outcome, LetGo> {
        let mut way = Way {
            signed: None,
            approach: Some(approach),
        };
        let _stay = Stay {
            stream: self,
            id: draft.id,
        };
        let mut tries = Tries::default();
        let pushed = match self.parts.mode {
            Mode::Shadow => self.all_but_push(draft, token, &mut way).await,
            Mode::Live => self.push_again(draft, token, &mut way, &mut tries).await,
        };
        let Tries { attempts, last } = tries;
        let reason = match pushed {
            Ok(Pushed::Shadowed) => return Ok(Outcome::Shadowed),
            Ok(Pushed::Accepted { status }) => {
                return Ok(Outcome::Delivered {
                    status,
                    attempts: attempts.count,
                    attempted_ms: last.times(),
                });
            }
            Ok(Pushed::DeadLetter(reason)) => reason,
            Err(Stop::Skipped) => SKIPPED,
            Err(Stop::LetGo) => return Err(LetGo),
        };
        Ok(last.dead_letter(draft, reason, attempts.count))
    }

    async fn all_but_push(
        &self,
        draft: &Draft,
        token: &[u8],
        way: &mut Way,
    ) -> Result<Pushed, Stop> {
        self.pass(draft, way).await?;
        if self.skips.is_asked(draft.id) {
            return Err(Stop::Skipped);
        }
        if self.is_expired(draft) {
            return Ok(Pushed::DeadLetter(EXPIRED));
        }
        match self.sign(draft, token, &mut way.signed).await? {
            Some(_) => Ok(Pushed::Shadowed),
            None => Ok(Pushed::DeadLetter(EXPIRED)),
        }
    }

    async fn push_again(
        &self,
        draft: &Draft,
        token: &[u8],
        way: &mut Way,
        tries: &mut Tries,
    ) -> Result<Pushed, Stop> {
        let mut pass = self.pass(draft, way).await?;
        loop {
            if pass == Pass::DeadLetter {
                return Ok(tries.refused());
            }
            if self.skips.is_asked(draft.id) {
                return Err(Stop::Skipped);
            }
            // Asked before it waits for its turn on the wire, so that nothing paces what is not sent, and after that wait.
            if self.is_expired(draft) {
                return Ok(Pushed::DeadLetter(EXPIRED));
            }
            let Some(answer) = self.attempt(draft, token, way, &mut pass).await? else {
                // Refused before, or too old by now: the top of the loop tells.
                continue;
            };
            tries.last.note(&answer);
            match self.passage.judge(
                draft.id,
                draft.claims.subject_key,
                pass,
                &answer,
                &mut tries.attempts,
            ) {
                Next::Accepted => {
                    self.accepted(draft).await?;
                    let status = answer.status.unwrap_or(0);
                    return Ok(Pushed::Accepted { status });
                }
                Next::DeadLetter => return Ok(tries.refused()),
                Next::ReceiverError => return Ok(Pushed::DeadLetter("receiver_error")),
                Next::MaxAttempts => return Ok(Pushed::DeadLetter("max_attempts")),
                Next::Wait(told) => pass = self.told(draft, told, way).await?,
                Next::After(delay) => {
                    self.wait(draft, tokio::time::sleep(delay)).await?;
                    pass = self.pass(draft, way).await?;
                }
            }
        }
    }

    /// Waits for something before or between requests; a skip ends that.
    async fn wait<T>(&self, draft: &Draft, wait: impl Future<Output = T>) -> Result<T, Stop> {
        let wait = draft.source.lease.wait(wait);
        self.skips.unless(draft.id, wait).await
    }

    /// Waits for the gate.
    async fn pass(&self, draft: &Draft, way: &mut Way) -> Result<Pass, Stop> {
        match self.passage.enter(draft.id) {
            Ok(pass) => Ok(pass),
            Err(told) => self.told(draft, told, way).await,
        }
    }

    async fn told(
        &self,
        draft: &Draft,
        told: oneshot::Receiver<Pass>,
        way: &mut Way,
    ) -> Result<Pass, Stop> {
        way.approach = None;
        if let Some(signed) = &mut way.signed {
            signed.was_held = true;
        }
        self.wait(draft, told).await?.map_err(|_| Stop::LetGo)
    }

    fn is_expired(&self, draft: &Draft) -> bool {
        let event = draft.claims.event.event_timestamp();
        !draft.source.is_forced() && self.passage.is_expired(event)
    }

    /// One request, when there is a place on the wire, the pace allows it, and the partition is surely ours. [`None`]:
    /// meanwhile it has expired, or the guard has ruled about it.
    async fn attempt(
        &self,
        draft: &Draft,
        token: &[u8],
        way: &mut Way,
        pass: &mut Pass,
    ) -> Result<Option<Answer>, Stop> {
        loop {
            let permit = self.wait(draft, self.wire.place()).await?;
            way.approach = None;
            self.wait(draft, self.parts.pacer.turn()).await?;
            if self.passage.lets(*pass) {
                if self.is_expired(draft) {
                    return Ok(None);
                }
                let Some(body) = self.surely_signed(draft, token, way).await? else {
                    return Ok(None);
                };
                // Again, because both took their time: what begins to be sent after a hold was imposed is a probe.
                if self.passage.lets(*pass)
                    && let Some(answer) = self.send(draft, body, *pass).await?
                {
                    return Ok(Some(answer));
                }
            }
            drop(permit);
            *pass = match self.passage.step_back(draft.id) {
                Ok(pass) => pass,
                Err(told) => self.told(draft, told, way).await?,
            };
            if *pass == Pass::DeadLetter {
                return Ok(None);
            }
        }
    }

    /// The signed bytes, at a moment when the partition is surely ours. [`None`]: it has expired.
    async fn surely_signed(
        &self,
        draft: &Draft,
        token: &[u8],
        way: &mut Way,
    ) -> Result<Option<bytes::Bytes>, Stop> {
        loop {
            let sure = self.parts.membership.sure();
            self.wait(draft, sure).await?;
            let body = self.sign(draft, token, &mut way.signed).await?;
            // The process may have been stopped while a signer worked.
            if self.parts.membership.is_sure() {
                return Ok(body);
            }
        }
    }

    /// On the wire: what begins here is not cut off while there is time. [`None`]: a credential had to be fetched first,
    /// and meanwhile the stream was held or the partition is no longer surely ours.
    async fn send(
        &self,
        draft: &Draft,
        body: bytes::Bytes,
        pass: Pass,
    ) -> Result<Option<Answer>, LetGo> {
        let lease = &draft.source.lease;
        let may = || {
            self.passage.lets(pass) && self.parts.membership.is_sure() && !lease.soft.is_cancelled()
        };
        self.parts.metrics.in_flight.inc();
        // In a box of its own: thousands of journeys wait for a permit, and would each carry room for a request.
        let push = Box::pin(self.parts.receiver.push_if(body, may));
        let answer = lease.finish(push).await;
        self.parts.metrics.in_flight.dec();
        let Some(answer) = answer? else {
            return Ok(None);
        };
        self.parts
            .pacer
            .learn(&answer.rate, answer.advice, answer.is_throttled());
        self.count(&answer);
        Ok(Some(answer))
    }

    fn count(&self, answer: &Answer) {
        let metrics = &self.parts.metrics;
        metrics.push_seconds.observe(answer.elapsed.as_secs_f64());
        metrics.attempts.inc(match answer.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Refused(_) => "refused",
            Verdict::SetUp(_) => "set_up",
            Verdict::Moment(_) => "moment",
        });
        if answer.verdict == Verdict::Accepted && answer.status != Some(202) {
            metrics.accepted_other.inc();
        }
        if let Verdict::Moment(fault) = answer.verdict {
            metrics.retries.inc(fault.label());
        }
    }

    async fn accepted(&self, draft: &Draft) -> Result<(), LetGo> {
        // A replay waited for people, not for us.
        let received = draft.source.record.timestamp_ms;
        if let Some(ms) = received.filter(|_| draft.source.replay.is_none()) {
            let millis = now_ms().saturating_sub(ms).max(0);
            self.parts
                .metrics
                .delivery_seconds
                .observe(millis as f64 / 1000.0);
        }
        if !self.passage.is_first_acceptance() {
            return Ok(());
        }
        let noted = self.parts.state.set_accepted_under(self.parts.fingerprint);
        if let Err(error) = draft.source.lease.finish(noted).await? {
            // Only the guard's memory: after a restart it is strict once more.
            tracing::warn!(stream = self.id(), %error, "the first acceptance was not noted");
        }
        Ok(())
    }
}

/// Reason of the dead letter.
const EXPIRED: &str = "expired";

/// What the attempts came to.
enum Pushed {
    Accepted {
        /// 2xx.
        status: u16,
    },
    /// Nothing was to be sent.
    Shadowed,
    /// The reason.
    DeadLetter(&'static str),
}

/// What a SET has with it on its way.
struct Way {
    /// [`None`]: not signed yet.
    signed: Option<Signed>,
    /// [`None`]: it has had its place on the wire, or waits for something else.
    approach: Option<Approach>,
}

/// The bytes that go out at every attempt under one key (P4).
struct Signed {
    set: SignedSet,
    /// The key ring's state that it was signed under.
    generation: u64,
    /// It has waited at the passage since: the stream was held, or the SET refused.
    was_held: bool,
}

/// A SET at the passage; when it goes, for whatever reason, the passage forgets it.
struct Stay<'a> {
    stream: &'a Stream,
    id: u64,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.stream.passage.leave(self.id);
    }
}
