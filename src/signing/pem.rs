//! PEM armour (RFC 7468, and the older RFC 1421 headers) around a private key.
//!
//! Written here and not taken from a crate because the decoded bytes are a private key: every
//! buffer they pass through is allocated at its final size and overwritten on drop.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Label of an unencrypted PKCS#8 (RFC 7468 §10).
pub(super) const PKCS8: &str = "PRIVATE KEY";

/// Label of an encrypted one (RFC 7468 §11).
pub(super) const ENCRYPTED_PKCS8: &str = "ENCRYPTED PRIVATE KEY";

/// What a text with PEM blocks in it holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Armour<'a> {
    /// No PEM block at all.
    None,
    /// Blocks, but no private key among them (public key, certificate, parameters).
    NoPrivate,
    /// Exactly one block with a private key.
    One(Block<'a>),
    /// That many private keys.
    Several(usize),
}

/// One block, still encoded.
#[derive(PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// Between `-----BEGIN ` and `-----`.
    pub(super) label: &'a str,
    /// All lines between the markers, headers included.
    body: &'a str,
}

/// The body is a private key: only the label is shown.
impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Finds the private key among the PEM blocks of `text`. Text around the blocks is skipped, as
/// RFC 7468 §2 asks; a block without its end marker does not count.
pub(super) fn find(text: &str) -> Armour<'_> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((block, after)) = next_block(rest) {
        blocks.push(block);
        rest = after;
    }
    if blocks.is_empty() {
        return Armour::None;
    }
    let mut private: Vec<_> = blocks
        .into_iter()
        .filter(|b| b.label.ends_with("PRIVATE KEY"))
        .collect();
    match (private.len(), private.pop()) {
        (1, Some(block)) => Armour::One(block),
        (0, _) => Armour::NoPrivate,
        (count, _) => Armour::Several(count),
    }
}

/// The next block and the text behind it.
fn next_block(text: &str) -> Option<(Block<'_>, &str)> {
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (label, after) = after.split_once("-----")?;
    let (body, after) = after.split_once("-----END ")?;
    let (_, after) = after.split_once("-----")?;
    Some((Block { label, body }, after))
}

impl Block<'_> {
    /// Encrypted by a label (PKCS#8) or by a header (`Proc-Type: 4,ENCRYPTED`, RFC 1421 §4.6.1.1).
    pub(super) fn is_encrypted(&self) -> bool {
        self.label == ENCRYPTED_PKCS8
            || self
                .body
                .lines()
                .any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    }

    /// The DER inside; `None` when the body is not base64.
    pub(super) fn decode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut base64 = Zeroizing::new(Vec::with_capacity(self.body.len()));
        base64.extend(self.body.bytes().filter(|b| !b.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; base64.len() / 4 * 3 + 3]);
        let length = STANDARD.decode_slice(base64.as_slice(), &mut der).ok()?;
        der.truncate(length);
        Some(der)
    }
}

/// Wraps a PKCS#8 `PrivateKeyInfo` in PEM armour, 64 characters a line (RFC 7468 §10).
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    const LINE: usize = 64;
    let begin = format!("-----BEGIN {label}-----\n");
    let end = format!("-----END {label}-----\n");
    let mut base64 = Zeroizing::new(vec![0; der.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(der, &mut base64).unwrap_or(0);
    base64.truncate(length);
    let size = begin.len() + length + length.div_ceil(LINE) + end.len();
    let mut text = Zeroizing::new(String::with_capacity(size));
    text.push_str(&begin);
    for line in base64.chunks(LINE) {
        text.extend(line.iter().map(|&b| char::from(b)));
        text.push('\n');
    }
    text.push_str(&end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_found_again() {
        for length in [1, 2, 3, 47, 48, 49, 1200] {
            let der: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let text = encode(PKCS8, &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            let Armour::One(block) = find(&text) else {
                panic!("one block expected")
            };
            assert_eq!(block.decode().expect("base64").as_slice(), der);
        }
    }

    #[test]
    fn carriage_returns_and_text_around_do_not_matter() {
        let text =
            "subject=x\r\n-----BEGIN PRIVATE KEY-----\r\nAAEC\r\n-----END PRIVATE KEY-----\r\ntail";
        let Armour::One(block) = find(text) else {
            panic!("one block expected")
        };
        assert_eq!(block.decode().expect("base64").as_slice(), [0, 1, 2]);
    }

    #[test]
    fn a_block_that_is_cut_off_is_no_block() {
        assert_eq!(find("-----BEGIN PRIVATE KEY-----\nAAEC\n"), Armour::None);
        assert_eq!(find("-----BEGIN PRIVATE KEY"), Armour::None);
        assert_eq!(find(""), Armour::None);
    }
}
