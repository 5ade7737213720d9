//! From what the operator wrote to what is run. All faults are reported, each with its place and
//! its mend, so that one look at the output is enough.

mod subject;
mod values;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use serde_json::Value;

use super::expr::Expr;
use super::path::Path;
use super::rule::{EventRule, Rule, read_field};
use super::spec::{MappingSpec, RuleSpec, SubjectSpec};
use super::when::When;
use super::{Mapping, SpecFault, looks};
use crate::set::{EventType, Field, FieldKind, Reason};

/// Compiles a whole mapping.
pub(super) fn mapping(spec: &MappingSpec) -> Result<Mapping, Vec<SpecFault>> {
    let mut faults = Faults::default();
    let top = Place::top();
    if spec.rules.is_empty() {
        faults.push(
            &top.at("rules"),
            "there is no rule",
            "add one, or leave the mapping out for the native format",
        );
    }
    let mut names = BTreeSet::new();
    let mut rules = Vec::with_capacity(spec.rules.len());
    for (index, rule) in spec.rules.iter().enumerate() {
        let place = top.at("rules").at(index);
        if rule.name.trim().is_empty() {
            faults.push(
                &place.at("name"),
                "the rule has no name",
                "give it one: it is shown in errors and metrics",
            );
        } else if !names.insert(rule.name.as_str()) {
            faults.push(
                &place.at("name"),
                "another rule has this name",
                "give every rule a name of its own",
            );
        }
        let mut compiler = Compiler {
            faults: &mut faults,
            each: rule.each.is_some(),
        };
        rules.extend(compiler.rule(spec, rule, &place));
    }
    if faults.0.is_empty() {
        Ok(Mapping {
            apply: spec.apply,
            on_no_rule: spec.on_no_rule,
            on_no_subject: spec.on_no_subject,
            needs: Arc::new(looks::needs(&rules)),
            max_past: spec.max_past_seconds,
            rules,
            no_rule: Arc::from("none"),
        })
    } else {
        Err(faults.0)
    }
}

#[derive(Default)]
struct Faults(Vec<SpecFault>);

impl Faults {
    fn push(&mut self, place: &Place, message: impl Into<String>, mend: impl Into<String>) {
        self.0.push(SpecFault {
            pointer: place.0.clone(),
            message: message.into(),
            mend: mend.into(),
        });
    }
}

/// A JSON pointer that grows.
struct Place(String);

impl Place {
    fn top() -> Self {
        Self(String::new())
    }

    fn at(&self, name: impl Display) -> Self {
        // RFC 6901 §3: `~` and `/` in a name are escaped.
        let name = name.to_string().replace('~', "~0").replace('/', "~1");
        Self(format!("{}/{name}", self.0))
    }
}

/// Compiles one rule. Every method adds its faults and gives `None` when there is nothing to run.
struct Compiler<'f> {
    faults: &'f mut Faults,
    each: bool,
}

