//! A key file on disk → the key in it, by a closed list of forms and of refusals.
//!
//! Every buffer that holds the file or a decoded form of it is overwritten on drop (`zeroize`);
//! what remains is aws-lc's own copy, which aws-lc overwrites when it frees it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::der::Kind;
use super::encrypted::{self, Closed};
use super::error::KeyError;
use super::key::{MIN_BITS, SigningKey};
use super::life::Life;
use super::pair::Pair;
use super::pem::{Armour, Block};
use super::{der, jwk, pem};
use crate::secret::Secret;

/// Bits above which aws-lc refuses to sign.
const MAX_BITS: usize = 8192;

/// An 8192-bit key is about 7 KB of JWK; a file ten times that is something else.
const MAX_FILE: usize = 64 * 1024;

/// Where a key comes from and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// A PEM file (PKCS#8, PKCS#1), a JWK, or a JWK Set with one private key.
    pub path: PathBuf,
    /// The `kid` to publish; else a JWK's own `kid`, else the RFC 7638 thumbprint.
    pub kid: Option<String>,
    /// When it is published, and signs.
    pub life: Life,
    /// What it signs by; else a JWK's own `alg`, else RS256 for an RSA key, and what the other kinds can.
    pub algorithm: Option<Algorithm>,
    /// File with the passphrase of an encrypted PKCS#8; a key that is not encrypted needs none.
    pub passphrase_file: Option<PathBuf>,
}

/// What a key file holds.
pub(super) struct Parsed {
    pub(super) pair: Pair,
    /// A JWK's own.
    pub(super) kid: Option<String>,
    /// A JWK's own.
    pub(super) algorithm: Option<Algorithm>,
}

impl KeySource {
    /// The key in `path`, for signing, under its own `kid`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            kid: None,
            life: Life::default(),
            algorithm: None,
            passphrase_file: None,
        }
    }

    /// Reads and parses the file. Blocking.
    ///
    /// # Errors
    /// [`KeyError`]: the file, its form, its kind of key, its size, or its `kid`.
    pub fn load(&self) -> Result<SigningKey, KeyError> {
        let file = read(&self.path)?;
        let mut parsed = parse(&self.path, &file, self.passphrase_file.as_deref())?;
        if let (Some(wanted), Some(own)) = (self.algorithm, parsed.algorithm)
            && wanted != own
        {
            return Err(KeyError::BadJwk {
                path: self.path.clone(),
                what: format!("its `alg` is {own}, but it is to sign by {wanted}"),
            });
        }
        parsed.algorithm = self.algorithm.or(parsed.algorithm);
        parsed.kid = self.kid.clone().or(parsed.kid);
        SigningKey::new(parsed, &self.path)
    }

    /// The RSA key alone, for what is no SET, and the `kid` that it is given here or in the file.
    ///
    /// # Errors
    /// As for [`Self::load`], without the `kid`; a key of another kind.
    pub(crate) fn load_pair(&self) -> Result<(KeyPair, Option<String>), KeyError> {
        let file = read(&self.path)?;
        let parsed = parse(&self.path, &file, self.passphrase_file.as_deref())?;
        match parsed.pair {
            Pair::Rsa(pair) => Ok((pair, self.kid.clone().or(parsed.kid))),
            other => Err(KeyError::NotRsa {
                path: self.path.clone(),
                found: other.kind(),
            }),
        }
    }
}

/// The file's bytes, in a buffer that never moves (a growing `Vec` would leave copies behind).
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let fault = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => KeyError::Missing {
            path: path.to_owned(),
        },
        _ => KeyError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    let file = File::open(path).map_err(fault)?;
    let mut bytes = Zeroizing::new(vec![0; MAX_FILE + 1]);
    let mut length = 0;
    let mut limited = file.take(bytes.len() as u64);
    while length < bytes.len() {
        match limited.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(fault(e)),
        }
    }
    if length > MAX_FILE {
        return Err(KeyError::NotAKey {
            path: path.to_owned(),
        });
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The key and, for a JWK, its own `kid`. `path` is for messages only.
pub(super) fn parse(
    path: &Path,
    file: &[u8],
    passphrase: Option<&Path>,
) -> Result<Parsed, KeyError> {
    let at = || path.to_owned();
    let Ok(text) = std::str::from_utf8(file) else {
        return Err(KeyError::NotAKey { path: at() });
    };
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        return jwk::parse(path, text);
    }
    let block = match pem::find(text) {
        Armour::None => return Err(KeyError::NotAKey { path: at() }),
        Armour::NoPrivate => return Err(KeyError::PublicOnly { path: at() }),
        Armour::Several(count) => return Err(KeyError::Several { path: at(), count }),
        Armour::One(block) => block,
    };
    let plain = |pair| Parsed {
        pair,
        kid: None,
        algorithm: None,
    };
    if block.is_encrypted() {
        return open(path, &block, passphrase).map(plain);
    }
    let decode = || {
        block.decode().ok_or(KeyError::Damaged {
            path: at(),
            reason: "not base64",
        })
    };
    let pair = match block.label {
        pem::PKCS8 => from_pkcs8(path, &decode()?),
        "RSA PRIVATE KEY" => from_pkcs1(path, &decode()?),
        "EC PRIVATE KEY" => from_sec1(path, &decode()?),
        "DSA PRIVATE KEY" => Err(KeyError::NotRsa {
            path: at(),
            found: "a DSA key",
        }),
        "OPENSSH PRIVATE KEY" => Err(KeyError::OtherForm {
            path: at(),
            form: "a key in OpenSSH's own form",
            mend: "ssh-keygen -p -m PKCS8 -f COPY",
        }),
        _ => Err(KeyError::OtherForm {
            path: at(),
            form: "a private key in a form that is not read here",
            mend: "openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW.pem",
        }),
    }?;
    Ok(plain(pair))
}

