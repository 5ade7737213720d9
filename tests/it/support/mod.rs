//! What the tests over the wire stand on: the world outside, and the bridge as a process in it.

pub(crate) mod acl;
pub(crate) mod apache;
pub(crate) mod bridge;
pub(crate) mod broker;
pub(crate) mod configuration;
pub(crate) mod exposition;
pub(crate) mod group;
pub(crate) mod hostile;
pub(crate) mod log;
pub(crate) mod mock;
pub(crate) mod node;
pub(crate) mod numbered;
pub(crate) mod one_stream;
pub(crate) mod operator;
pub(crate) mod proxy;
pub(crate) mod receipts;
pub(crate) mod redis_server;
pub(crate) mod replays;
pub(crate) mod signals;
pub(crate) mod tls;
pub(crate) mod tls_front;
pub(crate) mod token_endpoint;
pub(crate) mod topics;
pub(crate) mod used;
pub(crate) mod vault;
pub(crate) mod wire;

use std::sync::atomic::{AtomicU32, Ordering};

/// A name that no other test and no earlier run has used: `<what>-<process id>-<count>`.
/// Brokers given by `KAFKA_BOOTSTRAP` keep topics and groups between runs.
pub(crate) fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{count}", std::process::id())
}
