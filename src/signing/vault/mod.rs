//! The transit engine of HashiCorp Vault or OpenBao as the signer: the private key never enters this process.
//!
//! | file | what it is for |
//! |---|---|
//! | [`client`] | one call over HTTP → what it says, or a [`VaultFault`] |
//! | `login` | the token: from a file that somebody keeps fresh, or by Kubernetes' service account |
//! | [`answers`] | the JSON of the answers, and which version of the key does what when (pure) |
//! | `backend` | signer threads that send what waits as one call, and check each signature |
//!
//! Only SHA-256 digests are sent (`prehashed`): Vault and its audit log learn nothing about people. What this module must
//! never do: let a signature leave that the public key does not confirm; show a token; repeat what Vault says in words.

pub mod answers;
mod backend;
pub mod client;
mod login;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub(super) use backend::VaultBackend;
pub use client::{Call, CallKind, Observer, Seen, Vault, VaultSetUpError};

use super::algorithm::Algorithm;
use crate::secret::Secret;

/// Where the key is, and how to get at it.
#[derive(Debug, Clone)]
pub struct VaultSettings {
    /// `https://host:8200`; without `/v1`.
    pub address: Url,
    /// Path of the transit engine.
    pub mount: String,
    /// Name of the key in it.
    pub key: String,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// What proves who we are.
    pub auth: VaultAuth,
    /// PEM with certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// One call has to be answered by then.
    pub timeout: Duration,
    /// What the key signs by; one that Vault can: not EdDSA.
    pub algorithm: Algorithm,
}

/// What proves who we are.
#[derive(Debug, Clone)]
pub enum VaultAuth {
    /// A token; that of a file is read for each call.
    Token(Secret),
    /// Kubernetes' service account.
    Kubernetes {
        /// Role in Vault.
        role: String,
        /// Path of the auth method.
        mount: String,
        /// The service account's token, read for each log-in.
        token_file: PathBuf,
    },
}

/// Why there is no signature, or no key. Closed, and without a word of Vault's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VaultFault {
    /// No connection, no TLS, or it broke.
    #[error("Vault cannot be reached")]
    Unreachable,
    /// Not in time.
    #[error("Vault did not answer in time")]
    Slow,
    /// 412, 429, 472, 473, 5xx: sealed, a standby, starting, overloaded.
    #[error("Vault answers {0}: sealed, on standby or overloaded")]
    Busy(u16),
    /// 2xx, but not what the API describes.
    #[error("Vault's answer is not what its API describes")]
    Unreadable,
    /// This SET has no signature, others of the same call have.
    #[error("Vault signed other SETs of the call, but not this one")]
    Item,
    /// It does not fit the public key; it was thrown away.
    #[error("Vault's signature does not fit the public key")]
    WrongSignature,
    /// 400, 403, 404 and the like; or an error for each SET of a call.
    #[error(
        "Vault refuses to sign ({0}): look at the token's policy, the mount and the key's name, type and min_encryption_version"
    )]
    Refused(u16),
    /// Kubernetes' log-in.
    #[error(
        "Vault refuses the log-in ({0}): look at signing.vault.kubernetes, and at the role in Vault"
    )]
    LogInRefused(u16),
    /// The file of the token is missing, empty, or no token.
    #[error("there is no token for Vault: its file is missing, not readable, or empty")]
    NoToken,
    /// The key is no key that signs here.
    #[error(
        "the key in Vault is {0}; RS256 and PS256 need rsa-2048, rsa-3072 or rsa-4096, ES256 needs ecdsa-p256"
    )]
    WrongKey(&'static str),
    /// Vault has not told its public keys since the start.
    #[error("Vault has not told its public keys yet")]
    KeysUnknown,
}

impl VaultFault {
    /// Whoever set it up must act; else the moment is bad. Without keys nothing can be done either.
    #[must_use]
    pub fn is_set_up(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Slow
            | Self::Busy(_)
            | Self::Unreadable
            | Self::Item
            | Self::WrongSignature => false,
            Self::Refused(_)
            | Self::LogInRefused(_)
            | Self::NoToken
            | Self::WrongKey(_)
            | Self::KeysUnknown => true,
        }
    }

    /// The keys may be others than we know.
    pub(super) fn suspects_keys(self) -> bool {
        matches!(
            self,
            Self::Item | Self::WrongSignature | Self::Refused(_) | Self::WrongKey(_)
        )
    }
}
