//! Values that must never be shown.
//!
//! A secret is written in the configuration as it is (best by `${VAR}`), or as `file:/path`, which
//! names a file that holds it. It has no `Display`, no `Serialize`, and its `Debug` tells only
//! where it came from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A secret file larger than this is somebody's mistake.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A text that must never be shown; wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    file: Option<PathBuf>,
}

/// Why the file of a secret gives none.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is missing or may not be read.
    #[error("cannot read the secret file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds nothing but a line end.
    #[error("the secret file {} is empty", .0.display())]
    Empty(PathBuf),
    /// The file is larger than 64 KiB.
    #[error("the secret file {} is larger than 64 KiB", .0.display())]
    TooLarge(PathBuf),
}

impl Secret {
    /// A secret that stands in the configuration itself.
    pub fn literal(text: impl Into<String>) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            file: None,
        }
    }

    /// A secret whose file is left alone for now; it reveals nothing.
    pub(crate) fn unread(path: PathBuf) -> Self {
        Self {
            text: Zeroizing::new(String::new()),
            file: Some(path),
        }
    }

    /// Reads the secret in this file: UTF-8, one line end behind it is cut off.
    ///
    /// # Errors
    /// The file cannot be read as text, is empty or too large.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        // A text that grows would leave copies behind.
        let length = file.metadata().map_err(unreadable)?.len();
        let length = usize::try_from(length.min(MAX_FILE_BYTES)).unwrap_or(0);
        let mut text = Zeroizing::new(String::with_capacity(length + 64));
        file.take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(SecretError::TooLarge(path.to_owned()));
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(SecretError::Empty(path.to_owned()));
        }
        Ok(Self {
            text,
            file: Some(path.to_owned()),
        })
    }

    /// The secret's text. Whoever calls this answers for where it goes.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The file that it came from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The present secret: its file read again, or the same text.
    ///
    /// # Errors
    /// As [`Secret::from_file`].
    pub fn read_again(&self) -> Result<Self, SecretError> {
        match &self.file {
            Some(path) => Self::from_file(path),
            None => Ok(self.clone()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => write!(f, "Secret(from {})", path.display()),
            None => f.write_str("Secret(hidden)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::literal("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn one_line_end_is_cut_off_and_a_changed_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2 \r\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert_eq!(secret.reveal(), "hunter2 ");
        assert!(!format!("{secret:?}").contains("hunter2"));
        std::fs::write(&path, "hunter3").unwrap();
        assert_eq!(secret.read_again().unwrap().reveal(), "hunter3");
    }

    #[test]
    fn a_file_without_a_secret_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(
            Secret::from_file(&path),
            Err(SecretError::Unreadable { .. })
        ));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(
            Secret::from_file(&path),
            Err(SecretError::Empty(_))
        ));
        std::fs::write(&path, "x".repeat(65 * 1024)).unwrap();
        assert!(matches!(
            Secret::from_file(&path),
            Err(SecretError::TooLarge(_))
        ));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(
            Secret::from_file(&path),
            Err(SecretError::Unreadable { .. })
        ));
    }
}
