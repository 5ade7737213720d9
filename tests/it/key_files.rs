//! Files that are put in place of others while the bridge runs, as Kubernetes does with a mounted Secret: nobody sends a
//! signal, nobody restarts anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use setbridge::okta::simulator::jwks_at;

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::ISSUER;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;

const KEYS: [&str; 2] = [
    include_str!("../fixtures/keys/rsa-2048.pkcs8.pem"),
    include_str!("../fixtures/keys/rsa-3072.pkcs1.pem"),
];

/// A volume with versions: `NAME -> ..data/NAME`, `..data -> ..VERSION`.
struct Volume<'a>(&'a Path);

impl Volume<'_> {
    /// Puts these files in place, all at once.
    fn show(&self, version: &str, files: &[(&str, &str)]) {
        let folder = self.0.join(format!("..{version}"));
        fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
            let link = self.0.join(name);
            if link.symlink_metadata().is_err() {
                symlink(format!("..data/{name}"), link).expect("a link");
            }
        }
        let next = self.0.join("..data_tmp");
        symlink(format!("..{version}"), &next).expect("a link");
        fs::rename(next, self.0.join("..data")).expect("in place");
    }
}

async fn kids(bridge: &Bridge) -> Vec<String> {
    let set: serde_json::Value =
        serde_json::from_str(&bridge.fetch(&bridge.jwks_url()).await).expect("JSON");
    let keys = set["keys"].as_array().expect("keys");
    let kid = |key: &serde_json::Value| key["kid"].as_str().expect("a kid").to_owned();
    keys.iter().map(kid).collect()
}

#[tokio::test]
async fn a_mounted_key_that_changes_signs_and_a_broken_one_is_not_taken() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("signing.keys", json!([{"file": "keys/signing.pem"}]));
    let volume = one.configuration.folder().join("keys");
    let volume = Volume(&volume);
    volume.show("one", &[("signing.pem", KEYS[0])]);
    let mut bridge = one.start().await;
    let audience = format!("http://{}", one.org.address());
    // As Okta does, the org fetches a kid that it does not know.
    one.org.register(
        ISSUER,
        &audience,
        jwks_at(&bridge.jwks_url()).expect("a URL"),
    );
    one.produce(wave(3, 0..2)).await;
    all_taken(&one.org, 6, || bridge.log_text()).await;
    let first = kids(&bridge).await;

    volume.show("two", &[("signing.pem", "-----BEGIN NOTHING-----")]);
    let errors = "setbridge_key_reload_errors_total";
    bridge.metric(errors, &[], |n| n == 1.0).await;
    assert_eq!(kids(&bridge).await, first);
    one.produce(wave(3, 2..4)).await;
    all_taken(&one.org, 12, || bridge.log_text()).await;

    volume.show("three", &[("signing.pem", KEYS[1])]);
    bridge.message("keys reloaded").await;
    let second = kids(&bridge).await;
    assert_ne!(first, second);
    one.produce(wave(3, 4..6)).await;
    all_taken(&one.org, 18, || bridge.log_text()).await;
    assert_whole_and_in_order(&one.org, 3, 6);
    let signed_by = |taken: std::ops::Range<usize>| {
        one.org.log(|log| {
            let sent = log.taken().map(|received| received.kid.clone());
            sent.skip(taken.start).take(taken.len()).collect::<Vec<_>>()
        })
    };
    assert_eq!(signed_by(0..12), vec![first.first().cloned(); 12]);
    assert_eq!(signed_by(12..18), vec![second.first().cloned(); 6]);
    assert_eq!(bridge.metrics().await.sum(errors, &[]), 1.0, "told once");
    bridge.drain().await;
}

