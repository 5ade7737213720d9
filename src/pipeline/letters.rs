//! Steps *dead letter* and *announce*: what is written to Kafka counts when the broker has acknowledged it.

use serde_json::{Value, json};

use super::journey::{LetGo, Outcome, Source};
use super::outage::Outage;
use super::skips::Stop;
use super::stream::{FIRST_RETRY, MAX_RETRY, Stream, now_ms};
use crate::config::Mode;
use crate::kafka::dead_letter::{self, Cause};
use crate::kafka::producer::{Outgoing, WriteError};
use crate::mapping::Claims;

impl Stream {
    /// Step *dead letter*: nothing, unless the outcome is one. Returns when the broker has acknowledged it. None is written
    /// about a partition that is known to be fenced: its mark would be refused, and whoever reads the record again writes
    /// it once more.
    pub(super) async fn write_dead_letter(
        &self,
        source: &Source,
        outcome: &Outcome,
    ) -> Result<(), LetGo> {
        let Outcome::DeadLettered(cause) = outcome else {
            return Ok(());
        };
        if source.lease.fenced.is_cancelled() {
            return Err(LetGo);
        }
        let cause = &match &source.replay {
            Some(replay) => replay.add_up(cause),
            None => Cause::clone(cause),
        };
        if self.parts.mode == Mode::Live {
            let topic = (self.parts.dead_letter_topic)(source.topic());
            let write = || {
                dead_letter::write(
                    &self.parts.producer,
                    &topic,
                    self.id(),
                    &source.record,
                    cause,
                )
            };
            self.write_until_acknowledged(source, &self.letter_outage, None, write)
                .await?;
        }
        self.parts.metrics.dead_letters.inc(cause.reason);
        tracing::warn!(
            stream = self.id(),
            origin = %source.record.origin,
            jti = cause.jti.as_deref(),
            stage = cause.stage.as_str(),
            reason = cause.reason,
            detail = cause.detail.as_deref(),
            status = cause.status,
            "dead letter"
        );
        Ok(())
    }

    /// Step *announce*: one record in the outcome topic, if there is one, acknowledged. What becomes of a replay is always
    /// told, also when it became no SET: somebody waits to hear it. Unless that cannot be written, and an operator skips
    /// it: then it settles untold, with the outcome that it has.
    pub(super) async fn announce(
        &self,
        id: u64,
        source: &Source,
        claims: Option<&Claims>,
        outcome: &Outcome,
    ) -> Result<(), LetGo> {
        let topic = match &source.replay {
            Some(replay) => Some(&*replay.topic.outcomes),
            None => claims.and(self.parts.outcome_topic.as_deref()),
        };
        let Some(topic) = topic.filter(|_| self.parts.mode == Mode::Live) else {
            return Ok(());
        };
        // A skip until now was about the way to this outcome. Whoever wants it to stay untold skips it once more.
        self.skips.forget(id);
        let value = self.announcement(source, claims, outcome).to_string();
        let key = claims.map(|claims| claims.jti.as_str().as_bytes());
        let write = || {
            self.parts.producer.write(Outgoing {
                topic,
                key,
                value: Some(value.as_bytes()),
                headers: Vec::new(),
            })
        };
        let (outage, skip) = match &source.replay {
            Some(_) => (&self.replay_outage, Some(id)),
            None => (&self.letter_outage, None),
        };
        self.write_until_acknowledged(source, outage, skip, write)
            .await
    }

    fn announcement(&self, source: &Source, claims: Option<&Claims>, outcome: &Outcome) -> Value {
        let origin = &source.record.origin;
        let (status, attempts, times) = match outcome {
            Outcome::Delivered {
                status,
                attempts,
                attempted_ms,
            } => (Some(*status), *attempts, Some(*attempted_ms)),
            Outcome::DeadLettered(cause) => (cause.status, cause.attempts, cause.attempted_ms),
            _ => (None, 0, None),
        };
        let reason = match outcome {
            Outcome::DeadLettered(cause) => Some(cause.reason),
            Outcome::Filtered(reason) => Some(*reason),
            _ => None,
        };
        let replay = source.replay.as_deref();
        let jti = claims.map(|claims| claims.jti.as_str());
        let mut value = json!({
            "stream": self.id(),
            "topic": &*origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "element": source.element.as_ref().map(|(element, _)| element),
            "jti": jti.or_else(|| replay?.jti()),
            "event": claims.map(|claims| claims.event.event_type().uri()),
            "outcome": outcome.as_str(),
            "reason": reason,
            "status": status,
            "attempts": attempts,
            "received_ms": source.record.timestamp_ms,
            "first_attempt_ms": times.map(|(first, _)| first),
            "last_attempt_ms": times.map(|(_, last)| last),
            "decided_ms": now_ms(),
        });
        if let Some(replay) = replay {
            value["replay_of"] = json!(replay.of.as_ref().map(dead_letter::place));
        }
        value
    }

    /// A write that fails is tried again: what it would settle stays unsettled. Whether it holds the stream says `outage`;
    /// `skip` is whom an operator may skip between two tries.
    async fn write_until_acknowledged<F: Future<Output = Result<(), WriteError>>>(
        &self,
        source: &Source,
        outage: &Outage,
        skip: Option<u64>,
        write: impl Fn() -> F,
    ) -> Result<(), LetGo> {
        let mut wait = FIRST_RETRY;
        let mut waiting = None;
        while let Err(error) = source.lease.finish(write()).await? {
            self.parts.metrics.dead_letter_errors.inc();
            waiting = Some(outage.failed(self.id(), &self.passage, waiting, &error));
            let sleep = source.lease.sleep(wait);
            match skip {
                None => sleep.await?,
                Some(id) => match self.skips.unless(id, sleep).await {
                    Ok(()) => {}
                    Err(Stop::LetGo) => return Err(LetGo),
                    Err(Stop::Skipped) => {
                        tracing::warn!(
                            stream = self.id(),
                            origin = %source.record.origin,
                            "skipped while its outcome could not be told: nobody hears of it"
                        );
                        return Ok(());
                    }
                },
            }
            wait = (wait * 2).min(MAX_RETRY);
        }
        outage.worked(self.id(), waiting);
        Ok(())
    }
}
