//! What the desk shows: gauges, the status page, Kafka's troubles.

use std::time::{Duration, Instant};

use super::super::seats::Place;
use super::super::status::{Held, PartitionStatus, StreamStatus};
use super::super::stream::{hold_reason, now_ms};
use super::Desk;
use crate::delivery::hold::HoldReason;
use crate::kafka::client::Trouble;

impl Desk {
    /// Gauges and status.
    pub(super) fn show(&mut self) {
        let (parts, at) = (&self.stream.parts, now_ms());
        let metrics = &parts.metrics;
        let as_i64 = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let oldest: Vec<_> = self
            .places
            .values()
            .filter_map(|place| place.oldest(at))
            .collect();
        let waited = oldest
            .iter()
            .map(|(waited, _)| waited.as_secs_f64())
            .fold(0.0, f64::max);
        let behind = oldest
            .iter()
            .filter_map(|(_, age)| *age)
            .map(|age| age.as_secs_f64())
            .fold(0.0, f64::max);
        metrics.oldest_unsettled.set(waited);
        metrics.lag_seconds.set(behind);
        metrics.unsettled.set(as_i64(parts.room.unsettled()));
        metrics.unsettled_bytes.set(as_i64(parts.room.bytes()));
        metrics.uncommitted.set(as_i64(parts.room.uncommitted()));
        let sources = self.places.values().filter(|place| place.side.is_none());
        metrics.partitions.set(as_i64(sources.count()));
        metrics.paused.set(as_i64(self.paused));
        metrics
            .state_bypassed
            .set(i64::from(parts.state.is_bypassed()));
        metrics.handovers.inc_by(parts.state.take_lost());
        if self.last_lag.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.last_lag = Instant::now();
        let status = self.status(waited);
        *self
            .inputs
            .status
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = status;
    }

    /// `waited`: how long the oldest record waits, in seconds.
    fn status(&self, waited: f64) -> StreamStatus {
        let (parts, metrics) = (&self.stream.parts, &self.stream.parts.metrics);
        let (replays, partitions) = self.lags();
        let held = self.stream.passage.holds().into_iter();
        let said = self.stream.operator.reason();
        StreamStatus {
            id: self.stream.id().to_owned(),
            mode: parts.mode.as_str(),
            held: held
                .map(|(reason, time)| Held {
                    reason: reason.as_str(),
                    seconds: time.as_secs_f64(),
                    note: said.clone().filter(|_| reason == HoldReason::Operator),
                })
                .collect(),
            unsettled: parts.room.unsettled(),
            waiting_in_lanes: self.lanes.waiting(),
            uncommitted: parts.room.uncommitted(),
            oldest_unsettled_seconds: waited,
            requests_in_flight: usize::try_from(metrics.in_flight.get()).unwrap_or(0),
            partitions,
            blocking: self.journeys_by_id.blocking(),
            replays,
            outcomes: metrics.outcomes.counts(),
            dead_letters: metrics
                .dead_letters
                .counts()
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }

    /// Lag of the side topics' partitions, and of the others.
    fn lags(&self) -> (Vec<PartitionStatus>, Vec<PartitionStatus>) {
        let mut places: Vec<_> = self.places.values().collect();
        places.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let status = |place: &&Place| PartitionStatus {
            topic: place.topic.to_string(),
            partition: place.partition,
            lag: place.lag(),
        };
        let metrics = &self.stream.parts.metrics;
        for place in &places {
            metrics.set_lag(&place.topic, place.partition, Some(place.lag()));
        }
        let (sides, sources): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|place| place.side.is_some());
        (
            sides.iter().map(status).collect(),
            sources.iter().map(status).collect(),
        )
    }

    pub(super) fn trouble(&self, trouble: Trouble, text: &str) {
        self.stream.parts.metrics.kafka_errors.inc(trouble.as_str());
        tracing::warn!(
            stream = self.stream.id(),
            kind = trouble.as_str(),
            "Kafka: {text}"
        );
        if let Some(reason) = hold_reason(trouble) {
            self.stream.passage.show(reason);
        }
    }
}
