//! The metrics of one stream, every label value known beforehand.

use std::collections::BTreeMap;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, IntGaugeVec};

/// The closed lists behind the labels of a stream.
#[derive(Debug, Clone, Default)]
pub struct LabelValues {
    /// Event types.
    pub events: Vec<&'static str>,
    /// Why a detection became no SET.
    pub filters: Vec<&'static str>,
    /// Final outcomes.
    pub outcomes: Vec<&'static str>,
    /// Reasons of dead letters.
    pub dead_letters: Vec<&'static str>,
    /// The moment's faults.
    pub faults: Vec<&'static str>,
    /// Reasons of holds.
    pub holds: Vec<&'static str>,
    /// Kinds of trouble with Kafka.
    pub kafka: Vec<&'static str>,
    /// What operators do.
    pub acts: Vec<&'static str>,
}

/// Counters by one more label, all known beforehand.
#[derive(Clone)]
pub struct Labelled(pub(super) BTreeMap<&'static str, IntCounter>);

impl Labelled {
    /// One more under this label value. A value that was not announced is a slip that the debug build shows.
    pub fn inc(&self, value: &str) {
        debug_assert!(
            self.0.contains_key(value),
            "label value {value} was not announced"
        );
        if let Some(counter) = self.0.get(value) {
            counter.inc();
        }
    }

    /// The counts by label value.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .iter()
            .map(|(value, counter)| (*value, counter.get()))
            .collect()
    }
}

/// The metrics of one stream.
#[derive(Clone)]
#[allow(missing_docs)] // each field is the family of its name, whose help text is in `Metrics::new`
pub struct StreamMetrics {
    pub records: IntCounter,
    pub record_bytes: IntCounter,
    pub replay_records: IntCounter,
    pub tombstones: IntCounter,
    pub detections: IntCounter,
    pub sets_mapped: Labelled,
    pub filtered: Labelled,
    pub outcomes: Labelled,
    pub dead_letters: Labelled,
    pub dead_letter_errors: IntCounter,
    pub attempts: Labelled,
    pub accepted_other: IntCounter,
    pub retries: Labelled,
    pub signed: IntCounter,
    pub sign_seconds: Histogram,
    pub push_seconds: Histogram,
    pub delivery_seconds: Histogram,
    pub holds: Labelled,
    pub oldest_unsettled: Gauge,
    pub unsettled: IntGauge,
    pub unsettled_bytes: IntGauge,
    pub uncommitted: IntGauge,
    pub in_flight: IntGauge,
    pub partitions: IntGauge,
    pub paused: IntGauge,
    pub rebalances: Labelled,
    pub commit_errors: IntCounter,
    pub records_lost: IntCounter,
    pub kafka_errors: Labelled,
    pub lag_seconds: Gauge,
    pub spread_subjects: IntCounter,
    pub handovers: IntCounter,
    /// Partitions that were let go, because the shared state had another owner for them.
    pub state_fenced: IntCounter,
    /// Whether the stream goes on without its state.
    pub state_bypassed: IntGauge,
    /// SETs that were admitted without asking the state.
    pub sets_without_state: IntCounter,
    pub state_errors: IntCounter,
    pub operator_acts: Labelled,
    pub(super) held: BTreeMap<&'static str, IntGauge>,
    pub(super) lag_records: IntGaugeVec,
    pub(super) limits: IntGaugeVec,
    pub(super) id: String,
}

impl StreamMetrics {
    /// The stream is held for this reason, or no longer.
    pub fn set_held(&self, reason: &str, held: bool) {
        if let Some(gauge) = self.held.get(reason) {
            gauge.set(i64::from(held));
        }
    }

    /// Lag of one partition; [`None`] takes the partition out of the exposition: it is somebody else's.
    pub fn set_lag(&self, topic: &str, partition: i32, records: Option<i64>) {
        let number = partition.to_string();
        let labels = [self.id.as_str(), topic, number.as_str()];
        match records {
            Some(records) => self
                .lag_records
                .with_label_values(&labels)
                .set(records.max(0)),
            // Absent already: nothing to take out.
            None => drop(self.lag_records.remove_label_values(&labels)),
        }
    }

    /// A configured limit.
    pub fn set_limit(&self, name: &str, limit: usize) {
        self.limits
            .with_label_values(&[self.id.as_str(), name])
            .set(i64::try_from(limit).unwrap_or(i64::MAX));
    }
}
