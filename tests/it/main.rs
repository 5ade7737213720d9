//! The tests over the wire: one binary, because linking librdkafka is the slow part of each.
//!
//! Fakes live outside the process boundary only: a broker (Apache Kafka and librdkafka's mock cluster) and a receiver
//! over real TCP. Tests wait for events, never for seconds, and are never run a second time.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(
    clippy::disallowed_methods,
    reason = "clippy.toml speaks of the service, not of its tests"
)]

mod acls;
mod ages;
mod algorithms;
mod authentication;
mod bad_records;
mod bounds;
mod broker_selftest;
mod chaos;
mod cli;
mod crash;
mod dead_letter_topic;
mod docs;
mod draining;
mod first_start;
mod full_disk;
mod guards;
mod happy_path;
mod holds;
mod hostile_receivers;
mod kafka_faults;
mod key_files;
mod members;
mod multi_buffer;
mod operators;
mod poll_interval;
mod positions;
mod proxies;
mod purity;
mod reader;
mod receiver_errors;
mod redis_faults;
mod replay_members;
mod replay_order;
mod replays;
mod resets;
mod retries;
mod rotation;
mod secrecy;
mod security;
mod shared_state;
mod state_faults;
mod static_members;
mod stream_keys;
mod streams;
mod support;
mod valve;
mod vault;
mod vault_reach;
mod zombie;
