//! From a stream's `mapping` as written to the compiled one: the place where the configuration meets the mapping language.

use std::sync::Arc;

use serde_json::Value;

use super::domain::OnNoSubject;
use crate::mapping::{Mapping, MappingSpec, SpecFault, Unmatched};

/// The schema of a stream's `mapping`.
pub(super) fn mapping_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<MappingSpec>()
}

/// The compiled mapping: these rules, or without any the native format.
///
/// # Errors
/// Everything that is wrong in the rules beyond their schema.
pub(super) fn mapping(
    rules: Option<&Value>,
    on_no_subject: OnNoSubject,
) -> Result<Arc<Mapping>, Vec<SpecFault>> {
    let mut spec = match rules {
        None => MappingSpec::native(),
        Some(rules) => serde_json::from_value(rules.clone()).map_err(|error| {
            vec![SpecFault {
                pointer: String::new(),
                message: error.to_string(),
                mend: "see `setbridge schema` for the shape of a mapping".to_owned(),
            }]
        })?,
    };
    spec.on_no_subject = match on_no_subject {
        OnNoSubject::DeadLetter => Unmatched::DeadLetter,
        OnNoSubject::Filter => Unmatched::Filter,
    };
    Mapping::compile(&spec).map(Arc::new)
}
