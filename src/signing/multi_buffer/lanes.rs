//! One key as the multi-buffer library wants it, and the padding that it leaves to its caller.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair;
use zeroize::Zeroizing;

use crate::ffi::crypto_mb::{PrivateLane, PublicLane};
use crate::signing::der;

/// 65537, the only public exponent that the library checks with.
const EXPONENT: &[u8] = &[1, 0, 1];

/// The members of an RSA key as limbs, the lowest first. Overwritten on drop.
pub(in crate::signing) struct LaneKey {
    bits: usize,
    n: Vec<u64>,
    /// p, q, dp, dq, qinv.
    private: [Zeroizing<Vec<u64>>; 5],
}

impl LaneKey {
    /// [`None`] for a key that the library cannot take: another exponent than 65537, primes of unlike length.
    pub(super) fn of(pair: &KeyPair) -> Option<Self> {
        // aws-lc-rs overwrites this buffer on drop.
        let whole: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        let (_, inner) = der::pkcs8(whole.as_ref())?;
        let [n, e, _d, p, q, dp, dq, qinv] = der::rsa_private(inner)?;
        let bits = der::bits(n);
        let half = bits / 2;
        let fits = bits.is_multiple_of(128)
            && e == EXPONENT
            && [p, q].iter().all(|x| der::bits(x) == half);
        let limbs_of = |number: &[u8]| Zeroizing::new(limbs(number, half / 64));
        fits.then(|| Self {
            bits,
            n: limbs(n, bits / 64),
            private: [p, q, dp, dq, qinv].map(limbs_of),
        })
    }

    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    pub(super) fn private_lane<'a>(&'a self, message: &'a [u8]) -> PrivateLane<'a> {
        let key = self.private.each_ref().map(|part| part.as_slice());
        PrivateLane { message, key }
    }

    pub(super) fn public_lane<'a>(&'a self, signature: &'a [u8]) -> PublicLane<'a> {
        let n = &self.n;
        PublicLane { signature, n }
    }
}

/// A big-endian number as `count` limbs, the lowest first. Allocated once: a vector that grows leaves copies behind.
fn limbs(number: &[u8], count: usize) -> Vec<u64> {
    let mut limbs = vec![0; count];
    for (limb, octets) in limbs.iter_mut().zip(number.rchunks(8)) {
        *limb = octets.iter().fold(0, |limb, &o| (limb << 8) | u64::from(o));
    }
    limbs
}

/// `DigestInfo` of SHA-256 up to the digest (RFC 8017 §9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §9.2): `00 01 FF … FF 00 DigestInfo`, `length` octets, at least 62.
pub(super) fn emsa_pkcs1(message: &[u8], length: usize) -> Vec<u8> {
    let digest = digest(&SHA256, message);
    let tail = DIGEST_INFO.len() + digest.as_ref().len();
    let mut encoded = vec![0xff; length];
    encoded[0] = 0;
    encoded[1] = 1;
    encoded[length - tail - 1] = 0;
    encoded[length - tail..][..DIGEST_INFO.len()].copy_from_slice(&DIGEST_INFO);
    encoded[length - digest.as_ref().len()..].copy_from_slice(digest.as_ref());
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_begin_with_the_lowest() {
        assert_eq!(
            limbs(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 3),
            [0x0203_0405_0607_0809, 1, 0]
        );
        assert_eq!(limbs(&[], 1), [0]);
    }

    #[test]
    fn the_padding_is_that_of_rfc_8017() {
        let padded = emsa_pkcs1(b"", 64);
        assert_eq!(padded[..4], [0, 1, 0xff, 0xff]);
        // 64 - 51 - 3 octets of 0xff at least: two here by the length, eight by the RFC for real keys.
        let zero = padded.len() - 52;
        assert_eq!(padded[zero - 1..=zero], [0xff, 0]);
        assert_eq!(padded[zero + 1..][..19], DIGEST_INFO);
        assert_eq!(
            padded[zero + 20..][..4],
            [0xe3, 0xb0, 0xc4, 0x42],
            "SHA-256 of nothing"
        );
        assert_eq!(
            emsa_pkcs1(b"x", 256).iter().filter(|&&o| o == 0xff).count(),
            202
        );
    }
}
