//! Exit codes, after BSD's sysexits.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well (0).
    Done,
    /// The arguments make no sense (`EX_USAGE`, 64).
    Usage,
    /// What was given is no good: the record cannot become a SET, the act does not fit; the reason is on standard error
    /// (`EX_DATAERR`, 65).
    Data,
    /// A file to read is missing or unreadable; there is no such stream or SET (`EX_NOINPUT`, 66).
    NoInput,
    /// Something that we need is down; one-shot commands only (`EX_UNAVAILABLE`, 69).
    Unavailable,
    /// We are broken (`EX_SOFTWARE`, 70).
    Software,
    /// A file cannot be written, or is there already (`EX_CANTCREAT`, 73).
    CannotCreate,
    /// Input or output failed (`EX_IOERR`, 74).
    Io,
    /// A running bridge does not let us (`EX_NOPERM`, 77).
    Denied,
    /// The configuration is wrong (`EX_CONFIG`, 78).
    Config,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::Denied => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
