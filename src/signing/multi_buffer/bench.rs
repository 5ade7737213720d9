//! What the benches compare, of the parts that signer threads use. Not for anything else.

use bytes::Bytes;

use super::engine::Lane;
use super::{LANES, MultiBuffer};
use crate::signing::key::{SigningKey, compact};

/// Eight messages that are padded already: the bare loop over the library, with the check, and nothing of ours.
#[doc(hidden)]
#[derive(Debug)]
pub struct Bare {
    padded: Vec<Vec<u8>>,
}

#[doc(hidden)]
impl MultiBuffer {
    /// What [`Self::bare_turn`] signs.
    #[must_use]
    pub fn bare(&self, key: &SigningKey) -> Bare {
        let octets = key.bits() / 8;
        let padded = (0..LANES).map(|n| super::lanes::emsa_pkcs1(&[n as u8], octets));
        Bare {
            padded: padded.collect(),
        }
    }

    /// Eight private operations, eight public ones, eight comparisons. False: a wrong one, or a key that was not admitted.
    #[must_use]
    pub fn bare_turn(&self, key: &SigningKey, bare: &Bare) -> bool {
        let admitted = self.admitted(key);
        admitted.is_some_and(|key| self.engine.bare(key.key(), &bare.padded))
    }

    /// Eight tokens, the whole way from claims to compact JWS. [`None`] as false above.
    #[must_use]
    pub fn sign_eight(&self, key: &SigningKey, claims: &[u8]) -> Option<Vec<Bytes>> {
        let lane_key = self.admitted(key)?.key();
        let inputs: Vec<Vec<u8>> = (0..LANES).map(|_| key.signing_input(claims)).collect();
        let lanes = inputs.iter().map(|message| Lane {
            key: lane_key,
            message,
        });
        let signatures = self.engine.sign(&lanes.collect::<Vec<_>>()).ok()?;
        let tokens = inputs.into_iter().zip(signatures);
        Some(tokens.map(|(input, s)| compact(input, &s)).collect())
    }
}
