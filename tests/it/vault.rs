//! The key in Vault: SETs are signed there, and what Vault does wrong loses nothing. The server is ours, made after the
//! documents and sources of the transit engine; neither Vault nor OpenBao was run.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use setbridge::okta::simulator::{Log, Reply};
use setbridge::secret::Secret;
use setbridge::set::Timestamp;
use setbridge::signing::{Algorithm, KeyRing, Signer, Vault, VaultAuth, VaultSettings};

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::node::free_ports;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;
use crate::support::operator::setbridge;
use crate::support::receipts::cache_keys;
use crate::support::vault::{Fault, KEY, TOKEN, VaultServer};

const USERS: usize = 10;

/// One stream whose key is there, and the file with its token.
async fn one(broker: &Broker, vault: &VaultServer) -> (OneStream, PathBuf) {
    let one = OneStream::on(broker, 2).await;
    let token = one.configuration.folder().join("vault-token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let signing = vault.signing(&token);
    (one.set("signing", signing), token)
}

async fn calls(bridge: &Bridge, call: &str, outcome: &str) {
    let labels = [("call", call), ("outcome", outcome)];
    bridge
        .metric("setbridge_vault_calls_total", &labels, |n| n > 0.0)
        .await;
}

/// Nothing that must not be known stands in what operators and strangers see.
async fn assert_no_secret(bridge: &Bridge) {
    let shown = [
        bridge.log_text(),
        bridge.get("/metrics").await.1,
        bridge.get("/status").await.1,
        bridge.fetch(&bridge.jwks_url()).await,
    ];
    for text in shown {
        for secret in [
            "hvs.",
            "a.service.account",
            "PRIVATE",
            "\"d\":",
            "\"p\":",
            "@example.com",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_are_signed_in_batches_and_nothing_is_told() {
    for broker in brokers() {
        let vault = VaultServer::start("rsa-2048").await;
        let (one, _) = one(&broker, &vault).await;
        let one = one.set("signing.vault.namespace", "security/ssf");
        let mut bridge = one.start().await;
        cache_keys(&one.org, &bridge).await;
        one.produce(wave(40, 0..5)).await;
        all_taken(&one.org, 200, || bridge.log_text()).await;

        assert_whole_and_in_order(&one.org, 40, 5);
        assert_eq!(one.org.tally().refused, 0);
        let batches = vault.batches();
        assert_eq!(batches.iter().sum::<usize>(), 200);
        assert!(batches.len() < 200, "no call had two SETs: {batches:?}");
        assert!(vault.namespaces().contains("security/ssf"));
        calls(&bridge, "sign", "ok").await;
        calls(&bridge, "keys", "ok").await;
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_vault_batch_sets_sum", &[]), 200.0);
        assert_eq!(
            metrics.sum("setbridge_vault_wrong_signatures_total", &[]),
            0.0
        );
        assert_no_secret(&bridge).await;
        bridge.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_full_load_a_new_version_refuses_and_holds_nothing() {
    const EACH: usize = 60;
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let (one, _) = one(broker, &vault).await;
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    // Behind a receiver that takes its time, so that the load lasts longer than the rotation.
    let slow = Reply::Judge.after(Duration::from_millis(250));
    let slow = one.org.answer_when(None, |_| true, slow);
    one.produce(wave(USERS, 0..EACH)).await;
    all_taken(&one.org, USERS, || bridge.log_text()).await;

    vault.rotate();
    bridge
        .metric("setbridge_key_info", &[("state", "next")], |n| n == 1.0)
        .await;
    // The receiver's cache is renewed between publication and use.
    cache_keys(&one.org, &bridge).await;
    bridge
        .metric("setbridge_key_info", &[("state", "retiring")], |n| n == 1.0)
        .await;
    let before = one.org.tally().taken;
    assert!(before < (USERS * EACH) as u64, "the load lasted: {before}");
    one.org.withdraw(slow);
    all_taken(&one.org, USERS * EACH, || bridge.log_text()).await;
    let tally = one.org.tally();
    assert_eq!((tally.refused, tally.repeats), (0, 0));
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
    assert_whole_and_in_order(&one.org, USERS, EACH);
    let kids = one.org.log(|log: &Log| {
        let kids = log.taken().filter_map(|received| received.kid.clone());
        kids.collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(kids.len(), 2, "both versions signed: {kids:?}");

    // Leaked: the old version leaves Vault, and with it the JWKS.
    vault.minimum(2, 2);
    let retiring = [("state", "retiring")];
    bridge
        .metric("setbridge_key_info", &retiring, |n| n == 0.0)
        .await;
    let published: JwkSet = serde_json::from_str(&bridge.fetch(&bridge.jwks_url()).await).unwrap();
    assert_eq!(published.keys.len(), 1);
    one.produce(wave(USERS, EACH..EACH + 1)).await;
    all_taken(&one.org, USERS * (EACH + 1), || bridge.log_text()).await;
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_vault_is_sealed_sets_wait_and_none_is_lost() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let (one, _) = one(broker, &vault).await;
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    one.produce(wave(USERS, 0..2)).await;
    all_taken(&one.org, USERS * 2, || bridge.log_text()).await;

    let moments = [
        Fault::All(503),
        Fault::Sign(473),
        Fault::Sign(412),
        Fault::Sign(429),
        Fault::Stall,
    ];
    for fault in moments {
        vault.fault(fault);
        let before = bridge.metrics().await;
        let moment = [("call", "sign"), ("outcome", "moment")];
        let before = before.sum("setbridge_vault_calls_total", &moment);
        let taken = one.org.tally().taken as usize;
        let next = taken / USERS;
        one.produce(wave(USERS, next..next + 1)).await;
        bridge
            .metric("setbridge_vault_calls_total", &moment, |n| n > before)
            .await;
        assert_eq!(one.org.tally().taken as usize, taken);
        // The keys stay, and with them the JWKS.
        assert_eq!(bridge.get("/readyz").await.0, 200);
        assert!(bridge.fetch(&bridge.jwks_url()).await.contains("kid"));
        vault.fault(Fault::None);
        all_taken(&one.org, taken + USERS, || bridge.log_text()).await;
    }
    bridge
        .message("the signer does not sign now; SETs wait and are tried again")
        .await;
    assert_whole_and_in_order(&one.org, USERS, 7);
    assert_eq!((one.org.tally().refused, one.org.tally().repeats), (0, 0));
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
    one.all_committed(USERS as i64 * 7).await;
    assert_no_secret(&bridge).await;
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_refuses_to_sign_holds_the_stream_until_it_is_mended() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let (one, token) = one(broker, &vault).await;
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    for (round, status) in [403, 404, 400].into_iter().enumerate() {
        vault.fault(Fault::Sign(status));
        one.produce(wave(USERS, round..round + 1)).await;
        bridge.held("okta", Some("external_signer")).await;
        assert_eq!(one.org.tally().taken as usize, USERS * round);
        vault.fault(Fault::None);
        all_taken(&one.org, USERS * (round + 1), || bridge.log_text()).await;
        bridge.held("okta", None).await;
    }
    calls(&bridge, "sign", "set_up").await;

    // Another token, written after the old one has ended.
    vault.take_only("hvs.test-token-0000000000000002");
    one.produce(wave(USERS, 3..4)).await;
    bridge.held("okta", Some("external_signer")).await;
    fs::write(&token, "hvs.test-token-0000000000000002\n").unwrap();
    all_taken(&one.org, USERS * 4, || bridge.log_text()).await;
    bridge.held("okta", None).await;

    // A version that may not sign any more, while we do not know: asked again at once, not after the refresh.
    vault.rotate();
    vault.minimum(1, 2);
    one.produce(wave(USERS, 4..5)).await;
    let active = [("state", "active")];
    bridge
        .metric("setbridge_key_info", &[("state", "retiring")], |n| n == 1.0)
        .await;
    bridge
        .metric("setbridge_key_info", &active, |n| n == 1.0)
        .await;
    cache_keys(&one.org, &bridge).await;
    all_taken(&one.org, USERS * 5, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    assert_whole_and_in_order(&one.org, USERS, 5);
    assert_no_secret(&bridge).await;
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_does_not_fit_never_leaves() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let (one, _) = one(broker, &vault).await;
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    vault.fault(Fault::Wrong);
    one.produce(wave(USERS, 0..1)).await;
    let wrong = "setbridge_vault_wrong_signatures_total";
    bridge.metric(wrong, &[], |n| n > 2.0 * USERS as f64).await;
    assert_eq!(one.org.log(|log: &Log| log.tally.requests), 0);
    // One of a call fails, the others go.
    vault.fault(Fault::Item);
    all_taken(&one.org, USERS / 2, || bridge.log_text()).await;
    vault.fault(Fault::None);
    all_taken(&one.org, USERS, || bridge.log_text()).await;
    assert_eq!(one.org.tally().refused, 0);
    assert_whole_and_in_order(&one.org, USERS, 1);
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_vault_at_the_start_it_runs_but_is_not_ready() {
    let broker = &brokers()[0];
    let [port] = free_ports();
    let one = OneStream::on(broker, 1).await;
    let account = one.configuration.folder().join("account");
    fs::write(&account, "a.service.account").unwrap();
    let kubernetes = json!({"role": "setbridge", "token_file": account.display().to_string()});
    let one = one.set(
        "signing",
        json!({
            "backend": "vault_transit",
            "publish_before_use": "8s",
            "vault": {
                "address": format!("http://127.0.0.1:{port}"),
                "key": KEY,
                "kubernetes": kubernetes,
                "refresh": "1s",
                "timeout": "2s",
            },
        }),
    );
    one.produce(wave(USERS, 0..1)).await;
    let mut bridge = one.start().await;
    let metrics = bridge.metrics().await;
    for shown in [
        "setbridge_vault_calls_total",
        "setbridge_vault_call_seconds_count",
    ] {
        assert!(metrics.names().contains(shown), "{shown} is not there");
    }
    assert_eq!(bridge.get("/readyz").await.0, 503);
    assert_eq!(bridge.get("/livez").await.0, 200);
    let jwks = reqwest::get(bridge.jwks_url()).await.unwrap();
    assert_eq!(jwks.status(), 503, "an empty set would be believed");
    bridge.held("okta", Some("external_signer")).await;
    assert_eq!(one.org.log(|log: &Log| log.tally.requests), 0);

    let vault = VaultServer::start_at("rsa-2048", port).await;
    vault.lease(3);
    bridge
        .metric("setbridge_key_info", &[("state", "active")], |n| n == 1.0)
        .await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
    cache_keys(&one.org, &bridge).await;
    all_taken(&one.org, USERS, || bridge.log_text()).await;
    bridge.held("okta", None).await;
    // A token for each two seconds, and no refusal between.
    bridge
        .metric(
            "setbridge_vault_calls_total",
            &[("call", "log_in"), ("outcome", "ok")],
            |n| n >= 3.0,
        )
        .await;
    assert!(vault.log_ins() >= 3);
    let metrics = bridge.metrics().await;
    let refused = [("outcome", "set_up")];
    assert_eq!(metrics.sum("setbridge_vault_calls_total", &refused), 0.0);
    assert_no_secret(&bridge).await;
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_algorithm_gives_tokens_that_its_jwks_verifies() {
    for (kind, algorithm) in [
        ("rsa-2048", Algorithm::Rs256),
        ("rsa-2048", Algorithm::Ps256),
        ("ecdsa-p256", Algorithm::Es256),
    ] {
        let server = VaultServer::start(kind).await;
        let settings = VaultSettings {
            address: server.url().parse().unwrap(),
            mount: "transit".to_owned(),
            key: KEY.to_owned(),
            namespace: None,
            auth: VaultAuth::Token(Secret::literal(TOKEN)),
            ca_file: None,
            timeout: Duration::from_secs(5),
            algorithm,
        };
        let vault = Arc::new(Vault::new(settings, Box::new(|_| {})).unwrap());
        let ring = KeyRing::told(None, &[algorithm]);
        assert!(ring.active(algorithm).is_none());
        let keys = vault.ask(Duration::ZERO).await.unwrap();
        ring.replace(
            keys,
            Timestamp::from_secs(jiff::Timestamp::now().as_second()),
        )
        .unwrap();
        let signer = Signer::start_vault(2, vault).unwrap();
        let jwks = serde_json::to_value(&*ring.jwks()).unwrap();
        let jwks: JwkSet = serde_json::from_value(jwks).unwrap();
        for number in 0..5 {
            let claims = json!({"number": number}).to_string().into_bytes();
            let key = ring.active(algorithm).expect("a key");
            let set = signer.sign(key, claims).await.expect("a signature");
            let token = std::str::from_utf8(&set.compact).unwrap();
            let header = decode_header(token).unwrap();
            assert_eq!(format!("{:?}", header.alg), algorithm.as_str());
            let key = jwks.find(&header.kid.unwrap()).expect("published");
            let mut rules = Validation::new(header.alg);
            rules.required_spec_claims.clear();
            let key = DecodingKey::from_jwk(key).unwrap();
            let token = decode::<Value>(token, &key, &rules).expect("a good signature");
            assert_eq!(token.claims["number"], number);
        }
        // A key of another kind than the algorithm wants.
        let other = if kind == "rsa-2048" {
            "ecdsa-p256"
        } else {
            "rsa-2048"
        };
        let server = VaultServer::start(other).await;
        let settings = VaultSettings {
            address: server.url().parse().unwrap(),
            mount: "transit".to_owned(),
            key: KEY.to_owned(),
            namespace: None,
            auth: VaultAuth::Token(Secret::literal(TOKEN)),
            ca_file: None,
            timeout: Duration::from_secs(5),
            algorithm,
        };
        let vault = Vault::new(settings, Box::new(|_| {})).unwrap();
        let fault = vault.ask(Duration::ZERO).await.expect_err("refused");
        assert!(fault.is_set_up(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_ask_vault() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let (one, token) = one(broker, &vault).await;
    vault.rotate();
    let file = one.configuration.write().display().to_string();
    let listed = setbridge(&["keys", "list", "--json", "-c", &file]).await;
    assert_eq!(listed.code, 0, "{}", listed.err);
    let states: Vec<Value> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone())
        .collect();
    assert_eq!(states, ["active", "next"]);
    let jwks = setbridge(&["keys", "jwks", "-c", &file]).await;
    assert_eq!(jwks.code, 0, "{}", jwks.err);
    let jwks: JwkSet = serde_json::from_str(&jwks.out).unwrap();
    assert_eq!(jwks.keys.len(), 2);
    let rotated = setbridge(&["keys", "rotate", "-c", &file]).await;
    assert_eq!(rotated.code, 64);
    assert!(rotated.err.contains("vault write -f"), "{}", rotated.err);
    // Offline, and with a token that comes later.
    fs::remove_file(&token).unwrap();
    vault.fault(Fault::All(503));
    let checked = setbridge(&["check", &file]).await;
    assert_eq!(checked.code, 0, "{}", checked.err);
    let listed = setbridge(&["keys", "list", "-c", &file]).await;
    assert_eq!(listed.code, 78, "{}", listed.err);
    fs::write(&token, TOKEN).unwrap();
    let listed = setbridge(&["keys", "list", "-c", &file]).await;
    assert_eq!(listed.code, 69, "{}", listed.err);
    assert!(!format!("{}{}", listed.out, listed.err).contains("hvs."));
}
