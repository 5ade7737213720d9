//! Claims in, compact JWS out: the keys, the ring they rotate in, and the threads that sign.
//!
//! | file | what it is for |
//! |---|---|
//! | [`Algorithm`] | RS256, PS256, ES256, EdDSA |
//! | [`key`] | one private key, parsed once: `kid`, JWS header, the operation; `pair` holds it |
//! | [`source`] | a key file (PEM or JWK) → the key in it; `pem`, `der`, `encrypted` and `jwk` read the forms |
//! | [`jwk`] | what may be published: [`Jwks`], public members only |
//! | [`life`] | when a key is next, active, retiring, gone (pure) |
//! | [`manifest`] | `ring.json`: the files of a folder of keys, and their times; rotate and retire (pure) |
//! | [`ring`] | all keys of one issuer: one signs, those whose time has come are published; reload without a gap |
//! | [`provider`] | our `jsonwebtoken` `CryptoProvider`: the stock one parses the key again for each token |
//! | [`multi_buffer`] | eight RSA signatures at once where the CPU can, each checked |
//! | `public` | a public key as others hand it out: what Vault tells, and the check of what it signed |
//! | [`vault`] | the key in Vault or OpenBao instead: a batch is one call, each signature checked |
//! | [`signer`] | named OS threads that take what is waiting and sign it through a `backend` |
//!
//! What this module must never do: show a private member of a key in a `Debug`, an error or a JWKS;
//! look into the claims (it signs the JSON it is given, `iat` and all); block the async runtime on RSA.

mod algorithm;
mod backend;
mod der;
mod encrypted;
mod error;
pub mod jwk;
pub mod key;
pub mod life;
pub mod manifest;
pub mod multi_buffer;
mod pair;
mod pem;
pub mod provider;
mod public;
pub mod ring;
pub mod signer;
pub mod source;
#[cfg(test)]
mod tests;
pub mod vault;

pub use algorithm::Algorithm;
pub use encrypted::seal_pem;
pub use error::KeyError;
pub use jwk::{Jwks, PublicJwk};
pub use key::{Kid, MIN_BITS, SigningKey};
pub use life::{KeyState, Life};
pub use manifest::{Manifest, ManifestKey};
pub use multi_buffer::{MultiBuffer, MultiBufferError};
pub use ring::{KeyRing, Reloaded, RingSource};
pub use signer::{SignError, SignedSet, Signer};
pub use source::KeySource;
pub use vault::{Vault, VaultAuth, VaultFault, VaultSettings};
