//! Where the schema knows alternatives (the mapping language does), the validator says only that none fits. This picks
//! the alternative that was meant, so that the mistake is told about that one.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::super::mistake::did_you_mean;

/// What is wrong with a value that fits none of several alternatives.
pub(super) enum Meant<'e> {
    /// This alternative was meant; its errors tell the rest.
    One(&'e [ValidationError<'static>]),
    /// Nobody knows: message and mend.
    Nobody(String, String),
}

/// The errors of each alternative, those of nested choices about the same value included.
fn alternatives<'e>(
    context: &'e [Vec<ValidationError<'static>>],
    at: &str,
    into: &mut Vec<&'e [ValidationError<'static>]>,
) {
    for errors in context {
        match errors.as_slice() {
            [only] if only.instance_path().as_str() == at => match only.kind() {
                Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                    alternatives(context, at, into)
                }
                _ => into.push(errors),
            },
            _ => into.push(errors),
        }
    }
}

/// An alternative of another JSON type, or of another key, was not meant.
fn is_another(errors: &[ValidationError<'_>], at: &str) -> bool {
    errors.iter().any(|error| {
        error.instance_path().as_str() == at
            && matches!(error.kind(), Kind::Type { .. } | Kind::Required { .. })
    })
}

/// The key that would choose an alternative.
fn key_of(errors: &[ValidationError<'_>], at: &str) -> Option<String> {
    errors.iter().find_map(|error| match error.kind() {
        Kind::Required { property } if error.instance_path().as_str() == at => {
            property.as_str().map(str::to_owned)
        }
        _ => None,
    })
}

/// Picks the alternative that was meant by the value `found` at `at`.
pub(super) fn meant<'e>(
    context: &'e [Vec<ValidationError<'static>>],
    found: &Value,
    at: &str,
) -> Meant<'e> {
    let mut all = Vec::new();
    alternatives(context, at, &mut all);
    if let Some(errors) = all.iter().find(|errors| !is_another(errors, at)) {
        return Meant::One(errors);
    }
    let known: Vec<String> = all.iter().filter_map(|errors| key_of(errors, at)).collect();
    let names = known.join(", ");
    let Some(keys) = found.as_object() else {
        return Meant::Nobody(
            format!(
                "this is {}, which is not wanted here",
                super::kind_of(found)
            ),
            match names.as_str() {
                "" => "write one text, number or expression".to_owned(),
                names => format!("write a text, a number, or an object with one of: {names}"),
            },
        );
    };
    let close = keys
        .keys()
        .find_map(|key| Some((key, did_you_mean(key, known.iter().map(String::as_str))?)));
    match close {
        Some((key, meant)) => Meant::Nobody(
            format!("`{key}` is not known here"),
            format!("did you mean `{meant}`?"),
        ),
        None => Meant::Nobody(
            "none of its keys is known here".to_owned(),
            format!("use one of: {names}"),
        ),
    }
}
