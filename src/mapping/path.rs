//! JSONPath (RFC 9535). Paths that name one node (`$.a.b[0]['c d']`), which are nearly all, are
//! walked directly; the rest goes to the query engine.

use serde_json::Value;
use serde_json_path::JsonPath;

use super::error::{Fault, MapReason};
use super::limits::{MAX_PATH_BYTES, MAX_PATH_DEPTH, MAX_SETS};

/// A compiled path.
#[derive(Debug)]
pub(super) struct Path {
    text: String,
    from_node: bool,
    route: Route,
}

#[derive(Debug)]
enum Route {
    Steps(Vec<Step>),
    /// With the steps that it surely begins with.
    Query(Vec<Step>, JsonPath),
}

#[derive(Debug)]
enum Step {
    Name(String),
    Index(i64),
}

impl Path {
    /// Compiles `$…` (from the detection) or `@…` (from the node of `each`).
    ///
    /// # Errors
    /// What is wrong, and the mend.
    pub(super) fn compile(text: &str) -> Result<Self, (String, String)> {
        let text = text.trim();
        if text.len() > MAX_PATH_BYTES || depth(text) > MAX_PATH_DEPTH {
            return Err((
                format!(
                    "this JSONPath is longer than {MAX_PATH_BYTES} bytes or has brackets more than {MAX_PATH_DEPTH} deep"
                ),
                "name the members on the way, and leave the choice to rules with `when`".to_owned(),
            ));
        }
        let from_node = text.starts_with('@');
        let query = if from_node {
            text.replacen('@', "$", 1)
        } else {
            text.to_owned()
        };
        let parsed = JsonPath::parse(&query).map_err(|error| {
            (
                format!("`{text}` is no JSONPath: {error}"),
                "see RFC 9535; a name with other signs than letters, digits and _ is written $['like-this']".to_owned(),
            )
        })?;
        if descents(&query) > 1 {
            // Each `..` visits every descendant of every node before it: with two of them the
            // work grows with the square of what a stranger may send.
            return Err((
                format!("`{text}` has more than one `..`"),
                "name the members on the way to the second one".to_owned(),
            ));
        }
        if from_node && roots(&query) > 1 {
            // The engine knows one root, and here it is the node: the filter would look at the wrong place.
            return Err((
                format!("`{text}` begins at the node of `each`, and its filter at `$`"),
                "put the filter into `each`, whose `$` is the detection".to_owned(),
            ));
        }
        let route = match singular(&query) {
            Some(steps) => Route::Steps(steps),
            // A filter may look at the detection from its root: `$.users[?@.id == $.main]`.
            None if roots(&query) > 1 => Route::Query(Vec::new(), parsed),
            None => Route::Query(beginning(&query), parsed),
        };
        Ok(Self {
            text: text.to_owned(),
            from_node,
            route,
        })
    }

    /// The text of the path, for messages.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it looks at every descendant of where it begins (`..`).
    pub(super) fn searches(&self) -> bool {
        descents(&self.text) > 0
    }

    /// Whether it begins at the node of `each`.
    pub(super) fn begins_at_node(&self) -> bool {
        self.from_node
    }

    /// The names that lead to everything that the path can give, or past it.
    pub(super) fn leading_names(&self) -> impl Iterator<Item = &str> {
        let (Route::Steps(steps) | Route::Query(steps, _)) = &self.route;
        steps.iter().map_while(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
    }

    /// The one node that the path gives, if any.
    pub(super) fn one<'v>(&self, root: &'v Value) -> Result<Option<&'v Value>, Fault> {
        match &self.route {
            Route::Steps(steps) => Ok(walk(root, steps)),
            Route::Query(_, query) => {
                let nodes = query.query(root);
                match nodes.len() {
                    0 | 1 => Ok(nodes.first()),
                    n => Err(Fault::bad_value(format!(
                        "{} gives {n} values where one is wanted",
                        self.text
                    ))),
                }
            }
        }
    }

    /// All nodes that the path gives.
    pub(super) fn all<'v>(&self, root: &'v Value) -> Result<Vec<&'v Value>, Fault> {
        match &self.route {
            Route::Steps(steps) => Ok(walk(root, steps).into_iter().collect()),
            Route::Query(_, query) => {
                let nodes = query.query(root).all();
                if nodes.len() > MAX_SETS {
                    return Err(self.too_many());
                }
                Ok(nodes)
            }
        }
    }

    pub(super) fn too_many(&self) -> Fault {
        Fault::new(
            MapReason::TooManySets,
            format!("{} gives more than {MAX_SETS} values", self.text),
        )
    }
}

fn walk<'v>(root: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps
        .iter()
        .try_fold(root, |node, step| match (step, node) {
            (Step::Name(name), Value::Object(members)) => members.get(name),
            (Step::Index(index), Value::Array(items)) => {
                let at = if *index < 0 {
                    index.checked_add_unsigned(items.len() as u64)?
                } else {
                    *index
                };
                items.get(usize::try_from(at).ok()?)
            }
            _ => None,
        })
}

/// The steps of a path that is valid and names one node; `None` for all others, and for
/// spellings (white space, escapes) that are not worth a parser of our own.
fn singular(query: &str) -> Option<Vec<Step>> {
    let (steps, rest) = steps(query);
    rest.is_empty().then_some(steps)
}

