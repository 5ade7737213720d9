//! `setbridge keys`: makes keys, moves them through their lives, and shows what is published about them.
//!
//! It prints public members only; a private key goes to one place, a file with mode 0600.

mod list;
mod ring;
mod verify;
mod which;
mod whole;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand};
use thiserror::Error;

use super::{ConfigArgs, Console, Exit, LogArgs};
use crate::bridge::assembly::signing::{ShownFault, shown_ring};
use crate::signing::key::{KeyBits, generate_pem_for};
use crate::signing::manifest::RingFault;
use crate::signing::{Algorithm, KeyError, KeyRing, KeySource, SignError, VaultFault};
use crate::transmitter::{JWKS_PATH, MetadataError, SsfMetadata, stream_jwks_path};
use whole::write_whole;

/// Make signing keys, and show what is published about them
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, print its kid
    Generate(GenerateArgs),
    /// Print the JWKS of key files, or of a configuration: public members only
    Jwks(JwksArgs),
    /// Write jwks.json and the SSF metadata for static hosting, for example in a bucket
    Export(ExportArgs),
    /// Show the keys of a ring, or of all rings: which one signs, which come next, which retire
    List(list::ListArgs),
    /// Make the next key of a ring: published now, it signs later; the first key of a ring signs at once
    Rotate(ring::RotateArgs),
    /// Let a key sign no more, and leave the JWKS
    Retire(ring::RetireArgs),
    /// Look at the public JWKS and metadata as a receiver does: are our keys there?
    Verify(verify::VerifyArgs),
}

/// What kind of key to make.
#[derive(Clone, Copy, Debug, Args)]
pub struct KindArgs {
    /// What it is to sign by; Okta takes RS256. In signing.keys say so for PS256, too
    #[arg(long, value_name = "ALG", default_value = "RS256",
          value_parser = PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::as_str)).map(|alg| Algorithm::parse(&alg).unwrap_or_default()))]
    pub algorithm: Algorithm,
    /// Size of an RSA key; 2048 signs fastest and is what receivers ask for
    #[arg(long, value_name = "BITS", default_value = "2048",
          value_parser = PossibleValuesParser::new(["2048", "3072", "4096"]).map(|bits| key_bits(&bits)))]
    pub bits: KeyBits,
}

/// Arguments of `keys generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What kind of key.
    #[command(flatten)]
    pub kind: KindArgs,
    /// File to write, PKCS#8 PEM, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file if it exists; the old key is lost
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `keys jwks`.
#[derive(Debug, Args)]
pub struct JwksArgs {
    /// Key files, PEM or JWK; without any the keys of the configuration, also those in Vault
    #[arg(value_name = "KEYFILE")]
    pub files: Vec<PathBuf>,
    /// Those of this stream, which has keys of its own; else those of `signing`
    #[arg(long, value_name = "ID", conflicts_with = "files")]
    pub stream: Option<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `keys export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder to write; its content is to appear at the root of the issuer's host
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Issuer, exactly as in the SETs, for example `https://ssf.example.com`
    #[arg(long, value_name = "URL")]
    pub issuer: String,
    /// Key files, PEM or JWK; the one that signs first
    #[arg(long = "key", required = true, value_name = "FILE", num_args = 1..)]
    pub keys: Vec<PathBuf>,
    /// They are the keys of this stream's own: at /streams/ID/jwks.json
    #[arg(long, value_name = "ID", value_parser = which::stream_id)]
    pub stream: Option<String>,
    /// Where the JWKS will be found, if not at /jwks.json (or that of the stream) of the issuer's host
    #[arg(long, value_name = "URL")]
    pub jwks_uri: Option<String>,
}

/// clap has let through only the listed values.
fn key_bits(bits: &str) -> KeyBits {
    match bits {
        "4096" => KeyBits::Rsa4096,
        "3072" => KeyBits::Rsa3072,
        _ => KeyBits::Rsa2048,
    }
}

