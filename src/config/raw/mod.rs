//! The configuration as it is written: the shape of the YAML, with every default.
//!
//! The JSON Schema is generated from these types, and it refuses what has a wrong shape. What the
//! schema cannot say (that a file is readable, that one time is longer than another) is checked
//! when these become the types of [`super::domain`]. Serializing one gives the *effective*
//! configuration for its hash: secrets are left out.

mod receiver;
mod signing;
mod state;
mod stream;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::domain::{GroupProtocol, LogFormat};

pub(crate) use receiver::*;
pub(crate) use signing::*;
pub(crate) use state::*;
pub(crate) use stream::*;
pub(crate) use text::*;

/// The configuration of setbridge.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// The consumer group of a stream is `<group_id>.<stream id>`.
    #[serde(default = "default_group_id")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9._-]{1,128}$"),
        extend("x-mend" = "use up to 128 ASCII letters, digits, '.', '_' and '-'")
    )]
    pub(crate) group_id: String,
    /// How to reach Kafka.
    pub(crate) kafka: RawKafka,
    /// The keys that sign SETs; a stream may have its own.
    pub(crate) signing: RawSigning,
    /// What receivers fetch from us: JWKS and SSF metadata.
    #[serde(default)]
    pub(crate) transmitter: RawTransmitter,
    /// What operators fetch from us: metrics, probes, status.
    #[serde(default)]
    pub(crate) admin: RawAdmin,
    /// Memory of what was delivered.
    #[serde(default)]
    pub(crate) state: RawState,
    /// The bounds of each stream; a stream can override them.
    #[serde(default)]
    pub(crate) limits: RawLimits,
    /// How the process ends.
    #[serde(default)]
    pub(crate) shutdown: RawShutdown,
    /// Logs, to standard error.
    #[serde(default)]
    pub(crate) log: RawLog,
    /// Each stream: some topics, a mapping, one receiver.
    #[schemars(
        length(min = 1),
        extend("x-mend" = "add a stream: an id, topics and a receiver")
    )]
    pub(crate) streams: Vec<RawStream>,
}

fn default_group_id() -> String {
    "setbridge".into()
}

/// How to reach Kafka.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKafka {
    /// `host:port`, several parted by commas.
    #[schemars(
        regex(pattern = r"^[^\s,]+:[0-9]{1,5}(\s*,\s*[^\s,]+:[0-9]{1,5})*$"),
        extend("x-mend" = "write host:port, several parted by commas")
    )]
    pub(crate) bootstrap_servers: String,
    /// Name of this client in the broker's logs, metrics and quotas.
    #[serde(default = "default_client_id")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9._-]{1,128}$"),
        extend("x-mend" = "use up to 128 ASCII letters, digits, '.', '_' and '-'")
    )]
    pub(crate) client_id: String,
    /// `classic` works with any broker; `consumer` is KIP-848, for Kafka 4.0 and later.
    #[serde(default = "default_group_protocol")]
    pub(crate) group_protocol: GroupProtocol,
    /// How long the broker waits for a silent member; default 45s. Only with `group_protocol:
    /// classic` (with `consumer` the broker decides).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_timeout: Option<DurationText>,
    /// How long a member may go without polling before its partitions go to others.
    #[serde(default = "default_max_poll_interval")]
    pub(crate) max_poll_interval: DurationText,
    /// How much may be fetched ahead of the work, for each stream.
    #[serde(default = "default_prefetch")]
    pub(crate) prefetch: SizeText,
    /// File with the OAUTHBEARER token (a JWT with `sub` and `exp`), kept fresh by somebody else.
    /// Only with `sasl.mechanism: OAUTHBEARER` in the properties.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oauthbearer_token_file: Option<PathText>,
    /// Further librdkafka properties, e.g. for TLS and SASL. A value may be `file:/path`.
    #[serde(default, serialize_with = "public_properties")]
    pub(crate) properties: BTreeMap<String, RawProperty>,
}

fn default_client_id() -> String {
    "setbridge".into()
}

fn default_group_protocol() -> GroupProtocol {
    GroupProtocol::Classic
}

fn default_max_poll_interval() -> DurationText {
    "5m".into()
}

fn default_prefetch() -> SizeText {
    "4MiB".into()
}

/// What receivers fetch from us: JWKS and SSF metadata.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTransmitter {
    /// `iss` of the SETs, letter by letter as the receiver has it registered. Needed here or in
    /// each stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// Address of the public listener, or `none` when JWKS and metadata are hosted elsewhere.
    pub(crate) listen: String,
    /// Where receivers find the JWKS; default `/jwks.json` at the issuer's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_uri: Option<String>,
    /// How long receivers may cache the JWKS and the metadata.
    pub(crate) max_age: DurationText,
    /// The public listener speaks TLS itself. Without it something in front of it does: receivers fetch over https.
    pub(crate) tls: RawTransmitterTls,
}

/// TLS of the public listener. Both files are read again when they change, and on SIGHUP.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTransmitterTls {
    /// PEM with the certificate, the leaf first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_file: Option<PathText>,
    /// PEM with the certificate's key, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathText>,
}

impl Default for RawTransmitter {
    fn default() -> Self {
        Self {
            issuer: None,
            listen: "0.0.0.0:8080".into(),
            jwks_uri: None,
            max_age: "5m".into(),
            tls: RawTransmitterTls::default(),
        }
    }
}

/// What operators fetch from us: metrics, probes, status.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAdmin {
    /// Address of the operators' listener.
    pub(crate) listen: String,
    /// `/livez` fails when a poll loop has been silent for longer.
    pub(crate) liveness_threshold: DurationText,
    /// What the commands that change something have to show; default none, then they are refused.
    #[serde(skip_serializing)]
    pub(crate) token: Option<RawSecret>,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9464".into(),
            liveness_threshold: "60s".into(),
            token: None,
        }
    }
}

/// How the process ends.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawShutdown {
    /// After SIGTERM, work in flight may go on for so long.
    pub(crate) drain_deadline: DurationText,
    /// When the orchestrator kills the process (Kubernetes: terminationGracePeriodSeconds).
    pub(crate) termination_grace: DurationText,
}

impl Default for RawShutdown {
    fn default() -> Self {
        Self {
            drain_deadline: "20s".into(),
            termination_grace: "30s".into(),
        }
    }
}

/// Logs, to standard error.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLog {
    /// `auto` is text on a terminal and JSON otherwise.
    pub(crate) format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or `tracing` filter directives.
    pub(crate) level: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".into(),
        }
    }
}
