//! The life of a key in its ring: next, active, retiring, gone. Pure: the time is an argument.
//!
//! ```text
//! published ──not_before──▶ may sign ──not_after, or a younger key signs──▶ retiring ──published_until──▶ gone
//! ```
//!
//! Published first, used later: a receiver that caches the JWKS must know a key before it meets a SET under it.

use crate::set::Timestamp;

/// From when to when a key does what. Without any of them: it signs from now on, and stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// Signs from this second on; published before.
    pub not_before: Option<Timestamp>,
    /// Signs no more from this second on; published after.
    pub not_after: Option<Timestamp>,
    /// Leaves the JWKS at this second.
    pub published_until: Option<Timestamp>,
    /// Published, never signs.
    pub published_only: bool,
    /// Signs at its time although nobody has seen it in the public JWKS: the key before it is leaked.
    pub at_once: bool,
}

/// What a key does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, does not sign yet.
    Next,
    /// Signs.
    Active,
    /// Published, signs no more.
    Retiring,
    /// Not published any more.
    Gone,
}

impl KeyState {
    /// As in metrics, `/status` and `keys list`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Gone => "gone",
        }
    }
}

/// Who signs, by place in the list that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Signs now.
    pub(super) active: usize,
    /// Would sign, were it trusted.
    pub(super) wanted: usize,
    /// Its own time to sign is over, and there is no other one.
    pub(super) overdue: bool,
}

impl Life {
    pub(super) fn is_published(&self, now: Timestamp) -> bool {
        self.published_until.is_none_or(|until| now < until)
    }

    fn has_begun(&self, now: Timestamp) -> bool {
        !self.published_only && self.not_before.is_none_or(|from| from <= now)
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|until| until <= now)
    }
}

/// Whose turn it is: of those that may sign the one that began last (in one second the last in the list; without times the
/// first) and is `trusted`. Nobody to trust: the one that began last. Nobody that may sign: the published one whose time ended
/// last, for a SET under an overdue key is better than none. `None`: no published key has begun.
pub(super) fn turn(
    lives: &[Life],
    now: Timestamp,
    trusted: impl Fn(usize) -> bool,
) -> Option<Turn> {
    let begun = |of: &usize| lives[*of].is_published(now) && lives[*of].has_begun(now);
    let mut may_sign: Vec<usize> = (0..lives.len())
        .filter(begun)
        .filter(|of| !lives[*of].has_ended(now))
        .collect();
    // Times are whole seconds. Of two in one second the later in the list was made later; without times, and the sort is
    // stable, the order of the list decides.
    let began = |of: usize| lives[of].not_before.map(|from| (from, of));
    may_sign.sort_by_key(|of| std::cmp::Reverse(began(*of)));
    if let Some(&wanted) = may_sign.first() {
        let known = may_sign.iter().find(|of| trusted(**of));
        return Some(Turn {
            active: *known.unwrap_or(&wanted),
            wanted,
            overdue: false,
        });
    }
    let last = (0..lives.len())
        .filter(begun)
        .rev()
        .max_by_key(|of| lives[*of].not_after)?;
    Some(Turn {
        active: last,
        wanted: last,
        overdue: true,
    })
}

/// What the key at `of` does, given whose turn it is.
pub(super) fn state(lives: &[Life], of: usize, turn: Turn, now: Timestamp) -> KeyState {
    let life = &lives[of];
    let awaited = of == turn.wanted && of != turn.active;
    if !life.is_published(now) {
        KeyState::Gone
    } else if of == turn.active {
        KeyState::Active
    } else if awaited || (life.not_before.is_some_and(|from| now < from) && !life.has_ended(now)) {
        KeyState::Next
    } else {
        KeyState::Retiring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn at(secs: i64) -> Option<Timestamp> {
        Some(Timestamp::from_secs(secs))
    }

    fn from(not_before: i64) -> Life {
        Life {
            not_before: at(not_before),
            ..Life::default()
        }
    }

    fn states(lives: &[Life], trusted: &[usize]) -> Vec<&'static str> {
        let turn = turn(lives, NOW, |of| trusted.contains(&of)).expect("somebody signs");
        let each = 0..lives.len();
        each.map(|of| state(lives, of, turn, NOW).as_str())
            .collect()
    }

    #[test]
    fn without_times_the_first_that_may_sign_does() {
        let published_only = Life {
            published_only: true,
            ..Life::default()
        };
        let all = [published_only, Life::default(), Life::default()];
        assert_eq!(states(&all, &[0, 1, 2]), ["retiring", "active", "retiring"]);
        assert_eq!(turn(&[published_only], NOW, |_| true), None);
        assert_eq!(turn(&[], NOW, |_| true), None);
    }

    #[test]
    fn the_youngest_that_has_begun_signs() {
        let all = [from(100), from(900), from(1_001)];
        assert_eq!(states(&all, &[0, 1, 2]), ["retiring", "active", "next"]);
        let together = [from(100), from(900), from(900)];
        assert_eq!(states(&together, &[0, 1, 2])[1..], ["retiring", "active"]);
        assert_eq!(
            states(&[from(100), from(1_000)], &[0, 1]),
            ["retiring", "active"],
            "from that second on"
        );
    }

    #[test]
    fn one_that_is_not_trusted_waits_while_another_may_sign() {
        let all = [from(100), from(900)];
        assert_eq!(states(&all, &[0]), ["active", "next"]);
        assert_eq!(states(&all, &[]), ["retiring", "active"], "somebody must");
        let ended = Life {
            not_after: at(1_000),
            ..from(100)
        };
        assert_eq!(states(&[ended, from(900)], &[0]), ["retiring", "active"]);
    }

    #[test]
    fn what_left_the_jwks_never_signs() {
        let gone = Life {
            published_until: at(1_000),
            ..from(900)
        };
        assert_eq!(states(&[from(100), gone], &[0, 1]), ["active", "gone"]);
        assert_eq!(turn(&[gone], NOW, |_| true), None);
    }

    #[test]
    fn one_that_was_retired_before_its_turn_waits_for_nothing() {
        let given_up = Life {
            not_after: at(900),
            ..from(2_000)
        };
        assert_eq!(states(&[from(100), given_up], &[0]), ["active", "retiring"]);
    }

    #[test]
    fn an_overdue_key_signs_when_there_is_no_other() {
        let ended = |not_after| Life {
            not_after: at(not_after),
            ..from(100)
        };
        let all = [ended(500), ended(600), from(2_000)];
        let turn = turn(&all, NOW, |_| true).expect("somebody signs");
        assert!(turn.overdue);
        assert_eq!(turn.active, 1);
        assert_eq!(states(&all, &[]), ["retiring", "active", "next"]);
    }
}