/// The steps that a valid path begins with, as far as they are plain.
fn beginning(query: &str) -> Vec<Step> {
    steps(query).0
}

/// The plain steps at the beginning, and what follows them.
fn steps(query: &str) -> (Vec<Step>, &str) {
    let mut steps = Vec::new();
    let mut rest = query.strip_prefix('$').unwrap_or(query);
    while let Some((step, tail)) = step(rest) {
        steps.push(step);
        rest = tail;
    }
    (steps, rest)
}

fn step(rest: &str) -> Option<(Step, &str)> {
    if let Some(after) = rest.strip_prefix('.') {
        let end = after.find(['.', '[']).unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let is_plain = !name.is_empty() && name.chars().all(plain);
        is_plain.then(|| (Step::Name(name.to_owned()), tail))
    } else {
        let (inside, tail) = rest.strip_prefix('[')?.split_once(']')?;
        Some((bracketed(inside)?, tail))
    }
}

fn bracketed(inside: &str) -> Option<Step> {
    if let Ok(index) = inside.parse::<i64>() {
        return Some(Step::Index(index));
    }
    let name = ['\'', '"']
        .into_iter()
        .find_map(|quote| inside.strip_prefix(quote)?.strip_suffix(quote))?;
    (!name.contains(['\'', '"', '\\'])).then(|| Step::Name(name.to_owned()))
}

/// How often `..` occurs outside of quotes.
fn descents(query: &str) -> usize {
    let mut previous = ' ';
    let mut count = 0;
    for c in unquoted(query) {
        count += usize::from(c == '.' && previous == '.');
        previous = c;
    }
    count
}

/// How deep brackets nest outside of quotes.
fn depth(query: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in unquoted(query) {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// How many queries there are that begin at the root: the path itself, and those in its filters.
fn roots(query: &str) -> usize {
    unquoted(query).filter(|c| *c == '$').count()
}

/// The signs of a query that are not in quotes, and the quotes that close.
fn unquoted(query: &str) -> impl Iterator<Item = char> {
    let mut quote = None;
    let mut escaped = false;
    query.chars().filter(move |&c| match quote {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(open) => {
            escaped = c == '\\';
            if c == open {
                quote = None;
            }
            c == open
        }
        None => {
            if c == '\'' || c == '"' {
                quote = Some(c);
            }
            quote.is_none()
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Path {
        Path::compile(text).unwrap_or_else(|(message, _)| panic!("{message}"))
    }

    #[test]
    fn paths_to_one_node_are_walked() {
        let detection = json!({"a": {"b c": [10, {"d": "x"}], "ü": 1}, "n": null});
        for (text, wanted) in [
            ("$", Some(detection.clone())),
            ("$.a['b c'][0]", Some(json!(10))),
            ("$[\"a\"]['b c'][-1].d", Some(json!("x"))),
            ("$.a['b c'][-3]", None),
            ("$.a['b c'][2]", None),
            ("$.a.ü", Some(json!(1))),
            ("$.n", Some(Value::Null)),
            ("$.n.x", None),
            ("$.a[0]", None),
            ("@.a['b c'][0]", Some(json!(10))),
        ] {
            let path = path(text);
            assert!(matches!(path.route, Route::Steps(_)), "{text}");
            assert_eq!(path.one(&detection), Ok(wanted.as_ref()), "{text}");
            assert_eq!(path.begins_at_node(), text.starts_with('@'));
        }
    }

    #[test]
    fn other_paths_go_to_the_query_engine() {
        let detection =
            json!({"users": [{"m": "a", "on": true}, {"m": "b", "on": false}, {"x": 1}]});
        let all = |text: &str| path(text).all(&detection).map(|nodes| nodes.len());
        assert_eq!(all("$.users[*].m"), Ok(2));
        assert_eq!(all("$..m"), Ok(2));
        assert_eq!(all("$.users[?@.on == true].m"), Ok(1));
        assert_eq!(all("$['us\\u0065rs']"), Ok(1));
        let fault = path("$.users[*].m").one(&detection).expect_err("two");
        assert_eq!(
            fault.text,
            "$.users[*].m gives 2 values where one is wanted"
        );
    }

    #[test]
    fn bad_paths_say_why() {
        for bad in [
            "$.",
            "$.a-b",
            "$[",
            "$.a[",
            "$..",
            "a.b",
            "$.a..b..c",
            "@.a[?@.b == $.c]",
        ] {
            assert!(Path::compile(bad).is_err(), "{bad}");
        }
        assert!(Path::compile("$['a..b..c..d']").is_ok());
    }

    proptest! {
        /// Walking and querying agree on every path that can be walked.
        #[test]
        fn walking_is_querying(
            steps in prop::collection::vec(prop_oneof!["\\.[a-c]", "\\[-?[0-2]\\]", "\\['[a-c]'\\]"], 0..4),
            json in crate::mapping::tests::any_json(),
        ) {
            let text = format!("${}", steps.concat());
            if let Ok(query) = JsonPath::parse(&text) {
                let path = path(&text);
                prop_assert!(matches!(path.route, Route::Steps(_)));
                prop_assert_eq!(path.all(&json), Ok(query.query(&json).all()));
            }
        }
    }
}
