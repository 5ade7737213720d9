//! The shape of a mapping as the operator writes it. See the [module](super) for the language.
//!
//! Only shapes live here; whether they make sense is for `compile` to say.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::set::{ComplexMember, EventType};

/// A mapping: rules that turn detections into SETs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MappingSpec {
    /// Whether the first rule that matches is applied, or all of them.
    #[serde(default)]
    pub apply: Apply,
    /// What becomes of a detection that no rule matches.
    #[serde(default = "filter")]
    pub on_no_rule: Unmatched,
    /// What becomes of a detection whose rule finds nobody to report. Not a part of the language: it is a setting of the
    /// stream, so that the native format has it too.
    #[serde(skip, default = "dead_letter")]
    pub on_no_subject: Unmatched,
    /// Event times further ahead than this are refused.
    #[serde(default = "a_day")]
    pub max_future_seconds: u32,
    /// Event times longer ago than this are refused.
    #[serde(default = "ten_years")]
    pub max_past_seconds: u32,
    /// The rules, tried in order.
    pub rules: Vec<RuleSpec>,
}

fn filter() -> Unmatched {
    Unmatched::Filter
}

fn dead_letter() -> Unmatched {
    Unmatched::DeadLetter
}

fn a_day() -> u32 {
    24 * 60 * 60
}

fn ten_years() -> u32 {
    10 * 365 * 24 * 60 * 60
}

impl MappingSpec {
    /// The mapping of the native format, written in the mapping language itself.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "the mapping is compiled in and tested"
    )]
    pub fn native() -> Self {
        serde_json::from_str(include_str!("native.json"))
            .expect("the native mapping is compiled in and tested")
    }
}

/// Which matching rules are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// The first one.
    #[default]
    First,
    /// All, in order; one that drops ends it. Two SETs of one event type about one subject share
    /// their jti, so the second would be taken for a duplicate.
    All,
}

/// What becomes of a detection that makes no SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// It is settled and counted.
    Filter,
    /// It goes to the dead letters.
    DeadLetter,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Its name, for errors and metrics. Never a value of a detection.
    pub name: String,
    /// When it matches: a CEL expression over `detection` and `record`. Always, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Whether matching detections are filtered out instead of mapped.
    #[serde(default)]
    pub drop: bool,
    /// The event to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventType>,
    /// JSONPath: one SET (per subject) for each node, which is `@` in the other values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Who the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectSpec>,
    /// The detection key: what changes when the detection is updated. Without it, the bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<ValueSpec>,
    /// When it happened. Without it, or when it is missing: Kafka's time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<ValueSpec>,
    /// The unit of `time`.
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// The transaction id that SETs of one cause share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<ValueSpec>,
    /// The event's own fields, by their names in the SET.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, ValueSpec>,
}

/// Unit of a time value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// RFC 3339 text, else a number: seconds below 10^11, milliseconds below 10^16, else FILETIME.
    #[default]
    Auto,
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
    /// 100 ns since 1601 (Windows, CrowdStrike).
    Filetime,
    /// RFC 3339 text.
    Rfc3339,
}

/// A value: a constant, a JSONPath, a template or an expression.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ValueSpec {
    /// `$…` or `@…` is a JSONPath, a text with `{$…}` is a template, else a constant.
    Text(String),
    /// A constant.
    Number(Number),
    /// A constant.
    Bool(bool),
    /// An expression.
    Expr(Box<ExprSpec>),
}

/// A constant that is no object and no list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScalarSpec {
    /// Text.
    Text(String),
    /// A number.
    Number(Number),
    /// True or false.
    Bool(bool),
}

/// An expression, by its one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExprSpec {
    /// A JSONPath (RFC 9535) that gives at most one node (any number, in a subject).
    Path(String),
    /// A constant, whatever it looks like.
    Const(ScalarSpec),
    /// Text with `{$…}` in it; missing when one of its paths is.
    Template(String),
    /// A table of words.
    Lookup(LookupSpec),
    /// Bands of a score.
    Bands(BandsSpec),
    /// The first that has a value.
    FirstOf(Vec<ValueSpec>),
    /// A record header, as text.
    Header(String),
    /// A part of the record.
    Record(RecordPart),
    /// One text per language (BCP 47), `en` among them: for reasons.
    Languages(BTreeMap<String, ValueSpec>),
}

/// A part of the record that is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordPart {
    /// The key, as text.
    Key,
    /// The name of the topic.
    Topic,
}

/// `lookup`: words to words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupSpec {
    /// What is looked up. Numbers and booleans are looked up by their JSON text.
    pub of: ValueSpec,
    /// The table.
    pub table: BTreeMap<String, ScalarSpec>,
    /// For values outside the table; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ScalarSpec>,
    /// Whether `High` finds `high`.
    #[serde(default)]
    pub ignore_case: bool,
}

/// `bands`: a score to a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandsSpec {
    /// The score: a number, or text that is one.
    pub of: ValueSpec,
    /// The bands; they must not overlap.
    pub ranges: Vec<BandSpec>,
    /// For scores outside all bands; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ScalarSpec>,
}

/// One band: `from ≤ score < below`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandSpec {
    /// Lowest score; open without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// First score above; open without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// What it means.
    pub value: ScalarSpec,
}

/// Who an event is about, by the name of the format (RFC 9493 §3.2, SSF §3.3 and §3.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SubjectSpec {
    /// An e-mail address.
    Email(ValueSpec),
    /// A subject at an issuer.
    IssSub {
        /// The issuer.
        iss: ValueSpec,
        /// The subject.
        sub: ValueSpec,
    },
    /// An id that only the receiver understands.
    Opaque(ValueSpec),
    /// A phone number in E.164 form.
    PhoneNumber(ValueSpec),
    /// An `acct:` URI.
    Account(ValueSpec),
    /// A URI.
    Uri(ValueSpec),
    /// A DID URL.
    Did(ValueSpec),
    /// A JWT.
    JwtId {
        /// Its issuer.
        iss: ValueSpec,
        /// Its jti.
        jti: ValueSpec,
    },
    /// A SAML assertion.
    SamlAssertionId {
        /// Its issuer.
        issuer: ValueSpec,
        /// Its ID.
        assertion_id: ValueSpec,
    },
    /// All addresses that the value gives, as one subject.
    #[serde(rename = "ip-addresses", alias = "ip_addresses")]
    IpAddresses(ValueSpec),
    /// Several identifiers of one subject; those that are missing are left out.
    Aliases(Vec<SubjectSpec>),
    /// Several subjects that together say who is meant; none may be missing.
    Complex(BTreeMap<ComplexMember, SubjectSpec>),
    /// A whole RFC 9493 object, `format` and all, from the detection.
    Object(ValueSpec),
    /// The first of these that the detection gives.
    FirstOf(Vec<SubjectSpec>),
}

impl<'de> Deserialize<'de> for ValueSpec {
    /// By hand rather than `untagged`, so that a mistake inside an expression is reported as
    /// what it is, not as "did not match any variant".
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = ValueSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false or an expression such as { path: $.a }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueSpec, E> {
        Ok(ValueSpec::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ValueSpec, E> {
        Ok(ValueSpec::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ValueSpec, E> {
        Ok(ValueSpec::Number(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ValueSpec, E> {
        Ok(ValueSpec::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<ValueSpec, E> {
        Number::from_f64(number)
            .map(ValueSpec::Number)
            .ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ValueSpec, A::Error> {
        let expr = ExprSpec::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(ValueSpec::Expr(Box::new(expr)))
    }
}
