//! Encrypted PKCS#8 (RFC 5958 §3, PBES2 of RFC 8018): a private key behind a passphrase.

use aws_lc_rs::rand;
use pkcs8::der::Encode;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfo, EncryptedPrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::pem::{self, Armour};
use crate::secret::Secret;

/// Rounds of PBKDF2 with SHA-256, as OWASP recommends (2023).
const ROUNDS: u32 = 600_000;

/// Why an envelope stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// No such structure, or an algorithm that is not read here.
    Unknown,
    /// The passphrase is another one, or the content is damaged: they cannot be told apart.
    Passphrase,
}

/// The PKCS#8 structure in an envelope.
pub(super) fn open(der: &[u8], passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let envelope = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| Closed::Unknown)?;
    let scheme = envelope
        .encryption_algorithm
        .pbes2()
        .ok_or(Closed::Unknown)?;
    // In a buffer of ours, which is overwritten on drop.
    let mut content = Zeroizing::new(envelope.encrypted_data.as_bytes().to_vec());
    let opened = scheme.decrypt_in_place(passphrase.reveal(), &mut content);
    let length = match opened {
        Ok(opened) => opened.len(),
        Err(pkcs8::pkcs5::Error::DecryptFailed) => return Err(Closed::Passphrase),
        Err(_) => return Err(Closed::Unknown),
    };
    content.truncate(length);
    Ok(content)
}

/// The same key as PEM behind a passphrase: AES-256-CBC with PBKDF2 (SHA-256), which every OpenSSL reads. `None` when
/// `text` is no unencrypted PKCS#8, or the system has no random numbers.
#[must_use]
pub fn seal_pem(text: &str, passphrase: &Secret) -> Option<Zeroizing<String>> {
    let Armour::One(block) = pem::find(text) else {
        return None;
    };
    let content = block.decode().filter(|_| block.label == pem::PKCS8)?;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    rand::fill(&mut salt).ok()?;
    rand::fill(&mut iv).ok()?;
    let scheme = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &salt, iv).ok()?;
    let sealed = scheme.encrypt(passphrase.reveal(), &content).ok()?;
    let envelope = EncryptedPrivateKeyInfo {
        encryption_algorithm: scheme.into(),
        encrypted_data: OctetStringRef::new(&sealed).ok()?,
    };
    Some(pem::encode(pem::ENCRYPTED_PKCS8, &envelope.to_der().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_its_passphrase_only() {
        let text = pem::encode(pem::PKCS8, b"any octets will do here");
        let passphrase = Secret::literal("correct horse");
        let sealed = seal_pem(&text, &passphrase).expect("sealed");
        assert!(sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        let Armour::One(block) = pem::find(&sealed) else {
            panic!("one block expected")
        };
        let der = block.decode().expect("base64");
        let opened = open(&der, &passphrase).expect("opened");
        assert_eq!(opened.as_slice(), b"any octets will do here");
        // Once in 256 times another passphrase gives something that looks padded: then the key's parser refuses it.
        let others =
            (0..4).filter_map(|n| open(&der, &Secret::literal(format!("wrong {n}"))).err());
        assert!(
            others
                .into_iter()
                .any(|closed| closed == Closed::Passphrase)
        );
        assert_eq!(open(&der[1..], &passphrase).err(), Some(Closed::Unknown));
        assert_eq!(seal_pem(&sealed, &passphrase), None, "once is enough");
    }
}
