//! What an operator said last about holding the stream, with its version. Pure.
//!
//! The highest version counts, wherever it was said: a command that arrives late puts nothing old back, and whoever knows
//! a higher version than the server, which has lost its data, tells it again. A version is the time of the word, but never
//! below one that is known, so clocks that differ by little do no harm.

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// In ms since 1970 as a rule; 0: nobody has said anything yet.
    pub(super) version: i64,
    /// Why the stream is held; [`None`]: it is not.
    pub(super) reason: Option<String>,
}

impl Word {
    /// One that is said after the version that is known.
    pub(super) fn after(known: i64, now_ms: i64, reason: Option<String>) -> Self {
        Self {
            version: now_ms.max(known.saturating_add(1)),
            reason,
        }
    }

    /// `version kind reason`. The first two have a fixed width, so that Lua compares them as text; of two words of one
    /// version the hold is the greater one, for that is the safe side.
    pub(super) fn spelled(&self) -> String {
        let kind = if self.reason.is_some() { 'h' } else { '-' };
        let reason = self.reason.as_deref().unwrap_or_default();
        format!("{:019} {kind} {reason}", self.version)
    }

    /// What cannot be read was never said.
    pub(super) fn read(text: &str) -> Self {
        let read = || {
            let (version, rest) = text.split_once(' ')?;
            let (kind, reason) = rest.split_once(' ')?;
            Some(Self {
                version: version.parse().ok()?,
                reason: (kind == "h").then(|| reason.to_owned()),
            })
        };
        read().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_is_read_back_and_ordered() {
        let word = |version, reason: Option<&str>| Word {
            version,
            reason: reason.map(str::to_owned),
        };
        let ascending = [
            word(7, None),
            word(7, Some("")),
            word(9, Some("a reason: with words")),
            word(10, None),
            word(i64::MAX, Some("é")),
        ];
        for one in &ascending {
            assert_eq!(Word::read(&one.spelled()), *one);
        }
        let begins = ascending.map(|word| word.spelled()[..21].to_owned());
        assert!(begins.is_sorted_by(|a, b| a < b), "{begins:?}");
        assert_eq!(Word::read("maintenance"), Word::default());
    }

    #[test]
    fn a_word_is_newer_than_what_is_known_whatever_the_clock_says() {
        assert_eq!(Word::after(7, 100, None).version, 100);
        assert_eq!(Word::after(100, 7, None).version, 101);
    }
}
