//! One stream of the configuration: its topics, its receiver, its policies.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::ReplayConfig;
use super::{Issuer, RingName};
use crate::config::topics::{TopicName, TopicPattern, TopicTemplate};
use crate::detection::DecodeLimits;
use crate::mapping::{Envelope, Mapping};
use crate::secret::Secret;
pub use crate::set::Profile;
use crate::signing::Algorithm;

/// Id of a stream: `[a-z0-9][a-z0-9_-]{0,62}`; safe in a group id, a topic name and a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(in crate::config) Arc<str>);

impl StreamId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id's shared text.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One stream: some topics, a mapping, one receiver.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Distinct among the streams.
    pub id: StreamId,
    /// The consumer group: `<group_id>.<id>`, with `.shadow` behind it in shadow mode.
    pub group_id: String,
    /// What is consumed; never a dead-letter, side or outcome topic of any stream here.
    pub topics: TopicSelection,
    /// Where to start when the group has no commit on a topic.
    pub start_at: StartAt,
    /// Live, or everything but the push.
    pub mode: Mode,
    /// `iss` of the SETs.
    pub issuer: Issuer,
    /// `aud` of the SETs; default the origin of the receiver's URL without a slash behind it.
    pub audience: Arc<str>,
    /// Shape of the subject in the SETs.
    pub profile: Profile,
    /// Detection → claims.
    pub mapping: Arc<Mapping>,
    /// Who gets the SETs.
    pub receiver: ReceiverConfig,
    /// Waits between attempts.
    pub retry: RetryConfig,
    /// Older detections are dead letters, holds not counted; [`None`]: all are sent. At most the mapping's limit of the past.
    pub max_event_age: Option<Duration>,
    /// When a lasting 5xx is the record's fault; [`None`]: never.
    pub receiver_error: Option<ReceiverErrorConfig>,
    /// When refusals or record faults in a row hold the stream.
    pub guard: GuardConfig,
    /// Waits between the probes of a held stream.
    pub hold: HoldConfig,
    /// Where records go that cannot be delivered.
    pub dead_letter: DeadLetterConfig,
    /// How dead letters come back.
    pub replay: ReplayConfig,
    /// One record per SET with its outcome goes here.
    pub outcome_topic: Option<TopicName>,
    /// The bounds of memory and requests, overrides applied.
    pub limits: Limits,
    /// What its SETs are signed by.
    pub algorithm: Algorithm,
    /// The keys that sign them.
    pub ring: RingName,
    /// The set-up that a receiver's acceptance proves good.
    pub fingerprint: Fingerprint,
}

impl StreamConfig {
    /// What every SET of the stream says about itself.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        Envelope {
            issuer: self.issuer.shared(),
            audience: Arc::clone(&self.audience),
            profile: self.profile,
        }
    }

    /// The bounds of one record.
    #[must_use]
    pub fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_record_bytes: self.limits.max_record_bytes,
            max_elements: self.limits.max_elements.get(),
        }
    }
}

/// SHA-256 over what a receiver checks about us: its URL, issuer, audience, profile, kind of
/// authentication. The guard asks whether the receiver ever accepted a SET under *this* one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// What a stream consumes.
#[derive(Clone, Debug)]
pub enum TopicSelection {
    /// These topics, at least one, each once.
    Names(Vec<TopicName>),
    /// Every topic that matches, also one created later.
    Pattern(TopicPattern),
}

/// Where a group without commits starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest record.
    Earliest,
    /// With the next record.
    Latest,
    /// With the first record at or after this time, in milliseconds since 1970.
    Time {
        /// Milliseconds since 1970-01-01T00:00:00Z.
        epoch_ms: i64,
    },
}

/// Whether SETs leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// SETs are pushed.
    Live,
    /// Everything but the push, in a group of its own.
    Shadow,
}

impl Mode {
    /// The word of the configuration, for the status page.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }
}

/// What becomes of a detection without a usable subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNoSubject {
    /// Dead letter, reason `no_subject`.
    DeadLetter,
    /// Settled as filtered, and counted.
    Filter,
}

/// The receiver of a stream.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Which protocol it speaks.
    pub kind: ReceiverKind,
    /// `https`, or `http` to loopback or as allowed; no credentials, no fragment.
    pub url: Url,
    /// How we authenticate.
    pub auth: AuthConfig,
    /// Extra trust and our own certificate.
    pub tls: TlsConfig,
    /// Which way out.
    pub proxy: ProxyConfig,
    /// TCP and TLS have to be up by then.
    pub connect_timeout: Duration,
    /// The whole request, connect included, has to be answered by then.
    pub request_timeout: Duration,
    /// SETs per second for the origin (scheme, host, port) in all; equal in all streams to it.
    /// [`None`]: only the receiver's own headers pace.
    pub rate: Option<Rate>,
    /// Plain `http` beyond loopback was allowed by name.
    pub allow_http: bool,
}

