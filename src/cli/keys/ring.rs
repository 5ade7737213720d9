//! `setbridge keys rotate|retire`: the life of the keys in a ring.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp as Instant;

use super::whole::write_whole;
use super::{KeysError, KindArgs, ended};
use crate::bridge::assembly;
use crate::cli::{ConfigArgs, Console, Exit, LogArgs};
use crate::config;
use crate::secret::Secret;
use crate::set::Timestamp;
use crate::signing::key::generate_pem_for;
use crate::signing::manifest::Rotation;
use crate::signing::{
    KeyError, KeyRing, KeySource, KeyState, Manifest, RingSource, SignError, manifest, seal_pem,
};

/// Which ring.
#[derive(Debug, Args)]
pub struct RingArgs {
    /// Folder of the ring; else the one of the configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub ring: Option<PathBuf>,
    /// With --ring: file with the passphrase of its keys, which a new key is encrypted with
    #[arg(long, value_name = "FILE", requires = "ring")]
    pub passphrase_file: Option<PathBuf>,
    /// That of this stream, which has keys of its own; else that of `signing`, and for `list` all of them
    #[arg(long, value_name = "ID", conflicts_with = "ring")]
    pub stream: Option<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Which ring.
    #[command(flatten)]
    pub of: RingArgs,
    /// The old key is leaked: the new one signs at once, without waiting until receivers know it
    #[arg(long)]
    pub now: bool,
    /// How long the new key is published before it signs; else as configured, else 15m
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub publish_before_use: Option<Duration>,
    /// How long the old key stays published when it signs no more
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = config::duration)]
    pub keep: Duration,
    /// What kind of key; each algorithm has its own turn in a ring.
    #[command(flatten)]
    pub kind: KindArgs,
}

/// Arguments of `keys retire`.
#[derive(Debug, Args)]
pub struct RetireArgs {
    /// The kid, as `keys list` shows it
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    pub kid: String,
    /// Which ring.
    #[command(flatten)]
    pub of: RingArgs,
    /// It is leaked: it leaves the JWKS at once, and one that waits for its turn signs at once
    #[arg(long)]
    pub now: bool,
    /// How long it stays published
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = config::duration)]
    pub keep: Duration,
}

/// A ring that was asked for.
struct Asked {
    source: RingSource,
    /// Where the configuration says so.
    place: String,
    publish_before_use: Duration,
}

/// A ring that can be changed.
struct Folder {
    folder: PathBuf,
    passphrase_file: Option<PathBuf>,
    publish_before_use: Duration,
}

/// `publish_before_use` without a configuration.
const BEFORE_USE: Duration = Duration::from_secs(15 * 60);

