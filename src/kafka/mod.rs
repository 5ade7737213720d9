//! What touches Kafka: one poller per stream, one acknowledged producer per process.
//!
//! librdkafka's types end here; the rest of the program sees [`crate::record::Record`]s, seats and offsets.

pub mod client;
pub mod consumer;
mod context;
pub mod dead_letter;
mod doubt;
pub mod events;
mod hearing;
mod look;
pub mod membership;
pub mod offsets;
pub mod producer;
pub mod reader;
mod rebalance;
mod relocate;
mod rewind;
pub mod room;
mod settings;
mod side;
mod start;
mod tail;
pub(crate) mod token;
pub mod topics;

pub use consumer::{Lines, Poller};
pub use settings::ConsumerSettings;
pub use side::{NamesBySource, SideNames, SideSettings};
pub use start::StartAt;
