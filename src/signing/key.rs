//! One signing key, parsed once, with everything that does not change from token to token computed
//! beforehand: `kid`, the encoded JWS header, the public JWK.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::{EncodingKey, Header};
use serde::{Serialize, Serializer};

use super::algorithm::Algorithm;
use super::error::KeyError;
use super::jwk::{Public, PublicJwk};
use super::multi_buffer::Admitted;
use super::pair::Pair;
use super::provider::{self, Registered};
use super::public::PublicKey;
use super::signer::SignError;
use super::source::Parsed;

/// The smallest modulus that RS256 may use, in bits (RFC 7518 §3.3, CONTRACTS §3.1).
pub const MIN_BITS: usize = 2048;

/// `typ` of a Security Event Token (RFC 8417 §2.3, CONTRACTS §1.1).
pub const SET_TYP: &str = "secevent+jwt";

/// Longest `kid` that is accepted, in bytes: it is in every token.
const MAX_KID: usize = 256;

/// A key id as in the JWS header and the JWKS. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kid(Arc<str>);

impl Kid {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 1 to 256 bytes without control characters.
    fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_KID && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kid({})", self.0)
    }
}

impl Serialize for Kid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A private key that signs SETs by one algorithm. Its private members live in aws-lc, and in overwritten memory of the
/// multi-buffer backend.
pub struct SigningKey {
    public: PublicJwk,
    algorithm: Algorithm,
    bits: usize,
    /// `base64url(header) "."`, the same for every token of this key.
    header: Box<[u8]>,
    private: Private,
    /// What the multi-buffer backend knows of it; outer: whether it was asked.
    multi_buffer: OnceLock<Option<Admitted>>,
}

/// The RSA key has tickets for `jsonwebtoken`; the other kinds sign here only, and that in Vault through its signer only.
enum Private {
    Rsa(Registered),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Vault {
        version: u32,
        public: ParsedPublicKey,
    },
}

