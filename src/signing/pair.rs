//! A private key of any kind that signs here, as aws-lc holds it.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::jwk::Public;
use super::key::KeyBits;
use super::signer::SignError;
use super::{der, pem};

/// A parsed private key. Its private members live in aws-lc only.
pub(super) enum Pair {
    Rsa(KeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    /// A new one for this algorithm; `bits` is for RSA.
    pub(super) fn generate(algorithm: Algorithm, bits: KeyBits) -> Result<Self, SignError> {
        let made = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => KeyPair::generate(bits.size()).map(Self::Rsa),
            Algorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256)
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate().map(Self::Ed25519),
        };
        made.map_err(|_| SignError::Crypto)
    }

    /// PKCS#8 as PEM, overwritten on drop.
    pub(super) fn pem(&self) -> Result<Zeroizing<String>, SignError> {
        let failed = |_| SignError::Crypto;
        Ok(match self {
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                pem::encode(pem::PKCS8, der.as_ref())
            }
            Self::P256(pair) => {
                pem::encode(pem::PKCS8, pair.to_pkcs8v1().map_err(failed)?.as_ref())
            }
            Self::Ed25519(pair) => {
                pem::encode(pem::PKCS8, pair.to_pkcs8v1().map_err(failed)?.as_ref())
            }
        })
    }

    /// The algorithm that a key of its kind signs by unless it is said.
    pub(super) fn usual(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa(_) => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Self::P256(_) | Self::Ed25519(_) => algorithm == self.usual(),
        }
    }

    /// What it is, for an operator.
    pub(super) fn kind(&self) -> &'static str {
        self.usual().needs()
    }

    /// Its public members; [`None`]: aws-lc encodes them in no form that is known here.
    pub(super) fn public(&self) -> Option<Public> {
        match self {
            Self::Rsa(pair) => {
                let (n, e) = der::rsa_public(pair.public_key().as_ref())?;
                Some(Public::rsa(n, e))
            }
            // The uncompressed point of SEC 1 §2.3.3: 04, x, y.
            Self::P256(pair) => match pair.public_key().as_ref() {
                [4, point @ ..] if point.len() == 64 => {
                    Some(Public::p256(&point[..32], &point[32..]))
                }
                _ => None,
            },
            Self::Ed25519(pair) => Some(Public::ed25519(pair.public_key().as_ref())),
        }
    }
}
