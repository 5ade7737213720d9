//! Names of topics, patterns over them, and templates for the names that the bridge derives.
//!
//! A pattern must never match a topic that the bridge itself writes (a dead letter would come back
//! as a detection), so it is compiled to an automaton and asked: is there *any* name of that shape
//! which it matches?

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

/// Kafka's own limit (`Topic.MAX_NAME_LENGTH`).
const MAX_NAME_CHARS: usize = 249;

/// An automaton of more bytes belongs to a pattern that nobody can read.
const MAX_AUTOMATON_BYTES: usize = 1 << 20;

/// The bytes of which topic names consist.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// Nothing at all.
    #[error("a topic name cannot be empty")]
    Empty,
    /// More than 249 characters.
    #[error("a topic name has at most {MAX_NAME_CHARS} characters")]
    TooLong,
    /// `.` or `..`.
    #[error("a topic cannot be named '.' or '..'")]
    Dots,
    /// Something else than letters, digits, `.`, `_`, `-`.
    #[error("a topic name consists of ASCII letters, digits, '.', '_' and '-', not {0:?}")]
    Character(char),
}

impl TopicName {
    /// Parses a name.
    ///
    /// # Errors
    /// The text breaks one of Kafka's rules.
    pub fn parse(text: &str) -> Result<Self, TopicNameError> {
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if let Some(other) = text
            .chars()
            .find(|c| !u8::try_from(*c).is_ok_and(|byte| ALPHABET.contains(&byte)))
        {
            return Err(TopicNameError::Character(other));
        }
        if text.len() > MAX_NAME_CHARS {
            return Err(TopicNameError::TooLong);
        }
        if matches!(text, "." | "..") {
            return Err(TopicNameError::Dots);
        }
        Ok(Self(text.into()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's shared text.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A regular expression over topic names, in the part of the syntax on which librdkafka (POSIX
/// extended) and our own engine agree. It starts with `^`.
#[derive(Clone)]
pub struct TopicPattern {
    text: Arc<str>,
    automaton: Arc<dense::DFA<Vec<u32>>>,
}

/// Why a text is no topic pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicPatternError {
    /// librdkafka takes a subscription for a pattern only when it starts with `^`.
    #[error("a topic pattern starts with '^'")]
    NotAnchored,
    /// Means one thing here and another (or nothing) to librdkafka.
    #[error("{0:?} is not understood alike by every regular expression engine")]
    Dialect(String),
    /// No regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// The automaton would be too large.
    #[error("the pattern is too complicated")]
    TooLarge,
}

impl TopicPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The text does not start with `^`, is no regular expression, or means different things to
    /// different engines.
    pub fn parse(text: &str) -> Result<Self, TopicPatternError> {
        if !text.starts_with('^') {
            return Err(TopicPatternError::NotAnchored);
        }
        if let Some(found) = dialect(text) {
            return Err(TopicPatternError::Dialect(found));
        }
        let options = syntax::Config::new().unicode(false).utf8(false);
        syntax::parse_with(text, &options)
            .map_err(|error| TopicPatternError::Syntax(last_line(&error)))?;
        // librdkafka searches: a match anywhere in the name will do. All ends of a match count,
        // not the leftmost-first one, so that the automaton knows the whole language.
        let anywhere = format!("(?s-u:.)*(?:{text})(?s-u:.)*");
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
                    .determinize_size_limit(Some(4 * MAX_AUTOMATON_BYTES)),
            )
            .syntax(options)
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATON_BYTES)))
            .build(&anywhere)
            .map_err(|_| TopicPatternError::TooLarge)?;
        Ok(Self {
            text: text.into(),
            automaton: Arc::new(automaton),
        })
    }

    /// The pattern's text, as librdkafka wants it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.after_prefix(name)
            .is_some_and(|state| self.accepts(state))
    }

    /// Whether some name of the shape `<prefix><one or more characters><suffix>` matches.
    pub fn matches_any_between(&self, prefix: &str, suffix: &str) -> bool {
        let Some(first) = self.after_prefix(prefix) else {
            return false;
        };
        let mut seen = HashSet::new();
        let mut waiting = vec![first];
        while let Some(state) = waiting.pop() {
            for byte in ALPHABET {
                let next = self.automaton.next_state(state, *byte);
                if !self.automaton.is_dead_state(next) && seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        seen.into_iter()
            .any(|state| self.accepts(self.walk(state, suffix)))
    }

    fn after_prefix(&self, prefix: &str) -> Option<StateID> {
        let start = start::Config::new().anchored(Anchored::Yes);
        let state = self.automaton.start_state(&start).ok()?;
        Some(self.walk(state, prefix))
    }

    fn walk(&self, from: StateID, text: &str) -> StateID {
        text.bytes()
            .fold(from, |state, byte| self.automaton.next_state(state, byte))
    }

    fn accepts(&self, state: StateID) -> bool {
        self.automaton
            .is_match_state(self.automaton.next_eoi_state(state))
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicPattern({:?})", self.text)
    }
}

/// The first piece of the pattern that engines read differently.
fn dialect(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut in_class = false;
    for (at, char) in chars.iter().enumerate() {
        let next = chars.get(at + 1).copied();
        let pair = || Some(chars[at..(at + 2).min(chars.len())].iter().collect());
        match (*char, next) {
            ('\\', _) if in_class => return pair(),
            ('\\', Some(c)) if c.is_ascii_alphanumeric() => return pair(),
            ('[', Some(':')) if in_class => {}
            ('[', _) if in_class => return pair(),
            ('-', Some('-')) | ('&', Some('&')) | ('~', Some('~')) if in_class => return pair(),
            ('[', _) => in_class = true,
            (']', _) if at > 0 && chars[at - 1] != ':' => in_class = false,
            ('(', Some('?')) if !in_class => return pair(),
            ('*' | '+' | '?' | '}', Some('?' | '+' | '*')) if !in_class => return pair(),
            _ => {}
        }
    }
    None
}

/// regex-syntax draws the pattern and an arrow; the last line says what is wrong.
fn last_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// A topic name with places for the source topic and the stream: `{topic}.{stream}.dlq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    /// Text before `{topic}`, or the whole name.
    prefix: String,
    /// Text behind `{topic}`; [`None`] when the name does not depend on it.
    suffix: Option<String>,
}

