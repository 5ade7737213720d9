//! Streams with keys of their own: which ring each has, where it is published, and what is wrong with others.

use super::*;

/// Two streams; the second has an issuer and keys of its own.
const TWO: &str = "\
kafka:
  bootstrap_servers: localhost:9092
signing:
  keys: [{file: signing.pem}]
transmitter:
  issuer: https://ssf.example.com
streams:
  - id: one
    topics: [one]
    receiver: {url: 'https://org.okta.com/events'}
  - id: two
    topics: [two]
    issuer: https://ssf.example.com/two
    signing: {keys: [{file: two.pem}]}
    receiver: {url: 'https://two.okta.com/events'}
";

const THIRD: &str = "  - id: three
    topics: [three]
    issuer: https://ssf.example.com/three
    signing: {keys: [{file: two.pem}]}
    receiver: {url: 'https://three.okta.com/events'}
";

const OWN: &str = "    signing: {keys: [{file: two.pem}]}\n";

fn names(config: &Config) -> Vec<String> {
    let each = config.rings.iter();
    each.map(|ring| ring.name.to_string()).collect()
}

/// Issuer, address of its JWKS, ring.
fn published(config: &Config) -> Vec<(String, String, String)> {
    let each = config.transmitter.issuers.iter();
    let texts = |of: &IssuerMetadata| {
        (
            of.issuer.to_string(),
            of.jwks_uri.to_string(),
            of.ring.to_string(),
        )
    };
    each.map(texts).collect()
}

#[test]
fn a_stream_that_names_keys_has_a_ring_an_address_and_an_issuer_of_its_own() {
    let config = good(TWO);
    assert_eq!(names(&config), ["(default)", "two"]);
    let rings: Vec<String> = config.streams.iter().map(|s| s.ring.to_string()).collect();
    assert_eq!(rings, ["(default)", "two"]);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        published(&config),
        [
            (
                text("https://ssf.example.com"),
                text("https://ssf.example.com/jwks.json"),
                text("(default)")
            ),
            (
                text("https://ssf.example.com/two"),
                text("https://ssf.example.com/streams/two/jwks.json"),
                text("two")
            ),
        ]
    );
    let ring = &config.rings[1];
    assert_eq!(ring.place(), "streams[1].signing");
    assert_eq!(ring.publish_before_use, Duration::from_secs(15 * 60));
    assert!(!ring.check_published && ring.passphrase_file.is_none());
}

#[test]
fn what_is_not_said_of_own_keys_is_as_in_signing_but_the_passphrase() {
    let signing =
        "signing:\n  passphrase_file: p\n  publish_before_use: 7m\n  check_published: true\n";
    let config = good(&TWO.replace("signing:\n  keys", &format!("{signing}  keys")));
    let ring = &config.rings[1];
    assert_eq!(ring.publish_before_use, Duration::from_secs(7 * 60));
    assert!(ring.check_published && ring.passphrase_file.is_none());

    // The address of the default ring's JWKS is not that of another one's.
    let elsewhere = TWO.replace(
        "  issuer: https://ssf.example.com\n",
        "  issuer: https://ssf.example.com\n  jwks_uri: https://cdn.example.com/k\n",
    );
    let config = good(&elsewhere);
    assert!(config.rings[0].check_published && !config.rings[1].check_published);
    assert_eq!(
        published(&config)[1].1,
        "https://ssf.example.com/streams/two/jwks.json"
    );
    let config = good(&TWO.replace(
        OWN,
        &format!("    jwks_uri: https://cdn.example.com/2\n{OWN}"),
    ));
    assert!(!config.rings[0].check_published && config.rings[1].check_published);
    assert_eq!(published(&config)[1].1, "https://cdn.example.com/2");
}

#[test]
fn streams_with_the_same_keys_share_a_ring() {
    let config = good(&format!("{TWO}{THIRD}"));
    assert_eq!(names(&config), ["(default)", "two"]);
    assert_eq!(config.streams[2].ring.to_string(), "two");
    assert_eq!(
        published(&config)[1].1,
        "https://ssf.example.com/streams/two/jwks.json"
    );
    let same_issuer = THIRD.replace("com/three\n", "com/two\n");
    good(&format!("{TWO}{same_issuer}"));
    let vault =
        "{backend: vault_transit, vault: {address: 'https://v', key: k, token: 'file:/nowhere'}}";
    let vault = |text: &str| text.replace("{keys: [{file: two.pem}]}", vault);
    let config = good(&vault(&format!("{TWO}{THIRD}")));
    assert_eq!(names(&config), ["(default)", "two"]);
}

#[test]
fn no_key_at_the_top_is_needed_when_each_stream_has_its_own() {
    let top = "signing:\n  keys: [{file: signing.pem}]\n";
    let own = TWO.replace(
        "    topics: [one]\n",
        "    topics: [one]\n    signing: {ring: keys-of-one}\n",
    );
    for signing in ["signing: {}\n", "signing: {threads: 2}\n"] {
        let config = good(&own.replace(top, signing));
        assert_eq!(names(&config), ["one", "two"]);
        let issuer = &published(&config)[0];
        assert_eq!(issuer.1, "https://ssf.example.com/streams/one/jwks.json");
    }
    // Keys at the top that no stream has are published all the same, where they have an issuer.
    let config = good(&own);
    assert_eq!(names(&config), ["(default)", "one", "two"]);
}

