//! All keys of one issuer: one of them signs, all of them are published. A reload swaps the whole
//! ring at once, or leaves it as it is.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::error::KeyError;
use super::jwk::Jwks;
use super::key::{Kid, SigningKey};
use super::source::KeySource;

/// The keys of one issuer. Share it by `Arc`; reading never blocks.
#[derive(Debug)]
pub struct KeyRing {
    sources: Vec<KeySource>,
    current: ArcSwap<Keys>,
    /// Held for a whole reload, so that generations follow one another.
    reloading: Mutex<()>,
}

/// One state of the ring.
#[derive(Debug)]
struct Keys {
    generation: u64,
    active: Arc<SigningKey>,
    jwks: Arc<Jwks>,
}

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The generation from now on; the same as before when nothing changed.
    pub generation: u64,
    /// The key that signs from now on.
    pub active: Kid,
    /// Published now, but not before.
    pub added: Vec<Kid>,
    /// Published before, but not any more.
    pub removed: Vec<Kid>,
    /// Whether a different key signs, or different keys are published.
    pub changed: bool,
}

impl KeyRing {
    /// Reads all `sources`; the first that is not only published signs. Blocking.
    ///
    /// # Errors
    /// Every fault of every source, not only the first; [`KeyError::DuplicateKid`] and
    /// [`KeyError::NoneActive`] about the ring as a whole.
    pub fn load(sources: &[KeySource]) -> Result<Self, Vec<KeyError>> {
        let keys = Keys::load(sources, 1)?;
        Ok(Self {
            sources: sources.to_vec(),
            current: ArcSwap::from_pointee(keys),
            reloading: Mutex::new(()),
        })
    }

    /// Reads the same sources again. Blocking: keep it off the async runtime.
    ///
    /// # Errors
    /// As [`load`](Self::load); the ring then stays exactly as it was.
    pub fn reload(&self) -> Result<Reloaded, Vec<KeyError>> {
        let _one_at_a_time = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        let new = Keys::load(&self.sources, old.generation + 1)?;
        let changed = new.jwks != old.jwks || new.active.public() != old.active.public();
        let reloaded = Reloaded {
            generation: if changed {
                new.generation
            } else {
                old.generation
            },
            active: new.active.kid().clone(),
            added: missing_from(&old.jwks, &new.jwks),
            removed: missing_from(&new.jwks, &old.jwks),
            changed,
        };
        if changed {
            self.current.store(Arc::new(new));
        }
        Ok(reloaded)
    }

    /// The key that signs.
    #[must_use]
    pub fn active(&self) -> Arc<SigningKey> {
        Arc::clone(&self.current.load().active)
    }

    /// Whether a receiver finds `kid` in the JWKS now. A SET under another `kid` must be signed again.
    #[must_use]
    pub fn publishes(&self, kid: &Kid) -> bool {
        self.current
            .load()
            .jwks
            .keys
            .iter()
            .any(|key| key.kid() == kid)
    }

    /// The public keys, the active one first, then in the order of the sources.
    #[must_use]
    pub fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.current.load().jwks)
    }

    /// Counts the states of the ring, from 1; moves only when a reload changed something.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }
}

/// The kids of `here` that `there` lacks. The same kid over another key is both added and removed.
fn missing_from(there: &Jwks, here: &Jwks) -> Vec<Kid> {
    here.keys
        .iter()
        .filter(|key| !there.keys.contains(key))
        .map(|key| key.kid().clone())
        .collect()
}

impl Keys {
    fn load(sources: &[KeySource], generation: u64) -> Result<Self, Vec<KeyError>> {
        let mut faults = Vec::new();
        let mut keys: Vec<(&KeySource, Arc<SigningKey>)> = Vec::with_capacity(sources.len());
        for source in sources {
            match source.load() {
                Ok(key) => match keys.iter().find(|(_, other)| other.kid() == key.kid()) {
                    Some((first, _)) => faults.push(KeyError::DuplicateKid {
                        kid: key.kid().to_string(),
                        first: first.path.clone(),
                        second: source.path.clone(),
                    }),
                    None => keys.push((source, Arc::new(key))),
                },
                Err(fault) => faults.push(fault),
            }
        }
        if sources.iter().all(|source| source.published_only) {
            faults.push(KeyError::NoneActive);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let active = keys.iter().position(|(source, _)| !source.published_only);
        let Some(active) = active.map(|i| keys.remove(i).1) else {
            return Err(vec![KeyError::NoneActive]);
        };
        let published = std::iter::once(&active).chain(keys.iter().map(|(_, key)| key));
        let jwks = Jwks {
            keys: published.map(|key| key.public().clone()).collect(),
        };
        Ok(Self {
            generation,
            active,
            jwks: Arc::new(jwks),
        })
    }
}