/// The key in an encrypted PKCS#8.
fn open(path: &Path, block: &Block<'_>, passphrase: Option<&Path>) -> Result<Pair, KeyError> {
    let path = || path.to_owned();
    let Some(file) = passphrase.filter(|_| block.label == pem::ENCRYPTED_PKCS8) else {
        return Err(KeyError::Encrypted { path: path() });
    };
    let passphrase = Secret::from_file(file).map_err(|source| KeyError::NoPassphrase {
        path: path(),
        source,
    })?;
    let damaged = |reason| KeyError::Damaged {
        path: path(),
        reason,
    };
    let der = block.decode().ok_or_else(|| damaged("not base64"))?;
    let closed = || KeyError::Passphrase {
        path: path(),
        passphrase: file.to_owned(),
    };
    match encrypted::open(&der, &passphrase) {
        // What opened to something else was opened with another passphrase.
        Ok(content) if der::pkcs8(&content).is_none() => Err(closed()),
        Ok(content) => from_pkcs8(&path(), &content),
        Err(Closed::Passphrase) => Err(closed()),
        Err(Closed::Unknown) => Err(damaged("not an encrypted PKCS#8 of PBES2")),
    }
}

fn from_pkcs8(path: &Path, der: &[u8]) -> Result<Pair, KeyError> {
    let broken = || KeyError::Damaged {
        path: path.to_owned(),
        reason: "not a PKCS#8 structure",
    };
    let (kind, inner) = der::pkcs8(der).ok_or_else(broken)?;
    let pair = match kind {
        Kind::Rsa => {
            check_bits(path, der::rsa_private_bits(inner).ok_or_else(broken)?)?;
            KeyPair::from_pkcs8(der).map(Pair::Rsa)
        }
        Kind::P256 => {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256)
        }
        // OpenSSL writes no public key beside the private one.
        Kind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519),
        Kind::Other(found) => {
            return Err(KeyError::NotRsa {
                path: path.to_owned(),
                found,
            });
        }
    };
    pair.map_err(|e| rejected(path, &e))
}

/// An `ECPrivateKey` (RFC 5915), as `openssl ecparam -genkey` writes it.
fn from_sec1(path: &Path, der: &[u8]) -> Result<Pair, KeyError> {
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
    pair.map(Pair::P256).map_err(|_| KeyError::Damaged {
        path: path.to_owned(),
        reason: "it is no EC key on P-256, the only curve here",
    })
}

fn from_pkcs1(path: &Path, der: &[u8]) -> Result<Pair, KeyError> {
    let broken = || KeyError::Damaged {
        path: path.to_owned(),
        reason: "not a PKCS#1 structure",
    };
    check_bits(path, der::rsa_private_bits(der).ok_or_else(broken)?)?;
    let pair = KeyPair::from_der(der).map(Pair::Rsa);
    pair.map_err(|e| rejected(path, &e))
}

/// RFC 7518 §3.3: 2048 bits or more. Asked before aws-lc, which does not tell the size it refuses.
pub(super) fn check_bits(path: &Path, bits: usize) -> Result<(), KeyError> {
    match bits {
        0..MIN_BITS => Err(KeyError::TooShort {
            path: path.to_owned(),
            bits,
        }),
        MIN_BITS..=MAX_BITS => Ok(()),
        _ => Err(KeyError::TooLong {
            path: path.to_owned(),
            bits,
        }),
    }
}

/// aws-lc's answer in words.
pub(super) fn rejected(path: &Path, error: &KeyRejected) -> KeyError {
    let reason = match error.description_() {
        "InvalidEncoding" => "its encoding is broken",
        "InconsistentComponents" => "its members do not belong together",
        _ => "the crypto library refuses it",
    };
    KeyError::Damaged {
        path: path.to_owned(),
        reason,
    }
}
