//! Values: constants, paths, templates, tables, bands.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{Compiler, Place};
use crate::mapping::expr::{Band, Bands, Expr, Lookup};
use crate::mapping::path::Path;
use crate::mapping::spec::{BandSpec, BandsSpec, ExprSpec, LookupSpec, ScalarSpec, ValueSpec};
use crate::mapping::template::Template;
use crate::set::Reason;

impl Compiler<'_> {
    /// A value and all that is in it.
    pub(super) fn value(&mut self, spec: &ValueSpec, place: &Place) -> Option<Expr> {
        match spec {
            ValueSpec::Text(text) if text.starts_with(['$', '@']) => self.path(text, place),
            ValueSpec::Text(text) if Template::looks_like(text) => self.template(text, place),
            ValueSpec::Text(text) => Some(Expr::Const(Value::from(text.as_str()))),
            ValueSpec::Number(number) => Some(Expr::Const(Value::Number(number.clone()))),
            ValueSpec::Bool(flag) => Some(Expr::Const(Value::Bool(*flag))),
            ValueSpec::Expr(expr) => self.expr(expr, place),
        }
    }

    fn expr(&mut self, spec: &ExprSpec, place: &Place) -> Option<Expr> {
        match spec {
            ExprSpec::Path(text) => self.path(text, &place.at("path")),
            ExprSpec::Const(value) => Some(Expr::Const(scalar(value))),
            ExprSpec::Template(text) => self.template(text, &place.at("template")),
            ExprSpec::Lookup(lookup) => self.lookup(lookup, &place.at("lookup")),
            ExprSpec::Bands(bands) => self.bands(bands, &place.at("bands")),
            ExprSpec::FirstOf(values) => self.first_of(values, &place.at("first_of")),
            ExprSpec::Header(name) => Some(Expr::Header(name.clone())),
            ExprSpec::Record(part) => Some(Expr::Record(*part)),
            ExprSpec::Languages(texts) => {
                let place = place.at("languages");
                if !texts.contains_key("en") {
                    self.faults
                        .push(&place, "there is no English text", "add `en`");
                }
                let mut compiled = BTreeMap::new();
                for (tag, value) in texts {
                    if !Reason::is_language_tag(tag) {
                        self.faults.push(
                            &place.at(tag),
                            "this is no language tag",
                            "use a BCP 47 tag such as `de`",
                        );
                    }
                    compiled.extend(
                        self.value(value, &place.at(tag))
                            .map(|expr| (tag.clone(), expr)),
                    );
                }
                Some(Expr::Languages(compiled))
            }
        }
    }

    fn path(&mut self, text: &str, place: &Place) -> Option<Expr> {
        match Path::compile(text) {
            Ok(path) => {
                self.check_node(&path, place);
                self.check_search(&path, place);
                Some(Expr::Path(path))
            }
            Err(fault) => self.refuse(place, fault),
        }
    }

    fn template(&mut self, text: &str, place: &Place) -> Option<Expr> {
        match Template::compile(text) {
            Ok(template) => {
                template.paths().for_each(|path| {
                    self.check_node(path, place);
                    self.check_search(path, place);
                });
                Some(Expr::Template(template))
            }
            Err(fault) => self.refuse(place, fault),
        }
    }

    fn check_node(&mut self, path: &Path, place: &Place) {
        if path.begins_at_node() && !self.each {
            self.faults.push(
                place,
                format!(
                    "`{}` begins at the node of `each`, but the rule has none",
                    path.text()
                ),
                "add `each`, begin the path with `$`, or write { const: … } for a constant",
            );
        }
    }

    /// With `each`, a value is looked for again for every node.
    fn check_search(&mut self, path: &Path, place: &Place) {
        if self.each && !path.begins_at_node() && path.searches() {
            self.faults.push(
                place,
                format!(
                    "`{}` searches the whole detection again for each node of `each`",
                    path.text()
                ),
                "name the members on the way, or begin the path with `@`",
            );
        }
    }

    fn lookup(&mut self, spec: &LookupSpec, place: &Place) -> Option<Expr> {
        if spec.table.is_empty() {
            self.faults.push(
                &place.at("table"),
                "the table is empty",
                "add at least one word",
            );
        }
        let of = self.value(&spec.of, &place.at("of"))?;
        let key = |word: &String| {
            if spec.ignore_case {
                word.trim().to_lowercase()
            } else {
                word.trim().to_owned()
            }
        };
        let table: HashMap<_, _> = spec
            .table
            .iter()
            .map(|(word, value)| (key(word), scalar(value)))
            .collect();
        if table.len() < spec.table.len() {
            self.faults.push(
                &place.at("table"),
                "two words of the table are the same",
                "remove one of them",
            );
        }
        let default = spec.default.as_ref().map(scalar);
        Some(Expr::Lookup(Box::new(Lookup {
            of,
            table,
            default,
            ignore_case: spec.ignore_case,
        })))
    }

    fn bands(&mut self, spec: &BandsSpec, place: &Place) -> Option<Expr> {
        if spec.ranges.is_empty() {
            self.faults
                .push(&place.at("ranges"), "there is no band", "add at least one");
        }
        let ranges: Vec<Band> = spec.ranges.iter().map(band).collect();
        for (index, range) in ranges.iter().enumerate() {
            let place = place.at("ranges").at(index);
            if range.from >= range.below {
                self.faults.push(
                    &place,
                    "the band is empty: `from` is not less than `below`",
                    "`from` is included, `below` is not",
                );
                continue;
            }
            let overlaps = |other: &Band| range.from < other.below && other.from < range.below;
            if ranges[..index].iter().any(overlaps) {
                self.faults.push(
                    &place,
                    "the band overlaps an earlier one",
                    "let each band begin where another ends",
                );
            }
        }
        let of = self.value(&spec.of, &place.at("of"))?;
        Some(Expr::Bands(Box::new(Bands {
            of,
            ranges,
            default: spec.default.as_ref().map(scalar),
        })))
    }

    fn first_of(&mut self, values: &[ValueSpec], place: &Place) -> Option<Expr> {
        if values.is_empty() {
            return self.nothing(place, "the list is empty", "add at least one value");
        }
        let mut exprs = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            exprs.extend(self.value(value, &place.at(index)));
        }
        Some(Expr::FirstOf(exprs))
    }
}

fn band(spec: &BandSpec) -> Band {
    Band {
        from: spec.from.unwrap_or(f64::NEG_INFINITY),
        below: spec.below.unwrap_or(f64::INFINITY),
        value: scalar(&spec.value),
    }
}

fn scalar(spec: &ScalarSpec) -> Value {
    match spec {
        ScalarSpec::Text(text) => Value::from(text.as_str()),
        ScalarSpec::Number(number) => Value::Number(number.clone()),
        ScalarSpec::Bool(flag) => Value::Bool(*flag),
    }
}
