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
mod tests {
    use super::*;

    const QUARTER: Duration = Duration::from_secs(900);
    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Instant {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    fn rotation(at_once: bool) -> Rotation {
        Rotation {
            algorithm: Algorithm::Rs256,
            publish_before_use: QUARTER,
            keep: DAY,
            at_once,
        }
    }

    fn new(name: &str) -> Option<(String, String)> {
        Some((format!("{name}.pem"), name.to_owned()))
    }

    fn ring(names: &[&str]) -> Manifest {
        let mut ring = Manifest::default();
        for name in names {
            ring.rotate(rotation(false), new(name), now());
        }
        ring
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_one_is_published_before() {
        let mut ring = Manifest::default();
        assert_eq!(ring.rotate(rotation(false), new("a"), now()), now());
        let from = ring.rotate(rotation(false), new("b"), now());
        assert_eq!(from, after(now(), QUARTER));
        assert_eq!(ring.keys[0].published_until, Some(after(from, DAY)));
        assert_eq!(ring.keys[1].published_until, None);
        let waits = ring
            .needs_key(rotation(false), now())
            .expect_err("one waits");
        assert_eq!(
            waits,
            RingFault::HasNext {
                kid: "b".into(),
                from
            }
        );
        assert_eq!(
            ring.needs_key(rotation(false), from),
            Ok(true),
            "it has begun"
        );
    }

    #[test]
    fn a_leaked_key_is_replaced_at_once() {
        let mut without_next = ring(&["a"]);
        assert_eq!(without_next.needs_key(rotation(true), now()), Ok(true));
        assert_eq!(without_next.rotate(rotation(true), new("b"), now()), now());
        assert!(without_next.keys[1].at_once);
        without_next.retire("a", now(), DAY, true).expect("b signs");
        assert!(without_next.keys[0].is_gone(now()));

        // The one that waits is known to receivers already: it is taken.
        let mut with_next = ring(&["a", "b"]);
        assert_eq!(with_next.needs_key(rotation(true), now()), Ok(false));
        with_next.rotate(rotation(true), None, now());
        assert_eq!(with_next.keys[1].not_before, Some(now()));

        let mut retired = ring(&["a", "b"]);
        retired.retire("a", now(), DAY, true).expect("b waits");
        assert!(retired.keys[1].may_sign(now()) && retired.keys[1].at_once);
    }

    #[test]
    fn a_key_is_retired_only_when_another_one_signs() {
        let mut alone = ring(&["a"]);
        assert_eq!(alone.retire("a", now(), DAY, true), Err(RingFault::Last));
        assert_eq!(
            alone.retire("x", now(), DAY, false),
            Err(RingFault::Unknown("x".into()))
        );
        let mut two = ring(&["a", "b"]);
        let too_soon = two.retire("a", now(), DAY, false).expect_err("b waits");
        assert!(matches!(too_soon, RingFault::TooSoon { .. }));
        let later = after(now(), QUARTER);
        two.retire("a", later, QUARTER, false).expect("b signs");
        assert_eq!(two.keys[0].not_after, Some(later));
        assert_eq!(two.keys[0].published_until, Some(after(later, QUARTER)));
        assert_eq!(two.sweep(later), Vec::<PathBuf>::new());
        assert_eq!(two.sweep(after(later, QUARTER)), [PathBuf::from("a.pem")]);
        assert_eq!(two.keys.len(), 1);
    }

    /// Who signs for good when nobody does anything more: the keys that may sign in a hundred days.
    fn at_last(ring: &Manifest) -> Vec<&str> {
        let then = after(now(), 100 * DAY);
        let keys = ring.keys.iter().filter(|key| key.may_sign(then));
        keys.map(|key| key.file.as_str()).collect()
    }

    #[test]
    fn whoever_signs_last_does_not_leave_by_itself() {
        // The one that waits is given up: the old one is not on its way out any more.
        for at_once in [false, true] {
            let mut given_up = ring(&["a", "b"]);
            given_up.retire("b", now(), DAY, at_once).expect("a signs");
            assert_eq!(at_last(&given_up), ["a.pem"]);
            // And is again, when the next one comes.
            given_up.rotate(rotation(false), new("c"), now());
            assert_eq!(at_last(&given_up), ["c.pem"]);
        }
        // The one that signs is given up, and the one before it takes over again.
        let later = after(now(), QUARTER);
        for at_once in [false, true] {
            let mut back = ring(&["a", "b"]);
            back.retire("b", later, DAY, at_once).expect("a may sign");
            assert_eq!(at_last(&back), ["a.pem"]);
        }
        // Of two that could, the younger one.
        let mut three = ring(&["a", "b"]);
        three.rotate(rotation(false), new("c"), later);
        three.retire("c", later, DAY, true).expect("b signs");
        assert_eq!(at_last(&three), ["b.pem"]);
    }

    #[test]
    fn a_key_that_was_given_up_is_nobody_s_next() {
        let given_up = || {
            let mut ring = ring(&["a", "b"]);
            ring.retire("b", now(), DAY, false).expect("a signs");
            ring
        };
        assert_eq!(given_up().needs_key(rotation(false), now()), Ok(true));
        // It may be leaked, too.
        assert_eq!(given_up().needs_key(rotation(true), now()), Ok(true));
        let last = given_up().retire("a", now(), DAY, true);
        assert_eq!(last, Err(RingFault::Last));
    }

    #[test]
    fn the_first_key_needs_no_clock() {
        let mut fresh = Manifest::default();
        fresh.rotate(rotation(false), new("a"), now());
        let behind = "2025-12-31T23:00:00Z".parse().expect("a time");
        assert!(
            fresh.keys[0].may_sign(behind),
            "the bridge's clock is another one"
        );
    }

    #[test]
    fn each_algorithm_has_its_own_turn() {
        let es256 = Rotation {
            algorithm: Algorithm::Es256,
            ..rotation(false)
        };
        let mut both = ring(&["a", "b"]);
        assert_eq!(both.needs_key(es256, now()), Ok(true), "b is no ES256 key");
        assert_eq!(
            both.rotate(es256, new("e"), now()),
            now(),
            "the first of its kind"
        );
        assert_eq!(both.retire("e", now(), DAY, true), Err(RingFault::Last));
        assert_eq!(
            both.keys[0].published_until,
            ring(&["a", "b"]).keys[0].published_until
        );
        let json = String::from_utf8(both.to_json()).expect("text");
        assert_eq!(json.matches("ES256").count(), 1);
        assert!(!json.contains("RS256"), "what is usual is not written");
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            Manifest::read(folder.path()),
            Err(KeyError::NoManifest { .. })
        ));
        let written = ring(&["a", "b"]);
        fs::write(folder.path().join(FILE), written.to_json()).expect("written");
        assert_eq!(Manifest::read(folder.path()).expect("read"), written);
        for (text, what) in [
            ("{", "EOF"),
            (r#"{"keys":[{"file":"../a.pem"}]}"#, "no name of a file"),
            (r#"{"keys":[{"file":"/a.pem"}]}"#, "no name of a file"),
            (r#"{"keys":[{"file":""}]}"#, "no name of a file"),
            (
                r#"{"keys":[{"file":"a","not_befor":"2026"}]}"#,
                "unknown field",
            ),
            (r#"{"keys":[{"file":"a","not_before":"tomorrow"}]}"#, ""),
        ] {
            fs::write(folder.path().join(FILE), text).expect("written");
            let fault = Manifest::read(folder.path()).expect_err(text);
            assert!(
                matches!(fault, KeyError::BadManifest { .. }) && fault.to_string().contains(what),
                "{fault}"
            );
        }
    }
}
