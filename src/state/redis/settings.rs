//! Where the Redis is, and what may be done without it.

use std::{path::PathBuf, time::Duration};

use crate::secret::Secret;

/// How to reach the Redis that keeps the state of all members.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Nodes. Without `cluster`: the first that answers and is a primary is used. With it: any of
    /// them tells about the others.
    pub addresses: Vec<RedisAddress>,
    /// Whether they are nodes of a Redis cluster.
    pub cluster: bool,
    /// Whether they speak TLS.
    pub tls: Option<RedisTls>,
    /// ACL user; none is the default user.
    pub username: Option<String>,
    /// Its password; a file is read again for every connection.
    pub password: Option<Secret>,
    /// What all our keys begin with; without braces.
    pub key_prefix: String,
    /// For one connection, its handshake and log-in included.
    pub connect_timeout: Duration,
    /// For one round trip, whatever is in it.
    pub request_timeout: Duration,
    /// What to do while there is no answer.
    pub on_unavailable: OnUnavailable,
    /// Jtis are remembered at least so long.
    pub window: Duration,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Files for TLS, all PEM, read for every connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What a stream does while the Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnavailable {
    /// It is held.
    Hold,
    /// It goes on and knows nothing: repeats are sent, levels before are unknown.
    Continue,
}

impl RedisSettings {
    /// `host:port`, several parted by commas; nothing secret.
    pub(super) fn at(&self) -> String {
        let each = self.addresses.iter().map(|address| {
            if address.host.contains(':') {
                format!("[{}]:{}", address.host, address.port)
            } else {
                format!("{}:{}", address.host, address.port)
            }
        });
        each.collect::<Vec<_>>().join(",")
    }
}
