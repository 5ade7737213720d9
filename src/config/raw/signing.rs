//! Keys: `signing`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::domain::MultiBufferUse;
use super::{DurationText, PathText};
use crate::signing::Algorithm;

/// The keys that sign SETs.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSigning {
    /// Key files; or `ring`. Of those whose time has come, the one that began last signs: without times the first that
    /// is not `published_only`. All are in the JWKS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<RawSigningKey>,
    /// Folder with keys and their times, as `setbridge keys rotate` makes it; instead of `keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ring: Option<PathText>,
    /// File with the passphrase of encrypted keys (PKCS#8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passphrase_file: Option<PathText>,
    /// How long a key is in the JWKS before it signs: longer than receivers cache it.
    pub(crate) publish_before_use: DurationText,
    /// A key signs only when it was seen in the JWKS at its public address; true when `transmitter.jwks_uri` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) check_published: Option<bool>,
    /// What SETs are signed by, unless a stream says otherwise: `RS256`, `PS256`, `ES256` or `EdDSA`.
    pub(crate) algorithm: Algorithm,
    /// Signer threads; default one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) threads: Option<u32>,
    /// Eight RSA signatures at once by Intel's crypto_mb, on CPUs with AVX512-IFMA: `auto` where it
    /// is found, `required` refuses to start without it, `never` leaves it alone.
    pub(crate) multi_buffer: MultiBufferUse,
    /// The library's file; default libcrypto_mb.so beside the program, in ../lib, or where the
    /// system's dynamic linker looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) multi_buffer_library: Option<PathText>,
}

impl Default for RawSigning {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            ring: None,
            passphrase_file: None,
            publish_before_use: "15m".into(),
            check_published: None,
            algorithm: Algorithm::default(),
            threads: None,
            multi_buffer: MultiBufferUse::default(),
            multi_buffer_library: None,
        }
    }
}

/// One key file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSigningKey {
    /// Private key, RSA of at least 2048 bits, EC on P-256 or Ed25519: PEM (PKCS#8, PKCS#1, SEC 1) or JWK.
    pub(crate) file: PathText,
    /// Key id; default the RFC 7638 thumbprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub(crate) kid: Option<String>,
    /// What it signs by; default `RS256` for an RSA key (or the `alg` of its JWK), `ES256` for an EC
    /// key on P-256, `EdDSA` for Ed25519.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<Algorithm>,
    /// In the JWKS, but never signs: the next key before a rotation, the last one after it.
    #[serde(default)]
    pub(crate) published_only: bool,
    /// Signs from this time on, for example 2026-01-31T08:00:00Z; in the JWKS before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<String>,
    /// Signs no more from this time on; in the JWKS after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<String>,
    /// Leaves the JWKS at this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published_until: Option<String>,
}
