//! One signing key, parsed once, with everything that does not change from token to token computed
//! beforehand: `kid`, the encoded JWS header, the public JWK.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Serialize, Serializer};

use super::error::KeyError;
use super::jwk::{PublicJwk, thumbprint};
use super::multi_buffer::Admitted;
use super::provider::{self, Registered};
use super::signer::SignError;
use super::{der, pem};

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

/// A private key that signs SETs by RS256. Its private members live in aws-lc only.
pub struct SigningKey {
    public: PublicJwk,
    bits: usize,
    /// `base64url(header) "."`, the same for every token of this key.
    header: Box<[u8]>,
    pair: Registered,
    /// What the multi-buffer backend knows of it; outer: whether it was asked.
    multi_buffer: OnceLock<Option<Admitted>>,
}

/// Shows the `kid` and the size; never a member of the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid().as_str())
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Wraps a parsed pair. Without `kid`: the RFC 7638 thumbprint. `path` is for messages only.
    pub(super) fn new(pair: KeyPair, kid: Option<String>, path: &Path) -> Result<Self, KeyError> {
        let damaged = |reason| KeyError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let (n, e) = der::rsa_public(pair.public_key().as_ref())
            .map(|(n, e)| (n.to_vec(), e.to_vec()))
            .ok_or_else(|| damaged("its public key cannot be encoded"))?;
        let kid = kid.unwrap_or_else(|| thumbprint(&n, &e));
        let kid = Kid::parse(&kid).ok_or_else(|| KeyError::BadKid {
            path: path.to_owned(),
        })?;
        let header = serde_json::to_vec(&set_header(&kid))
            .map_err(|_| damaged("its JWS header cannot be encoded"))?;
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        Ok(Self {
            bits: der::bits(&n),
            public: PublicJwk::rs256(kid, &n, &e),
            header: header.into_bytes().into(),
            pair: provider::register(pair),
            multi_buffer: OnceLock::new(),
        })
    }

    /// A fresh key with the thumbprint as `kid`, for tests and benches.
    ///
    /// # Errors
    /// [`SignError::Crypto`] when aws-lc cannot make one.
    pub fn generate(bits: KeyBits) -> Result<Self, SignError> {
        let pair = KeyPair::generate(bits.size()).map_err(|_| SignError::Crypto)?;
        Self::new(pair, None, Path::new("(generated)")).map_err(|_| SignError::Crypto)
    }

    /// The id under which it is published.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        self.public.kid()
    }

    /// Bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// What is published about it.
    #[must_use]
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// A ticket to this key for `jsonwebtoken::encode` under [`provider::PROVIDER`]: it holds no key
    /// member and is worthless once this key is dropped. For JWTs other than SETs (OAuth assertions).
    #[must_use]
    pub fn encoding_key(&self) -> EncodingKey {
        self.pair.ticket()
    }

    /// Signs `claims` (a JSON object as bytes, taken as it is) into a compact JWS (RFC 7515 §7.1).
    /// Takes one RSA operation, about 0.3 ms: call it on a signer thread.
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
        let signature = unpadded(self.bits.div_ceil(8));
        let mut input = Vec::with_capacity(self.header.len() + payload + 1 + signature);
        input.extend_from_slice(&self.header);
        append_base64url(&mut input, claims);
        input
    }

    /// The RSASSA-PKCS1-v1_5 SHA-256 signature over `input`. aws-lc checks each result with the
    /// public key before it gives it out, so a faulty CRT computation cannot leak the key.
    pub(super) fn signature(&self, input: &[u8]) -> Result<Vec<u8>, SignError> {
        rs256(self.pair.pair(), input)
    }
}

impl SigningKey {
    pub(super) fn pair(&self) -> &KeyPair {
        self.pair.pair()
    }

    /// The key in the form of the multi-buffer backend; `trial` is asked once in its life. [`None`]: it did not pass.
    pub(super) fn multi_buffer(
        &self,
        trial: impl FnOnce() -> Option<Admitted>,
    ) -> Option<&Admitted> {
        self.multi_buffer.get_or_init(trial).as_ref()
    }
}

/// The one RSA call, for [`SigningKey`] and for the `jsonwebtoken` provider.
pub(super) fn rs256(pair: &KeyPair, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message,
        &mut signature,
    )
    .map_err(|_| SignError::Crypto)?;
    Ok(signature)
}

/// The JWS header of every SET: `{"typ":"secevent+jwt","alg":"RS256","kid":…}`.
pub(super) fn set_header(kid: &Kid) -> Header {
    let mut header = Header::new(Algorithm::RS256);
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
    fn size(self) -> KeySize {
        match self {
            Self::Rsa2048 => KeySize::Rsa2048,
            Self::Rsa3072 => KeySize::Rsa3072,
            Self::Rsa4096 => KeySize::Rsa4096,
        }
    }
}

/// A new key as a PKCS#8 PEM text (overwritten on drop) and its thumbprint `kid`.
///
/// # Errors
/// [`SignError::Crypto`] when aws-lc cannot make one.
pub fn generate_pem(bits: KeyBits) -> Result<(zeroize::Zeroizing<String>, Kid), SignError> {
    let pair = KeyPair::generate(bits.size()).map_err(|_| SignError::Crypto)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SignError::Crypto)?;
    let text = pem::encode_pkcs8(der.as_ref());
    let key =
        SigningKey::new(pair, None, Path::new("(generated)")).map_err(|_| SignError::Crypto)?;
    Ok((text, key.kid().clone()))
}
