//! A key in Vault: what is taken, and what is wrong with others.

use super::*;
use crate::config::KeysConfig;
use crate::signing::{Algorithm, VaultAuth};

const KEYS: &str = "  keys: [{file: signing.pem}]\n";
const GOOD: &str = "address: 'https://vault:8200', key: sets, token: 'file:/nowhere'";

/// The base file with its key in Vault.
fn with(vault: &str, more: &str) -> String {
    let signing = format!("  backend: vault_transit\n  vault: {{{vault}}}\n{more}");
    BASE.replace(KEYS, &signing)
}

/// Key of the mistake, part of the message, part of the mend.
fn is_wrong(text: &str, (key, message, mend): (&str, &str, &str)) {
    let mistakes = load_with(text, &[]).err().unwrap_or_default();
    assert_eq!(mistakes.len(), 1, "{text}\n{}", shown(&mistakes));
    let told = mistakes[0].to_string();
    let (first, mended) = told.split_once("\n    mend: ").unwrap();
    assert!(first.contains(&format!(": {key}: ")), "{told}");
    assert!(first.contains(message), "{told}");
    assert!(mended.contains(mend), "{told}");
}

#[test]
fn a_key_in_vault_with_a_token_that_comes_later() {
    let config = good(&with(GOOD, ""));
    let KeysConfig::Vault(vault) = &config.rings[0].keys else {
        panic!("{:?}", config.rings[0].keys);
    };
    assert_eq!(vault.settings.mount, "transit");
    assert_eq!(vault.settings.algorithm, Algorithm::Rs256);
    assert_eq!(config.signing.threads_for(&config.rings[0].keys).get(), 4);
    assert!(matches!(vault.settings.auth, VaultAuth::Token(_)));
    assert!(!format!("{config:?}").contains("hvs."));
    let kubernetes =
        "address: 'http://127.0.0.1:8100', key: sets, mount: a/b, kubernetes: {role: r}";
    good(&with(kubernetes, ""));
}

#[test]
fn mistakes_about_vault_are_told_with_their_mend() {
    let vault = |more: &str| with(&format!("{GOOD}, {more}"), "");
    for (text, told) in [
        (
            with("key: sets, token: t", ""),
            ("signing.vault", "needs the address", "address: https://"),
        ),
        (
            with("address: 'https://v', token: t", ""),
            ("signing.vault", "name of a key", "type=rsa-2048"),
        ),
        (
            with("address: 'https://v', key: sets", ""),
            ("signing.vault", "nothing proves", "kubernetes"),
        ),
        (
            with("address: 'http://v', key: sets, token: t", ""),
            ("signing.vault.address", "plain http", "https"),
        ),
        (
            with("address: 'https://v/v1', key: sets, token: t", ""),
            ("signing.vault.address", "ends in /v1", "remove /v1"),
        ),
        (
            with("address: 'https://v/?a=b', key: sets, token: t", ""),
            ("signing.vault.address", "a query", "remove"),
        ),
        (
            with("address: 'https://v', key: 'a/../b', token: t", ""),
            ("signing.vault.key", "no key in Vault", "letters"),
        ),
        (
            with("address: 'https://v', key: sets, token: \"t\\nu\"", ""),
            ("signing.vault.token", "no header can carry", "line ends"),
        ),
        (
            vault("mount: '../sys'"),
            ("signing.vault.mount", "no mount in Vault", "letters"),
        ),
        (
            vault("kubernetes: {role: r}"),
            (
                "signing.vault.token",
                "a role for `kubernetes`",
                "one of them",
            ),
        ),
        (vault("timeout: 0s"), ("signing.vault.timeout", "", "")),
        (
            vault("timeout: 30s"),
            ("signing.vault.timeout", "drain_deadline", "shorten"),
        ),
        (
            vault("refresh: 15m"),
            ("signing.vault.refresh", "publish_before_use", "shorten"),
        ),
        (
            with(GOOD, KEYS),
            ("signing.keys", "the key is in Vault", "backend: files"),
        ),
        (
            with(GOOD, "  ring: keys\n"),
            ("signing.ring", "the key is in Vault", "backend: files"),
        ),
        (
            BASE.replace(KEYS, &format!("{KEYS}  vault: {{{GOOD}}}\n")),
            ("signing.vault", "another one", "vault_transit"),
        ),
    ] {
        is_wrong(&text, told);
    }
}

#[test]
fn one_key_in_vault_signs_by_one_algorithm() {
    let ssf = "    profile: ssf-1.0\n    receiver:\n      url: https://ssf.example.org/events\n";
    let stream = |id: &str, algorithm: &str| {
        format!("  - id: {id}\n    topics: [{id}]\n    signing: {{algorithm: {algorithm}}}\n{ssf}")
    };
    let base = with(GOOD, "");
    let streams = base.find("  - id: okta").unwrap();
    let of = |algorithms: [&str; 2]| {
        let [one, two] = algorithms;
        format!(
            "{}{}{}",
            &base[..streams],
            stream("one", one),
            stream("two", two)
        )
    };
    let config = good(&of(["ES256", "ES256"]));
    let KeysConfig::Vault(vault) = &config.rings[0].keys else {
        panic!("{:?}", config.rings[0].keys);
    };
    assert_eq!(vault.settings.algorithm, Algorithm::Es256);
    let several = (
        "streams[1].signing.algorithm",
        "signs by one algorithm",
        "the same",
    );
    is_wrong(&of(["ES256", "PS256"]), several);
    let eddsa = (
        "streams[0].signing.algorithm",
        "EdDSA",
        "RS256, PS256 or ES256",
    );
    is_wrong(&of(["EdDSA", "EdDSA"]), eddsa);
}
