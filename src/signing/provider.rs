//! Our `jsonwebtoken` [`CryptoProvider`]: RS256 with a key that was parsed once.
//!
//! The stock provider parses the RSA key again for every token and so signs 2 to 2.5 times slower
//! (DESIGN §6). A provider is two plain functions that see an `EncodingKey`, which is a byte string:
//! there is no place for a parsed key in it. So a [`SigningKey`](super::SigningKey) hands out an
//! `EncodingKey` that holds a **ticket** instead of a key, and the provider exchanges the ticket for
//! the parsed key:
//!
//! * A ticket is `MARK` and a number that this process never uses twice. A DER key begins with
//!   `0x30`, the mark does not: a ticket and a key cannot be taken for one another.
//! * The registry holds weak references and an entry is removed when its key is dropped, so nothing
//!   keeps a private key alive. A ticket that outlives its key is answered with an error.
//! * Whatever is no ticket of ours (all other keys and algorithms, all verification) goes to the stock
//!   provider, so installing ours changes nothing for others.
//!
//! [`SigningKey::sign`](super::SigningKey::sign) calls the same RSA operation without the detour; a
//! test checks that `jsonwebtoken::encode` gives the same bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER as STOCK;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::der;
use super::key::rs256;

/// First bytes of every ticket.
const MARK: &[u8] = b"setbridge signing key #";

/// The provider. Everything but RS256 with a [`SigningKey`](super::SigningKey)'s ticket is the stock one.
pub static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: new_signer,
    verifier_factory: new_verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: public_components,
        rsa_pub_components_from_public_key: STOCK.key_utils.rsa_pub_components_from_public_key,
        ec_pub_components_from_private_key: STOCK.key_utils.ec_pub_components_from_private_key,
        ed_pub_components_from_private_key: STOCK.key_utils.ed_pub_components_from_private_key,
        compute_digest: STOCK.key_utils.compute_digest,
    },
};

/// Makes ours the provider of this process. Call it first thing in `main`: `jsonwebtoken` settles on
/// the stock one at its first use. Returns `false` when another one is in place; tokens of a
/// [`SigningKey::encoding_key`](super::SigningKey::encoding_key) then cannot be signed by `encode`.
pub fn install() -> bool {
    match PROVIDER.install_default() {
        Ok(()) => true,
        Err(_) => installed(),
    }
}

/// Whether ours is in place, found out by asking: the default itself is private to `jsonwebtoken`.
fn installed() -> bool {
    static OURS: LazyLock<bool> = LazyLock::new(|| {
        let unknown = EncodingKey::from_rsa_der(&ticket_bytes(u64::MAX));
        match jsonwebtoken::crypto::sign(b"", &unknown, Algorithm::RS256) {
            Err(error) => matches!(error.kind(), ErrorKind::InvalidRsaKey(why) if why == DROPPED),
            Ok(_) => false,
        }
    });
    *OURS
}

/// The message for a ticket that outlived its key.
const DROPPED: &str = "the signing key of this ticket was dropped";

/// A parsed key that tickets refer to. Dropping the last one ends the tickets.
#[derive(Clone)]
pub(super) struct Registered(Arc<Entry>);

struct Entry {
    number: u64,
    pair: KeyPair,
}

impl Registered {
    pub(super) fn pair(&self) -> &KeyPair {
        &self.0.pair
    }

    pub(super) fn ticket(&self) -> EncodingKey {
        EncodingKey::from_rsa_der(&ticket_bytes(self.0.number))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&self.number);
    }
}

static REGISTRY: LazyLock<RwLock<HashMap<u64, Weak<Entry>>>> = LazyLock::new(RwLock::default);

/// Enters a parsed key into the registry.
pub(super) fn register(pair: KeyPair) -> Registered {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let entry = Arc::new(Entry { number, pair });
    REGISTRY
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number, Arc::downgrade(&entry));
    Registered(entry)
}

fn ticket_bytes(number: u64) -> Vec<u8> {
    [MARK, &number.to_be_bytes()].concat()
}

/// What an `EncodingKey`'s bytes turn out to be.
enum Found {
    Ours(Registered),
    Dropped,
    NotATicket,
}

