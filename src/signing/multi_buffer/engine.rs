//! Up to eight signatures in one call, each checked.
//!
//! **The check.** The library computes by the Chinese remainder theorem and does not check what comes out: one faulty
//! half of a signature that leaves is enough to compute the private key from it. So each signature is raised to the
//! public exponent, and what comes out must be, octet by octet, the padded digest of the bytes that were to be signed,
//! which is computed anew for it. The library does this for eight, too, at a third of what aws-lc takes. That is safe
//! although the signer computes both:
//!
//! * x ↦ x^e mod n is a permutation, so only the right signature gives the right octets: a fault of memory or of a core
//!   in either computation passes with probability 2^-2048. They share no operand but the signature: the signer works
//!   modulo p and q, with other code for the smaller numbers; the check works modulo n.
//! * The check's results go to memory of their own that was zero before, so a call that does nothing passes nothing.
//! * What both could share is a *library* that is wrong in the same way each time, or is not what it says. Against that
//!   stands the trial: before a key is used, eight signatures by it must be those of aws-lc-rs, bit by bit, and
//!   the check must refuse a wrong one.

use std::path::Path;

use crate::ffi::crypto_mb::{LANES, Library, PrivateLane, PublicLane};

use super::lanes::{LaneKey, emsa_pkcs1};

/// One signature that is wanted.
pub(super) struct Lane<'a> {
    pub(super) key: &'a LaneKey,
    pub(super) message: &'a [u8],
}

/// A signature was not the right one, or the library refused: all of its batch is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch;

/// The opened library.
pub(super) struct Engine(Library);

impl Engine {
    /// # Errors
    /// In words: why it cannot be used.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        Library::open(path).map(Self)
    }

    pub(super) fn supports(&self, bits: usize) -> bool {
        self.0.supports(bits)
    }

    pub(super) fn interface(&self) -> (i32, i32) {
        self.0.interface()
    }

    /// The RSASSA-PKCS1-v1_5 SHA-256 signatures of up to eight lanes, whose keys are of one size, in their order.
    ///
    /// # Errors
    /// [`Mismatch`]: none of them may leave.
    pub(super) fn sign(&self, lanes: &[Lane<'_>]) -> Result<Vec<Vec<u8>>, Mismatch> {
        debug_assert!(lanes.len() <= LANES);
        let bits = lanes.first().map_or(0, |lane| lane.key.bits());
        let octets = bits / 8;
        let padded: Vec<Vec<u8>> = lanes
            .iter()
            .map(|lane| emsa_pkcs1(lane.message, octets))
            .collect();
        let private: Vec<PrivateLane<'_>> = lanes
            .iter()
            .zip(&padded)
            .map(|(lane, padded)| lane.key.private_lane(padded))
            .collect();
        let results = self.0.private_crt(bits, &private).ok_or(Mismatch)?;
        let signatures = results.iter().take(lanes.len());
        let signatures: Vec<Vec<u8>> = signatures.map(|s| s[..octets].to_vec()).collect();
        self.check(lanes, &signatures)?;
        Ok(signatures)
    }

    /// One turn of a loop that has nothing but the library and the comparison, for the bench.
    pub(super) fn bare(&self, key: &LaneKey, padded: &[Vec<u8>]) -> bool {
        let private: Vec<PrivateLane<'_>> = padded.iter().map(|p| key.private_lane(p)).collect();
        let Some(signatures) = self.0.private_crt(key.bits(), &private) else {
            return false;
        };
        let octets = key.bits() / 8;
        let public = signatures.iter().take(padded.len());
        let public: Vec<PublicLane<'_>> = public.map(|s| key.public_lane(&s[..octets])).collect();
        let raised = self.0.public_65537(key.bits(), &public);
        raised.is_some_and(|raised| {
            padded
                .iter()
                .zip(&raised)
                .all(|(p, r)| r[..octets] == p[..])
        })
    }

    /// Whether each signature is its lane's.
    ///
    /// # Errors
    /// [`Mismatch`] when one is not.
    pub(super) fn check(&self, lanes: &[Lane<'_>], signatures: &[Vec<u8>]) -> Result<(), Mismatch> {
        let bits = lanes.first().map_or(0, |lane| lane.key.bits());
        let public: Vec<PublicLane<'_>> = lanes
            .iter()
            .zip(signatures)
            .map(|(lane, signature)| lane.key.public_lane(signature))
            .collect();
        let raised = self.0.public_65537(bits, &public).ok_or(Mismatch)?;
        let right = lanes.iter().zip(&raised).all(|(lane, raised)| {
            let octets = bits / 8;
            raised[..octets] == emsa_pkcs1(lane.message, octets)[..]
        });
        right.then_some(()).ok_or(Mismatch)
    }
}
