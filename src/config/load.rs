//! From a file, the environment and flags to the strict [`Config`], or every mistake at once.
//!
//! A part that one step finds wrong is taken out (or filled with a harmless placeholder) before
//! the next step, so that one slip neither hides the others nor is reported twice.

use std::path::Path;

use serde_json::{Map, Value};

use super::domain::Config;
use super::mistake::{Mistake, Place};
use super::overlay::{Override, overlay};
use super::pointer;
use super::raw::RawConfig;
use super::schema::{self, Node};
use super::strict;
use super::tree::Tree;
use super::variables::{Environment, substitute};
use super::yaml;

/// Whether the files that the configuration names are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Secrets are read; what cannot be read is a mistake.
    Read,
    /// They are left alone: for a check on a machine that does not have them.
    Skip,
}

/// What is above the file.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// Answers `${VAR}`, and overrides the file by `SETBRIDGE_…`.
    pub environment: &'a Environment,
    /// Flags; the last one for a key wins.
    pub overrides: &'a [Override],
    /// Whether secret files are read.
    pub files: Files,
}

/// Something wrong at a place in the tree.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) pointer: String,
    /// A key that nobody knows: without it the rest is as it was.
    pub(super) unknown_key: bool,
    /// Said already by another finding.
    pub(super) silent: bool,
    pub(super) mistake: Mistake,
}

/// Loads the configuration file.
///
/// # Errors
/// Every mistake that can be seen at once, in the order of the file; never an empty list.
pub fn load(path: &Path, sources: &Sources<'_>) -> Result<Config, Vec<Mistake>> {
    let name = path.display().to_string();
    let refuse = |message: String, mend: &str| {
        let place = Place::File {
            file: name.clone(),
            line: 1,
            column: 1,
        };
        vec![Mistake::at(place, "", message, mend)]
    };
    let bytes = std::fs::read(path).map_err(|error| {
        refuse(
            format!("cannot read the file: {error}"),
            "check its path and that this user may read it",
        )
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| refuse("the file is not UTF-8".into(), "save it as UTF-8"))?;
    load_text(&text, &name, sources)
}

/// Loads a configuration that is already in memory; `name` stands for the file in messages.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, name: &str, sources: &Sources<'_>) -> Result<Config, Vec<Mistake>> {
    let mut tree = yaml::read(text.trim_start_matches('\u{feff}'), name)?;
    let mut mistakes = overlay(&mut tree, sources.environment, sources.overrides);
    drop_empty(&mut tree.value, "");
    if tree.value.is_null() {
        tree.value = Value::Object(Map::new());
    }

    let mut gate = Gate {
        tree,
        found: Vec::new(),
        broken: Vec::new(),
    };
    let found = substitute(&mut gate.tree, sources.environment);
    gate.admit(found);
    let found = schema::validate(&gate.tree);
    gate.admit(found);

    let config = gate.parse(sources.files);
    mistakes.extend(gate.found.into_iter().map(|finding| finding.mistake));
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => {
            mistakes.sort_by_key(|mistake| match &mistake.place {
                Place::File { line, column, .. } => (0, *line, *column),
                Place::Environment(_) => (1, 0, 0),
                Place::Flag(_) => (2, 0, 0),
            });
            mistakes.dedup(); // each stream sees a wrong limit at the top
            Err(mistakes)
        }
    }
}

/// A key without a value counts as absent; in a mapping `null` may be a value.
fn drop_empty(value: &mut Value, pointer: &str) {
    match value {
        Value::Object(map) => {
            map.retain(|key, item| {
                !item.is_null() || pointer::in_mapping(&pointer::child(pointer, key))
            });
            for (key, item) in map {
                let at = pointer::child(pointer, key);
                if !pointer::in_mapping(&at) {
                    drop_empty(item, &at);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                drop_empty(item, &pointer::child(pointer, index));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The tree on its way through the checks.
struct Gate {
    tree: Tree,
    found: Vec<Finding>,
    /// Where a value was taken out: what is said about these places and their neighbours later is
    /// about our placeholder, not about what the operator wrote.
    broken: Vec<String>,
}

impl Gate {
    /// Keeps what was found, and takes the wrong parts out of the tree.
    fn admit(&mut self, found: Vec<Finding>) {
        let found: Vec<Finding> = found
            .into_iter()
            .filter(|finding| !self.broken.contains(&finding.pointer))
            .collect();
        for finding in &found {
            take_out(&mut self.tree.value, &finding.pointer);
            if !finding.unknown_key {
                self.broken.push(finding.pointer.clone());
            }
        }
        self.found
            .extend(found.into_iter().filter(|finding| !finding.silent));
    }

    fn parse(&mut self, files: Files) -> Option<Config> {
        let raw: RawConfig = match serde_json::from_value(self.tree.value.clone()) {
            Ok(raw) => raw,
            Err(error) => {
                // The schema and the raw types are one; only a placeholder can have come between.
                if self.found.is_empty() {
                    self.found.push(Finding {
                        pointer: String::new(),
                        unknown_key: false,
                        silent: false,
                        mistake: Mistake::at(
                            self.tree.places.value(""),
                            "",
                            error.to_string(),
                            "compare with `setbridge schema`",
                        ),
                    });
                }
                return None;
            }
        };
        match strict::config(&raw, &self.tree.places, files, self.broken.is_empty()) {
            Ok(config) => Some(config),
            Err(found) => {
                let broken = &self.broken;
                let sound = |finding: &Finding| {
                    !broken
                        .iter()
                        .any(|broken| touches(&finding.pointer, broken))
                };
                self.found.extend(found.into_iter().filter(sound));
                None
            }
        }
    }
}

/// Whether what is said about `at` may come from the missing value at `broken`. The keys of a
/// section bear on one another, but for those of a stream, which are sections of their own.
fn touches(at: &str, broken: &str) -> bool {
    let section = pointer::parent(broken).unwrap_or_default();
    let is_stream = pointer::parent(section) == Some("/streams");
    is_within(broken, at)
        || is_within(at, broken)
        || (!is_stream && pointer::parent(at) == Some(section))
}

fn is_within(pointer: &str, ancestor: &str) -> bool {
    pointer
        .strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Removes the part; a required one becomes a placeholder of its type.
fn take_out(value: &mut Value, at: &str) {
    let Some(parent) = pointer::parent(at) else {
        *value = placeholder(Node::root());
        return;
    };
    let Some(token) = pointer::tokens(at).last() else {
        return;
    };
    let required = Node::at(parent).is_some_and(|node| node.requires(&token));
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&token);
            if required && let Some(node) = Node::at(at) {
                map.insert(token, placeholder(node));
            }
        }
        Some(Value::Array(items)) => {
            // The other elements keep their numbers.
            if let (Some(item), Some(node)) = (
                token
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get_mut(index)),
                Node::at(at),
            ) {
                *item = placeholder(node);
            }
        }
        _ => {}
    }
}

fn placeholder(node: Node) -> Value {
    if node.takes_text() {
        return Value::String(String::new());
    }
    if node.is_list() {
        return Value::Array(Vec::new());
    }
    let required = node.keys().unwrap_or_default().into_iter();
    let members = required
        .filter(|key| node.requires(key))
        .filter_map(|key| Some((key.to_owned(), placeholder(node.child(key)?))));
    Value::Object(members.collect())
}