/// Shows the `kid` and the size; never a member of the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid().as_str())
            .field("algorithm", &self.algorithm)
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Wraps a parsed pair. Without `kid`: the RFC 7638 thumbprint. `path` is for messages only.
    pub(super) fn new(parsed: Parsed, path: &Path) -> Result<Self, KeyError> {
        let damaged = |reason| KeyError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let Parsed { pair, kid, .. } = parsed;
        let algorithm = parsed.algorithm.unwrap_or_else(|| pair.usual());
        if !pair.fits(algorithm) {
            return Err(KeyError::Unfit {
                path: path.to_owned(),
                found: pair.kind(),
                algorithm,
            });
        }
        let public = pair
            .public()
            .ok_or_else(|| damaged("its public key cannot be encoded"))?;
        let bits = match &pair {
            Pair::Rsa(pair) => pair.public_modulus_len() * 8,
            Pair::P256(_) | Pair::Ed25519(_) => 256,
        };
        let private = match pair {
            Pair::Rsa(pair) => Private::Rsa(provider::register(pair)),
            Pair::P256(pair) => Private::P256(pair),
            Pair::Ed25519(pair) => Private::Ed25519(pair),
        };
        Self::with(private, (public, bits), algorithm, kid).ok_or_else(|| KeyError::BadKid {
            path: path.to_owned(),
        })
    }

    /// A version of a key whose private part is in Vault; its `kid` is the thumbprint. [`None`]: `pem` is no public key
    /// that signs by this algorithm.
    pub(super) fn in_vault(version: u32, pem: &str, algorithm: Algorithm) -> Option<Self> {
        let PublicKey {
            members,
            bits,
            verifier,
        } = PublicKey::from_pem(pem, algorithm)?;
        let private = Private::Vault {
            version,
            public: verifier,
        };
        Self::with(private, (members, bits), algorithm, None)
    }

    /// [`None`]: the `kid` is none.
    fn with(
        private: Private,
        (public, bits): (Public, usize),
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Option<Self> {
        let kid = kid.unwrap_or_else(|| public.thumbprint());
        let kid = Kid::parse(&kid)?;
        let header = serde_json::to_vec(&set_header(&kid, algorithm)).ok()?;
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        Some(Self {
            bits,
            algorithm,
            public: PublicJwk::new(kid, algorithm, public),
            header: header.into_bytes().into(),
            private,
            multi_buffer: OnceLock::new(),
        })
    }

    /// A fresh RSA key for RS256 with the thumbprint as `kid`, for tests and benches.
    ///
    /// # Errors
    /// [`SignError::Crypto`] when aws-lc cannot make one.
    pub fn generate(bits: KeyBits) -> Result<Self, SignError> {
        Self::of(Pair::generate(Algorithm::Rs256, bits)?, Algorithm::Rs256)
    }

    fn of(pair: Pair, algorithm: Algorithm) -> Result<Self, SignError> {
        let parsed = Parsed {
            pair,
            kid: None,
            algorithm: Some(algorithm),
        };
        Self::new(parsed, Path::new("(generated)")).map_err(|_| SignError::Crypto)
    }

    /// What it signs by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The id under which it is published.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        self.public.kid()
    }

    /// Bits of the modulus, or of the curve.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// What is published about it.
    #[must_use]
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// A ticket to an RS256 key for `jsonwebtoken::encode` under [`provider::PROVIDER`]: it holds no key
    /// member and is worthless once this key is dropped. For JWTs other than SETs. [`None`] for the other algorithms.
    #[must_use]
    pub fn encoding_key(&self) -> Option<EncodingKey> {
        match &self.private {
            Private::Rsa(pair) if self.algorithm == Algorithm::Rs256 => Some(pair.ticket()),
            _ => None,
        }
    }

    /// Signs `claims` (a JSON object as bytes, taken as it is) into a compact JWS (RFC 7515 §7.1).
    /// An RSA operation takes about 0.3 ms: call it on a signer thread.
    ///
    /// # Errors
    /// [`SignError::Crypto`] when aws-lc fails, which a checked key gives no reason for.
    pub fn sign(&self, claims: &[u8]) -> Result<Bytes, SignError> {
        let input = self.signing_input(claims);
        let signature = self.signature(&input)?;
        Ok(compact(input, &signature))
    }

    /// `header "." claims`, in a buffer that has room for the signature.
    pub(super) fn signing_input(&self, claims: &[u8]) -> Vec<u8> {
        let payload = unpadded(claims.len());
        let signature = unpadded(match self.algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => self.bits.div_ceil(8),
            Algorithm::Es256 | Algorithm::EdDsa => 64,
        });
        let mut input = Vec::with_capacity(self.header.len() + payload + 1 + signature);
        input.extend_from_slice(&self.header);
        append_base64url(&mut input, claims);
        input
    }

    /// The signature over `input`. aws-lc checks each RSA result with the public key before it gives it out, so a
    /// faulty CRT computation cannot leak the key.
    pub(super) fn signature(&self, input: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.private {
            Private::Rsa(pair) if self.algorithm == Algorithm::Ps256 => {
                // The salt is as long as the digest (RFC 7518 §3.5).
                rsa(pair.pair(), &RSA_PSS_SHA256, input)
            }
            Private::Rsa(pair) => rs256(pair.pair(), input),
            // R and S, 32 octets each (RFC 7518 §3.4), not DER.
            Private::P256(pair) => pair
                .sign(&SystemRandom::new(), input)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Crypto),
            Private::Ed25519(pair) => pair
                .try_sign(input)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Crypto),
            // Only its signer can.
            Private::Vault { .. } => Err(SignError::Crypto),
        }
    }

    /// Which version of the key in Vault it is, if it is there.
    pub(super) fn vault_version(&self) -> Option<u32> {
        match self.private {
            Private::Vault { version, .. } => Some(version),
            _ => None,
        }
    }

    /// Whether a signature that was made in Vault is one over `input`.
    pub(super) fn confirms(&self, input: &[u8], signature: &[u8]) -> bool {
        match &self.private {
            Private::Vault { public, .. } => public.verify_sig(input, signature).is_ok(),
            _ => false,
        }
    }
}