/// As `cp` and `rsync` do it: the manifest comes first, and the key that it names later.
#[tokio::test]
async fn a_key_that_comes_after_its_manifest_is_taken() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("signing.keys", json!([]))
        .set("signing.ring", "ring");
    let ring = one.configuration.folder().join("ring");
    fs::create_dir(&ring).expect("a folder");
    let manifest = |files: &[&str]| {
        let keys: Vec<_> = files.iter().map(|file| json!({"file": file})).collect();
        fs::write(ring.join("ring.json"), json!({"keys": keys}).to_string()).expect("a file");
    };
    fs::write(ring.join("one.pem"), KEYS[0]).expect("a file");
    manifest(&["one.pem"]);
    let mut bridge = one.start().await;
    let errors = "setbridge_key_reload_errors_total";
    manifest(&["one.pem", "two.pem"]);
    bridge.metric(errors, &[], |n| n == 1.0).await;
    fs::write(ring.join("two.pem"), "half a fi").expect("a file");
    bridge.metric(errors, &[], |n| n == 2.0).await;
    fs::write(ring.join("two.pem"), KEYS[1]).expect("a file");
    let retiring = [("state", "retiring")];
    bridge
        .metric("setbridge_key_info", &retiring, |n| n == 1.0)
        .await;
    assert_eq!(kids(&bridge).await.len(), 2);
    bridge.drain().await;
}

/// A file system that does not answer, here a FIFO that nobody writes to, keeps the keys and nothing else.
#[tokio::test]
async fn a_file_that_cannot_be_read_to_its_end_keeps_nobody() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let pem = one.configuration.folder().join("slow.pem");
    fs::write(&pem, KEYS[0]).expect("a file");
    let one = one.set("signing.keys", json!([{"file": "slow.pem"}]));
    let mut bridge = one.start().await;
    fs::remove_file(&pem).expect("our own");
    let made = std::process::Command::new("mkfifo").arg(&pem).status();
    assert!(made.expect("mkfifo").success());
    bridge.message("a key file has changed").await;
    bridge.hup();
    let audience = format!("http://{}", one.org.address());
    let jwks = jwks_at(&bridge.jwks_url()).expect("a URL");
    one.org.register(ISSUER, &audience, jwks);
    one.produce(wave(3, 0..2)).await;
    all_taken(&one.org, 6, || bridge.log_text()).await;
    bridge.drain().await;
}

/// A certificate for the loopback address, and its key.
fn pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a pair");
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

/// How the public port answers whoever trusts this certificate alone.
async fn jwks_over_tls(bridge: &Bridge, trusted: &str) -> reqwest::Result<reqwest::Response> {
    let trusted = reqwest::Certificate::from_pem(trusted.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder()
        .tls_certs_only([trusted])
        .no_proxy()
        .build();
    let url = bridge.jwks_url().replace("http://", "https://");
    client.expect("a client").get(url).send().await
}

#[tokio::test]
async fn the_public_port_speaks_tls_with_the_certificate_that_is_mounted() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await.set(
        "transmitter.tls",
        json!({"certificate_file": "tls/tls.crt", "key_file": "tls/tls.key"}),
    );
    let volume = one.configuration.folder().join("tls");
    let volume = Volume(&volume);
    let (first, key) = pair();
    volume.show("one", &[("tls.crt", &first), ("tls.key", &key)]);
    let mut bridge = one.start().await;
    let answer = jwks_over_tls(&bridge, &first).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("etag"));

    let (second, key) = pair();
    volume.show("two", &[("tls.crt", &second), ("tls.key", &key)]);
    bridge
        .message("the public port's certificate was reloaded")
        .await;
    let answer = jwks_over_tls(&bridge, &second).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(jwks_over_tls(&bridge, &first).await.is_err());

    volume.show("three", &[("tls.crt", &first), ("tls.key", &key)]);
    let errors = "setbridge_certificate_reload_errors_total";
    bridge.metric(errors, &[], |n| n == 1.0).await;
    let answer = jwks_over_tls(&bridge, &second).await.expect("an answer");
    assert_eq!(answer.status(), 200, "the old one stays");
    bridge.drain().await;
}
