//! What the operator asked for, after every rule was checked: the types that the rest of the
//! program is built from.
//!
//! A value of these types is right by construction: streams have distinct ids, an issuer is an
//! `https` URL, the drain deadline lies between the request time-out and the poll interval. Nobody
//! past this module parses text of the configuration again, and nobody fills in a default.

mod replay;
mod signing;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::mistake::Mistake;
use super::tree::Places;
use crate::secret::Secret;

pub use replay::*;
pub use signing::*;
pub use stream::*;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach Kafka; the same for all streams.
    pub kafka: KafkaSettings,
    /// How signatures are made.
    pub signing: SigningSettings,
    /// The keys that sign: one ring or more, with distinct names, keys and key files. Each stream's is among them.
    pub rings: Vec<RingConfig>,
    /// What is served in public: JWKS and SSF metadata.
    pub transmitter: TransmitterSettings,
    /// What is served to operators: metrics, probes, status.
    pub admin: AdminSettings,
    /// Where delivered jtis, marks and levels are kept.
    pub state: StateConfig,
    /// How the process ends.
    pub shutdown: ShutdownSettings,
    /// Logs.
    pub log: LogSettings,
    /// One or more streams with distinct ids, in the order of the file.
    pub streams: Vec<StreamConfig>,
    /// SHA-256 over the effective configuration without secrets: replicas compare it.
    pub hash: ConfigHash,
    /// Where each part was written.
    pub(super) places: Places,
}

impl Config {
    /// A mistake that only the use of a value shows, at the place where the value was written. `at` is its JSON pointer.
    #[must_use]
    pub fn mistake(
        &self,
        at: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Mistake {
        Mistake::at(self.places.value(at), at, message, mend)
    }
}

/// SHA-256 over the effective configuration (defaults filled in, secrets left out).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigHash(pub [u8; 32]);

impl ConfigHash {
    /// The first 48 bits as a number that a metric (an IEEE 754 double) carries exactly.
    pub fn as_metric(&self) -> u64 {
        self.0[..6]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

impl fmt::Display for ConfigHash {
    /// The first 12 hexadecimal digits: the same 48 bits as [`ConfigHash::as_metric`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.as_metric())
    }
}

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, several parted by commas.
    pub bootstrap_servers: String,
    /// Name of this client in the broker's logs and quotas.
    pub client_id: String,
    /// Which rebalance protocol the consumers speak.
    pub group_protocol: GroupProtocol,
    /// `session.timeout.ms`; [`None`] with [`GroupProtocol::Consumer`], where the broker decides.
    pub session_timeout: Option<Duration>,
    /// `max.poll.interval.ms`.
    pub max_poll_interval: Duration,
    /// Bytes that librdkafka may fetch ahead for one stream (`queued.max.messages.kbytes`).
    pub prefetch_bytes: u64,
    /// The OAUTHBEARER token, kept fresh by somebody else; read whenever librdkafka asks for one.
    pub oauthbearer_token_file: Option<PathBuf>,
    /// Further librdkafka properties, passed through; none of them is one that the bridge sets
    /// itself. Any value may be a secret (`sasl.password`), so none is ever shown.
    pub properties: BTreeMap<String, Secret>,
}

/// Rebalance protocol of the consumer groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// The classic protocol with cooperative-sticky assignment; any broker.
    Classic,
    /// KIP-848; Kafka 4.0 and later.
    Consumer,
}

/// The public listener.
#[derive(Clone, Debug)]
pub struct TransmitterSettings {
    /// [`None`]: JWKS and metadata are hosted elsewhere.
    pub listen: Option<SocketAddr>,
    /// Every issuer that some stream uses, each once: whose metadata is served.
    pub issuers: Vec<IssuerMetadata>,
    /// `Cache-Control: max-age` of the JWKS and the metadata.
    pub max_age: Duration,
    /// [`None`]: plain http, behind something that speaks TLS.
    pub tls: Option<TlsIdentity>,
}

/// What the SSF metadata document of one issuer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerMetadata {
    /// The issuer.
    pub issuer: Issuer,
    /// Where receivers find the public keys.
    pub jwks_uri: Url,
    /// The keys of its SETs: an issuer has one ring.
    pub ring: RingName,
}

/// An issuer identifier: `https` (or `http` to loopback), no query, no fragment, no credentials.
/// Kept letter by letter as written, since receivers compare it exactly (CONTRACTS §1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Issuer(pub(super) Arc<str>);

impl Issuer {
    /// The text of the `iss` claim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text of the `iss` claim.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The listener for operators.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Metrics, probes and status are served here.
    pub listen: SocketAddr,
    /// `/livez` fails when a poll loop has been silent for longer; above the drain deadline.
    pub liveness_threshold: Duration,
    /// What an operator's act has to show; [`None`]: such acts are refused.
    pub token: Option<Secret>,
}

/// Where state is kept.
#[derive(Clone, Debug)]
pub enum StateConfig {
    /// One SQLite file (WAL), which survives restarts.
    Sqlite {
        /// The file; its folder must exist.
        path: PathBuf,
        /// How long a delivered jti is remembered.
        window: Duration,
    },
    /// Forgotten at the end of the process.
    Memory {
        /// How long a delivered jti is remembered.
        window: Duration,
        /// At most so many jtis per stream; the oldest is forgotten first.
        max_entries: NonZeroUsize,
    },
    /// A Redis that all members share.
    Redis(Box<RedisConfig>),
}

/// A Redis or Valkey.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Host (IPv6 without brackets) and port of one or more nodes.
    pub nodes: Vec<(String, u16)>,
    /// They are nodes of a Redis cluster.
    pub cluster: bool,
    /// TLS; [`None`]: plain TCP.
    pub tls: Option<TlsConfig>,
    /// User of Redis' ACL; [`None`]: the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// What our keys begin with; no braces in it.
    pub key_prefix: String,
    /// TCP, TLS and log-in have to be done by then.
    pub connect_timeout: Duration,
    /// A round trip has to be answered by then.
    pub request_timeout: Duration,
    /// What a stream does while there is no answer.
    pub on_unavailable: OnUnavailable,
    /// How long a delivered jti is remembered.
    pub window: Duration,
}

/// What a stream does while its shared state does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnavailable {
    /// It is held until there is an answer.
    Hold,
    /// It goes on without dedup and without levels.
    Continue,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// After SIGTERM: so long may work in flight go on; above every request time-out, below the
    /// poll interval and the termination grace.
    pub drain_deadline: Duration,
    /// When the orchestrator kills the process (Kubernetes: `terminationGracePeriodSeconds`).
    pub termination_grace: Duration,
}

/// Logs, to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Text or JSON.
    pub format: LogFormat,
    /// `tracing` filter directives, e.g. `info` or `info,setbridge::delivery=debug`; valid.
    pub level: String,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One human-readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}
