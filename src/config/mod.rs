//! The configuration: what the operator says, checked as a whole before anything starts.
//!
//! The way of a configuration, one file a step: `yaml` text → JSON with places (`tree`) → `overlay`
//! (`SETBRIDGE_…`, flags) → `variables` (`${VAR}`) → `schema` → `raw` structs → `strict` checks →
//! [`Config`]; `load` is the way itself. Each step reports all that it sees, with the line. Nothing
//! past this module reads text of the configuration, and no message ever shows a secret.

mod convert;
mod domain;
mod fingerprint;
mod load;
mod mistake;
mod overlay;
mod pointer;
mod raw;
mod schema;
mod strict;
#[cfg(test)]
mod tests;
mod topics;
mod tree;
mod variables;
mod yaml;

pub use crate::secret::{Secret, SecretError};
pub use domain::*;
pub use load::{Files, Sources, load, load_text};
pub use mistake::{Mistake, Place};
pub use overlay::Override;
pub use schema::json_schema;
pub use topics::{
    TopicName, TopicNameError, TopicPattern, TopicPatternError, TopicTemplate, TopicTemplateError,
};
pub use variables::Environment;

/// A duration as the configuration writes it: `30s`, `15m`, `24h`.
///
/// # Errors
/// What to write.
pub fn duration(text: &str) -> Result<std::time::Duration, &'static str> {
    let found = raw::DurationText::from(text).duration();
    found.ok_or("write a number and a unit: 30s, 15m, 24h, 7d")
}

/// Every key with its default and its meaning.
pub const REFERENCE: &str = include_str!("../../config/setbridge.yaml");

/// The smallest configuration that runs.
pub const DEMO: &str = include_str!("../../config/demo.yaml");
