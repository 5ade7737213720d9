//! A key in Vault's transit engine.

use std::path::PathBuf;

use url::Url;

use super::super::domain::{KeysConfig, VaultConfig};
use super::super::pointer::{child, dotted};
use super::super::raw::{RawConfig, RawRing, RawSecret, RawVault};
use super::{Checker, text};
use crate::secret::Secret;
use crate::signing::{Algorithm, VaultAuth, VaultSettings};

/// The key of a ring that is written at `at`, and signs for the streams at these places.
pub(super) fn keys(
    all: &RawConfig,
    words: RawRing<'_>,
    at: &str,
    streams: &[usize],
    checker: &mut Checker<'_>,
) -> Option<KeysConfig> {
    for (is_there, key) in [
        (!words.keys.is_empty(), "keys"),
        (words.ring.is_some(), "ring"),
    ] {
        if is_there {
            checker.wrong::<()>(
                &child(at, key),
                format!("there are `{key}`, but the key is in Vault"),
                format!("remove `{key}`, or set `{}.backend: files`", dotted(at)),
            );
        }
    }
    let (raw, at) = (words.vault, &child(at, "vault"));
    let address = address(raw, at, checker);
    let key = match &raw.key {
        Some(key) => name(key, &child(at, "key"), "key", false, checker),
        None => checker.wrong(
            at,
            "`backend: vault_transit` needs the name of a key",
            "add `key`; `vault write transit/keys/NAME type=rsa-2048` makes one",
        ),
    };
    let mount = name(&raw.mount, &child(at, "mount"), "mount", true, checker);
    let namespace = raw.namespace.as_ref();
    let namespace = namespace.map(|namespace| {
        let at = child(at, "namespace");
        name(namespace, &at, "namespace", true, checker)
    });
    let auth = auth(raw, at, checker);
    let timeout = text::positive(&raw.timeout, &child(at, "timeout"), checker);
    let refresh = text::positive(&raw.refresh, &child(at, "refresh"), checker);
    let algorithm = algorithm(all, streams, checker);
    Some(KeysConfig::Vault(Box::new(VaultConfig {
        settings: VaultSettings {
            address: address?,
            mount: mount?,
            key: key?,
            namespace: text::all(namespace)?,
            auth: auth?,
            ca_file: raw.ca_file.as_ref().map(|path| PathBuf::from(&path.0)),
            timeout: timeout?,
            algorithm: algorithm?,
        },
        refresh: refresh?,
    })))
}

fn address(raw: &RawVault, section: &str, checker: &mut Checker<'_>) -> Option<Url> {
    let at = child(section, "address");
    let Some(address) = &raw.address else {
        return checker.wrong(
            section,
            "`backend: vault_transit` needs the address of Vault",
            "add it: address: https://vault.example.com:8200",
        );
    };
    let url = text::web_url(address, false, &at, checker)?;
    if url.query().is_some() {
        return checker.wrong(
            &at,
            "there is a query in the address",
            "remove the `?` and what follows it",
        );
    }
    if url.path().trim_end_matches('/').ends_with("/v1") {
        return checker.wrong(
            &at,
            "the address ends in /v1, which is added here",
            "remove /v1",
        );
    }
    Some(url)
}

/// A name in a path of Vault's API; a mount or a namespace may have several segments.
fn name(
    raw: &str,
    at: &str,
    key: &str,
    has_segments: bool,
    checker: &mut Checker<'_>,
) -> Option<String> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || (has_segments && c == '/');
    let segments_are_names = raw
        .trim_matches('/')
        .split('/')
        .all(|segment| !matches!(segment, "" | "." | ".."));
    if raw.chars().all(plain) && segments_are_names {
        return Some(raw.trim_matches('/').to_owned());
    }
    checker.wrong(
        at,
        format!("this is no {key} in Vault"),
        "use letters, digits, `.`, `_` and `-`; a mount and a namespace may have `/` between names",
    )
}

fn auth(raw: &RawVault, at: &str, checker: &mut Checker<'_>) -> Option<VaultAuth> {
    let kubernetes = &raw.kubernetes;
    match (&raw.token, &kubernetes.role) {
        (Some(token), None) => {
            self::token(token, &child(at, "token"), checker).map(VaultAuth::Token)
        }
        (None, Some(role)) => {
            let at = child(&child(at, "kubernetes"), "mount");
            let mount = name(&kubernetes.mount, &at, "kubernetes.mount", true, checker);
            Some(VaultAuth::Kubernetes {
                role: role.clone(),
                mount: mount?,
                token_file: PathBuf::from(&kubernetes.token_file.0),
            })
        }
        (None, None) => checker.wrong(
            at,
            "nothing proves to Vault who we are",
            "add `token: file:/path`, or `kubernetes` with a `role`",
        ),
        (Some(_), Some(_)) => checker.wrong(
            &child(at, "token"),
            "there are a `token` and a role for `kubernetes`",
            "give one of them",
        ),
    }
}

/// Its file is not read here: an agent may write it after the start.
fn token(raw: &RawSecret, at: &str, checker: &mut Checker<'_>) -> Option<Secret> {
    match raw.0.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Some(Secret::unread(path.into())),
        _ => text::header_secret(raw, at, checker),
    }
}

/// One key signs by one algorithm: that of all its streams.
fn algorithm(all: &RawConfig, streams: &[usize], checker: &mut Checker<'_>) -> Option<Algorithm> {
    let own = |at: usize| all.streams[at].signing.algorithm;
    let of = |at: usize| own(at).unwrap_or(all.signing.algorithm);
    let at = |index: usize| match own(index) {
        Some(_) => format!("/streams/{index}/signing/algorithm"),
        None => "/signing/algorithm".to_owned(),
    };
    let first = streams.first().map_or(all.signing.algorithm, |at| of(*at));
    if let Some(&other) = streams.iter().find(|index| of(**index) != first) {
        return checker.wrong(
            &at(other),
            format!("this stream signs by {}, another one by {first}, but the one key in Vault signs by one algorithm", of(other)),
            "give all streams the same algorithm",
        );
    }
    if first == Algorithm::EdDsa {
        let at = streams
            .first()
            .map_or("/signing/algorithm".to_owned(), |index| at(*index));
        return checker.wrong(
            &at,
            "a key in Vault does not sign by EdDSA here",
            "use RS256, PS256 or ES256, or keys in files",
        );
    }
    Some(first)
}
