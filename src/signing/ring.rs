//! All keys of one issuer: one of each algorithm signs, those whose time has come are published. A reload swaps the
//! whole ring at once, or leaves it as it is; the passing of time moves it on without reading a file.

mod keys;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::algorithm::Algorithm;
use super::error::KeyError;
use super::jwk::{Jwks, PublicJwk};
use super::key::{Kid, SigningKey};
use super::life::{KeyState, Life};
use super::manifest::{self, Manifest};
use super::source::KeySource;
use crate::clock;
use crate::set::Timestamp;
use keys::{Entry, Keys};

/// Where the keys of a ring are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingSource {
    /// In these files.
    Files(Vec<KeySource>),
    /// In a folder, whose `ring.json` says which files and when.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The passphrase of those keys that are encrypted.
        passphrase_file: Option<PathBuf>,
    },
    /// Elsewhere: whoever asks for them there tells by [`KeyRing::replace`].
    Told,
}

impl RingSource {
    /// The folder, of keys that are not encrypted.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self::Folder {
            folder: folder.into(),
            passphrase_file: None,
        }
    }

    fn sources(&self) -> Result<Vec<KeySource>, KeyError> {
        match self {
            Self::Files(sources) => Ok(sources.clone()),
            Self::Folder {
                folder,
                passphrase_file,
            } => {
                let mut sources = Manifest::read(folder)?.sources(folder);
                for source in &mut sources {
                    source.passphrase_file.clone_from(passphrase_file);
                }
                Ok(sources)
            }
            Self::Told => Ok(Vec::new()),
        }
    }
}

/// The keys of one issuer. Share it by `Arc`; reading never blocks.
#[derive(Debug)]
pub struct KeyRing {
    source: RingSource,
    /// Each has a key that signs, now and after each change.
    wanted: Vec<Algorithm>,
    /// A key that has begun for so long is known to receivers; a younger one must be seen in the public JWKS before it
    /// signs. `None`: every key signs at its time.
    known_after: Option<Duration>,
    current: ArcSwap<Keys>,
    /// The kids that were seen in the public JWKS. Held for a whole change, so that generations follow one another.
    seen: Mutex<BTreeSet<Kid>>,
}

/// What a reload, or time, changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The generation from now on; the same as before when nothing changed.
    pub generation: u64,
    /// The keys that sign from now on, one for each algorithm.
    pub active: Vec<Kid>,
    /// Published now, but not before.
    pub added: Vec<Kid>,
    /// Published before, but not any more.
    pub removed: Vec<Kid>,
    /// Whether a different key signs, or different keys are published.
    pub changed: bool,
}