#[test]
fn mistakes_about_own_keys_are_told_with_their_mend() {
    let own = |signing: &str| TWO.replace(OWN, &format!("    signing: {{{signing}}}\n"));
    let vault = "address: 'https://v', key: k";
    for (text, (key, message, mend)) in [
        (
            own("keys: [{file: two.pem}], ring: keys"),
            (
                "streams[1].signing.ring",
                "`keys` and a `ring`",
                "one of them",
            ),
        ),
        (
            own("keys: [{file: two.pem}, {file: two.pem}]"),
            ("streams[1].signing.keys[1].file", "listed twice", "once"),
        ),
        (
            own("keys: [{file: two.pem, published_only: true}]"),
            ("streams[1].signing.keys", "none signs", "published_only"),
        ),
        (
            own("keys: [{file: two.pem, not_before: soon}]"),
            ("streams[1].signing.keys[0].not_before", "", "2026-01-31"),
        ),
        (
            own("ring: keys, publish_before_use: soon"),
            (
                "streams[1].signing.publish_before_use",
                "not the right form",
                "5m",
            ),
        ),
        (
            own("passphrase_file: p"),
            (
                "streams[1].signing.passphrase_file",
                "names none",
                "signing.ring",
            ),
        ),
        (
            own("publish_before_use: 1m"),
            (
                "streams[1].signing.publish_before_use",
                "names none",
                "signing.keys",
            ),
        ),
        (
            own("check_published: true"),
            (
                "streams[1].signing.check_published",
                "names none",
                "signing.keys",
            ),
        ),
        (
            TWO.replace(OWN, "    jwks_uri: https://cdn.example.com/2\n"),
            ("streams[1].jwks_uri", "names none", "signing.keys"),
        ),
        (
            TWO.replace(
                OWN,
                &format!("    jwks_uri: http://cdn.example.com/2\n{OWN}"),
            ),
            ("streams[1].jwks_uri", "plain http", "https"),
        ),
        (
            own("keys: [{file: signing.pem}]"),
            (
                "streams[1].signing",
                "the keys of `signing` at the top",
                "other keys",
            ),
        ),
        (
            own("keys: [{file: two.pem}, {file: signing.pem}]"),
            (
                "streams[1].signing",
                "signing.pem is among the keys of signing",
                "no key in common",
            ),
        ),
        (
            format!(
                "{TWO}{}",
                THIRD.replace("keys: [{file: two.pem}]", "ring: ''")
            )
            .replace("''", "keys")
            .replace("two.pem", "keys/two.pem"),
            (
                "streams[2].signing",
                "keys/two.pem is among",
                "no key in common",
            ),
        ),
        (
            format!(
                "{TWO}{}",
                THIRD.replace("}]}", "}], publish_before_use: 1h}")
            ),
            (
                "streams[2].signing",
                "another `publish_before_use`",
                "the same in both",
            ),
        ),
        (
            format!("{TWO}{}", THIRD.replace("}]}", "}], passphrase_file: p}")),
            (
                "streams[2].signing",
                "another `passphrase_file`",
                "the same in both",
            ),
        ),
        (
            TWO.replace("    issuer: https://ssf.example.com/two\n", ""),
            (
                "streams[1]",
                "the issuer https://ssf.example.com too",
                "an `issuer` of its own",
            ),
        ),
        (
            TWO.replace("https://ssf.example.com/two", "https://ssf.example.com"),
            ("streams[1].issuer", "other keys", "an `issuer` of its own"),
        ),
        (
            TWO.replace("signing:\n  keys: [{file: signing.pem}]\n", "signing: {}\n"),
            ("signing", "there is no key that signs", "add `keys`"),
        ),
        (
            own(&format!("vault: {{{vault}, token: t}}")),
            (
                "streams[1].signing.vault",
                "streams[1].signing.backend",
                "vault_transit",
            ),
        ),
        (
            own(&format!("backend: vault_transit, vault: {{{vault}}}")),
            ("streams[1].signing.vault", "nothing proves", "token"),
        ),
        (
            own(&format!(
                "backend: vault_transit, ring: keys, vault: {{{vault}, token: t}}"
            )),
            (
                "streams[1].signing.ring",
                "the key is in Vault",
                "streams[1].signing.backend: files",
            ),
        ),
        (
            own(&format!(
                "backend: vault_transit, vault: {{{vault}, token: t, refresh: 1h}}"
            )),
            (
                "streams[1].signing.vault.refresh",
                "publish_before_use",
                "shorten",
            ),
        ),
        (
            own(&format!(
                "backend: vault_transit, vault: {{{vault}, token: t, mount: '..'}}"
            )),
            ("streams[1].signing.vault.mount", "no mount", "letters"),
        ),
    ] {
        let mistakes = load_with(&text, &[]).err().unwrap_or_default();
        assert_eq!(mistakes.len(), 1, "{text}\n{}", shown(&mistakes));
        let told = mistakes[0].to_string();
        let (first, mended) = told.split_once("\n    mend: ").unwrap();
        assert!(
            first.contains(&format!(": {key}: ")) || first.starts_with(&format!("f: {key}: ")),
            "{told}"
        );
        assert!(first.contains(message), "{told}");
        assert!(mended.contains(mend), "{told}");
    }
}
