//! `ring.json`: which files of a folder are the keys of a ring, and when each of them signs. `setbridge keys` writes it,
//! the bridge reads it.
//!
//! ```json
//! {"keys": [
//!   {"file": "old.pem", "kid": "old", "not_before": "2026-01-01T00:00:00Z", "published_until": "2026-07-02T00:15:00Z"},
//!   {"file": "new.pem", "kid": "new", "not_before": "2026-07-01T00:15:00Z"}
//! ]}
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp as Instant;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::algorithm::Algorithm;
use super::error::KeyError;
use super::life::Life;
use super::source::KeySource;
use crate::set::Timestamp;

/// Name of the manifest in its folder.
pub const FILE: &str = "ring.json";

/// A hundred keys are 20 KB.
const MAX_FILE: u64 = 256 * 1024;

/// The keys of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// In the order in which they were made.
    pub keys: Vec<ManifestKey>,
}

/// One key of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestKey {
    /// Name of its file, in the folder of the manifest.
    pub file: String,
    /// The `kid` to publish; else as for any key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// What it signs by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub algorithm: Algorithm,
    /// Signs from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Instant>,
    /// Signs no more from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Instant>,
    /// Leaves the JWKS then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_until: Option<Instant>,
    /// Signs at its time, seen in the public JWKS or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

/// How a key takes over from another one.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Of the keys of this algorithm.
    pub algorithm: Algorithm,
    /// How long the new key is published before it signs.
    pub publish_before_use: Duration,
    /// How long the old one stays published when it signs no more.
    pub keep: Duration,
    /// The old one is leaked: the new one signs now.
    pub at_once: bool,
}

fn is_default(algorithm: &Algorithm) -> bool {
    *algorithm == Algorithm::default()
}

/// Why a ring cannot be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RingFault {
    /// A key waits for its turn already.
    #[error(
        "key {kid} is published and signs from {from}; wait for it, or let it sign now with --now"
    )]
    HasNext {
        /// The one that waits.
        kid: String,
        /// When its turn is.
        from: Instant,
    },
    /// No key of that name.
    #[error("no key {0} is in this ring; `setbridge keys list` shows which are")]
    Unknown(String),
    /// Nobody else could sign.
    #[error("no other key could sign: first `setbridge keys rotate`")]
    Last,
    /// The other one is not published for long enough.
    #[error("key {kid} signs only from {from}; wait for it, or let it sign now with --now")]
    TooSoon {
        /// The one that waits.
        kid: String,
        /// When its turn is.
        from: Instant,
    },
}

impl ManifestKey {
    fn name(&self) -> String {
        self.kid.clone().unwrap_or_else(|| self.file.clone())
    }

    fn life(&self) -> Life {
        let seconds = |time: Option<Instant>| time.map(|t| Timestamp::from_secs(t.as_second()));
        Life {
            not_before: seconds(self.not_before),
            not_after: seconds(self.not_after),
            published_until: seconds(self.published_until),
            published_only: false,
            at_once: self.at_once,
        }
    }

    fn is_gone(&self, now: Instant) -> bool {
        self.published_until.is_some_and(|until| until <= now)
    }

    fn may_sign(&self, now: Instant) -> bool {
        let begun = self.not_before.is_none_or(|from| from <= now);
        begun && !self.is_gone(now) && self.not_after.is_none_or(|until| now < until)
    }

    /// It waits for its turn. One that was retired meanwhile waits for nothing.
    fn is_next(&self, now: Instant) -> bool {
        let turn = self.not_before.filter(|from| now < *from);
        let comes = turn.is_some_and(|from| self.not_after.is_none_or(|until| from < until));
        comes && !self.is_gone(now)
    }
}

