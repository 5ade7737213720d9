//! Detection → claims, by declarative rules (pure: no I/O, no clock, no logging, no state).
//!
//! A [`MappingSpec`] is what the operator writes; [`Mapping::compile`] checks all of it and
//! reports every fault at once; [`Mapping::map`] applies it to one detection. On any JSON it
//! gives claims that make a valid SET, or a refusal with a reason from a closed list.
//!
//! ```yaml
//! apply: first                 # first rule that matches (default), or all of them
//! on_no_rule: filter           # no rule matched: filter (default) | dead_letter
//! max_future_seconds: 86400    # event times further ahead are refused (default: a day)
//! max_past_seconds: 315360000  # … or longer ago (default: ten years)
//! rules:
//!   - name: test traffic       # shown in errors and metrics
//!     when: detection.environment == "lab"         # CEL; without it the rule always matches
//!     drop: true               # a filter: nothing is sent
//!   - name: risky users
//!     when: detection.type == "user_risk" && detection.score >= 40
//!     event: user-risk-change
//!     each: $.users[*]         # optional: one SET per node; `@` is then that node
//!     subject: { email: "@.mail" }                 # see below
//!     id: [$.id, $.revision, "@.mail"]             # detection key; without it the bytes
//!     time: $.detected_at      # without it, or when it is missing: the Kafka time stamp
//!     time_unit: auto          # auto | s | ms | us | ns | filetime | rfc3339
//!     txn: $.case              # optional
//!     claims:                  # the event's own fields, by their names in the SET
//!       current_level: { bands: { of: $.score, ranges: [
//!         { below: 40, value: low }, { from: 40, below: 70, value: medium }, { from: 70, value: high }] } }
//!       reason_admin: "{$.rule.name} on {$.host}"
//! ```
//!
//! **Values.** A plain string that begins with `$` (or `@`, inside `each`) is a JSONPath
//! (RFC 9535); one that holds `{$…}` or `{@…}` is a template, in which `{{` and `}}` stand for
//! braces; anything else is a constant. Explicit: `{ path: … }`, `{ const: … }`,
//! `{ template: … }`, `{ lookup: { of, table, default, ignore_case } }`,
//! `{ bands: { of, ranges: [{ from, below, value }], default } }`, `{ first_of: [ … ] }`,
//! `{ header: NAME }`, `{ record: key | topic }`, and for reasons `{ languages: { en, de, … } }`.
//! Null and blank text count as missing. `from` is included, `below` is not.
//!
//! **Subjects.** The format of RFC 9493 is the key: `email: V`, `opaque: V`, `phone_number: V`,
//! `account: V`, `uri: V`, `did: V`, `ip-addresses: V`, `iss_sub: { iss: V, sub: V }`,
//! `jwt_id: { iss, jti }`, `saml_assertion_id: { issuer, assertion_id }`, `aliases: [ … ]`,
//! `complex: { user: …, device: … }`; `object: V` takes a whole RFC 9493 object from the
//! detection. A value that gives several makes one SET each.
//!
//! **`when`.** CEL with the variables `detection` and `record` (`record.key`, `record.topic`,
//! `record.headers`). A member that is missing means "does not match"; any other error in the
//! expression refuses the detection (reason `expression`).

mod claims;
mod compile;
mod error;
mod expr;
mod limits;
mod looks;
mod made;
mod path;
mod rule;
mod spec;
mod subject;
mod subject_object;
mod template;
mod time;
mod trace;
mod when;

use std::sync::Arc;

use thiserror::Error;

use self::made::Made;
use crate::detection::{Detection, Needs};
use crate::record::Record;
use crate::set::Timestamp;

pub use claims::{Claims, Envelope};
pub use error::{MapError, MapReason};
pub use limits::{MAX_SETS, MAX_SETS_BYTES, MAX_TEXT_BYTES};
pub use trace::{RuleTrace, RuleVerdict};

pub use spec::{
    Apply, BandSpec, BandsSpec, ExprSpec, LookupSpec, MappingSpec, RecordPart, RuleSpec,
    ScalarSpec, SubjectSpec, TimeUnit, Unmatched, ValueSpec,
};

