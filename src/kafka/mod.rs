//! What touches Kafka.

pub mod offsets;
