//! What Vault answers, and what follows from it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::VaultFault;
use crate::set::Timestamp;
use crate::signing::life::Life;

/// A signature's octets, or why there are none.
pub type Signed = Result<Vec<u8>, VaultFault>;

/// Precondition failed (data not replicated yet), too many requests, standbys of several kinds, and 5xx: among them 503
/// for a sealed Vault. 408 and 425 by analogy.
pub(super) fn is_moment(status: u16) -> bool {
    matches!(status, 100..=199 | 408 | 412 | 425 | 429 | 472 | 473 | 500..)
}

/// The versions of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersions {
    /// By number; those that Vault still verifies by.
    versions: BTreeMap<u32, Version>,
    /// Versions below it may not sign.
    may_sign_from: u32,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    public_key: String,
    created: Timestamp,
}

#[derive(Deserialize)]
struct KeyAnswer {
    data: KeyPart,
}

#[derive(Deserialize)]
struct KeyPart {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    min_decryption_version: u32,
    #[serde(default)]
    min_encryption_version: u32,
    /// Asymmetric keys: an object a version; others a number.
    keys: BTreeMap<u32, serde_json::Value>,
}

#[derive(Deserialize)]
struct VersionPart {
    #[serde(default)]
    public_key: String,
    creation_time: String,
}

impl KeyVersions {
    pub(super) fn read(body: &[u8]) -> Result<Self, VaultFault> {
        let answer: KeyAnswer = serde_json::from_slice(body).map_err(|_| VaultFault::Unreadable)?;
        let KeyPart {
            kind,
            min_decryption_version,
            min_encryption_version,
            keys,
        } = answer.data;
        match kind.as_str() {
            "rsa-2048" | "rsa-3072" | "rsa-4096" | "ecdsa-p256" => {}
            "ed25519" => return Err(VaultFault::WrongKey("an Ed25519 key")),
            "ecdsa-p384" | "ecdsa-p521" => {
                return Err(VaultFault::WrongKey("an EC key on another curve"));
            }
            _ => return Err(VaultFault::WrongKey("of a type that cannot sign here")),
        }
        let mut versions = BTreeMap::new();
        for (number, part) in keys {
            let part: VersionPart =
                serde_json::from_value(part).map_err(|_| VaultFault::Unreadable)?;
            let created: jiff::Timestamp = part
                .creation_time
                .parse()
                .map_err(|_| VaultFault::Unreadable)?;
            if number >= min_decryption_version {
                let version = Version {
                    public_key: part.public_key,
                    created: Timestamp::from_secs(created.as_second()),
                };
                versions.insert(number, version);
            }
        }
        Ok(Self {
            versions,
            may_sign_from: min_encryption_version,
        })
    }

    /// Each version with its public key as PEM, and its life; the oldest first. A version signs once it has been published
    /// for `before_use` since it was made, but the oldest at once: there was nothing before it. When Vault lets only
    /// versions sign that are too young, the oldest of those signs at once: what came before it may be leaked.
    pub(in crate::signing) fn lives(&self, before_use: Duration) -> Vec<(u32, &str, Life)> {
        let after = i64::try_from(before_use.as_secs()).unwrap_or(i64::MAX);
        let first = self.versions.keys().find(|v| **v >= self.may_sign_from);
        let life = |number: u32, version: &Version| Life {
            not_before: (Some(&number) != first)
                .then(|| Timestamp::from_secs(version.created.as_secs().saturating_add(after))),
            published_only: number < self.may_sign_from,
            at_once: Some(&number) == first && self.versions.keys().next() != first,
            ..Life::default()
        };
        self.versions
            .iter()
            .map(|(number, version)| (*number, version.public_key.as_str(), life(*number, version)))
            .collect()
    }
}

#[derive(Deserialize)]
struct SignAnswer {
    data: SignPart,
}

#[derive(Deserialize)]
struct SignPart {
    batch_results: Vec<SignItem>,
}

#[derive(Deserialize)]
struct SignItem {
    #[serde(default)]
    signature: String,
    #[serde(default)]
    error: String,
}

/// The results of a call for `count` digests; [`None`]: there are none in it. Vault answers 200 also when single digests
/// failed, or 400: the results tell. When all of them failed, it is not for one SET's sake.
pub(super) fn signatures(
    status: u16,
    body: &[u8],
    version: u32,
    count: usize,
) -> Option<Result<Vec<Signed>, VaultFault>> {
    if !matches!(status, 200 | 400) {
        return None;
    }
    let answer: SignAnswer = serde_json::from_slice(body).ok()?;
    let items = answer.data.batch_results;
    if items.len() != count {
        return None;
    }
    if items.iter().all(|item| item.signature.is_empty()) {
        return Some(Err(VaultFault::Refused(status)));
    }
    let read = |item: &SignItem| match item.error.as_str() {
        "" => signature(&item.signature, version).ok_or(VaultFault::Unreadable),
        _ => Err(VaultFault::Item),
    };
    Some(Ok(items.iter().map(read).collect()))
}