impl KeyRing {
    /// Reads all `sources`; each key signs at its time. Blocking.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn load(sources: &[KeySource]) -> Result<Self, Vec<KeyError>> {
        Self::open(RingSource::Files(sources.to_vec()), None)
    }

    /// As [`Self::open_for`], where it does not matter which algorithms there are.
    ///
    /// # Errors
    /// As for that.
    pub fn open(source: RingSource, known_after: Option<Duration>) -> Result<Self, Vec<KeyError>> {
        Self::open_for(source, known_after, &[])
    }

    /// Reads the keys of `source`; of each algorithm one signs, and there must be one for each algorithm that is
    /// `wanted`. With `known_after`, a key that began to sign by its times less than so long ago signs only when
    /// [`Self::seen`] was told of it, unless there is no other one. Blocking.
    ///
    /// # Errors
    /// Every fault of every source, not only the first; [`KeyError::DuplicateKid`], [`KeyError::NoneActive`] and
    /// [`KeyError::NoneFor`] about the ring as a whole.
    pub fn open_for(
        source: RingSource,
        known_after: Option<Duration>,
        wanted: &[Algorithm],
    ) -> Result<Self, Vec<KeyError>> {
        Self::open_at(source, known_after, wanted, now())
    }

    /// A ring of keys that are elsewhere, without any until [`Self::replace`]; `known_after` and `wanted` as for
    /// [`Self::open_for`].
    #[must_use]
    pub fn told(known_after: Option<Duration>, wanted: &[Algorithm]) -> Self {
        Self {
            source: RingSource::Told,
            wanted: wanted.to_vec(),
            known_after,
            current: ArcSwap::from_pointee(Keys::none()),
            seen: Mutex::default(),
        }
    }

    /// These are the keys now.
    ///
    /// # Errors
    /// [`KeyError::NoneActive`], [`KeyError::NoneFor`]; the ring then stays exactly as it was.
    pub fn replace(
        &self,
        keys: Vec<(SigningKey, Life)>,
        now: Timestamp,
    ) -> Result<Reloaded, KeyError> {
        let seen = self.lock();
        let entry = |(key, life)| Entry {
            key: Arc::new(key),
            life,
        };
        let entries = keys.into_iter().map(entry).collect();
        self.change(entries, Vec::new(), &seen, now)
    }

    /// It has keys; [`Self::told`] makes one without.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.current.load().active.is_empty()
    }

    /// The keys are elsewhere.
    fn is_told(&self) -> bool {
        self.source == RingSource::Told
    }

    pub(super) fn open_at(
        source: RingSource,
        known_after: Option<Duration>,
        wanted: &[Algorithm],
        now: Timestamp,
    ) -> Result<Self, Vec<KeyError>> {
        let (entries, files) = read(&source)?;
        let trusted = |entry: &Entry| is_known(known_after, entry, now);
        let keys =
            Keys::at(1, (entries, files), wanted, now, trusted).map_err(|fault| vec![fault])?;
        Ok(Self {
            source,
            wanted: wanted.to_vec(),
            known_after,
            current: ArcSwap::from_pointee(keys),
            seen: Mutex::default(),
        })
    }

    /// Reads the same sources again; of a ring that is told its keys only the time is looked at. Blocking: keep it off the
    /// async runtime.
    ///
    /// # Errors
    /// As [`open`](Self::open); the ring then stays exactly as it was.
    pub fn reload(&self) -> Result<Reloaded, Vec<KeyError>> {
        self.reload_at(now())
    }

    pub(super) fn reload_at(&self, now: Timestamp) -> Result<Reloaded, Vec<KeyError>> {
        let seen = self.lock();
        let (entries, files) = if self.is_told() {
            (self.current.load().entries.clone(), Vec::new())
        } else {
            read(&self.source)?
        };
        self.change(entries, files, &seen, now)
            .map_err(|fault| vec![fault])
    }

    /// Moves on with the time, without reading a file; `None` when nothing changed by it.
    pub fn advance(&self, now: Timestamp) -> Option<Reloaded> {
        let seen = self.lock();
        let current = self.current.load_full();
        // A ring whose every key has left the JWKS meanwhile stays as it is: a SET under an old key is better than none.
        let moved = self.change(current.entries.clone(), current.files.clone(), &seen, now);
        moved.ok().filter(|reloaded| reloaded.changed)
    }

    /// The key whose time has come, and which has to be seen in the public JWKS before it signs.
    #[must_use]
    pub fn awaits(&self) -> Option<PublicJwk> {
        let current = self.current.load();
        let mut turns = current.turns.iter();
        let awaiting = turns.find(|turn| turn.active != turn.wanted)?;
        Some(current.entries[awaiting.wanted].key.public().clone())
    }

    /// This kid was seen in the public JWKS, with the right key.
    pub fn seen(&self, kid: Kid, now: Timestamp) -> Option<Reloaded> {
        self.lock().insert(kid);
        self.advance(now)
    }

    /// The one that signs has passed its `not_after`, and there is no other.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.current.load().turns.iter().any(|turn| turn.overdue)
    }

    /// The key that signs by this algorithm. [`None`] only for an algorithm that was not wanted.
    #[must_use]
    pub fn active(&self, algorithm: Algorithm) -> Option<Arc<SigningKey>> {
        let keys = self.current.load();
        let mut active = keys.active.iter();
        active.find(|key| key.algorithm() == algorithm).cloned()
    }

    /// The ids of the keys that sign, one for each algorithm.
    #[must_use]
    pub fn active_kids(&self) -> Vec<Kid> {
        let current = self.current.load();
        current.active.iter().map(|key| key.kid().clone()).collect()
    }

    /// Whether a receiver finds `kid` in the JWKS now. A SET under another `kid` must be signed again.
    #[must_use]
    pub fn publishes(&self, kid: &Kid) -> bool {
        let current = self.current.load();
        current.jwks.keys.iter().any(|key| key.kid() == kid)
    }

    /// The public keys, the active ones first, then in the order of the sources.
    #[must_use]
    pub fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.current.load().jwks)
    }

    /// Every key with what it does now, in the order of the sources.
    #[must_use]
    pub fn keys(&self) -> Vec<(Arc<SigningKey>, Life, KeyState)> {
        let current = self.current.load();
        let each = current.entries.iter().zip(&current.states);
        each.map(|(entry, state)| (Arc::clone(&entry.key), entry.life, *state))
            .collect()
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.current.load().files.clone()
    }

    /// Counts the states of the ring, from 1; moves only when something changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Kid>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the ring that these make in place, if it is another one.
    fn change(
        &self,
        entries: Vec<Entry>,
        files: Vec<PathBuf>,
        seen: &BTreeSet<Kid>,
        now: Timestamp,
    ) -> Result<Reloaded, KeyError> {
        let old = self.current.load_full();
        // Whoever signs is known, be it that nobody else could.
        let trusted = |entry: &Entry| {
            is_known(self.known_after, entry, now)
                || old
                    .active
                    .iter()
                    .any(|active| active.public() == entry.key.public())
                || seen.contains(entry.key.kid())
        };
        let mut new = Keys::at(
            old.generation + 1,
            (entries, files),
            &self.wanted,
            now,
            trusted,
        )?;
        let public = |keys: &Keys| -> Vec<PublicJwk> {
            keys.active.iter().map(|key| key.public().clone()).collect()
        };
        let changed = new.jwks != old.jwks || public(&new) != public(&old);
        if !changed {
            new.generation = old.generation;
            // An unchanged key is not replaced.
            new.active.clone_from(&old.active);
        }
        let reloaded = Reloaded {
            generation: new.generation,
            active: new.active.iter().map(|key| key.kid().clone()).collect(),
            added: missing_from(&old.jwks, &new.jwks),
            removed: missing_from(&new.jwks, &old.jwks),
            changed,
        };
        self.current.store(Arc::new(new));
        Ok(reloaded)
    }
}

