//! One state of a ring: who signs by each algorithm, and what is published.

use std::sync::Arc;

use super::super::algorithm::Algorithm;
use super::super::error::KeyError;
use super::super::jwk::Jwks;
use super::super::key::SigningKey;
use super::super::life::{self, KeyState, Life, Turn};
use crate::set::Timestamp;

/// A key and its life.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<SigningKey>,
    pub(super) life: Life,
}

/// One state of the ring.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) generation: u64,
    /// In the order of the sources; those that are gone as well.
    pub(super) entries: Vec<Entry>,
    /// One for each algorithm that has a key whose time has come.
    pub(super) turns: Vec<Turn>,
    pub(super) states: Vec<KeyState>,
    /// In the order of `turns`.
    pub(super) active: Vec<Arc<SigningKey>>,
    pub(super) jwks: Arc<Jwks>,
}

/// Whose turn it is among the keys of one algorithm, by their places among all. `None`: no one's.
fn turn_of(
    algorithm: Algorithm,
    entries: &[Entry],
    now: Timestamp,
    trusted: &impl Fn(&Entry) -> bool,
) -> Option<Turn> {
    let of_it = |of: &usize| entries[*of].key.algorithm() == algorithm;
    let places: Vec<usize> = (0..entries.len()).filter(of_it).collect();
    let lives: Vec<Life> = places.iter().map(|of| entries[*of].life).collect();
    let turn = life::turn(&lives, now, |of| trusted(&entries[places[of]]))?;
    Some(Turn {
        active: places[turn.active],
        wanted: places[turn.wanted],
        overdue: turn.overdue,
    })
}

impl Keys {
    /// Before the first answer.
    pub(super) fn none() -> Self {
        Self {
            generation: 0,
            entries: Vec::new(),
            turns: Vec::new(),
            states: Vec::new(),
            active: Vec::new(),
            jwks: Arc::default(),
        }
    }

    pub(super) fn at(
        generation: u64,
        entries: Vec<Entry>,
        wanted: &[Algorithm],
        now: Timestamp,
        trusted: impl Fn(&Entry) -> bool,
    ) -> Result<Self, KeyError> {
        let turns: Vec<Turn> = Algorithm::ALL
            .iter()
            .filter_map(|algorithm| turn_of(*algorithm, &entries, now, &trusted))
            .collect();
        if turns.is_empty() {
            return Err(KeyError::NoneActive);
        }
        let algorithm = |of: usize| entries[of].key.algorithm();
        let signs = |wanted: Algorithm| turns.iter().any(|turn| algorithm(turn.active) == wanted);
        if let Some(&algorithm) = wanted.iter().find(|wanted| !signs(**wanted)) {
            return Err(KeyError::NoneFor { algorithm });
        }
        let lives: Vec<Life> = entries.iter().map(|entry| entry.life).collect();
        let state = |of: usize| {
            let mut own = turns.iter();
            let own = own.find(|turn| algorithm(turn.active) == algorithm(of));
            // Nobody signs by its algorithm yet: nor does it.
            let nobody = Turn {
                active: usize::MAX,
                wanted: usize::MAX,
                overdue: false,
            };
            life::state(&lives, of, own.copied().unwrap_or(nobody), now)
        };
        let states: Vec<KeyState> = (0..lives.len()).map(state).collect();
        let first = turns.iter().map(|turn| turn.active);
        let others =
            (0..lives.len()).filter(|of| !matches!(states[*of], KeyState::Active | KeyState::Gone));
        let published = first.chain(others);
        let jwks = Jwks {
            keys: published
                .map(|of| entries[of].key.public().clone())
                .collect(),
        };
        Ok(Self {
            generation,
            active: turns
                .iter()
                .map(|turn| Arc::clone(&entries[turn.active].key))
                .collect(),
            entries,
            turns,
            states,
            jwks: Arc::new(jwks),
        })
    }
}
