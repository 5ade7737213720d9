//! What must happen at once, as Lua scripts that Redis runs one at a time. Their sources lie in
//! `scripts/`, each begins with what it is given and what it answers.
//!
//! Each may be run twice (an answer was lost, so it is sent again): the second run changes nothing. And by a process that
//! no longer owns the partition: it is refused, but for noting that a jti was delivered, which stays true.

use redis::Cmd;

/// The scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Checks the schema version; tells what the server is.
    Open,
    LookUp,
    Remember,
    Progress,
    /// Compare-and-set on a tenure.
    TakeOver,
    /// Compare-and-set on an operator's word.
    Hold,
}

impl Script {
    pub(super) const ALL: [Self; 6] = [
        Self::Open,
        Self::LookUp,
        Self::Remember,
        Self::Progress,
        Self::TakeOver,
        Self::Hold,
    ];

    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Open => include_str!("scripts/open.lua"),
            Self::LookUp => include_str!("scripts/look_up.lua"),
            Self::Remember => include_str!("scripts/remember.lua"),
            Self::Progress => include_str!("scripts/progress.lua"),
            Self::TakeOver => include_str!("scripts/take_over.lua"),
            Self::Hold => include_str!("scripts/hold.lua"),
        }
    }
}

/// The names that a server gave to the scripts.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded([String; Script::ALL.len()]);

impl Loaded {
    pub(super) fn note(&mut self, script: Script, sha: String) {
        self.0[script as usize] = sha;
    }

    /// A call of the script, its keys given; arguments may follow.
    pub(super) fn call(&self, script: Script, keys: &[&str]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.0[script as usize]).arg(keys.len());
        for key in keys {
            call.arg(*key);
        }
        call
    }
}
