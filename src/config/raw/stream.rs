//! One stream as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::domain::{Mode, OnNoSubject, Profile};
use super::receiver::RawReceiver;
use super::signing::RawStreamSigning;
use super::text::{DurationText, SizeText};

/// One stream: some topics, a mapping, one receiver.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStream {
    /// Its name in the consumer group, in topic names and in metric labels.
    #[schemars(
        regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,62}$"),
        extend("x-mend" = "use up to 63 lower-case letters, digits, '-' and '_', no sign in front")
    )]
    pub(crate) id: String,
    /// The topics to consume. Either this or `topic_pattern`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) topics: Option<Vec<String>>,
    /// Consume every topic whose name matches this regular expression, which starts with '^'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic_pattern: Option<String>,
    /// Where to start when the group has no commit: `earliest`, `latest`, or an RFC 3339 time.
    #[serde(default = "default_start_at")]
    #[schemars(
        regex(pattern = r"^(earliest|latest|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9:]+))$"),
        extend("x-mend" = "write earliest, latest, or a time such as 2026-01-31T08:00:00Z")
    )]
    pub(crate) start_at: String,
    /// `shadow` does everything but the push, in a consumer group of its own.
    #[serde(default = "default_mode")]
    pub(crate) mode: Mode,
    /// `iss` of this stream's SETs; default `transmitter.issuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// Where receivers find the JWKS of this stream's own keys (`signing`); default `/streams/<id>/jwks.json` at the
    /// issuer's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_uri: Option<String>,
    /// `aud`; default the receiver URL's scheme, host and port, without a slash behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^\S{1,1000}$"),
        extend("x-mend" = "write it as the receiver wants it; for Okta the org URL")
    )]
    pub(crate) audience: Option<String>,
    /// Shape of the subject: `okta` (in the event, under `user`), `ssf-1.0` (`sub_id` at the top)
    /// or `dual` (both).
    #[serde(default = "default_profile")]
    pub(crate) profile: Profile,
    /// Rules that turn a detection into claims; default the native format `setbridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "mapping_schema")]
    pub(crate) mapping: Option<serde_json::Value>,
    /// How this stream's SETs are signed, and by which keys, when they are not those of `signing`.
    #[serde(default)]
    pub(crate) signing: RawStreamSigning,
    /// What becomes of a detection without a usable subject: `dead_letter` or `filter`.
    #[serde(default = "default_on_no_subject")]
    pub(crate) on_no_subject: OnNoSubject,
    /// Who gets the SETs.
    pub(crate) receiver: RawReceiver,
    /// Waits between attempts.
    #[serde(default)]
    pub(crate) retry: RawRetry,
    /// A SET whose event is longer ago is a dead letter, reason `expired`; while the stream is held, time does not
    /// count. Default: SETs are sent whatever their age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_event_age: Option<DurationText>,
    /// When a lasting 5xx about one SET is the record's fault: all three have to be met.
    #[serde(default)]
    pub(crate) receiver_error: RawReceiverError,
    /// When many faults in a row hold the stream, instead of filling the dead letters.
    #[serde(default)]
    pub(crate) guard: RawGuard,
    /// Probes of a held stream.
    #[serde(default)]
    pub(crate) hold: RawHold,
    /// Where records go that cannot be delivered.
    #[serde(default)]
    pub(crate) dead_letter: RawDeadLetter,
    /// How dead letters come back that `setbridge dlq replay` chose.
    #[serde(default)]
    pub(crate) replay: RawReplay,
    /// One record for each SET with its outcome goes to this topic; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome_topic: Option<String>,
    /// Overrides of the `limits` at the top.
    #[serde(default)]
    pub(crate) limits: RawLimitOverrides,
}

fn default_start_at() -> String {
    "earliest".into()
}

fn default_mode() -> Mode {
    Mode::Live
}

fn default_profile() -> Profile {
    Profile::Okta
}

fn default_on_no_subject() -> OnNoSubject {
    OnNoSubject::DeadLetter
}

fn mapping_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    super::super::convert::mapping_schema(generator)
}

/// Waits between attempts: exponential with full jitter.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRetry {
    /// Longest first wait.
    pub(crate) initial_delay: DurationText,
    /// Longest wait.
    pub(crate) max_delay: DurationText,
    /// Growth from one wait to the next.
    #[schemars(range(min = 1.1, max = 100.0))]
    pub(crate) multiplier: f64,
    /// Longest wait that the receiver can ask for (Retry-After, X-Rate-Limit-Reset).
    pub(crate) max_advised_delay: DurationText,
    /// After so many attempts that failed by the moment's fault a SET is a dead letter, reason `max_attempts`; those
    /// made while the stream is held do not count. Default: it is tried for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_attempts: Option<u32>,
}

