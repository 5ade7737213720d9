//! All keys of one issuer: one of each algorithm signs, those whose time has come are published. A reload swaps the
//! whole ring at once, or leaves it as it is; the passing of time moves it on without reading a file.

mod keys;

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
use crate::clock::now;
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

    /// The files that a reading would look at now, as far as a manifest tells. Blocking.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.named().0
    }

    /// Every file to be read, and the keys among them.
    fn named(&self) -> (Vec<PathBuf>, Result<Vec<KeySource>, KeyError>) {
        let mut files = Vec::new();
        if let Self::Folder { folder, .. } = self {
            files.push(folder.join(manifest::FILE));
        }
        let sources = self.sources();
        let named = sources.as_deref().unwrap_or_default();
        files.extend(named.iter().map(|source| source.path.clone()));
        files.extend(named.iter().find_map(|s| s.passphrase_file.clone()));
        (files, sources)
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
    /// A key that has begun for so long when the ring is opened is known to receivers; any other one must be seen in the
    /// public JWKS before it signs. `None`: every key signs at its time.
    known_after: Option<Duration>,
    current: ArcSwap<Keys>,
    /// The files of the last reading, whether it ended well or not.
    files: ArcSwap<Vec<PathBuf>>,
    /// What receivers know: the keys that had signed for long enough when the ring was opened, and those that were seen in
    /// the public JWKS. Held for a whole change, so that generations follow one another.
    known: Mutex<Vec<PublicJwk>>,
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
    /// `wanted`. With `known_after`, a key that began to sign by its times less than so long ago, or is new in a ring that
    /// is open, signs only when [`Self::seen`] was told of it, unless there is no other one. Blocking.
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
            files: ArcSwap::default(),
            known: Mutex::default(),
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
        let mut known = self.lock();
        let entry = |(key, life)| Entry {
            key: Arc::new(key),
            life,
        };
        let entries: Vec<Entry> = keys.into_iter().map(entry).collect();
        if !self.is_known() {
            *known = known_by_age(self.known_after, &entries, now);
        }
        self.change(entries, &known, now)
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
        let (files, entries) = read(&source, now);
        let entries = entries?;
        let known = known_by_age(known_after, &entries, now);
        let trusted = |entry: &Entry| entry.life.at_once || known.contains(entry.key.public());
        let keys = Keys::at(1, entries, wanted, now, trusted).map_err(|fault| vec![fault])?;
        Ok(Self {
            source,
            wanted: wanted.to_vec(),
            known_after,
            current: ArcSwap::from_pointee(keys),
            files: ArcSwap::from_pointee(files),
            known: Mutex::new(known),
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
        let known = self.lock();
        let entries = if self.is_told() {
            self.current.load().entries.clone()
        } else {
            let (files, entries) = read(&self.source, now);
            self.files.store(Arc::new(files));
            entries?
        };
        self.change(entries, &known, now)
            .map_err(|fault| vec![fault])
    }

    /// Moves on with the time, without reading a file; `None` when nothing changed by it.
    pub fn advance(&self, now: Timestamp) -> Option<Reloaded> {
        let known = self.lock();
        let entries = self.current.load().entries.clone();
        // A ring whose every key has left the JWKS meanwhile stays as it is: a SET under an old key is better than none.
        let moved = self.change(entries, &known, now);
        moved.ok().filter(|reloaded| reloaded.changed)
    }

    /// The keys whose time has come, and which have to be seen in the public JWKS before they sign: one an algorithm.
    #[must_use]
    pub fn awaits(&self) -> Vec<PublicJwk> {
        let current = self.current.load();
        let turns = current.turns.iter();
        let awaiting = turns.filter(|turn| turn.active != turn.wanted);
        awaiting
            .map(|turn| current.entries[turn.wanted].key.public().clone())
            .collect()
    }

    /// These were seen in the public JWKS.
    pub fn seen(&self, keys: Vec<PublicJwk>, now: Timestamp) -> Option<Reloaded> {
        self.lock().extend(keys);
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

    /// The files of the last reading, also those that could not be read.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.load().to_vec()
    }

    /// Counts the states of the ring, from 1; moves only when something changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PublicJwk>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the ring that these make in place, if it is another one.
    fn change(
        &self,
        entries: Vec<Entry>,
        known: &[PublicJwk],
        now: Timestamp,
    ) -> Result<Reloaded, KeyError> {
        let old = self.current.load_full();
        // Whoever signs is known, be it that nobody else could.
        let trusted = |entry: &Entry| {
            let public = entry.key.public();
            self.known_after.is_none()
                || entry.life.at_once
                || known.contains(public)
                || old.active.iter().any(|active| active.public() == public)
        };
        let mut new = Keys::at(old.generation + 1, entries, &self.wanted, now, trusted)?;
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

/// The keys that receivers know without anybody looking, when a ring is opened.
fn known_by_age(
    known_after: Option<Duration>,
    entries: &[Entry],
    now: Timestamp,
) -> Vec<PublicJwk> {
    let after = known_after.unwrap_or_default().as_secs();
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let is_old = |entry: &&Entry| {
        let begun = entry.life.not_before.map(Timestamp::as_secs);
        begun.is_none_or(|begun| begun.saturating_add(after) <= now.as_secs())
    };
    let known = entries.iter().filter(is_old);
    known.map(|entry| entry.key.public().clone()).collect()
}

/// The kids of `here` that `there` lacks. The same kid over another key is both added and removed.
fn missing_from(there: &Jwks, here: &Jwks) -> Vec<Kid> {
    here.keys
        .iter()
        .filter(|key| !there.keys.contains(key))
        .map(|key| key.kid().clone())
        .collect()
}

/// Every file that was to be read, and all keys of the source.
fn read(source: &RingSource, now: Timestamp) -> (Vec<PathBuf>, Result<Vec<Entry>, Vec<KeyError>>) {
    let (files, sources) = source.named();
    let entries = sources.map_err(|fault| vec![fault]);
    (files, entries.and_then(|sources| load(&sources, now)))
}

/// The keys. One that has left the JWKS may have lost its file, too.
fn load(sources: &[KeySource], now: Timestamp) -> Result<Vec<Entry>, Vec<KeyError>> {
    let mut faults = Vec::new();
    let mut entries: Vec<Entry> = Vec::with_capacity(sources.len());
    let mut read: Vec<&KeySource> = Vec::with_capacity(sources.len());
    for source in sources {
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
            Err(KeyError::Missing { .. }) if !source.life.is_published(now) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if sources.iter().all(|source| source.life.published_only) {
        faults.push(KeyError::NoneActive);
    }
    match faults.is_empty() {
        true => Ok(entries),
        false => Err(faults),
    }
}
