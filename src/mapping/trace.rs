//! The same evaluation as [`Mapping::map`], with what each rule came to: for somebody who asks why.

use std::sync::Arc;

use serde_json::Value;

use super::rule::Rule;
use super::{MapInput, Mapped, Mapping};
use crate::detection::Needs;

/// What a rule came to on one detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleVerdict {
    /// Its `when` does not hold.
    Passed,
    /// Its `when` failed: that is a refusal among the SETs.
    Failed,
    /// It matched, and drops the detection.
    Dropped,
    /// It matched, but there is nobody to report.
    Nobody,
    /// It matched and made so many SETs, refusals counted.
    Made(usize),
    /// A rule before it had the last word.
    NotAsked,
}

impl RuleVerdict {
    /// The verdict as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "no_match",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::Nobody => "nobody",
            Self::Made(_) => "matched",
            Self::NotAsked => "not_asked",
        }
    }
}

/// One rule, and why it did what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTrace {
    /// Its name.
    pub rule: Arc<str>,
    /// Its `when`, as written; [`None`]: it always matches.
    pub when: Option<Arc<str>>,
    /// What its `when` looks at, by name, and what is there; [`None`]: nothing.
    pub looked_at: Vec<(String, Option<Value>)>,
    /// What it came to.
    pub verdict: RuleVerdict,
}

impl RuleTrace {
    fn new(rule: &Rule, input: &MapInput<'_>, verdict: RuleVerdict) -> Self {
        let mut looked_at = Vec::new();
        if let Some(when) = rule
            .when
            .as_ref()
            .filter(|_| verdict != RuleVerdict::NotAsked)
        {
            let detection = Some(&input.detection.json);
            look(
                "detection".to_owned(),
                when.needs(),
                detection,
                &mut looked_at,
            );
        }
        Self {
            rule: Arc::clone(rule.name()),
            when: rule.when.as_ref().map(|when| Arc::clone(when.source())),
            looked_at,
            verdict,
        }
    }
}

fn look(
    name: String,
    needs: &Needs,
    value: Option<&Value>,
    looked_at: &mut Vec<(String, Option<Value>)>,
) {
    if needs.is_whole() {
        looked_at.push((name, value.cloned()));
        return;
    }
    for (member, needs) in needs.members() {
        let value = value.and_then(|value| value.get(member));
        look(format!("{name}.{member}"), needs, value, looked_at);
    }
}

impl Mapping {
    /// Maps one detection as [`Self::map`] does, and says what each rule came to, in their order.
    #[must_use]
    pub fn trace(&self, input: &MapInput<'_>) -> (Mapped, Vec<RuleTrace>) {
        let mut traces = Vec::with_capacity(self.rules.len());
        let mapped = self.walk(input, |rule, verdict| {
            traces.push(RuleTrace::new(rule, input, verdict));
        });
        let rest = self.rules.iter().skip(traces.len());
        traces.extend(rest.map(|rule| RuleTrace::new(rule, input, RuleVerdict::NotAsked)));
        (mapped, traces)
    }
}