impl Default for RawRetry {
    fn default() -> Self {
        Self {
            initial_delay: "200ms".into(),
            max_delay: "30s".into(),
            multiplier: 2.0,
            max_advised_delay: "5m".into(),
            max_attempts: None,
        }
    }
}

/// When a lasting 5xx about one SET is the record's fault: all three have to be met.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawReceiverError {
    /// `false`: such a SET is tried for ever.
    pub(crate) enabled: bool,
    /// So many attempts about it were answered 5xx.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) attempts: u32,
    /// For so long.
    pub(crate) after: DurationText,
    /// While SETs about so many other subjects were accepted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) other_subjects: u32,
}

impl Default for RawReceiverError {
    fn default() -> Self {
        Self {
            enabled: true,
            attempts: 20,
            after: "15m".into(),
            other_subjects: 20,
        }
    }
}

/// When many faults in a row hold the stream.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawGuard {
    /// Refusals by the receiver.
    pub(crate) refusals: RawRefusalGuard,
    /// Records that cannot be decoded or mapped.
    pub(crate) records: RawRecordGuard,
}

/// Refusals by the receiver.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRefusalGuard {
    /// `false`: each refused SET is a dead letter at once.
    pub(crate) enabled: bool,
    /// Hold when so many subjects are refused and none is accepted between.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) subjects: u32,
    /// A refused SET waits so long for an acceptance before it is a dead letter.
    pub(crate) wait: DurationText,
}

impl Default for RawRefusalGuard {
    fn default() -> Self {
        Self {
            enabled: true,
            subjects: 10,
            wait: "30s".into(),
        }
    }
}

/// Records that cannot be decoded or mapped.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRecordGuard {
    /// `false`: each such record is a dead letter at once.
    pub(crate) enabled: bool,
    /// Hold when so many in a row are bad.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) faults: u32,
    /// And they have at least so many record keys.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) keys: u32,
}

impl Default for RawRecordGuard {
    fn default() -> Self {
        Self {
            enabled: true,
            faults: 100,
            keys: 10,
        }
    }
}

/// Probes of a held stream.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawHold {
    /// First wait before a probe.
    pub(crate) initial_probe_delay: DurationText,
    /// Longest wait before a probe.
    pub(crate) max_probe_delay: DurationText,
}

impl Default for RawHold {
    fn default() -> Self {
        Self {
            initial_probe_delay: "5s".into(),
            max_probe_delay: "5m".into(),
        }
    }
}

/// Where records go that cannot be delivered.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDeadLetter {
    /// The topic; `{topic}` is the source topic, `{stream}` the stream's id.
    #[schemars(length(min = 1))]
    pub(crate) topic: String,
    /// Create the topic when it is missing.
    pub(crate) create: bool,
    /// Partitions of a created topic; default as many as the source topic has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) partitions: Option<u32>,
    /// Replicas of a created topic; default the broker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) replication_factor: Option<u32>,
}

impl Default for RawDeadLetter {
    fn default() -> Self {
        Self {
            topic: "{topic}.{stream}.dlq".into(),
            create: true,
            partitions: None,
            replication_factor: None,
        }
    }
}

/// How dead letters come back that `setbridge dlq replay` chose.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawReplay {
    /// The side topic that brings them; `{topic}` is the source topic, `{stream}` the stream's id, and both have to be in it.
    #[schemars(length(min = 1))]
    pub(crate) topic: String,
    /// So many of them a second are read at most, by each process.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1_000_000))]
    pub(crate) rate: f64,
}

impl Default for RawReplay {
    fn default() -> Self {
        Self {
            topic: "{topic}.{stream}.replay".into(),
            rate: 20.0,
        }
    }
}

/// The bounds of each stream.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// Requests that wait for an answer. (Okta allows an org 35 to 75 at once, for everything.)
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) max_requests_in_flight: u32,
    /// SETs without an outcome.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_unsettled: u32,
    /// Bytes of the records behind them.
    pub(crate) max_unsettled_bytes: SizeText,
    /// Records received past the last acknowledged commit: so many may be repeated after a crash.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_uncommitted: u32,
    /// A larger record is a dead letter.
    pub(crate) max_record_bytes: SizeText,
    /// A record with more detections in it is a dead letter.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_elements: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            max_requests_in_flight: 32,
            max_unsettled: 10_000,
            max_unsettled_bytes: "16MiB".into(),
            max_uncommitted: 20_000,
            max_record_bytes: "1MiB".into(),
            max_elements: 10_000,
        }
    }
}

/// Overrides of the `limits` at the top.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLimitOverrides {
    /// Requests that wait for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) max_requests_in_flight: Option<u32>,
    /// SETs without an outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_unsettled: Option<u32>,
    /// Bytes of the records behind them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_unsettled_bytes: Option<SizeText>,
    /// Records received past the last acknowledged commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_uncommitted: Option<u32>,
    /// A larger record is a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_record_bytes: Option<SizeText>,
    /// A record with more detections in it is a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_elements: Option<u32>,
}