/// Why a `keys` command failed; its exit code tells scripts what kind it was.
#[derive(Debug, Error)]
pub enum KeysError {
    /// One or more key files cannot be used; all of them are listed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Keys(Vec<KeyError>),
    /// The issuer or the JWKS address cannot be published.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Plain http to a host that is not this one.
    #[error(
        "issuer `{issuer}` and its JWKS address must be https: receivers fetch them over the network"
    )]
    NotHttps {
        /// The issuer as given.
        issuer: String,
    },
    /// The ring cannot be changed as asked.
    #[error(transparent)]
    Ring(#[from] RingFault),
    /// `generate` would have replaced a file.
    #[error("{} exists; choose another file, or give --force to replace the key in it", .0.display())]
    Exists(PathBuf),
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file in question.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// Vault told no keys.
    #[error("{0}")]
    Vault(VaultFault),
    /// The system gave nothing to ask with.
    #[error("{0}")]
    System(String),
    /// The crypto library made no key.
    #[error("cannot make a key: {0}")]
    Generate(#[from] SignError),
}

impl From<ShownFault> for KeysError {
    fn from(fault: ShownFault) -> Self {
        match fault {
            ShownFault::Files(faults) => Self::Keys(faults),
            ShownFault::Vault(fault) => Self::Vault(fault),
            ShownFault::System(why) => Self::System(why),
        }
    }
}

impl KeysError {
    /// What to exit with.
    fn exit(&self) -> Exit {
        match self {
            Self::Keys(faults) => {
                let unread = |f: &KeyError| {
                    matches!(
                        f,
                        KeyError::Missing { .. }
                            | KeyError::NoManifest { .. }
                            | KeyError::Unreadable { .. }
                    )
                };
                if faults.iter().all(unread) {
                    Exit::NoInput
                } else {
                    Exit::Data
                }
            }
            Self::Metadata(_) | Self::NotHttps { .. } => Exit::Usage,
            Self::Ring(_) => Exit::Data,
            Self::Vault(fault) if fault.is_set_up() => Exit::Config,
            Self::Vault(_) => Exit::Unavailable,
            Self::Generate(_) | Self::System(_) => Exit::Software,
            Self::Exists(_) | Self::Write { .. } => Exit::CannotCreate,
            Self::Output(_) => Exit::Io,
        }
    }
}

impl KeysCommand {
    /// Runs the command: results on standard output, the fault and its mend on standard error.
    ///
    /// # Errors
    /// When neither can be written.
    pub(super) fn run(self, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
        let out = &mut *console.out;
        let done = match &self {
            Self::Generate(args) => generate(args.kind, &args.out, args.force, out),
            Self::Jwks(args) if args.files.is_empty() => {
                return configured_jwks(args, log, console);
            }
            Self::Jwks(args) => jwks(&sources(&args.files), out),
            Self::Export(args) => export(args, out),
            Self::List(args) => return list::list(args, log, console),
            Self::Rotate(args) => return ring::rotate(args, log, console),
            Self::Retire(args) => return ring::retire(args, log, console),
            Self::Verify(args) => return verify::verify(args, log, console),
        };
        ended(done, console)
    }
}

/// Says the fault, if there is one.
fn ended(done: Result<(), KeysError>, console: &mut Console<'_>) -> io::Result<Exit> {
    match done {
        Ok(()) => Ok(Exit::Done),
        Err(KeysError::Output(error)) => Err(error),
        Err(error) => {
            writeln!(console.err, "{error}")?;
            Ok(error.exit())
        }
    }
}

/// Key files as sources without a `kid` of their own.
fn sources(files: &[PathBuf]) -> Vec<KeySource> {
    files.iter().map(KeySource::new).collect()
}

/// Makes a key, writes it to `file` with mode 0600, prints its `kid`.
///
/// # Errors
/// [`KeysError::Exists`] unless `force`; [`KeysError::Write`]; [`KeysError::Generate`].
pub fn generate(
    kind: KindArgs,
    file: &Path,
    force: bool,
    out: &mut dyn Write,
) -> Result<(), KeysError> {
    if !force && file.symlink_metadata().is_ok() {
        return Err(KeysError::Exists(file.to_owned()));
    }
    let (pem, kid) = generate_pem_for(kind.algorithm, kind.bits)?;
    write_whole(file, pem.as_bytes(), 0o600, force)?;
    writeln!(out, "{kid}")?;
    Ok(())
}

/// Prints the JWKS of `sources`, indented, public members only.
///
/// # Errors
/// [`KeysError::Keys`] with every fault; [`KeysError::Output`].
pub fn jwks(sources: &[KeySource], out: &mut dyn Write) -> Result<(), KeysError> {
    let ring = KeyRing::load(sources).map_err(KeysError::Keys)?;
    out.write_all(&document(&*ring.jwks()))?;
    Ok(())
}

/// Prints the JWKS that a bridge with this configuration publishes now.
fn configured_jwks(args: &JwksArgs, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let config = match args.config.load(log, console)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let ring = match which::one(&config, args.stream.as_deref(), console)? {
        Ok(ring) => ring,
        Err(exit) => return Ok(exit),
    };
    let done = match shown_ring(ring) {
        Ok(ring) => Ok(console.out.write_all(&document(&*ring.jwks()))?),
        Err(fault) => Err(fault.into()),
    };
    ended(done, console)
}

/// Writes the JWKS and the SSF metadata below the folder, at the paths that a web server would answer: `jwks.json` or
/// `streams/ID/jwks.json`, and `.well-known/ssf-configuration[/issuer/path]`. Prints the files.
///
/// # Errors
/// [`KeysError`]; nothing is written unless the keys and the addresses are good.
pub fn export(args: &ExportArgs, out: &mut dyn Write) -> Result<(), KeysError> {
    let stream = args.stream.as_deref();
    let path = stream.map_or_else(|| JWKS_PATH.to_owned(), stream_jwks_path);
    let metadata = SsfMetadata::at(&args.issuer, args.jwks_uri.as_deref(), &path)?;
    if !metadata.is_confidential() {
        return Err(KeysError::NotHttps {
            issuer: args.issuer.clone(),
        });
    }
    let ring = KeyRing::load(&sources(&args.keys)).map_err(KeysError::Keys)?;
    let documents = [
        (path.as_str(), document(&*ring.jwks())),
        (metadata.path(), document(&metadata)),
    ];
    for (path, content) in documents {
        let file = args.dir.join(path.trim_start_matches('/'));
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|source| KeysError::Write {
                path: folder.to_owned(),
                source,
            })?;
        }
        write_whole(&file, &content, 0o644, true)?;
        writeln!(out, "{}", file.display())?;
    }
    writeln!(
        out,
        "serve both as application/json; the JWKS belongs at {}",
        metadata.jwks_uri()
    )?;
    Ok(())
}

/// Indented JSON with a line feed at its end. The documents are plain strings: this cannot fail.
fn document<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).unwrap_or_default();
    json.push(b'\n');
    json
}

#[cfg(test)]
mod tests;