impl RingArgs {
    fn find(&self, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Result<Asked, Exit>> {
        if let Some(folder) = &self.ring {
            return Ok(Ok(Asked {
                source: RingSource::Folder {
                    folder: folder.clone(),
                    passphrase_file: self.passphrase_file.clone(),
                },
                place: String::new(),
                publish_before_use: BEFORE_USE,
            }));
        }
        let config = match self.config.load(log, console)? {
            Ok(config) => config,
            Err(exit) => return Ok(Err(exit)),
        };
        let ring = super::which::one_to_change(&config, self.stream.as_deref(), console)?;
        Ok(ring.map(|ring| Asked {
            source: assembly::signing::ring_source(ring),
            place: ring.place(),
            publish_before_use: ring.publish_before_use,
        }))
    }

    /// The folder of a ring that can be changed.
    fn folder(&self, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Result<Folder, Exit>> {
        let asked = match self.find(log, console)? {
            Ok(asked) => asked,
            Err(exit) => return Ok(Err(exit)),
        };
        match asked.source {
            RingSource::Folder {
                folder,
                passphrase_file,
            } => Ok(Ok(Folder {
                folder,
                passphrase_file,
                publish_before_use: asked.publish_before_use,
            })),
            RingSource::Told => {
                writeln!(
                    console.err,
                    "the key is in Vault, which makes its versions\n    mend: vault write -f MOUNT/keys/KEY/rotate"
                )?;
                Ok(Err(Exit::Usage))
            }
            RingSource::Files(_) => {
                writeln!(
                    console.err,
                    "the configuration lists its keys in {0}.keys, which nobody but its author changes\n    mend: make a ring with --ring DIR and set {0}.ring to it",
                    asked.place
                )?;
                Ok(Err(Exit::Usage))
            }
        }
    }
}

/// Makes the next key, or lets the one that waits sign at once.
pub(super) fn rotate(
    args: &RotateArgs,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let ring = match args.of.folder(log, console)? {
        Ok(ring) => ring,
        Err(exit) => return Ok(exit),
    };
    let rotation = Rotation {
        algorithm: args.kind.algorithm,
        publish_before_use: args.publish_before_use.unwrap_or(ring.publish_before_use),
        keep: args.keep,
        at_once: args.now,
    };
    let change = |manifest: &mut Manifest, now: Instant, out: &mut dyn Write| {
        usable(&ring, manifest, now)?;
        let new = match manifest.needs_key(rotation, now)? {
            true => Some(new_key(&ring, args.kind)?),
            false => None,
        };
        let from = manifest.rotate(rotation, new, now);
        let mut keys = manifest.keys.iter().rev();
        let signs = keys.find(|key| {
            key.algorithm == rotation.algorithm && key.not_before.is_none_or(|at| at == from)
        });
        let kid = signs.and_then(|key| key.kid.as_deref()).unwrap_or_default();
        if from <= now {
            writeln!(out, "{kid} is published, and signs")?;
        } else {
            writeln!(out, "{kid} is published, and signs from {from} on")?;
        }
        Ok(())
    };
    let done = in_ring(&ring, true, change, &mut *console.out);
    ended(done, console)
}

/// Lets a key sign no more.
pub(super) fn retire(
    args: &RetireArgs,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let ring = match args.of.folder(log, console)? {
        Ok(ring) => ring,
        Err(exit) => return Ok(exit),
    };
    let change = |manifest: &mut Manifest, now: Instant, out: &mut dyn Write| {
        manifest.retire(&args.kid, now, args.keep, args.now)?;
        let key = manifest
            .keys
            .iter()
            .find(|key| key.kid.as_deref() == Some(&args.kid));
        let until = key.and_then(|key| key.published_until).unwrap_or(now);
        writeln!(
            out,
            "{} signs no more, and is published until {until}",
            args.kid
        )?;
        Ok(())
    };
    let done = in_ring(&ring, false, change, &mut *console.out);
    ended(done, console)
}

/// The keys that are there can be read as the new one will be. Else the bridge could not take it, and without the
/// passphrase of the others it would lie there in the clear.
fn usable(of: &Folder, manifest: &Manifest, now: Instant) -> Result<(), KeysError> {
    let now = Timestamp::from_secs(now.as_second());
    let published = |source: &KeySource| source.life.published_until.is_none_or(|at| now < at);
    let sources = manifest.sources(&of.folder).into_iter().filter(published);
    let faults = sources.filter_map(|mut source| {
        source.passphrase_file.clone_from(&of.passphrase_file);
        source.load().err()
    });
    match faults.collect::<Vec<_>>() {
        faults if faults.is_empty() => Ok(()),
        faults => Err(KeysError::Keys(faults)),
    }
}

/// A new key in the folder: its file's name and its kid.
fn new_key(ring: &Folder, kind: KindArgs) -> Result<(String, String), KeysError> {
    let (mut pem, kid) = generate_pem_for(kind.algorithm, kind.bits)?;
    let file = format!("{kid}.pem");
    let path = ring.folder.join(&file);
    if let Some(passphrase) = &ring.passphrase_file {
        let passphrase = Secret::from_file(passphrase).map_err(|source| {
            KeysError::Keys(vec![KeyError::NoPassphrase {
                path: path.clone(),
                source,
            }])
        })?;
        pem = seal_pem(&pem, &passphrase).ok_or(SignError::Crypto)?;
    }
    write_whole(&path, pem.as_bytes(), 0o600, false)?;
    Ok((file, kid.to_string()))
}

/// Reads the manifest, changes it, takes out what is gone, and puts it in place: one command at a time.
fn in_ring(
    of: &Folder,
    may_be_new: bool,
    change: impl FnOnce(&mut Manifest, Instant, &mut dyn Write) -> Result<(), KeysError>,
    out: &mut dyn Write,
) -> Result<(), KeysError> {
    let folder = &of.folder;
    let cannot_write = |source: io::Error| KeysError::Write {
        path: folder.to_owned(),
        source,
    };
    if may_be_new {
        fs::create_dir_all(folder).map_err(cannot_write)?;
    } else {
        // Nothing is made where there is no ring.
        Manifest::read(folder).map_err(|fault| KeysError::Keys(vec![fault]))?;
    }
    let _alone = lock(folder)?;
    let now = Instant::from_second(Instant::now().as_second()).unwrap_or(Instant::UNIX_EPOCH);
    let mut ring = match Manifest::read(folder) {
        Err(KeyError::NoManifest { .. }) if may_be_new => Manifest::default(),
        read => read.map_err(|fault| KeysError::Keys(vec![fault]))?,
    };
    change(&mut ring, now, out)?;
    let gone = ring.sweep(now);
    write_whole(&folder.join(manifest::FILE), &ring.to_json(), 0o644, true)?;
    // Only now: a manifest never names a file that is not there.
    for file in gone {
        let path = folder.join(&file);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(KeysError::Write { path, source });
            }
            Ok(()) | Err(_) => {}
        }
        writeln!(out, "{} has left the JWKS, and is deleted", path.display())?;
    }
    show_states(of, out)
}

/// What the bridge will make of it.
fn show_states(of: &Folder, out: &mut dyn Write) -> Result<(), KeysError> {
    let source = RingSource::Folder {
        folder: of.folder.clone(),
        passphrase_file: of.passphrase_file.clone(),
    };
    let ring = KeyRing::open(source, None).map_err(KeysError::Keys)?;
    for (key, _, state) in ring.keys() {
        if state != KeyState::Gone {
            writeln!(out, "{:<9} {}", state.as_str(), key.kid())?;
        }
    }
    Ok(())
}

/// Another command at the same ring is waited for.
fn lock(folder: &Path) -> Result<File, KeysError> {
    let path = folder.join(".lock");
    let fault = |source: io::Error| KeysError::Write {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(fault)?;
    file.lock().map_err(fault)?;
    Ok(file)
}