impl Compiler<'_> {
    fn rule(&mut self, spec: &MappingSpec, rule: &RuleSpec, place: &Place) -> Option<Rule> {
        let when = rule
            .when
            .as_deref()
            .map(|source| match When::compile(source) {
                Ok(when) => Some(when),
                Err(fault) => self.refuse(&place.at("when"), fault),
            });
        let event = if rule.drop {
            self.check_drop(rule, place);
            None
        } else {
            Some(self.event_rule(spec, rule, place)?)
        };
        let when = match when {
            Some(when) => Some(when?),
            None => None,
        };
        Some(Rule {
            name: Arc::from(rule.name.as_str()),
            when,
            event,
        })
    }

    fn check_drop(&mut self, rule: &RuleSpec, place: &Place) {
        let sends = rule.event.is_some()
            || rule.subject.is_some()
            || rule.each.is_some()
            || !rule.id.is_empty()
            || rule.time.is_some()
            || !rule.claims.is_empty();
        if sends {
            self.faults.push(
                place,
                "a rule with `drop: true` sends nothing",
                "leave only `name`, `when` and `drop`",
            );
        }
    }

    fn event_rule(
        &mut self,
        spec: &MappingSpec,
        rule: &RuleSpec,
        place: &Place,
    ) -> Option<EventRule> {
        let each = rule
            .each
            .as_deref()
            .and_then(|text| self.each_path(text, &place.at("each")));
        let subject = match &rule.subject {
            Some(subject) => self.subject(subject, &place.at("subject"), true),
            None => self.nothing(
                &place.at("subject"),
                "the rule has no subject",
                "add e.g. `subject: { email: $.user }`",
            ),
        };
        let mut id = Vec::with_capacity(rule.id.len());
        for (index, value) in rule.id.iter().enumerate() {
            id.extend(self.value(value, &place.at("id").at(index)));
        }
        let time = rule
            .time
            .as_ref()
            .map(|value| self.value(value, &place.at("time")));
        let txn = rule
            .txn
            .as_ref()
            .map(|value| self.value(value, &place.at("txn")));
        let Some(event_type) = rule.event else {
            let known = EventType::ALL.map(EventType::as_str).join(", ");
            return self.nothing(
                &place.at("event"),
                "the rule has no event",
                format!("add one of: {known}; or `drop: true`"),
            );
        };
        self.check_identifier(event_type, rule.subject.as_ref(), &place.at("subject"));
        let claims = self.claims(event_type, rule, &place.at("claims"));
        let has_reason = event_type
            .fields()
            .iter()
            .any(|field| field.name == "reason_admin");
        Some(EventRule {
            event_type,
            each,
            subject: subject?,
            id,
            time: time.flatten(),
            time_unit: rule.time_unit,
            max_future: spec.max_future_seconds,
            max_past: spec.max_past_seconds,
            txn: txn.flatten(),
            claims,
            fallback_reason: has_reason
                .then(|| Reason::english(&format!("Reported by setbridge (rule {})", rule.name)))
                .flatten(),
        })
    }

    fn each_path(&mut self, text: &str, place: &Place) -> Option<Path> {
        match Path::compile(text) {
            Ok(path) if path.begins_at_node() => self.nothing(
                place,
                "`each` begins at the detection",
                "begin the path with `$`",
            ),
            Ok(path) => Some(path),
            Err(fault) => self.refuse(place, fault),
        }
    }

    fn check_identifier(
        &mut self,
        event_type: EventType,
        subject: Option<&SubjectSpec>,
        place: &Place,
    ) {
        if event_type.demands_identifier_subject() && !subject.is_none_or(subject::is_identifier) {
            self.faults.push(
                place,
                format!(
                    "the subject of {} is the old e-mail address or phone number",
                    event_type.as_str()
                ),
                "use `email`, `phone_number` or `object`",
            );
        }
    }

    fn claims(
        &mut self,
        event_type: EventType,
        rule: &RuleSpec,
        place: &Place,
    ) -> Vec<(Field, Expr)> {
        let fields = event_type.fields();
        for name in rule
            .claims
            .keys()
            .filter(|name| fields.iter().all(|field| field.name != **name))
        {
            let known: Vec<_> = fields.iter().map(|field| field.name).collect();
            let mend = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its fields are: {}", known.join(", ")),
            };
            self.faults.push(
                &place.at(name),
                format!("{} has no field `{name}`", event_type.as_str()),
                mend,
            );
        }
        let mut claims = Vec::new();
        for field in fields {
            match rule.claims.get(field.name) {
                Some(value) => {
                    let place = place.at(field.name);
                    if let Some(expr) = self.value(value, &place) {
                        self.check_constants(field.kind, &expr, &place);
                        claims.push((*field, expr));
                    }
                }
                None if field.required => self.faults.push(
                    place,
                    format!("{} needs `{}`", event_type.as_str(), field.name),
                    format!("add `{}` to the claims", field.name),
                ),
                None => {}
            }
        }
        claims
    }

    /// Constants can be judged now: they would be refused for every detection.
    fn check_constants(&mut self, kind: FieldKind, expr: &Expr, place: &Place) {
        match expr {
            Expr::Const(value) => self.check_constant(kind, value, place),
            Expr::Lookup(lookup) => {
                let mut words: Vec<_> = lookup.table.iter().collect();
                words.sort_unstable_by_key(|(word, _)| *word);
                for (word, value) in words {
                    self.check_constant(kind, value, &place.at("lookup").at("table").at(word));
                }
                if let Some(value) = &lookup.default {
                    self.check_constant(kind, value, &place.at("lookup").at("default"));
                }
            }
            Expr::Bands(bands) => {
                for (index, band) in bands.ranges.iter().enumerate() {
                    let place = place.at("bands").at("ranges").at(index).at("value");
                    self.check_constant(kind, &band.value, &place);
                }
                if let Some(value) = &bands.default {
                    self.check_constant(kind, value, &place.at("bands").at("default"));
                }
            }
            Expr::FirstOf(exprs) => {
                for (index, expr) in exprs.iter().enumerate() {
                    self.check_constants(kind, expr, &place.at("first_of").at(index));
                }
            }
            Expr::Languages(_) if kind != FieldKind::Reason => {
                self.faults
                    .push(place, "`languages` is for reasons", "give one value");
            }
            Expr::Path(_)
            | Expr::Template(_)
            | Expr::Header(_)
            | Expr::Record(_)
            | Expr::Languages(_) => {}
        }
    }

    fn check_constant(&mut self, kind: FieldKind, value: &Value, place: &Place) {
        if let Err(fault) = read_field(kind, value, "the constant") {
            self.faults.push(
                place,
                fault.text,
                "use one of the allowed values; a path begins with `$`",
            );
        }
    }

    fn refuse<T>(&mut self, place: &Place, (message, mend): (String, String)) -> Option<T> {
        self.nothing(place, message, mend)
    }

    fn nothing<T>(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Option<T> {
        self.faults.push(place, message, mend);
        None
    }
}

/// The known name that is most like this one, when it is like it at all.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let spelled = |text: &str| text.replace('-', "_").to_lowercase();
    known
        .iter()
        .map(|known| {
            (
                strsim::damerau_levenshtein(&spelled(name), &spelled(known)),
                *known,
            )
        })
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
