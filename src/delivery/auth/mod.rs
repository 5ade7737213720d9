//! How we authenticate towards a receiver: not at all (Okta: the signature is the credential), by a header
//! from a file, or by OAuth 2.0 client credentials.
//!
//! A credential is never logged: header values are marked sensitive, secrets have no telling `Debug`.

mod assertion;
mod oauth;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::Client;
use reqwest::header::{HeaderName, HeaderValue};
use thiserror::Error;

pub use assertion::AssertionKey;
pub use oauth::{ClientCredential, OAuthSettings, SecretStyle};

use crate::secret::{Secret, SecretError};

use super::advice::Advice;
use super::verdict::Verdict;
use oauth::TokenSource;
pub(super) use oauth::time_headers;

/// How a stream authenticates, as configured.
#[derive(Debug, Clone, Default)]
pub enum AuthSettings {
    /// No credential.
    #[default]
    None,
    /// A header whose value is sent verbatim (SSF `authorization_header`), usually from a file.
    Header {
        /// Usually `Authorization`.
        name: HeaderName,
        /// A file is read again at a reload, and once more when the receiver answers 401.
        value: Secret,
    },
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    OAuth(Box<OAuthSettings>),
}

/// A credential that cannot be used.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The header's file cannot be read.
    #[error("the value of the header {name} cannot be read")]
    HeaderFile {
        /// The header.
        name: HeaderName,
        /// What is wrong with the file.
        source: SecretError,
    },
    /// The value is empty or holds more than one line or characters that no header may hold.
    #[error(
        "the value of the header {name} must be one non-empty line of visible ASCII characters"
    )]
    HeaderValue {
        /// The header.
        name: HeaderName,
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
        secret: Secret,
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
            AuthSettings::Header {
                name,
                value: secret,
            } => {
                let value = header_value(&name, &secret)?;
                let current = ArcSwap::from_pointee((value, 1));
                Self::Header {
                    name,
                    secret,
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
        if let Self::Header {
            name,
            secret,
            current,
        } = self
        {
            let fresh = secret
                .read_again()
                .map_err(|source| AuthError::HeaderFile {
                    name: name.clone(),
                    source,
                })?;
            let value = header_value(name, &fresh)?;
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

fn header_value(name: &HeaderName, secret: &Secret) -> Result<HeaderValue, AuthError> {
    sensitive(secret.reveal().trim()).ok_or_else(|| AuthError::HeaderValue { name: name.clone() })
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

    fn header(value: Secret) -> AuthSettings {
        AuthSettings::Header {
            name: reqwest::header::AUTHORIZATION,
            value,
        }
    }

    #[test]
    fn values_that_no_header_may_hold_are_refused() {
        for text in ["", " \n", "a\nb", "caf\u{e9}"] {
            let bad = Auth::new(header(Secret::literal(text)), Duration::ZERO);
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
        std::fs::write(&path, "Bearer first-token\n").expect("written");
        let secret = Secret::from_file(&path).expect("readable");
        let auth = Auth::new(header(secret), Duration::ZERO).expect("valid");
        let client = Client::builder()
            .tls_certs_only([])
            .build()
            .expect("a client");
        let first = auth
            .credential(&client)
            .await
            .expect("no fault")
            .expect("a header");
        assert_eq!(first.value, "Bearer first-token");
        assert!(!format!("{auth:?} {first:?}").contains("first-token"));
        assert!(
            auth.renew(&first, &client)
                .await
                .expect("no fault")
                .is_none(),
            "nothing fresher"
        );
        std::fs::write(&path, "Bearer second-token").expect("written");
        let second = auth
            .renew(&first, &client)
            .await
            .expect("no fault")
            .expect("fresher");
        assert_eq!(second.value, "Bearer second-token");
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