fn now() -> Timestamp {
    Timestamp::from_secs(clock::epoch_seconds())
}

/// Whether receivers know the key without anybody looking.
fn is_known(known_after: Option<Duration>, entry: &Entry, now: Timestamp) -> bool {
    let Some(after) = known_after else {
        return true;
    };
    let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let begun = entry.life.not_before.map(Timestamp::as_secs);
    entry.life.at_once || begun.is_none_or(|begun| begun.saturating_add(after) <= now.as_secs())
}

/// The kids of `here` that `there` lacks. The same kid over another key is both added and removed.
fn missing_from(there: &Jwks, here: &Jwks) -> Vec<Kid> {
    here.keys
        .iter()
        .filter(|key| !there.keys.contains(key))
        .map(|key| key.kid().clone())
        .collect()
}

/// All keys of the source, and every file that was read.
fn read(source: &RingSource) -> Result<(Vec<Entry>, Vec<PathBuf>), Vec<KeyError>> {
    let sources = source.sources().map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let mut entries: Vec<Entry> = Vec::with_capacity(sources.len());
    let mut read: Vec<&KeySource> = Vec::with_capacity(sources.len());
    for source in &sources {
        match source.load() {
            Ok(key) => match entries.iter().position(|e| e.key.kid() == key.kid()) {
                Some(first) => faults.push(KeyError::DuplicateKid {
                    kid: key.kid().to_string(),
                    first: read[first].path.clone(),
                    second: source.path.clone(),
                }),
                None => {
                    read.push(source);
                    entries.push(Entry {
                        key: Arc::new(key),
                        life: source.life,
                    });
                }
            },
            Err(fault) => faults.push(fault),
        }
    }
    if sources.iter().all(|source| source.life.published_only) {
        faults.push(KeyError::NoneActive);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let passphrase = sources
        .iter()
        .find_map(|source| source.passphrase_file.clone());
    let mut files: Vec<PathBuf> = sources.into_iter().map(|source| source.path).collect();
    files.extend(passphrase);
    if let RingSource::Folder { folder, .. } = source {
        files.push(folder.join(manifest::FILE));
    }
    Ok((entries, files))
}
