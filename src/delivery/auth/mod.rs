//! How we authenticate towards a receiver: not at all (Okta: the signature is the credential), by a header
//! from a file, or by OAuth 2.0 client credentials.
//!
//! A credential is never logged: header values are marked sensitive, secrets have no telling `Debug`.

mod assertion;
mod oauth;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use thiserror::Error;
use zeroize::Zeroizing;

pub use assertion::{AssertionKey, AssertionKeyError};
pub use oauth::{ClientCredential, OAuthSettings, SecretStyle};

use super::advice::Advice;
use super::verdict::Verdict;
use oauth::TokenSource;
pub(super) use oauth::{epoch_seconds, time_headers};

/// How a stream authenticates, as configured.
#[derive(Debug, Clone, Default)]
pub enum AuthSettings {
    /// No credential.
    #[default]
    None,
    /// A header whose value is the trimmed text of a file, sent verbatim (SSF `authorization_header`).
    HeaderFile {
        /// Usually `Authorization`; see [`AuthSettings::authorization_file`].
        name: HeaderName,
        /// Read at the start, at a reload, and once more when the receiver answers 401.
        path: PathBuf,
    },
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    OAuth(Box<OAuthSettings>),
}

impl AuthSettings {
    /// An `Authorization` header from a file.
    #[must_use]
    pub fn authorization_file(path: PathBuf) -> Self {
        Self::HeaderFile {
            name: AUTHORIZATION,
            path,
        }
    }
}

/// A credential that cannot be used.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The header file cannot be read.
    #[error("cannot read the header file {path}")]
    HeaderFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The header file is empty or holds more than one line or characters that no header may hold.
    #[error("{path} must hold one non-empty line of visible ASCII characters")]
    HeaderValue {
        /// The file.
        path: PathBuf,
    },
}

/// A header to send, and which issue of it: a 401 makes that issue stale, not a newer one.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) name: HeaderName,
    /// Marked sensitive.
    pub(super) value: HeaderValue,
    issue: u64,
}

/// Why there is no credential to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CredentialFault {
    pub(super) verdict: Verdict,
    pub(super) status: Option<u16>,
    pub(super) advice: Option<Advice>,
}

/// The live form of [`AuthSettings`].
#[derive(Debug)]
pub(super) enum Auth {
    None,
    Header {
        name: HeaderName,
        path: PathBuf,
        current: ArcSwap<(HeaderValue, u64)>,
    },
    Token(Box<TokenSource>),
}

impl Auth {
    /// # Errors
    /// When the header file is unusable. OAuth is first tried when there is something to send.
    pub(super) fn new(settings: AuthSettings, advice_cap: Duration) -> Result<Self, AuthError> {
        Ok(match settings {
            AuthSettings::None => Self::None,
            AuthSettings::HeaderFile { name, path } => {
                let current = ArcSwap::from_pointee((read_header_file(&path)?, 1));
                Self::Header {
                    name,
                    path,
                    current,
                }
            }
            AuthSettings::OAuth(settings) => {
                Self::Token(Box::new(TokenSource::new(*settings, advice_cap)))
            }
        })
    }

    /// The credential to send now, fetched or renewed when needed; `None` = send none.
    pub(super) async fn credential(
        &self,
        client: &Client,
    ) -> Result<Option<Credential>, CredentialFault> {
        match self {
            Self::None => Ok(None),
            Self::Header { name, current, .. } => {
                let (value, issue) = current.load().as_ref().clone();
                Ok(Some(Credential {
                    name: name.clone(),
                    value,
                    issue,
                }))
            }
            Self::Token(source) => source.token(client).await.map(Some),
        }
    }

    /// The receiver answered 401 to `stale`: a fresh credential, or `None` when there is no fresher one.
    pub(super) async fn renew(
        &self,
        stale: &Credential,
        client: &Client,
    ) -> Result<Option<Credential>, CredentialFault> {
        match self {
            Self::None => Ok(None),
            Self::Header { .. } => {
                // An unreadable file leaves the old value; the 401 then holds the stream.
                let _kept = self.reload();
                let now = self.credential(client).await?;
                Ok(now.filter(|credential| credential.issue != stale.issue))
            }
            Self::Token(source) => source.fresher_than(stale.issue, client).await.map(Some),
        }
    }

    /// Reads the header file again. OAuth tokens renew themselves.
    ///
    /// # Errors
    /// When the file is unusable; the old value stays.
    pub(super) fn reload(&self) -> Result<(), AuthError> {
        if let Self::Header { path, current, .. } = self {
            let value = read_header_file(path)?;
            current.rcu(|old| {
                if old.0 == value {
                    Arc::clone(old)
                } else {
                    Arc::new((value.clone(), old.1 + 1))
                }
            });
        }
        Ok(())
    }
}

fn read_header_file(path: &PathBuf) -> Result<HeaderValue, AuthError> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| AuthError::HeaderFile {
            path: path.clone(),
            source,
        })?;
    sensitive(text.trim()).ok_or_else(|| AuthError::HeaderValue { path: path.clone() })
}

/// A header value that no `Debug` shows; `None` when the text is empty or no visible ASCII.
fn sensitive(text: &str) -> Option<HeaderValue> {
    if text.is_empty() || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return None;
    }
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("header");
        let missing = Auth::new(
            AuthSettings::authorization_file(path.clone()),
            Duration::ZERO,
        );
        assert!(matches!(missing, Err(AuthError::HeaderFile { .. })));
        for text in ["", " \n", "a\nb", "caf\u{e9}"] {
            std::fs::write(&path, text).expect("written");
            let bad = Auth::new(
                AuthSettings::authorization_file(path.clone()),
                Duration::ZERO,
            );
            assert!(
                matches!(bad, Err(AuthError::HeaderValue { .. })),
                "{text:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_header_file_is_read_again_and_never_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("header");
        std::fs::write(&path, "Bearer first-secret\n").expect("written");
        let auth = Auth::new(
            AuthSettings::authorization_file(path.clone()),
            Duration::ZERO,
        )
        .expect("valid");
        let client = Client::builder()
            .tls_certs_only([])
            .build()
            .expect("a client");
        let first = auth
            .credential(&client)
            .await
            .expect("no fault")
            .expect("a header");
        assert_eq!(first.value, "Bearer first-secret");
        assert!(!format!("{auth:?} {first:?}").contains("secret"));
        assert!(
            auth.renew(&first, &client)
                .await
                .expect("no fault")
                .is_none(),
            "nothing fresher"
        );
        std::fs::write(&path, "Bearer second-secret").expect("written");
        let second = auth
            .renew(&first, &client)
            .await
            .expect("no fault")
            .expect("fresher");
        assert_eq!(second.value, "Bearer second-secret");
        std::fs::write(&path, "").expect("written");
        assert!(auth.reload().is_err());
        assert_eq!(
            auth.credential(&client)
                .await
                .expect("no fault")
                .expect("kept")
                .value,
            second.value
        );
    }
}
