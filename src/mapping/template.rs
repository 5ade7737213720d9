//! Text with paths in it: `"{$.rule.name} on {$.host}"`. `{{` and `}}` stand for braces.

use std::borrow::Cow;

use serde_json::Value;

use super::error::Fault;
use super::expr::{Scope, text_of};
use super::limits::MAX_TEXT_BYTES;
use super::path::Path;

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Path(Path),
}

impl Template {
    /// Whether a plain string is one.
    pub(super) fn looks_like(text: &str) -> bool {
        text.contains("{$") || text.contains("{@")
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// What is wrong, and the mend.
    pub(super) fn compile(text: &str) -> Result<Self, (String, String)> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = tail;
            } else if brace == "{" && rest.starts_with(['$', '@']) {
                let end = closing(rest).ok_or_else(|| lone("{"))?;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Path(Path::compile(&rest[..end])?));
                rest = &rest[end + 1..];
            } else {
                return Err(lone(brace));
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The paths in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| match part {
            Part::Path(path) => Some(path),
            Part::Text(_) => None,
        })
    }

    /// The text; `None` as soon as one of the paths has no value, so that no half of an
    /// identifier is ever sent.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Result<Option<String>, Fault> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => match scope.one(path)? {
                    None => return Ok(None),
                    Some(value) => out.push_str(&readable(value, path)?),
                },
            }
            // Many paths to one long text would make a far longer one.
            if out.len() > MAX_TEXT_BYTES {
                let text = format!("the template gives more than {MAX_TEXT_BYTES} bytes");
                return Err(Fault::bad_value(text));
            }
        }
        Ok(Some(out))
    }
}

fn readable<'v>(value: &'v Value, path: &Path) -> Result<Cow<'v, str>, Fault> {
    text_of(value)
        .ok_or_else(|| Fault::wrong_type(path.text(), value, "a text, a number or a boolean"))
}

/// Where the brace is that closes a path, quotes minded.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '}' => return Some(at),
            None => {}
        }
    }
    None
}

fn lone(brace: &str) -> (String, String) {
    (
        format!("the template has a lone `{brace}`"),
        format!("write {{$.path}} for a value, `{brace}{brace}` for the sign itself"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, detection: &Value) -> Result<Option<String>, Fault> {
        Template::compile(template)
            .expect("a template")
            .render(&Scope::of_detection(detection))
    }

    #[test]
    fn values_are_put_in() {
        let detection = json!({"rule": {"name": "Leaked"}, "n": 3, "ok": true, "a}b": "x", "o": {}, "blank": " "});
        let ok = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            render("{$.rule.name} ({$.n}, {$.ok})", &detection),
            ok("Leaked (3, true)")
        );
        assert_eq!(
            render("{{literal}} {$['a}b']}}}", &detection),
            ok("{literal} x}")
        );
        assert_eq!(render("no paths", &detection), ok("no paths"));
        assert_eq!(render("user-{$.missing}@x.example", &detection), Ok(None));
        assert_eq!(render("{$.blank}", &detection), Ok(None));
        let fault = render("{$.o}", &detection).expect_err("an object");
        assert_eq!(
            fault.text,
            "$.o is an object, wanted is a text, a number or a boolean"
        );
    }

    #[test]
    fn mistakes_are_found_when_compiling() {
        for bad in ["{$.a", "a } b", "{name}", "{$.a-b}", "{", "{$['a}"] {
            assert!(Template::compile(bad).is_err(), "{bad}");
        }
    }
}
