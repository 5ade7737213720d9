//! What of a detection a mapping looks at, so that decoding builds no more than that.

use super::expr::Expr;
use super::path::Path;
use super::rule::{EventRule, Rule};
use super::subject::SubjectExpr;
use crate::detection::Needs;

/// Everything that the rules look at.
pub(super) fn needs(rules: &[Rule]) -> Needs {
    let mut needs = Needs::default();
    for rule in rules {
        if let Some(when) = &rule.when {
            needs.merge(when.needs());
        }
        if let Some(made) = &rule.event {
            event(made, &mut needs);
        }
    }
    needs
}

/// Names every part of the rule: a new one does not compile until somebody says here what it looks at.
fn event(rule: &EventRule, needs: &mut Needs) {
    let EventRule {
        each,
        subject: subjects,
        id,
        time,
        txn,
        claims,
        event_type: _,
        time_unit: _,
        max_future: _,
        max_past: _,
        fallback_reason: _,
    } = rule;
    each.iter().for_each(|path| look(path, needs));
    subject(subjects, needs);
    let claims = claims.iter().map(|(_, expr)| expr);
    for expr in id.iter().chain(time).chain(txn).chain(claims) {
        value(expr, needs);
    }
}

fn look(path: &Path, needs: &mut Needs) {
    // A node of `each` is needed whole already: it may be a part of the detection key.
    needs.add(path.leading_names());
}

fn value(expr: &Expr, needs: &mut Needs) {
    match expr {
        Expr::Path(path) => look(path, needs),
        Expr::Template(template) => template.paths().for_each(|path| look(path, needs)),
        Expr::Lookup(lookup) => value(&lookup.of, needs),
        Expr::Bands(bands) => value(&bands.of, needs),
        Expr::FirstOf(exprs) => exprs.iter().for_each(|expr| value(expr, needs)),
        Expr::Languages(texts) => texts.values().for_each(|expr| value(expr, needs)),
        Expr::Const(_) | Expr::Header(_) | Expr::Record(_) => {}
    }
}

fn subject(expr: &SubjectExpr, needs: &mut Needs) {
    match expr {
        SubjectExpr::Single(_, expr)
        | SubjectExpr::IpAddresses(expr)
        | SubjectExpr::Object(expr) => value(expr, needs),
        SubjectExpr::Pair(_, first, second) => {
            value(first, needs);
            value(second, needs);
        }
        SubjectExpr::Aliases(exprs) | SubjectExpr::FirstOf(exprs) => {
            exprs.iter().for_each(|expr| subject(expr, needs));
        }
        SubjectExpr::Complex(members) => {
            members.iter().for_each(|(_, expr)| subject(expr, needs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mapping, MappingSpec};
    use super::*;

    /// The paths of what is needed whole.
    fn leaves(needs: &Needs, at: &str, found: &mut Vec<String>) {
        if needs.is_whole() {
            found.push(at.to_owned());
        }
        for (name, needs) in needs.members() {
            leaves(needs, &format!("{at}.{name}"), found);
        }
    }

    fn looks_at(mapping: serde_json::Value) -> Vec<String> {
        let spec: MappingSpec = serde_json::from_value(mapping).expect("a mapping");
        let mapping = Mapping::compile(&spec).expect("a good mapping");
        let mut found = Vec::new();
        leaves(mapping.needs(), "$", &mut found);
        found
    }

    #[test]
    fn every_part_of_a_rule_counts() {
        let found = looks_at(serde_json::json!({"rules": [
            {"name": "drop", "when": "has(detection.lab) && detection.tags['x'].y == 1", "drop": true},
            {
                "name": "all", "event": "user-risk-change", "each": "$.users[*].a",
                "subject": {"first_of": [{"email": "@.mail"}, {"iss_sub": {"iss": "$.iss", "sub": "$.ids[0].v"}}]},
                "id": ["$.id"], "time": "$.time", "txn": "$.case.number",
                "claims": {
                    "current_level": {"bands": {"of": {"first_of": ["$.score", "$.alt.score"]}, "ranges": [{"value": "low"}]}},
                    "reason_admin": {"languages": {"en": "{$.rule['name']} of {$.host}", "de": "$.grund"}},
                },
            },
        ]}));
        let mut wanted = [
            "$.lab",
            "$.tags.x.y",
            "$.users",
            "$.mail",
            "$.iss",
            "$.ids",
            "$.id",
            "$.time",
            "$.case.number",
            "$.score",
            "$.alt.score",
            "$.rule.name",
            "$.host",
            "$.grund",
        ];
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_query_without_a_beginning_looks_at_everything() {
        let mapping = |path: &str| {
            serde_json::json!({"rules": [{
                "name": "r", "event": "user-risk-change", "subject": {"email": path},
                "claims": {"current_level": "high"},
            }]})
        };
        assert_eq!(looks_at(mapping("$..mail")), ["$"]);
        assert_eq!(looks_at(mapping("$[?@.on].mail")), ["$"]);
        assert_eq!(looks_at(mapping("$.user['m\\u0061il']")), ["$.user"]);
        assert_eq!(looks_at(mapping("$.actor .mail")), ["$"]);
        assert_eq!(looks_at(mapping("$.users[?@.id == '$'].mail")), ["$.users"]);
        assert_eq!(looks_at(mapping("$.users[?@.id == $.id].mail")), ["$"]);
    }
}
