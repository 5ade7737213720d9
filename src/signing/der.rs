//! The few lines of DER (X.690 §8, §10) that tell what a key is *before* the crypto library judges it:
//! aws-lc answers "rejected" for an EC key, a 1024-bit key and a cut-off file alike, and an operator
//! needs to know which. It also takes n and e out of a public key.
//!
//! It must never be the judge: a key is accepted by aws-lc only.

/// `SEQUENCE`, constructed.
const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
const INTEGER: u8 = 0x02;
/// `OBJECT IDENTIFIER`.
const OID: u8 = 0x06;
/// `BIT STRING`.
const BITS: u8 = 0x03;
/// `OCTET STRING`.
const OCTETS: u8 = 0x04;

/// A forward-only reader over DER elements.
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Reads from the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next element, if it has `tag` and lies wholly in the input.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        if found != tag {
            return None;
        }
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            // Long form; a key is far below 2^24 octets.
            let octets = usize::from(first & 0x7f);
            if octets == 0 || octets > 3 || octets > rest.len() {
                return None;
            }
            let (digits, after) = rest.split_at(octets);
            length = digits.iter().fold(0, |n, &d| (n << 8) | usize::from(d));
            rest = after;
        }
        if length > rest.len() {
            return None;
        }
        let (content, after) = rest.split_at(length);
        self.0 = after;
        Some(content)
    }

    /// The next `SEQUENCE`, to read inside it.
    pub(super) fn sequence(&mut self) -> Option<Der<'a>> {
        self.take(SEQUENCE).map(Der)
    }

    /// The next non-negative `INTEGER`, big-endian without leading zero octets (0 is empty).
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        let content = self.take(INTEGER)?;
        if content.first()? & 0x80 != 0 {
            return None;
        }
        Some(without_leading_zeros(content))
    }
}

/// Big-endian octets without the zero octets in front.
pub(super) fn without_leading_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|&&o| o == 0).count();
    &octets[zeros..]
}

/// Bits of an unsigned big-endian number.
pub(super) fn bits(octets: &[u8]) -> usize {
    let octets = without_leading_zeros(octets);
    match octets.first() {
        Some(first) => octets.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

/// n and e of an `RSAPublicKey` (RFC 8017 A.1.1), without leading zero octets.
pub(super) fn rsa_public(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key = Der::new(der).sequence()?;
    Some((key.unsigned()?, key.unsigned()?))
}

/// Bits of the modulus of an `RSAPrivateKey` (RFC 8017 A.1.2: version, n, e, d, …).
pub(super) fn rsa_private_bits(der: &[u8]) -> Option<usize> {
    let mut key = Der::new(der).sequence()?;
    key.unsigned()?;
    key.unsigned().map(bits)
}

/// n, e, d, p, q, dp, dq, qinv of an `RSAPrivateKey` with two primes, without leading zero octets.
pub(super) fn rsa_private(der: &[u8]) -> Option<[&[u8]; 8]> {
    let mut key = Der::new(der).sequence()?;
    // Version 0: two primes.
    key.unsigned().filter(|version| version.is_empty())?;
    let mut members = [&[][..]; 8];
    for member in &mut members {
        *member = key.unsigned()?;
    }
    Some(members)
}

/// The algorithm and the inner key of a `PrivateKeyInfo` (RFC 5208 §5: version, algorithm, octets).
pub(super) fn pkcs8(der: &[u8]) -> Option<(Kind, &[u8])> {
    let mut key = Der::new(der).sequence()?;
    key.unsigned()?;
    let mut algorithm = key.sequence()?;
    let oid = algorithm.take(OID)?;
    // The curve of an EC key; other kinds have no OID there.
    let kind = Kind::of(oid, algorithm.take(OID));
    Some((kind, key.take(OCTETS)?))
}

/// The kind and the octets of a `SubjectPublicKeyInfo` (RFC 5280 §4.1: algorithm, bits).
pub(super) fn spki(der: &[u8]) -> Option<(Kind, &[u8])> {
    let mut key = Der::new(der).sequence()?;
    let mut algorithm = key.sequence()?;
    let oid = algorithm.take(OID)?;
    let kind = Kind::of(oid, algorithm.take(OID));
    // No bit of the last octet is unused.
    match key.take(BITS)? {
        [0, octets @ ..] => Some((kind, octets)),
        _ => None,
    }
}

/// What a PKCS#8 file says it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// rsaEncryption, 1.2.840.113549.1.1.1.
    Rsa,
    /// id-ecPublicKey with the curve prime256v1.
    P256,
    /// id-Ed25519, 1.3.101.112.
    Ed25519,
    /// Anything else, by the words for an operator.
    Other(&'static str),
}

impl Kind {
    /// RFC 8017 A.1 and C, RFC 5480 §2.1.1, RFC 8410 §3, RFC 3279 §2.3.2.
    fn of(oid: &[u8], curve: Option<&[u8]>) -> Self {
        match oid {
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => Self::Rsa,
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] => {
                Self::Other("an RSA key for PSS signatures only")
            }
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => match curve {
                Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]) => Self::P256,
                _ => Self::Other("an EC key on another curve than P-256"),
            },
            [0x2b, 0x65, 0x70] => Self::Ed25519,
            [0x2b, 0x65, 0x71] => Self::Other("an Ed448 key"),
            [0x2b, 0x65, 0x6e] | [0x2b, 0x65, 0x6f] => Self::Other("a key for key agreement"),
            [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01] => Self::Other("a DSA key"),
            _ => Self::Other("a key of another kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_from_the_first_one() {
        assert_eq!(bits(&[]), 0);
        assert_eq!(bits(&[0, 0]), 0);
        assert_eq!(bits(&[0, 1]), 1);
        assert_eq!(bits(&[0x80, 0]), 16);
        assert_eq!(bits(&[0x7f, 0]), 15);
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        // Every prefix of a valid key is refused, and none panics.
        let whole = [0x30, 0x08, 0x02, 0x03, 0x00, 0xff, 0x01, 0x02, 0x01, 0x03];
        assert_eq!(rsa_public(&whole), Some((&[0xff, 0x01][..], &[0x03][..])));
        for end in 0..whole.len() {
            assert_eq!(rsa_public(&whole[..end]), None, "prefix of {end} octets");
        }
        // A length that claims more than there is, a length of lengths, an indefinite length.
        assert!(
            Der::new(&[0x30, 0x83, 0xff, 0xff, 0xff, 0])
                .sequence()
                .is_none()
        );
        assert!(
            Der::new(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1])
                .sequence()
                .is_none()
        );
        assert!(Der::new(&[0x30, 0x80, 0, 0]).sequence().is_none());
    }

    #[test]
    fn negative_integers_are_no_moduli() {
        assert!(Der::new(&[0x02, 0x01, 0x80]).unsigned().is_none());
        assert!(Der::new(&[0x02, 0x00]).unsigned().is_none());
    }
}