/// Requests per second: positive, finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub(in crate::config) f64);

impl Rate {
    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

/// The protocol of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiverKind {
    /// Push-based SET delivery (RFC 8935): one POST a SET. Okta is one.
    Rfc8935,
}

/// How we authenticate to a receiver.
#[derive(Clone, Debug)]
pub enum AuthConfig {
    /// The signature is the credential (Okta).
    None,
    /// A fixed header.
    Header {
        /// Valid header name.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// OAuth 2.0 client credentials.
    OAuth2 {
        /// `https`, or `http` as for the receiver's URL.
        token_url: Url,
        /// The client.
        client_id: String,
        /// How the client proves itself.
        credential: ClientCredential,
        /// Asked for, in this order; may be empty.
        scopes: Vec<String>,
    },
}

impl AuthConfig {
    /// The kind, as a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Header { .. } => "header",
            Self::OAuth2 { .. } => "oauth2",
        }
    }
}

/// How an OAuth 2.0 client proves itself.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// `client_secret`, by HTTP basic authentication.
    Secret(Secret),
    /// `private_key_jwt` (RFC 7523).
    PrivateKey {
        /// PEM, PKCS#8 or PKCS#1.
        file: PathBuf,
        /// `kid` of the assertion, when the server wants one.
        kid: Option<String>,
    },
}

/// TLS towards a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM with certificates that are trusted besides the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Our certificate (mutual TLS).
    pub client: Option<TlsIdentity>,
}

/// Our certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// PEM, the leaf first.
    pub certificate_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
}

/// Which way out to a receiver.
#[derive(Clone, Debug)]
pub enum ProxyConfig {
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    Environment,
    /// Straight.
    Direct,
    /// Through this one; a `http` or `https` URL, which may hold credentials.
    Url(Secret),
}

/// Exponential back-off with full jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// Upper bound of the first wait.
    pub initial_delay: Duration,
    /// Upper bound of any wait of our own; at least `initial_delay`.
    pub max_delay: Duration,
    /// Growth of the bound from one wait to the next; 1 to 10.
    pub multiplier: f64,
    /// Upper bound of a wait that the receiver asks for (`Retry-After`).
    pub max_advised_delay: Duration,
    /// Attempts about one SET that may fail by the moment's fault; [`None`]: any number.
    pub max_attempts: Option<NonZeroU32>,
}

/// When a lasting 5xx is the record's fault (DESIGN, hard cases): all three have to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverErrorConfig {
    /// So many attempts were answered 5xx.
    pub attempts: NonZeroU32,
    /// So long since the first of them.
    pub after: Duration,
    /// So many other subjects were accepted meanwhile.
    pub other_subjects: NonZeroU32,
}

/// The two guards of a stream; [`None`] is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Many refusals in a row.
    pub refusals: Option<RefusalGuardConfig>,
    /// Many records in a row that cannot be decoded or mapped.
    pub records: Option<RecordGuardConfig>,
}

/// Many refusals in a row hold the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalGuardConfig {
    /// So many subjects refused, none accepted between.
    pub subjects: NonZeroUsize,
    /// A refused SET waits so long for an acceptance before it is a dead letter.
    pub wait: Duration,
}

/// Many record faults in a row hold the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordGuardConfig {
    /// So many faults in a row.
    pub faults: NonZeroUsize,
    /// From at least so many record keys.
    pub keys: NonZeroUsize,
}

/// Probes of a held stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldConfig {
    /// First wait before a probe.
    pub initial_probe_delay: Duration,
    /// Longest wait before a probe; at least the first one.
    pub max_probe_delay: Duration,
}

/// Dead letters of a stream.
#[derive(Clone, Debug)]
pub struct DeadLetterConfig {
    /// Name by source topic; default `{topic}.{stream}.dlq`.
    pub topic: TopicTemplate,
    /// Create the topic when it is missing.
    pub create: bool,
    /// Partitions of a created topic; [`None`]: as many as the source topic has.
    pub partitions: Option<NonZeroU32>,
    /// Replicas of a created topic; [`None`]: the broker's default.
    pub replication_factor: Option<NonZeroU32>,
}

/// The bounds of one stream (DESIGN P6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for an answer.
    pub max_requests_in_flight: NonZeroUsize,
    /// SETs without an outcome.
    pub max_unsettled: NonZeroUsize,
    /// Bytes of the records behind them; at least `max_record_bytes`.
    pub max_unsettled_bytes: u64,
    /// Records received past the last acknowledged commit.
    pub max_uncommitted: NonZeroUsize,
    /// A larger record is a dead letter.
    pub max_record_bytes: usize,
    /// A record with more detections is a dead letter.
    pub max_elements: NonZeroUsize,
}
