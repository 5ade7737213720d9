//! The algorithms that a SET can be signed with.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `alg` of a JWS (RFC 7518 §3.1, RFC 8037 §3.1). A key signs by one of them only: `alg` of its JWK says which.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: what Okta and the SSF interoperability profile take.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The value of `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this `alg`, if it is one of ours.
    #[must_use]
    pub fn parse(alg: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == alg)
    }

    /// The kind of key that it needs, in words.
    #[must_use]
    pub fn needs(self) -> &'static str {
        match self {
            Self::Rs256 | Self::Ps256 => "an RSA key",
            Self::Es256 => "an EC key on P-256",
            Self::EdDsa => "an Ed25519 key",
        }
    }

    pub(super) fn for_header(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
