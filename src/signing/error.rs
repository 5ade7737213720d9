//! Why a key file is not a signing key. One variant for each thing that an operator mends differently.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::algorithm::Algorithm;
use crate::secret::SecretError;

/// Why a key, or a ring of keys, was refused. Every message names the file and the mend; none of
/// them ever holds a byte of the file's content.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No file at that path.
    #[error("key file {path} does not exist; mend the path, or make a key with `setbridge keys generate --out {path}`", path = path.display())]
    Missing {
        /// The configured path.
        path: PathBuf,
    },
    /// The file is there, but this user cannot read it (permission, a directory, an I/O error).
    #[error("key file {path} cannot be read: {source}; it must be a file that the user of setbridge may read", path = path.display())]
    Unreadable {
        /// The configured path.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An encrypted PKCS#8 without a passphrase, an encrypted PKCS#1 or a JWE.
    #[error("key file {path} is encrypted; give its passphrase with `signing.passphrase_file` (PKCS#8 only: `openssl pkcs8 -topk8 -v2 aes256 -in {path} -out NEW.pem`), or decrypt it with `openssl pkey -in {path} -out NEW.pem` and protect the file by its mode", path = path.display())]
    Encrypted {
        /// The configured path.
        path: PathBuf,
    },
    /// An encrypted PKCS#8 that the passphrase does not open.
    #[error("key file {path} does not open with the passphrase of {passphrase}; check both, for example with `openssl pkey -in {path} -passin file:{passphrase} -noout`", path = path.display(), passphrase = passphrase.display())]
    Passphrase {
        /// The key's file.
        path: PathBuf,
        /// The passphrase's file.
        passphrase: PathBuf,
    },
    /// The passphrase's file gives none.
    #[error("{source}; it holds the passphrase of key file {path}", path = path.display())]
    NoPassphrase {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with the passphrase's.
        source: SecretError,
    },
    /// Neither PEM nor JSON.
    #[error("key file {path} is neither a PEM nor a JWK file; give a private key as PKCS#8, PKCS#1 or JWK", path = path.display())]
    NotAKey {
        /// The configured path.
        path: PathBuf,
    },
    /// A PEM block of a form that is not read here.
    #[error("key file {path} holds {form}; convert it to PKCS#8, for example with `{mend}`", path = path.display())]
    OtherForm {
        /// The configured path.
        path: PathBuf,
        /// What it is, from a closed list.
        form: &'static str,
        /// The command that converts it.
        mend: &'static str,
    },
    /// A public key or a certificate where the private key is needed.
    #[error("key file {path} holds only a public key; give the file with the private key", path = path.display())]
    PublicOnly {
        /// The configured path.
        path: PathBuf,
    },
    /// A private key of a kind that signs nothing here.
    #[error("key file {path} holds {found}; RS256 needs an RSA key: `setbridge keys generate --out NEW.pem`", path = path.display())]
    NotRsa {
        /// The configured path.
        path: PathBuf,
        /// The kind that was found, from a closed list.
        found: &'static str,
    },
    /// A good key, but not one for the algorithm that it is to sign by.
    #[error("key file {path} holds {found}; {algorithm} needs {needs}: `setbridge keys generate --algorithm {algorithm} --out NEW.pem`", path = path.display(), needs = algorithm.needs())]
    Unfit {
        /// The configured path.
        path: PathBuf,
        /// The kind that was found, from a closed list.
        found: &'static str,
        /// What it is to sign by.
        algorithm: Algorithm,
    },
    /// A stream signs by an algorithm for which the ring has no key.
    #[error("no key signs by {algorithm}; list {needs} that is not only published, with `algorithm: {algorithm}`, or let the streams sign by another algorithm", needs = algorithm.needs())]
    NoneFor {
        /// The algorithm in question.
        algorithm: Algorithm,
    },
    /// An RSA key below [`MIN_BITS`](super::MIN_BITS) (RFC 7518 §3.3).
    #[error("key file {path} holds an RSA key of {bits} bits; RS256 needs at least 2048: `setbridge keys generate --out NEW.pem`", path = path.display())]
    TooShort {
        /// The configured path.
        path: PathBuf,
        /// Bits of the modulus.
        bits: usize,
    },
    /// An RSA key that is longer than aws-lc signs with.
    #[error("key file {path} holds an RSA key of {bits} bits; at most 8192 are supported, and 2048 to 4096 are sensible", path = path.display())]
    TooLong {
        /// The configured path.
        path: PathBuf,
        /// Bits of the modulus.
        bits: usize,
    },
    /// Several private keys in one file.
    #[error("key file {path} holds {count} private keys; keep one private key in each file, so that it is clear which one signs", path = path.display())]
    Several {
        /// The configured path.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// JSON, but not a usable private JWK (RFC 7517, RFC 7518 §6, RFC 8037).
    #[error("key file {path} is not a usable JWK: {what}", path = path.display())]
    BadJwk {
        /// The configured path.
        path: PathBuf,
        /// What is wrong and what to do; never a value out of the file.
        what: String,
    },
    /// The right form, but damaged: cut off, changed, or members that do not belong together.
    #[error("key file {path} is damaged ({reason}); export the key again, and check it with `openssl pkey -in {path} -check -noout`", path = path.display())]
    Damaged {
        /// The configured path.
        path: PathBuf,
        /// Which check failed, from a closed list.
        reason: &'static str,
    },
    /// A `kid` that is empty, longer than 256 bytes, or holds control characters.
    #[error("the kid for key file {path} must be 1 to 256 bytes without control characters", path = path.display())]
    BadKid {
        /// The configured path.
        path: PathBuf,
    },
    /// Two keys of one ring would be published under one `kid`.
    #[error("key files {first} and {second} have the same kid `{kid}`; give one of them another kid, or remove it", first = first.display(), second = second.display())]
    DuplicateKid {
        /// The `kid` in question.
        kid: String,
        /// The file that came first.
        first: PathBuf,
        /// The file that clashes with it.
        second: PathBuf,
    },
    /// A folder without a manifest.
    #[error("folder {folder} holds no ring.json; make a ring with `setbridge keys rotate --ring {folder}`", folder = folder.display())]
    NoManifest {
        /// The configured folder.
        folder: PathBuf,
    },
    /// The manifest of a folder cannot be read.
    #[error("{path} is no manifest of a ring: {what}; `setbridge keys rotate` writes one", path = path.display())]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key in two rings: were it leaked, neither could be trusted.
    #[error(
        "the key {kid} is in two rings, {first} and {second}; a key is in one ring only, so make a key for each with `setbridge keys generate` or `rotate`"
    )]
    InTwoRings {
        /// The `kid` in the second one.
        kid: String,
        /// Where the first ring is configured.
        first: String,
        /// Where the second one is.
        second: String,
    },
    /// A ring without a key that signs.
    #[error("no key signs: list at least one key file that is not only published")]
    NoneActive,
}

impl KeyError {
    /// The file at fault, where there is exactly one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Missing { path }
            | Self::Unreadable { path, .. }
            | Self::Encrypted { path }
            | Self::Passphrase { path, .. }
            | Self::NoPassphrase { path, .. }
            | Self::NotAKey { path }
            | Self::OtherForm { path, .. }
            | Self::PublicOnly { path }
            | Self::NotRsa { path, .. }
            | Self::Unfit { path, .. }
            | Self::TooShort { path, .. }
            | Self::TooLong { path, .. }
            | Self::Several { path, .. }
            | Self::BadJwk { path, .. }
            | Self::Damaged { path, .. }
            | Self::BadKid { path }
            | Self::DuplicateKid { second: path, .. }
            | Self::NoManifest { folder: path }
            | Self::BadManifest { path, .. } => Some(path),
            Self::NoneActive | Self::NoneFor { .. } | Self::InTwoRings { .. } => None,
        }
    }
}
