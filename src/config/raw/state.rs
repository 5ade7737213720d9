//! The memory of what was delivered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, PathText, RawSecret};
use crate::config::domain::OnUnavailable;

/// Where the memory of what was delivered is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateBackend {
    Sqlite,
    Memory,
    Redis,
}

/// Memory of what was delivered.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawState {
    /// `sqlite` survives a restart, `memory` does not, `redis` is one for all members.
    pub(crate) backend: StateBackend,
    /// The SQLite file; its folder must exist. One process per file.
    pub(crate) path: PathText,
    /// How long a delivered jti is remembered, and so how old a duplicate can be.
    pub(crate) window: DurationText,
    /// With `backend: memory`: at most so many jtis for each stream.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) max_entries: u32,
    /// With `backend: redis`: where it is.
    pub(crate) redis: RawRedis,
}

impl Default for RawState {
    fn default() -> Self {
        Self {
            backend: StateBackend::Sqlite,
            path: "setbridge-state.sqlite".into(),
            window: "24h".into(),
            max_entries: 1_000_000,
            redis: RawRedis::default(),
        }
    }
}

/// A Redis or Valkey that all members share.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRedis {
    /// `redis://host:port`, or `rediss://host:port` for TLS. Of several, the first that answers and
    /// is a primary is used; with `cluster`, any of them tells about the others.
    pub(crate) urls: Vec<String>,
    /// They are nodes of a Redis cluster. Each stream lives on one of its shards.
    pub(crate) cluster: bool,
    /// User of Redis' ACL; the default user unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) username: Option<String>,
    /// Its password. A file is read again for each connection.
    #[serde(skip_serializing)]
    pub(crate) password: Option<RawSecret>,
    /// What our keys begin with. Bridges that share a state have the same.
    #[schemars(
        regex(pattern = r"^[!-z|~]{0,64}$"),
        extend("x-mend" = "use up to 64 visible ASCII characters, no braces")
    )]
    pub(crate) key_prefix: String,
    /// TCP, TLS and log-in have to be done by then.
    pub(crate) connect_timeout: DurationText,
    /// A round trip has to be answered by then. Shorter than `shutdown.drain_deadline`.
    pub(crate) request_timeout: DurationText,
    /// What a stream does while there is no answer: `hold`, or `continue` without dedup.
    pub(crate) on_unavailable: OnUnavailable,
    /// TLS towards Redis, with `rediss://`.
    pub(crate) tls: RawRedisTls,
}

impl Default for RawRedis {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            cluster: false,
            username: None,
            password: None,
            key_prefix: "setbridge:".into(),
            connect_timeout: "2s".into(),
            request_timeout: "1s".into(),
            on_unavailable: OnUnavailable::Hold,
            tls: RawRedisTls::default(),
        }
    }
}

/// TLS towards Redis.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRedisTls {
    /// PEM with certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathText>,
    /// PEM with our certificate, the leaf first (mutual TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_file: Option<PathText>,
    /// PEM with our certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathText>,
}