/// `vault:v3:<base64>`, by this version. ES256's comes in the URL-safe alphabet, the others in the standard one.
fn signature(text: &str, version: u32) -> Option<Vec<u8>> {
    let mut parts = text.splitn(3, ':');
    let (_, by, octets) = (parts.next()?, parts.next()?, parts.next()?);
    if by.strip_prefix('v')?.parse() != Ok(version) {
        return None;
    }
    STANDARD
        .decode(octets)
        .or_else(|_| URL_SAFE_NO_PAD.decode(octets))
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Version 1 was made in second 1000 after 2020, version 2 in second 2000, and so on.
    fn key(versions: std::ops::RangeInclusive<u32>, changes: Value) -> KeyVersions {
        let time = |n: u32| {
            format!(
                "2020-01-01T00:{:02}:{:02}.123456789Z",
                n * 1000 / 60,
                n * 1000 % 60
            )
        };
        let keys: serde_json::Map<String, Value> = versions
            .map(|n| (n.to_string(), json!({"public_key": format!("pem {n}"), "creation_time": time(n), "name": "rsa-2048"})))
            .collect();
        let mut part = json!({"type": "rsa-2048", "keys": keys, "latest_version": 3, "min_decryption_version": 1, "min_encryption_version": 0, "name": "sets"});
        for (name, value) in changes.as_object().expect("an object") {
            part[name] = value.clone();
        }
        KeyVersions::read(json!({"data": part, "lease_id": ""}).to_string().as_bytes())
            .expect("an answer of the API")
    }

    const ZERO: i64 = 1_577_836_800;

    fn at(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_secs(ZERO + second))
    }

    const BEFORE: Duration = Duration::from_secs(900);

    #[test]
    fn a_version_signs_once_it_was_published_long_enough() {
        let key = key(1..=3, json!({}));
        let lives = key.lives(BEFORE);
        let from: Vec<_> = lives
            .iter()
            .map(|(n, pem, life)| (*n, *pem, life.not_before))
            .collect();
        assert_eq!(
            from,
            [
                (1, "pem 1", None),
                (2, "pem 2", at(2900)),
                (3, "pem 3", at(3900))
            ]
        );
        assert!(
            lives
                .iter()
                .all(|(_, _, life)| !life.published_only && !life.at_once)
        );
    }

    #[test]
    fn versions_that_vault_no_longer_verifies_by_are_not_published() {
        let key = key(1..=3, json!({"min_decryption_version": 2}));
        let numbers: Vec<_> = key.lives(BEFORE).iter().map(|(n, ..)| *n).collect();
        assert_eq!(numbers, [2, 3]);
    }

    #[test]
    fn a_version_that_may_not_sign_is_published_only_and_the_next_signs_at_once() {
        let key = key(1..=3, json!({"min_encryption_version": 2}));
        let lives: Vec<_> = key.lives(BEFORE).iter().map(|(_, _, life)| *life).collect();
        assert!(lives[0].published_only);
        assert_eq!((lives[1].not_before, lives[1].at_once), (None, true));
        assert_eq!((lives[2].not_before, lives[2].at_once), (at(3900), false));
    }

    #[test]
    fn other_keys_are_the_set_ups_fault() {
        for kind in ["aes256-gcm96", "ed25519", "ecdsa-p384", "hmac"] {
            // Symmetric keys have a time a version, nothing else.
            let body = json!({"data": {"type": kind, "keys": {"1": 1_577_836_800}}});
            let fault = KeyVersions::read(body.to_string().as_bytes()).expect_err(kind);
            assert!(fault.is_set_up(), "{kind}: {fault}");
        }
        assert_eq!(KeyVersions::read(b"<html>"), Err(VaultFault::Unreadable));
    }

    fn results(items: &Value) -> Option<Result<Vec<Signed>, VaultFault>> {
        let body = json!({"data": {"batch_results": items}}).to_string();
        signatures(200, body.as_bytes(), 3, 2)
    }

    #[test]
    fn each_digest_has_its_own_result() {
        let good = json!({"signature": "vault:v3:AQID", "key_version": 3});
        let url_safe = json!({"signature": "vault:v3:_-8"});
        let failed = json!({"error": "some words"});
        assert_eq!(
            results(&json!([good, url_safe])),
            Some(Ok(vec![Ok(vec![1, 2, 3]), Ok(vec![0xff, 0xef])]))
        );
        assert_eq!(
            results(&json!([failed, good])),
            Some(Ok(vec![Err(VaultFault::Item), Ok(vec![1, 2, 3])]))
        );
        assert_eq!(
            results(&json!([failed, failed])),
            Some(Err(VaultFault::Refused(200)))
        );
        assert_eq!(results(&json!([good])), None, "one is missing");
        for other in [
            "vault:v2:AQID",
            "vault:v3",
            "v3:AQID",
            "vault:v3:***",
            "AQID",
        ] {
            let other = json!({"signature": other});
            assert_eq!(
                results(&json!([good, other])),
                Some(Ok(vec![Ok(vec![1, 2, 3]), Err(VaultFault::Unreadable)])),
                "{other}"
            );
        }
        assert_eq!(signatures(503, b"{}", 3, 2), None);
    }

    #[test]
    fn statuses_say_whose_fault_it_is() {
        for status in [412, 429, 472, 473, 500, 502, 503] {
            assert!(is_moment(status), "{status}");
        }
        for status in [301, 307, 400, 403, 404, 405] {
            assert!(!is_moment(status), "{status}");
        }
    }
}