/// A mistake in a mapping, with the place and the mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{pointer}: {message}; {mend}")]
pub struct SpecFault {
    /// JSON pointer (RFC 6901) below the mapping, e.g. `/rules/0/claims/current_level`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

/// A mapping that was checked and compiled. Shared by all records of a stream.
#[derive(Debug)]
pub struct Mapping {
    apply: Apply,
    on_no_rule: Unmatched,
    on_no_subject: Unmatched,
    max_past: u32,
    rules: Vec<rule::Rule>,
    needs: Arc<Needs>,
    no_rule: Arc<str>,
}

/// What a mapping looks at.
#[derive(Clone, Copy, Debug)]
pub struct MapInput<'a> {
    /// The detection.
    pub detection: &'a Detection,
    /// The record that it came in: key, headers, topic and Kafka's time stamp.
    pub record: &'a Record,
    /// `iss` of the SETs: a part of the jti.
    pub issuer: &'a str,
    /// Id of the stream: a part of the jti.
    pub stream: &'a str,
    /// Now, for the far-future and far-past rule only; it never gets into the claims.
    pub now: Timestamp,
}

/// Why a detection makes no SET although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterReason {
    /// No rule matched.
    NoRule,
    /// A rule with `drop: true` matched.
    RuleDrop,
    /// Nobody to report, and the mapping says that this is fine.
    NoSubject,
}

impl FilterReason {
    /// Every reason, for metrics that start at 0.
    pub const ALL: [FilterReason; 3] = [
        FilterReason::NoRule,
        FilterReason::RuleDrop,
        FilterReason::NoSubject,
    ];

    /// The reason as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FilterReason::NoRule => "no_rule",
            FilterReason::RuleDrop => "rule_drop",
            FilterReason::NoSubject => "no_subject",
        }
    }
}

/// What became of a detection.
#[derive(Debug)]
pub enum Mapped {
    /// Nothing to send.
    Filtered(FilterReason),
    /// Claims, and refusals, in the order of rules and subjects. Never empty.
    Sets(Vec<Result<Claims, MapError>>),
}

impl Mapping {
    /// Checks and compiles a mapping.
    ///
    /// # Errors
    /// Every fault of the mapping, not only the first.
    pub fn compile(spec: &MappingSpec) -> Result<Mapping, Vec<SpecFault>> {
        compile::mapping(spec)
    }

    /// The mapping of the native format (`config/detection.schema.json`).
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "the mapping is compiled in and tested"
    )]
    pub fn native() -> Mapping {
        Mapping::compile(&MappingSpec::native())
            .expect("the native mapping is compiled in and tested")
    }

    /// The names of the rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(rule::Rule::name)
    }

    /// What of a detection the rules look at: decoding may leave out the rest.
    #[must_use]
    pub const fn needs(&self) -> &Arc<Needs> {
        &self.needs
    }

    /// Seconds after which an event is too old to be mapped.
    #[must_use]
    pub const fn max_past_seconds(&self) -> u32 {
        self.max_past
    }

    /// Maps one detection.
    #[must_use]
    pub fn map(&self, input: &MapInput<'_>) -> Mapped {
        self.walk(input, |_, _| ())
    }

    /// Asks the rules in order, tells `saw` what each came to, and stops where one has the last word.
    fn walk(&self, input: &MapInput<'_>, mut saw: impl FnMut(&rule::Rule, RuleVerdict)) -> Mapped {
        let mut sets = Made::default();
        let mut filtered = FilterReason::NoRule;
        for rule in &self.rules {
            match rule.matches(input) {
                Ok(false) => {
                    saw(rule, RuleVerdict::Passed);
                    continue;
                }
                Ok(true) if rule.drops() => {
                    saw(rule, RuleVerdict::Dropped);
                    filtered = FilterReason::RuleDrop;
                    break;
                }
                Ok(true) => {
                    let before = sets.len();
                    if rule.map(input, &mut sets) {
                        saw(rule, RuleVerdict::Made(sets.len() - before));
                    } else {
                        saw(rule, RuleVerdict::Nobody);
                        filtered = FilterReason::NoSubject;
                        if self.on_no_subject == Unmatched::DeadLetter {
                            sets.push(Err(rule.no_subject()));
                        }
                    }
                }
                Err(error) => {
                    saw(rule, RuleVerdict::Failed);
                    sets.push(Err(error));
                }
            }
            if self.apply == Apply::First {
                break;
            }
        }
        match (sets.is_empty(), filtered, self.on_no_rule) {
            (false, _, _) => Mapped::Sets(sets.into_results()),
            (true, FilterReason::NoRule, Unmatched::DeadLetter) => {
                Mapped::Sets(vec![Err(MapError::no_rule(&self.no_rule))])
            }
            (true, reason, _) => Mapped::Filtered(reason),
        }
    }
}

#[cfg(test)]
mod tests;
