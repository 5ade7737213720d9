//! One file a subcommand.

pub mod keys;