impl SigningKey {
    /// The RSA key of an RS256 key.
    pub(super) fn rs256_pair(&self) -> Option<&KeyPair> {
        match &self.private {
            Private::Rsa(pair) if self.algorithm == Algorithm::Rs256 => Some(pair.pair()),
            _ => None,
        }
    }

    /// The key in the form of the multi-buffer backend; `trial` is asked once in its life. [`None`]: it did not pass.
    pub(super) fn multi_buffer(
        &self,
        trial: impl FnOnce() -> Option<Admitted>,
    ) -> Option<&Admitted> {
        self.multi_buffer.get_or_init(trial).as_ref()
    }
}

/// RS256, for [`SigningKey`] and for the `jsonwebtoken` provider.
pub(super) fn rs256(pair: &KeyPair, message: &[u8]) -> Result<Vec<u8>, SignError> {
    rsa(pair, &RSA_PKCS1_SHA256, message)
}

/// The one RSA call.
fn rsa(
    pair: &KeyPair,
    padding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, SignError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| SignError::Crypto)?;
    Ok(signature)
}

/// The JWS header of every SET: `{"typ":"secevent+jwt","alg":"RS256","kid":…}`.
pub(super) fn set_header(kid: &Kid, algorithm: Algorithm) -> Header {
    let mut header = Header::new(algorithm.for_header());
    header.typ = Some(SET_TYP.to_owned());
    header.kid = Some(kid.as_str().to_owned());
    header
}

/// `input "." signature`; the buffer of [`SigningKey::signing_input`] becomes the token.
pub(super) fn compact(mut input: Vec<u8>, signature: &[u8]) -> Bytes {
    input.push(b'.');
    append_base64url(&mut input, signature);
    Bytes::from(input)
}

/// Length of `n` octets in unpadded base64url.
fn unpadded(n: usize) -> usize {
    (n * 4).div_ceil(3)
}

fn append_base64url(to: &mut Vec<u8>, octets: &[u8]) {
    let start = to.len();
    to.resize(start + unpadded(octets.len()), 0);
    let written = URL_SAFE_NO_PAD.encode_slice(octets, &mut to[start..]);
    debug_assert_eq!(written.ok(), Some(to.len() - start), "the size is exact");
}

/// Sizes that `setbridge keys generate` offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyBits {
    /// What receivers ask for, and the fastest.
    #[default]
    Rsa2048,
    /// For those who must.
    Rsa3072,
    /// For those who must; several times slower to sign with.
    Rsa4096,
}

impl KeyBits {
    pub(super) fn size(self) -> KeySize {
        match self {
            Self::Rsa2048 => KeySize::Rsa2048,
            Self::Rsa3072 => KeySize::Rsa3072,
            Self::Rsa4096 => KeySize::Rsa4096,
        }
    }
}

/// A new RSA key for RS256 as a PKCS#8 PEM text (overwritten on drop) and its thumbprint `kid`.
///
/// # Errors
/// [`SignError::Crypto`] when aws-lc cannot make one.
pub fn generate_pem(bits: KeyBits) -> Result<(zeroize::Zeroizing<String>, Kid), SignError> {
    generate_pem_for(Algorithm::Rs256, bits)
}

/// As [`generate_pem`] for any algorithm; `bits` is for RSA.
///
/// # Errors
/// [`SignError::Crypto`] when aws-lc cannot make one.
pub fn generate_pem_for(
    algorithm: Algorithm,
    bits: KeyBits,
) -> Result<(zeroize::Zeroizing<String>, Kid), SignError> {
    let pair = Pair::generate(algorithm, bits)?;
    let text = pair.pem()?;
    let key = SigningKey::of(pair, algorithm)?;
    Ok((text, key.kid().clone()))
}
