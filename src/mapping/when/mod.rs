//! `when`: a CEL expression, parsed once. Of a detection only the members that the expression
//! names are converted to CEL values (DESIGN §6), so the size of a detection does not matter.

mod survey;
mod variables;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Program};
use serde_json::Value;

use self::survey::survey;
use self::variables::Variables;
use super::error::{Fault, MapReason};
use super::limits::{MAX_EXPRESSION_BYTES, MAX_EXPRESSION_SIGNS};
use crate::detection::Needs;
use crate::record::Record;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled predicate.
pub(super) struct When {
    program: Program,
    detection: Needs,
    source: Arc<str>,
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("When(…)")
    }
}

impl When {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong, and the mend.
    pub(super) fn compile(source: &str) -> Result<Self, (String, String)> {
        let nesting = |c: char| ".[({+-*/%?".contains(c);
        if source.len() > MAX_EXPRESSION_BYTES
            || source.matches(nesting).count() > MAX_EXPRESSION_SIGNS
        {
            return Err((
                format!(
                    "the expression is longer than {MAX_EXPRESSION_BYTES} bytes, or has more than {MAX_EXPRESSION_SIGNS} operators and dots"
                ),
                "split it over several rules".to_owned(),
            ));
        }
        let program = ENV.compile(source).map_err(|errors| {
            (
                format!("this is no CEL expression: {errors}"),
                "see the CEL language definition at cel.dev".to_owned(),
            )
        })?;
        let detection = survey(program.expression())?;
        Ok(Self {
            program,
            detection,
            source: Arc::from(source),
        })
    }

    /// The expression as it was written.
    pub(super) const fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// What it looks at.
    pub(super) const fn needs(&self) -> &Needs {
        &self.detection
    }

    /// Whether the detection matches. A member that is missing means that it does not.
    ///
    /// # Errors
    /// `Expression` when the expression fails in any other way, or gives no boolean.
    pub(super) fn holds(&self, detection: &Value, record: &Record) -> Result<bool, Fault> {
        let variables = Variables {
            detection,
            needs: &self.detection,
            record,
        };
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&variables);
        match cel::Value::resolve_val(self.program.expression(), &context) {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(flag) => Ok(*flag.inner()),
                None => Err(expression("it gives no boolean")),
            },
            Err(ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_)) => Ok(false),
            Err(error) => Err(expression(without_values(&error))),
        }
    }
}

fn expression(text: &str) -> Fault {
    Fault::new(MapReason::Expression, text)
}

/// The kind of an evaluation error. Its own message would show values of the detection.
fn without_values(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedIndex(..) => {
            "an operand has a type that its operator does not take"
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero"
        }
        ExecutionError::Overflow(..) => "a number overflows",
        ExecutionError::UndeclaredReference(_) => "it names something that does not exist",
        ExecutionError::FunctionError { .. } => "a function refused its argument",
        _ => "it cannot be evaluated",
    }
}

#[cfg(test)]
mod needs_tests;
#[cfg(test)]
mod tests;