fn look_up(content: &[u8]) -> Found {
    let Some(number) = content
        .strip_prefix(MARK)
        .and_then(|n| <[u8; 8]>::try_from(n).ok())
    else {
        return Found::NotATicket;
    };
    // The lock is free again before the upgraded key can be dropped: `Entry::drop` takes it.
    let entry = {
        let entries = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(&u64::from_be_bytes(number))
            .and_then(Weak::upgrade)
    };
    entry.map_or(Found::Dropped, |entry| Found::Ours(Registered(entry)))
}

/// RS256 with a parsed key.
struct CachedRs256(Registered);

impl Signer<Vec<u8>> for CachedRs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        rs256(self.0.pair(), message).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for CachedRs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

fn new_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match (look_up(key.as_bytes()), algorithm) {
        (Found::Ours(pair), Algorithm::RS256) => Ok(Box::new(CachedRs256(pair))),
        (Found::Ours(_), _) => Err(ErrorKind::InvalidAlgorithm.into()),
        (Found::Dropped, _) => Err(ErrorKind::InvalidRsaKey(DROPPED.to_owned()).into()),
        (Found::NotATicket, _) => (STOCK.signer_factory)(algorithm, key),
    }
}

fn new_verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    (STOCK.verifier_factory)(algorithm, key)
}

/// n and e for `Jwk::from_encoding_key`.
fn public_components(content: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    match look_up(content) {
        Found::Ours(pair) => der::rsa_public(pair.pair().public_key().as_ref())
            .map(|(n, e)| (n.to_vec(), e.to_vec()))
            .ok_or_else(|| ErrorKind::InvalidKeyFormat.into()),
        Found::Dropped => Err(ErrorKind::InvalidRsaKey(DROPPED.to_owned()).into()),
        Found::NotATicket => (STOCK.key_utils.rsa_pub_components_from_private_key)(content),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::signing::SigningKey;
    use crate::signing::key::KeyBits;

    fn entries() -> Vec<u64> {
        REGISTRY.read().expect("registry").keys().copied().collect()
    }

    #[test]
    fn a_ticket_holds_no_key_and_dies_with_it() {
        let key = SigningKey::generate(KeyBits::Rsa2048).expect("key");
        let ticket = key.encoding_key().expect("a ticket");
        assert_eq!(ticket.as_bytes().len(), MARK.len() + 8);
        assert!((PROVIDER.signer_factory)(&Algorithm::RS256, &ticket).is_ok());
        let number = key.pair_number();
        assert!(entries().contains(&number));

        drop(key);
        assert!(
            !entries().contains(&number),
            "the registry keeps no entry of a dropped key"
        );
        let error = (PROVIDER.signer_factory)(&Algorithm::RS256, &ticket)
            .err()
            .expect("refused");
        assert!(error.to_string().contains("dropped"));
    }

    #[test]
    fn a_signer_in_use_keeps_the_key_until_it_is_done() {
        let key = SigningKey::generate(KeyBits::Rsa2048).expect("key");
        let signer =
            (PROVIDER.signer_factory)(&Algorithm::RS256, &key.encoding_key().expect("a ticket"))
                .expect("signer");
        let before = signer.try_sign(b"x").expect("signature");
        drop(key);
        assert_eq!(signer.try_sign(b"x").expect("signature"), before);
    }

    #[test]
    fn tickets_are_for_rs256_only() {
        let key = SigningKey::generate(KeyBits::Rsa2048).expect("key");
        for other in [
            Algorithm::RS384,
            Algorithm::PS256,
            Algorithm::HS256,
            Algorithm::ES256,
        ] {
            assert!(
                (PROVIDER.signer_factory)(&other, &key.encoding_key().expect("a ticket")).is_err(),
                "{other:?}"
            );
        }
    }

    #[test]
    fn keys_of_others_go_to_the_stock_provider() {
        let secret = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let ours = (PROVIDER.signer_factory)(&Algorithm::HS256, &secret).expect("signer");
        let stock = (STOCK.signer_factory)(&Algorithm::HS256, &secret).expect("signer");
        assert_eq!(
            ours.try_sign(b"m").expect("mac"),
            stock.try_sign(b"m").expect("mac")
        );
        assert!(
            matches!(look_up(MARK), Found::NotATicket),
            "a mark without a number"
        );
        assert!(matches!(
            look_up(&[MARK, &[0; 9]].concat()),
            Found::NotATicket
        ));
    }

    impl SigningKey {
        fn pair_number(&self) -> u64 {
            let bytes = self.encoding_key().expect("a ticket").as_bytes()[MARK.len()..].to_vec();
            u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
        }
    }
}