/// Why a text is no topic template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicTemplateError {
    /// `{topic}` stands there twice.
    #[error("{{topic}} may stand in it only once")]
    TopicTwice,
    /// What would come out is no topic name.
    #[error(transparent)]
    Name(#[from] TopicNameError),
}

impl TopicTemplate {
    /// Parses a template for one stream. `{stream}` is filled in at once.
    ///
    /// # Errors
    /// The name would not be legal whatever the source topic, or `{topic}` stands in it twice.
    pub fn parse(text: &str, stream: &str) -> Result<Self, TopicTemplateError> {
        let text = text.replace("{stream}", stream);
        let template = match text.split_once("{topic}") {
            None => Self {
                prefix: text,
                suffix: None,
            },
            Some((_, suffix)) if suffix.contains("{topic}") => {
                return Err(TopicTemplateError::TopicTwice);
            }
            Some((prefix, suffix)) => Self {
                prefix: prefix.to_owned(),
                suffix: Some(suffix.to_owned()),
            },
        };
        TopicName::parse(&template.fill("t"))?;
        Ok(template)
    }

    /// The name for this source topic.
    ///
    /// # Errors
    /// The name is too long.
    pub fn name_for(&self, source: &str) -> Result<TopicName, TopicNameError> {
        TopicName::parse(&self.fill(source))
    }

    /// Whether the source topic is part of the name.
    pub fn has_topic(&self) -> bool {
        self.suffix.is_some()
    }

    /// Whether this name could come out for some source topic.
    pub fn may_yield(&self, name: &str) -> bool {
        match &self.suffix {
            None => name == self.prefix,
            Some(suffix) => {
                name.len() > self.prefix.len() + suffix.len()
                    && name.starts_with(&self.prefix)
                    && name.ends_with(suffix.as_str())
            }
        }
    }

    /// Whether the pattern matches a name that could come out for some source topic.
    pub fn may_match(&self, pattern: &TopicPattern) -> bool {
        match &self.suffix {
            None => pattern.matches(&self.prefix),
            Some(suffix) => pattern.matches_any_between(&self.prefix, suffix),
        }
    }

    fn fill(&self, source: &str) -> String {
        match &self.suffix {
            None => self.prefix.clone(),
            Some(suffix) => format!("{}{source}{suffix}", self.prefix),
        }
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fill("{topic}"))
    }
}

#[cfg(test)]
mod tests;
