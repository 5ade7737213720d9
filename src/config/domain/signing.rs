//! Keys: the ring of `signing`, and those of streams with keys of their own.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Config, StreamConfig, StreamId};
use crate::config::pointer::dotted;
use crate::signing::{Algorithm, Life, VaultSettings};
use crate::transmitter::{JWKS_PATH, stream_jwks_path};

/// How signatures are made.
#[derive(Clone, Debug)]
pub struct SigningSettings {
    /// Signer threads; [`None`]: one per core, and for each key in Vault so many calls at a time as suit it.
    pub threads: Option<NonZeroUsize>,
    /// Whether eight RSA signatures are made at once.
    pub multi_buffer: MultiBufferUse,
    /// The library for it; [`None`]: at the usual places.
    pub multi_buffer_library: Option<PathBuf>,
}

/// Calls to Vault at a time: threads wait for it, they need no core each.
const CALLS: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

impl SigningSettings {
    /// Threads for such keys.
    #[must_use]
    pub fn threads_for(&self, keys: &KeysConfig) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(|| match keys {
            KeysConfig::Vault(_) => CALLS,
            KeysConfig::Files(_) | KeysConfig::Ring(_) => cores(),
        })
    }
}

/// Which ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RingName {
    /// That of `signing`, which streams have unless they name keys.
    Default,
    /// That of this stream, and of those after it that name the same keys.
    Stream(StreamId),
}

impl RingName {
    /// As in metrics, `/status`, logs and `keys list`. No stream has such an id as the default ring's.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Default => "(default)",
            Self::Stream(id) => id.as_str(),
        }
    }

    /// Where its JWKS is, on our own public port.
    #[must_use]
    pub fn jwks_path(&self) -> String {
        match self {
            Self::Default => JWKS_PATH.to_owned(),
            Self::Stream(id) => stream_jwks_path(id.as_str()),
        }
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One ring of keys: they rotate together, and are published together.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Distinct.
    pub name: RingName,
    /// Where it is written, as a JSON pointer.
    pub at: String,
    /// Where the keys are.
    pub keys: KeysConfig,
    /// The passphrase of those that are encrypted.
    pub passphrase_file: Option<PathBuf>,
    /// How long a key is published before it signs.
    pub publish_before_use: Duration,
    /// A key must be seen in the public JWKS before it signs.
    pub check_published: bool,
    /// Where receivers find its JWKS; [`None`]: at [`RingName::jwks_path`] of the issuer's host.
    pub jwks_uri: Option<Url>,
}

impl RingConfig {
    /// Where it is written, as people say it: `signing`, `streams[1].signing`.
    #[must_use]
    pub fn place(&self) -> String {
        dotted(&self.at)
    }
}

impl Config {
    /// The ring of this name.
    #[must_use]
    pub fn ring(&self, name: &RingName) -> Option<&RingConfig> {
        self.rings.iter().find(|ring| ring.name == *name)
    }

    /// The streams whose keys these are.
    pub fn streams_of<'a>(
        &'a self,
        ring: &'a RingName,
    ) -> impl Iterator<Item = &'a StreamConfig> + 'a {
        self.streams
            .iter()
            .filter(move |stream| stream.ring == *ring)
    }
}

impl KeysConfig {
    /// Both name the same keys.
    #[must_use]
    pub(in crate::config) fn are(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::Files(these), Self::Files(those)) => these == those,
            (Self::Ring(this), Self::Ring(that)) => this == that,
            (Self::Vault(this), Self::Vault(that)) => {
                let name = |vault: &VaultConfig| {
                    let of = &vault.settings;
                    (
                        of.address.clone(),
                        of.namespace.clone(),
                        of.mount.clone(),
                        of.key.clone(),
                    )
                };
                name(this) == name(that)
            }
            _ => false,
        }
    }

    /// A key file, or a folder of them, that is in both.
    pub(in crate::config) fn shared_file<'a>(&'a self, others: &'a Self) -> Option<&'a Path> {
        let mut ours = self.files().into_iter();
        let mut theirs = others.files().into_iter();
        ours.find(|file| others.has(file))
            .or_else(|| theirs.find(|file| self.has(file)))
    }

    fn files(&self) -> Vec<&Path> {
        match self {
            Self::Files(keys) => keys.iter().map(|key| key.file.as_path()).collect(),
            Self::Ring(folder) => vec![folder],
            Self::Vault(_) => Vec::new(),
        }
    }

    fn has(&self, file: &Path) -> bool {
        match self {
            Self::Files(keys) => keys.iter().any(|key| key.file == file),
            Self::Ring(folder) => folder == file || file.parent() == Some(folder),
            Self::Vault(_) => false,
        }
    }
}

/// Whether eight RSA signatures are made at once. No word is one that YAML 1.1 takes for a boolean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MultiBufferUse {
    /// Where CPU and library are there.
    #[default]
    Auto,
    /// Always: without it the bridge does not start.
    Required,
    /// Not at all.
    Never,
}

/// Where the keys of a ring are.
#[derive(Clone, Debug)]
pub enum KeysConfig {
    /// At least one of them signs at some time; file paths are distinct.
    Files(Vec<SigningKeyConfig>),
    /// A folder with a manifest.
    Ring(PathBuf),
    /// Versions of a key in Vault.
    Vault(Box<VaultConfig>),
}

/// A key in Vault.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// Where it is, and how to get at it. Its algorithm is that of all its streams.
    pub settings: VaultSettings,
    /// How often its public keys are asked for.
    pub refresh: Duration,
}

/// One key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyConfig {
    /// PEM or JWK.
    pub file: PathBuf,
    /// Overrides the default, the RFC 7638 thumbprint.
    pub kid: Option<String>,
    /// When it is published, and signs.
    pub life: Life,
    /// What it signs by; [`None`]: what is usual for its kind, or its JWK says.
    pub algorithm: Option<Algorithm>,
}