impl Manifest {
    /// Reads the manifest of `folder`. Blocking.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::Unreadable`], [`KeyError::BadManifest`].
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(FILE);
        let bad = |what: String| KeyError::BadManifest {
            path: path.clone(),
            what,
        };
        let unreadable = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => KeyError::NoManifest {
                folder: folder.to_owned(),
            },
            _ => KeyError::Unreadable {
                path: path.clone(),
                source,
            },
        };
        if fs::metadata(&path).map_err(unreadable)?.len() > MAX_FILE {
            return Err(bad(format!("it is longer than {MAX_FILE} bytes")));
        }
        let text = fs::read(&path).map_err(unreadable)?;
        let found: Self = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        for key in &found.keys {
            let mut parts = Path::new(&key.file).components();
            let first = parts.next();
            if !matches!(first, Some(std::path::Component::Normal(_))) || parts.next().is_some() {
                return Err(bad(format!(
                    "`{}` is no name of a file in its folder",
                    key.file
                )));
            }
        }
        Ok(found)
    }

    /// As JSON, with a line end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// The keys as sources, in the same order.
    #[must_use]
    pub fn sources(&self, folder: &Path) -> Vec<KeySource> {
        let each = self.keys.iter().map(|key| KeySource {
            kid: key.kid.clone(),
            algorithm: Some(key.algorithm),
            life: key.life(),
            ..KeySource::new(folder.join(&key.file))
        });
        each.collect()
    }

    /// The key of this algorithm that waits for its turn, and the turn.
    fn next(&self, algorithm: Algorithm, now: Instant) -> Option<(usize, Instant)> {
        let keys = self.keys.iter().enumerate();
        let waits = keys.filter(|(_, key)| key.algorithm == algorithm && key.is_next(now));
        let first = waits.min_by_key(|(_, key)| key.not_before)?;
        Some((first.0, first.1.not_before?))
    }

    /// Whether a new key has to be made for [`Self::rotate`]: not when one waits that may sign `at_once`.
    ///
    /// # Errors
    /// [`RingFault::HasNext`] when one waits, and may not.
    pub fn needs_key(&self, rotation: Rotation, now: Instant) -> Result<bool, RingFault> {
        match self.next(rotation.algorithm, now) {
            None => Ok(true),
            Some(_) if rotation.at_once => Ok(false),
            Some((of, from)) => Err(RingFault::HasNext {
                kid: self.keys[of].name(),
                from,
            }),
        }
    }

    /// Puts a new key into the ring: published now, it signs when it was published for `publish_before_use`, or at once
    /// when it is the first one or `at_once`. What signed before stays published for `keep` after that. Without `new`,
    /// the one that waits signs at once. Returns when it signs. The first one is given no time: the clock of who makes it
    /// may be ahead of the bridge's.
    pub fn rotate(
        &mut self,
        rotation: Rotation,
        new: Option<(String, String)>,
        now: Instant,
    ) -> Instant {
        let Rotation {
            algorithm,
            publish_before_use,
            keep,
            at_once,
        } = rotation;
        let signs = |key: &ManifestKey| key.algorithm == algorithm && key.may_sign(now);
        let from = if at_once || !self.keys.iter().any(signs) {
            now
        } else {
            after(now, publish_before_use)
        };
        let is_first = !self.stays(algorithm, now).any(|_| true);
        for key in &mut self.keys {
            if signs(key) && key.published_until.is_none() {
                key.published_until = Some(after(from, keep));
            }
        }
        match (new, self.next(algorithm, now)) {
            (Some((file, kid)), _) => self.keys.push(ManifestKey {
                file,
                kid: Some(kid),
                algorithm,
                not_before: (!is_first).then_some(from),
                not_after: None,
                published_until: None,
                at_once,
            }),
            (None, Some((of, _))) => {
                self.keys[of].not_before = Some(from);
                self.keys[of].at_once = true;
            }
            (None, None) => {}
        }
        from
    }

    /// The key signs no more, and leaves the JWKS after `keep`, or at once. The one that waits signs `at_once` when there
    /// is no other.
    ///
    /// # Errors
    /// [`RingFault`]: there is no such key, or nobody else could sign.
    pub fn retire(
        &mut self,
        kid: &str,
        now: Instant,
        keep: Duration,
        at_once: bool,
    ) -> Result<(), RingFault> {
        let of = self.keys.iter().position(|key| key.name() == kid);
        let of = of.ok_or_else(|| RingFault::Unknown(kid.to_owned()))?;
        let algorithm = self.keys[of].algorithm;
        let mut others = self.keys.iter().enumerate().filter(|(at, _)| *at != of);
        let another = others.any(|(_, key)| key.algorithm == algorithm && key.may_sign(now));
        if self.keys[of].may_sign(now) && !another {
            match self.next(algorithm, now) {
                None => return Err(RingFault::Last),
                Some((next, _)) if at_once => {
                    self.keys[next].not_before = Some(now);
                    self.keys[next].at_once = true;
                }
                Some((next, from)) => {
                    return Err(RingFault::TooSoon {
                        kid: self.keys[next].name(),
                        from,
                    });
                }
            }
        }
        let key = &mut self.keys[of];
        key.not_after = Some(key.not_after.map_or(now, |until| until.min(now)));
        let until = if at_once { now } else { after(now, keep) };
        key.published_until = Some(key.published_until.map_or(until, |there| there.min(until)));
        // Whoever signs for good stays published: that it was to leave came of a turn which is not taken now.
        let unretired = |key: &&mut ManifestKey| key.not_after.is_none();
        let last = self.stays(algorithm, now).filter(unretired);
        if let Some(last) = last.max_by_key(|key| key.not_before) {
            last.published_until = None;
        }
        Ok(())
    }

    /// The keys of this algorithm that are published.
    fn stays(
        &mut self,
        algorithm: Algorithm,
        now: Instant,
    ) -> impl Iterator<Item = &mut ManifestKey> {
        let keys = self.keys.iter_mut();
        keys.filter(move |key| key.algorithm == algorithm && !key.is_gone(now))
    }

    /// Takes out the keys that have left the JWKS; returns their files.
    pub fn sweep(&mut self, now: Instant) -> Vec<PathBuf> {
        let gone = self.keys.extract_if(.., |key| key.is_gone(now));
        gone.map(|key| PathBuf::from(key.file)).collect()
    }
}

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(Instant::MAX)
}

#[cfg(test)]
mod tests;
