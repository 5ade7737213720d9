//! A public key as others hand it out: to publish it, and to check what is said to be signed with its private part.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use super::algorithm::Algorithm;
use super::der::{self, Kind};
use super::jwk::Public;
use super::key::MIN_BITS;

/// A parsed public key for one algorithm.
pub(super) struct PublicKey {
    pub(super) members: Public,
    /// Of the modulus, or of the curve.
    pub(super) bits: usize,
    pub(super) verifier: ParsedPublicKey,
}

impl PublicKey {
    /// From a `SubjectPublicKeyInfo` as PEM (RFC 7468 §13). [`None`]: it is none, or not for this algorithm.
    pub(super) fn from_pem(pem: &str, algorithm: Algorithm) -> Option<Self> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (kind, key) = der::spki(&spki)?;
        let verify: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDsa => return None,
        };
        let (members, bits) = match (kind, algorithm) {
            (Kind::Rsa, Algorithm::Rs256 | Algorithm::Ps256) => {
                let (n, e) = der::rsa_public(key)?;
                (Public::rsa(n, e), der::bits(n))
            }
            // The uncompressed point of SEC 1 §2.3.3: 04, x, y.
            (Kind::P256, Algorithm::Es256) => match key {
                [4, point @ ..] if point.len() == 64 => {
                    (Public::p256(&point[..32], &point[32..]), 256)
                }
                _ => return None,
            },
            _ => return None,
        };
        if kind == Kind::Rsa && bits < MIN_BITS {
            return None;
        }
        Some(Self {
            members,
            bits,
            verifier: ParsedPublicKey::new(verify, key).ok()?,
        })
    }
}
