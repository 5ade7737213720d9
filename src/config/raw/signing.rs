//! Keys: `signing`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::domain::MultiBufferUse;
use super::{DurationText, PathText, RawSecret};
use crate::signing::Algorithm;

/// Who has the private keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SigningBackend {
    #[default]
    Files,
    VaultTransit,
}

/// The keys that sign SETs.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSigning {
    /// `files`: this process, from `keys` or `ring`. `vault_transit`: HashiCorp Vault or OpenBao, and never this process.
    pub(crate) backend: SigningBackend,
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
    /// With `backend: vault_transit`: where the key is.
    pub(crate) vault: RawVault,
}

impl Default for RawSigning {
    fn default() -> Self {
        Self {
            backend: SigningBackend::Files,
            keys: Vec::new(),
            ring: None,
            passphrase_file: None,
            publish_before_use: "15m".into(),
            check_published: None,
            algorithm: Algorithm::default(),
            threads: None,
            multi_buffer: MultiBufferUse::default(),
            multi_buffer_library: None,
            vault: RawVault::default(),
        }
    }
}

/// How one stream's SETs are signed. With `keys`, `ring` or a key in Vault it has keys of its own, apart from those of
/// `signing`; the words are the same.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawStreamSigning {
    /// `RS256`, `PS256`, `ES256` or `EdDSA`; default `signing.algorithm`. Okta takes RS256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<Algorithm>,
    /// Who has this stream's own keys: `files`, or `vault_transit`.
    pub(crate) backend: SigningBackend,
    /// Key files of this stream's own; or `ring`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<RawSigningKey>,
    /// Folder with keys of this stream's own and their times; instead of `keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ring: Option<PathText>,
    /// File with the passphrase of those that are encrypted (PKCS#8); that of `signing` is for its own keys only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passphrase_file: Option<PathText>,
    /// How long one of them is in the JWKS before it signs; default `signing.publish_before_use`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publish_before_use: Option<DurationText>,
    /// One of them signs only when it was seen in its JWKS at its public address; default `signing.check_published`,
    /// else true when the stream's `jwks_uri` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) check_published: Option<bool>,
    /// With `backend: vault_transit`: where the stream's own key is.
    pub(crate) vault: RawVault,
}

/// The words about one ring of keys, in `signing` or in a stream's.
#[derive(Clone, Copy)]
pub(crate) struct RawRing<'a> {
    pub(crate) backend: SigningBackend,
    pub(crate) keys: &'a [RawSigningKey],
    pub(crate) ring: Option<&'a PathText>,
    pub(crate) passphrase_file: Option<&'a PathText>,
    pub(crate) publish_before_use: Option<&'a DurationText>,
    pub(crate) check_published: Option<bool>,
    pub(crate) vault: &'a RawVault,
}

impl RawSigning {
    pub(crate) fn ring(&self) -> RawRing<'_> {
        RawRing {
            backend: self.backend,
            keys: &self.keys,
            ring: self.ring.as_ref(),
            passphrase_file: self.passphrase_file.as_ref(),
            publish_before_use: Some(&self.publish_before_use),
            check_published: self.check_published,
            vault: &self.vault,
        }
    }
}

impl RawStreamSigning {
    pub(crate) fn ring(&self) -> RawRing<'_> {
        RawRing {
            backend: self.backend,
            keys: &self.keys,
            ring: self.ring.as_ref(),
            passphrase_file: self.passphrase_file.as_ref(),
            publish_before_use: self.publish_before_use.as_ref(),
            check_published: self.check_published,
            vault: &self.vault,
        }
    }
}

impl RawRing<'_> {
    /// It says where keys are, well or badly.
    pub(crate) fn names_keys(&self) -> bool {
        self.backend != SigningBackend::Files
            || !self.keys.is_empty()
            || self.ring.is_some()
            || self.names_vault()
    }

    /// It says something about a key in Vault.
    pub(crate) fn names_vault(&self) -> bool {
        self.vault.address.is_some() || self.vault.key.is_some()
    }
}

/// A key in the transit engine of HashiCorp Vault or OpenBao.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawVault {
    /// `https://host:8200`; http to loopback only, where Vault's agent or proxy listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    /// Path of the transit engine.
    pub(crate) mount: String,
    /// Name of the key: rsa-2048, rsa-3072 or rsa-4096 for RS256 and PS256, ecdsa-p256 for ES256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Namespace, sent as `X-Vault-Namespace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// The token; a file is read for each call. Or `kubernetes`.
    #[serde(skip_serializing)]
    pub(crate) token: Option<RawSecret>,
    /// Log in with the pod's service account instead.
    pub(crate) kubernetes: RawVaultKubernetes,
    /// PEM with certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathText>,
    /// One call has to be answered by then. Shorter than `shutdown.drain_deadline`.
    pub(crate) timeout: DurationText,
    /// How often the public keys are asked for. Shorter than `publish_before_use`.
    pub(crate) refresh: DurationText,
}

impl Default for RawVault {
    fn default() -> Self {
        Self {
            address: None,
            mount: "transit".into(),
            key: None,
            namespace: None,
            token: None,
            kubernetes: RawVaultKubernetes::default(),
            ca_file: None,
            timeout: "5s".into(),
            refresh: "1m".into(),
        }
    }
}

/// Log-in by Kubernetes' service account.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawVaultKubernetes {
    /// Role in Vault; without it there is no such log-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// Path of the auth method.
    pub(crate) mount: String,
    /// The service account's token; read for each log-in.
    pub(crate) token_file: PathText,
}

impl Default for RawVaultKubernetes {
    fn default() -> Self {
        Self {
            role: None,
            mount: "kubernetes".into(),
            token_file: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
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
