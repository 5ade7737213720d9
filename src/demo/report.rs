//! What the demo came to: a table for people, one JSON object for programs, and whether the numbers add up.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::Table;
use prometheus::core::Metric as _;
use serde::Serialize;

use crate::metrics::StreamMetrics;
use crate::okta::simulator::Simulator;

use super::feed::Expected;

/// Milliseconds from the record's Kafka timestamp to the receiver's 202, over the part of the records that arrive one by
/// one; read off the bridge's own histogram, interpolated inside a bucket.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Half of the SETs were faster.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
}

/// The numbers at the end.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Records read.
    pub consumed: u64,
    /// SETs made from them.
    pub sets: u64,
    /// SETs that the receiver accepted.
    pub delivered: u64,
    /// SETs under a jti that had been delivered.
    pub duplicates: u64,
    /// Detections without a SET, by a rule.
    pub filtered: u64,
    /// Dead letters by reason.
    pub dead_lettered: BTreeMap<&'static str, u64>,
    /// SETs without an outcome: 0 when all is well.
    pub unsettled: u64,
    /// From the first record of the backlog to its last outcome.
    pub seconds: f64,
    /// SETs of the backlog per second.
    pub sets_per_second: f64,
    /// In milliseconds.
    pub latency_ms: Latency,
    #[serde(skip)]
    faults: Vec<String>,
}

/// Buckets of the delivery histogram: upper bounds and cumulative counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets(Vec<(f64, u64)>);

impl Buckets {
    pub(super) fn of(metrics: &StreamMetrics) -> Self {
        let metric = metrics.delivery_seconds.metric();
        let buckets = metric.get_histogram().get_bucket();
        Self(
            buckets
                .iter()
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect(),
        )
    }

    /// The quantile of what came after `before`, in milliseconds, by linear interpolation.
    fn quantile_since(&self, before: &Self, quantile: f64) -> f64 {
        let counted =
            |at: usize| self.0.get(at).map_or(0, |b| b.1) - before.0.get(at).map_or(0, |b| b.1);
        let total = counted(self.0.len().saturating_sub(1));
        if total == 0 {
            return 0.0;
        }
        let rank = quantile * total as f64;
        let (mut lower, mut below) = (0.0, 0);
        for (at, (upper, _)) in self.0.iter().enumerate() {
            let here = counted(at);
            if here as f64 >= rank && here > below {
                let share = (rank - below as f64) / (here - below) as f64;
                return (lower + (upper - lower) * share) * 1000.0;
            }
            (lower, below) = (*upper, here);
        }
        lower * 1000.0
    }
}

/// SETs with a final outcome that were mapped: without those that never became one.
pub(super) fn settled(metrics: &StreamMetrics) -> u64 {
    metrics.outcomes.counts().values().sum()
}

/// What is known when the demo is over.
pub(super) struct Played<'a> {
    pub(super) metrics: &'a StreamMetrics,
    pub(super) expected: Expected,
    pub(super) backlog: Duration,
    pub(super) backlog_delivered: u64,
    pub(super) before_live: Buckets,
    pub(super) simulator: Option<&'a Simulator>,
}

impl Report {
    pub(super) fn new(played: &Played<'_>) -> Self {
        let metrics = played.metrics;
        let outcomes = metrics.outcomes.counts();
        let outcome = |name: &str| outcomes.get(name).copied().unwrap_or(0);
        let seconds = played.backlog.as_secs_f64();
        let after = Buckets::of(metrics);
        let mut report = Self {
            consumed: metrics.records.get(),
            sets: metrics.sets_mapped.counts().values().sum(),
            delivered: outcome("delivered"),
            duplicates: outcome("duplicate"),
            filtered: metrics.filtered.counts().values().sum(),
            dead_lettered: metrics
                .dead_letters
                .counts()
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
            unsettled: u64::try_from(metrics.unsettled.get()).unwrap_or(0),
            seconds,
            sets_per_second: played.backlog_delivered as f64 / seconds.max(f64::EPSILON),
            latency_ms: Latency {
                p50: after.quantile_since(&played.before_live, 0.50),
                p99: after.quantile_since(&played.before_live, 0.99),
            },
            faults: Vec::new(),
        };
        report.check(&played.expected, played.simulator);
        report
    }

    /// Every number against what was produced, and against what the receiver saw.
    fn check(&mut self, expected: &Expected, simulator: Option<&Simulator>) {
        let dead: u64 = self.dead_lettered.values().sum();
        let mut pairs = vec![
            ("records consumed", self.consumed, expected.records),
            (
                "SETs made",
                self.sets,
                expected.delivered + expected.duplicates,
            ),
            ("SETs delivered", self.delivered, expected.delivered),
            ("duplicates", self.duplicates, expected.duplicates),
            ("dead letters", dead, expected.bad),
            ("unsettled SETs", self.unsettled, 0),
        ];
        if let Some(simulator) = simulator {
            pairs.push((
                "SETs that took effect at the receiver",
                simulator.tally().taken,
                expected.delivered,
            ));
        }
        self.faults = pairs
            .into_iter()
            .filter(|(_, is, should)| is != should)
            .map(|(what, is, should)| format!("{what}: {is}, but {should} were expected"))
            .collect();
    }

    /// What does not add up; empty when all is well.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["", ""]);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("records consumed", self.consumed.to_string());
        row("SETs delivered", self.delivered.to_string());
        row(
            "duplicates (settled, not sent)",
            self.duplicates.to_string(),
        );
        row("filtered", self.filtered.to_string());
        for (reason, count) in &self.dead_lettered {
            row(&format!("dead-lettered: {reason}"), count.to_string());
        }
        row("unsettled", self.unsettled.to_string());
        row(
            "SETs per second (backlog)",
            format!("{:.0}", self.sets_per_second),
        );
        row("event → 202, p50", format!("{:.1} ms", self.latency_ms.p50));
        row("event → 202, p99", format!("{:.1} ms", self.latency_ms.p99));
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_read_off_the_difference() {
        let before = Buckets(vec![(0.001, 10), (0.01, 10), (0.1, 10)]);
        let after = Buckets(vec![(0.001, 10), (0.01, 110), (0.1, 110)]);
        let p50 = after.quantile_since(&before, 0.5);
        assert!(
            (p50 - 5.5).abs() < 0.01,
            "half way between 1 and 10 ms: {p50}"
        );
        assert!(
            before.quantile_since(&before, 0.99).abs() < f64::EPSILON,
            "nothing came: 0"
        );
    }
}
