//! Time as a SET carries it: whole seconds (CONTRACTS §1.3). Never milliseconds, never a float.

use serde::{Serialize, Serializer};

/// Integer seconds since 1970-01-01T00:00:00Z (RFC 7519 NumericDate without its fraction).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From seconds since 1970.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs)
    }

    /// From milliseconds since 1970, rounded down (so that `iat` is never ahead of the clock).
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.div_euclid(1_000))
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_down() {
        assert_eq!(
            Timestamp::from_millis(1_750_980_770_999).as_secs(),
            1_750_980_770
        );
        assert_eq!(Timestamp::from_millis(-1).as_secs(), -1);
    }
}
