//! A stream as the status page shows it.

use std::collections::BTreeMap;

use serde::Serialize;

/// A stream as the status page shows it; refreshed by its desk a few times a second.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StreamStatus {
    /// Id of the stream.
    pub id: String,
    /// `live` or `shadow`.
    pub mode: &'static str,
    /// Reasons in force, each with the seconds that it lasts already; empty: the stream flows.
    pub held: Vec<Held>,
    /// SETs without a final outcome.
    pub unsettled: usize,
    /// SETs that wait behind another one about their subject.
    pub waiting_in_lanes: usize,
    /// Records past the last acknowledged commit.
    pub uncommitted: usize,
    /// Seconds since the oldest unsettled record was read.
    pub oldest_unsettled_seconds: f64,
    /// Requests that wait for an answer.
    pub requests_in_flight: usize,
    /// Partitions of this process.
    pub partitions: Vec<PartitionStatus>,
    /// What waits for an outcome longest: what `setbridge stream skip` skips.
    pub blocking: Option<Blocking>,
    /// Partitions of side topics that it reads.
    pub replays: Vec<PartitionStatus>,
    /// Final outcomes since the start.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Dead letters since the start, by reason; only those that happened.
    pub dead_letters: BTreeMap<&'static str, u64>,
}

/// One reason for a hold.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// Closed list.
    pub reason: &'static str,
    /// For how long.
    pub seconds: f64,
    /// What the operator said, when one holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A SET, or what should have become one, without an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocking {
    /// `topic:partition:offset` of its record.
    pub origin: String,
    /// Which detection of the record.
    pub element: Option<u32>,
    /// Its jti; [`None`]: it could not become a SET.
    pub jti: Option<String>,
}

/// One assigned partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionStatus {
    /// Topic name.
    pub topic: String,
    /// Number.
    pub partition: i32,
    /// Records between the settled prefix and the log's end.
    pub lag: i64,
}
