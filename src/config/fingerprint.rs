//! Short names for a set-up: two that are equal were made from equal settings.

use aws_lc_rs::digest::{Context, SHA256};

use super::domain::{ConfigHash, Fingerprint, Issuer, Profile, ReceiverConfig};
use super::raw::RawConfig;
use crate::signing::Algorithm;

/// What a receiver checks about us (see [`Fingerprint`]). Each part goes in with its length, so
/// that no two lists of parts are alike.
pub(super) fn stream(
    receiver: &ReceiverConfig,
    issuer: &Issuer,
    audience: &str,
    profile: Profile,
    algorithm: Algorithm,
) -> Fingerprint {
    let parts = [
        receiver.url.as_str(),
        issuer.as_str(),
        audience,
        profile.as_str(),
        receiver.auth.kind(),
    ];
    // RS256 adds nothing, so that a fingerprint from before there were others stays the same.
    let algorithm = Some(algorithm.as_str()).filter(|_| algorithm != Algorithm::Rs256);
    let mut digest = Context::new(&SHA256);
    for part in parts.into_iter().chain(algorithm) {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    Fingerprint(finish(digest))
}

/// Over the effective configuration: defaults filled in, secrets left out.
pub(super) fn config_hash(raw: &RawConfig) -> ConfigHash {
    let mut digest = Context::new(&SHA256);
    // Serializing these types cannot fail: their maps have texts for keys.
    digest.update(&serde_json::to_vec(raw).unwrap_or_default());
    ConfigHash(finish(digest))
}

fn finish(digest: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}
