//! One thing that is wrong in the configuration: where, what, and how to mend it.

use std::fmt;

use super::pointer;

/// One mistake in the configuration. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where the wrong thing was written, or should have been.
    pub place: Place,
    /// The key as a dotted path (`streams[0].receiver.url`); empty for the file as a whole.
    pub key: String,
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// What to do about it; lower case, no full stop.
    pub mend: String,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, lines and columns counted from 1.
    File {
        /// The file's name as it was given.
        file: String,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// In this flag of the command line.
    Flag(String),
}

impl Mistake {
    /// A mistake at a JSON pointer.
    pub(super) fn at(
        place: Place,
        at: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            place,
            key: pointer::dotted(at),
            message: message.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl fmt::Display for Mistake {
    /// `file:line:column: key: message`, and the mend on a second line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n    mend: {}", self.message, self.mend)
    }
}

/// The known word that somebody who wrote `word` most likely meant.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            (strsim::jaro_winkler(&word, &plain), candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_slips_find_their_word() {
        let known = ["bootstrap_servers", "client_id", "group_protocol"];
        for (slip, meant) in [
            ("bootstrap_server", Some("bootstrap_servers")),
            ("bootsrap_servers", Some("bootstrap_servers")),
            ("bootstrap-servers", Some("bootstrap_servers")),
            ("clientId", Some("client_id")),
            ("grup_protocol", Some("group_protocol")),
            ("zebra", None),
        ] {
            assert_eq!(did_you_mean(slip, known), meant, "{slip}");
        }
    }

    #[test]
    fn a_mistake_reads_like_a_compilers_message() {
        let mistake = Mistake::at(
            Place::File {
                file: "a.yaml".into(),
                line: 3,
                column: 5,
            },
            "/streams/0/receiver/url",
            "not a URL",
            "write one",
        );
        assert_eq!(
            mistake.to_string(),
            "a.yaml:3:5: streams[0].receiver.url: not a URL\n    mend: write one"
        );
    }
}
