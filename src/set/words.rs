//! The closed vocabularies of the events (CONTRACTS §1.2): levels, initiating entities, reasons.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use thiserror::Error;

/// A word outside its closed list. It never repeats the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is none of {allowed}")]
pub struct UnknownWord {
    /// The words that would be accepted, for the error message.
    pub allowed: &'static str,
}

/// Risk level of Okta's events (CONTRACTS §1.2: `low` `medium` `high` `secure` `none`).
/// There is no order: `secure` is not "more" or "less" than `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No level was ever determined.
    None,
    /// Low risk.
    Low,
    /// Medium risk.
    Medium,
    /// High risk.
    High,
    /// Found to be secure.
    Secure,
}

impl Level {
    /// Every level, in the order of the enum.
    pub const ALL: [Level; 5] = [
        Level::None,
        Level::Low,
        Level::Medium,
        Level::High,
        Level::Secure,
    ];

    /// The word in the SET.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Secure => "secure",
        }
    }

    /// Reads a level. Case does not matter (vendors write `High`), the word does.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else; a lookup table in the mapping is the mend.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|level| word.trim().eq_ignore_ascii_case(level.as_str()))
            .ok_or(UnknownWord {
                allowed: "none, low, medium, high, secure",
            })
    }
}

/// Who caused the event (CAEP §2, CONTRACTS §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InitiatingEntity {
    /// An administrator.
    Admin,
    /// The user.
    User,
    /// A policy.
    Policy,
    /// A system: the usual origin of a detection.
    System,
}

impl InitiatingEntity {
    /// Every entity.
    pub const ALL: [InitiatingEntity; 4] = [
        InitiatingEntity::Admin,
        InitiatingEntity::User,
        InitiatingEntity::Policy,
        InitiatingEntity::System,
    ];

    /// The word in the SET.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            InitiatingEntity::Admin => "admin",
            InitiatingEntity::User => "user",
            InitiatingEntity::Policy => "policy",
            InitiatingEntity::System => "system",
        }
    }

    /// Reads an entity; case does not matter.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything outside the list.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|entity| word.trim().eq_ignore_ascii_case(entity.as_str()))
            .ok_or(UnknownWord {
                allowed: "admin, user, policy, system",
            })
    }
}

/// A reason in one or more languages: an object with `en` (CONTRACTS §1.2), never a bare string.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason {
    en: String,
    others: BTreeMap<String, String>,
}

impl fmt::Debug for Reason {
    /// Shows that there is one, never what it says (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reason(…)")
    }
}

impl Reason {
    /// An English reason; `None` when the text is blank (an empty reason is refused by receivers).
    #[must_use]
    pub fn english(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self {
            en: text.to_owned(),
            others: BTreeMap::new(),
        })
    }

    /// Adds the text in another language, keyed by its BCP 47 tag; a blank text changes nothing.
    pub fn add(&mut self, tag: &str, text: &str) {
        let text = text.trim();
        if !text.is_empty() && tag != "en" {
            self.others.insert(tag.to_owned(), text.to_owned());
        }
    }

    /// Bytes of the texts and tags.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let others = self.others.iter().map(|(tag, text)| tag.len() + text.len());
        self.en.len() + others.sum::<usize>()
    }

    /// The shape of a BCP 47 tag: letters, then subtags of 1 to 8 letters or digits.
    #[must_use]
    pub fn is_language_tag(tag: &str) -> bool {
        let mut subtags = tag.split('-');
        let primary = subtags.next().unwrap_or_default();
        (2..=8).contains(&primary.len())
            && primary.bytes().all(|b| b.is_ascii_alphabetic())
            && subtags
                .all(|s| (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric()))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.others.len()))?;
        map.serialize_entry("en", &self.en)?;
        for (tag, text) in &self.others {
            map.serialize_entry(tag, text)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_back_whatever_its_case() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Ok(level));
            assert_eq!(Level::parse(&level.as_str().to_uppercase()), Ok(level));
            assert_eq!(
                serde_json::to_string(&level).expect("json"),
                format!("\"{}\"", level.as_str())
            );
        }
        for bad in ["critical", "", "5", "lowish"] {
            assert!(Level::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_entity_reads_back() {
        for entity in InitiatingEntity::ALL {
            assert_eq!(InitiatingEntity::parse(entity.as_str()), Ok(entity));
        }
        assert!(InitiatingEntity::parse("robot").is_err());
    }

    #[test]
    fn a_reason_is_an_object_that_begins_with_en() {
        let mut reason = Reason::english(" because ").expect("not blank");
        reason.add("de", "darum");
        reason.add("cs", "proto");
        reason.add("fr", " ");
        assert_eq!(
            serde_json::to_string(&reason).expect("json"),
            r#"{"en":"because","cs":"proto","de":"darum"}"#
        );
        assert_eq!(Reason::english(" \n"), None);
    }

    #[test]
    fn language_tags() {
        assert!(
            ["en", "de-AT", "zh-Hant-TW", "sl-rozaj-1994"]
                .into_iter()
                .all(Reason::is_language_tag)
        );
        assert!(
            !["", "e", "de_AT", "de-", "1a", "de-toolongsubtag"]
                .into_iter()
                .any(Reason::is_language_tag)
        );
    }
}
