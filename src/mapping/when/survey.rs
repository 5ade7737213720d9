//! One walk over an expression, when compiling: which members of a detection it needs, and which
//! names in it would fail on every record.

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::common::types::CelString;
use cel::{Context, IdedExpr};

use super::super::limits::MAX_EXPRESSION_DEPTH;
use super::ENV;
use crate::detection::Needs;

/// The names that an expression may begin with, besides those of CEL's types.
const VARIABLES: [&str; 2] = ["detection", "record"];

/// Functions of CEL's standard library in the `cel` crate, and its operators begin with `_`, `@`
/// or a sign. An unknown name would fail on every record, so it is refused when compiling.
const FUNCTIONS: [&str; 34] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "list",
    "map",
    "matches",
    "none",
    "of",
    "ofNonZeroValue",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];

/// Finds out what an expression needs.
///
/// # Errors
/// The first name, function or pattern that would fail on every record, and the mend.
pub(super) fn survey(expr: &IdedExpr) -> Result<Needs, (String, String)> {
    let mut survey = Survey {
        detection: Needs::default(),
        bound: Vec::new(),
        faults: Vec::new(),
        depth: 0,
        deepest: 0,
    };
    survey.visit(expr);
    if survey.deepest > MAX_EXPRESSION_DEPTH {
        return Err((
            format!("the expression nests deeper than {MAX_EXPRESSION_DEPTH} levels"),
            "split it over several rules; `||` and `&&` in a row, and lists, nest no deeper"
                .to_owned(),
        ));
    }
    match survey.faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(survey.detection),
    }
}

/// Walks an expression once, when compiling: what it needs and which names it uses.
struct Survey<'e> {
    detection: Needs,
    bound: Vec<&'e str>,
    faults: Vec<(String, String)>,
    depth: usize,
    deepest: usize,
}

impl<'e> Survey<'e> {
    fn visit(&mut self, expr: &'e IdedExpr) {
        self.depth += 1;
        let chain = chain(expr);
        let steps = chain.as_ref().map_or(0, |(_, names)| names.len());
        self.deepest = self.deepest.max(self.depth + steps);
        match chain {
            Some((root, names)) => self.variable(root, &names),
            None => self.inside(expr),
        }
        self.depth -= 1;
    }

    fn inside(&mut self, expr: &'e IdedExpr) {
        match &expr.expr {
            Expr::Call(call) => {
                self.function(&call.func_name);
                if let Some(target) = &call.target {
                    // `optional.of(x)` is a call of the function `optional.of`.
                    if !matches!(&target.expr, Expr::Ident(name) if name == "optional") {
                        self.visit(target);
                    }
                }
                self.check_regex(&call.func_name, call.args.last());
                call.args.iter().for_each(|arg| self.visit(arg));
            }
            Expr::Comprehension(loop_) => {
                self.visit(&loop_.iter_range);
                self.visit(&loop_.accu_init);
                let outer = self.bound.len();
                self.bound
                    .extend([loop_.iter_var.as_str(), loop_.accu_var.as_str()]);
                self.bound.extend(loop_.iter_var2.as_deref());
                for part in [&loop_.loop_cond, &loop_.loop_step, &loop_.result] {
                    self.visit(part);
                }
                self.bound.truncate(outer);
            }
            Expr::Select(select) => self.visit(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => made
                .entries
                .iter()
                .for_each(|entry| self.entry(&entry.expr)),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &'e EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(pair) => {
                self.visit(&pair.key);
                self.visit(&pair.value);
            }
        }
    }

    fn variable(&mut self, root: &'e str, names: &[&'e str]) {
        if root.starts_with('@') || self.bound.contains(&root) {
            return;
        }
        // An absolute name (`.detection`) is never that of a macro's own variable.
        let root = root.trim_start_matches('.');
        match root {
            "detection" => self.detection.add(names.iter().copied()),
            "record" => {}
            _ if ENV.types().find_type(root).is_some() => {}
            _ => self.faults.push((
                format!("`{root}` is not known here"),
                format!(
                    "an expression looks at {}: write detection.{root}",
                    VARIABLES.join(" and ")
                ),
            )),
        }
    }

    fn function(&mut self, name: &str) {
        let operator = name.starts_with(['_', '@', '-', '!']);
        if operator || FUNCTIONS.contains(&name) || name.starts_with("optional.") {
            return;
        }
        let near = FUNCTIONS
            .iter()
            .filter(|known| strsim::damerau_levenshtein(known, name) <= 2)
            .min_by_key(|known| strsim::damerau_levenshtein(known, name));
        let mend = near.map_or_else(
            || "see the functions of CEL's standard library".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        self.faults
            .push((format!("there is no function `{name}`"), mend));
    }

    fn check_regex(&mut self, function: &str, pattern: Option<&'e IdedExpr>) {
        let Some(Expr::Literal(LiteralValue::String(_))) = pattern.map(|p| &p.expr) else {
            if function == "matches" {
                self.faults.push((
                    "the pattern of `matches` is not written out".to_owned(),
                    "write it as a text: who chooses a pattern chooses how long it takes"
                        .to_owned(),
                ));
            }
            return;
        };
        // The crate has no way to compile a pattern ahead; trying it on nothing finds a bad one.
        if function == "matches"
            && let Some(pattern) = pattern
        {
            let call = CallExpr {
                func_name: "matches".to_owned(),
                target: None,
                args: vec![literal(""), pattern.clone()],
            };
            let probe = IdedExpr {
                id: 0,
                expr: Expr::Call(call),
            };
            if cel::Value::resolve_val(&probe, &Context::with_env(ENV.clone())).is_err() {
                self.faults.push((
                    "the pattern of `matches` is no regular expression".to_owned(),
                    "the syntax is that of RE2, without look-around and back-references".to_owned(),
                ));
            }
        }
    }
}

fn literal(text: &'static str) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::String(CelString::from(text))),
    }
}

/// `a.b["c"]` as its root and names; also for `has(a.b)`.
fn chain(expr: &IdedExpr) -> Option<(&str, Vec<&str>)> {
    match &expr.expr {
        Expr::Ident(name) => Some((name, Vec::new())),
        Expr::Select(select) => {
            let (root, mut names) = chain(&select.operand)?;
            names.push(&select.field);
            Some((root, names))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match &call.args[..] {
            [
                operand,
                IdedExpr {
                    expr: Expr::Literal(LiteralValue::String(name)),
                    ..
                },
            ] => {
                let (root, mut names) = chain(operand)?;
                names.push(name.inner());
                Some((root, names))
            }
            _ => None,
        },
        _ => None,
    }
}
