//! How Vault is reached, and what goes on meanwhile: TLS, log-ins that hang, signals, keys that must be seen first.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use setbridge::secret::Secret;
use setbridge::signing::{Algorithm, Vault, VaultAuth, VaultFault, VaultSettings};

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::node::free_ports;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;
use crate::support::receipts::cache_keys;
use crate::support::tls_front::TlsFront;
use crate::support::vault::{Fault, KEY, TOKEN, VaultServer};

const USERS: usize = 10;

fn settings(address: &str, auth: VaultAuth, ca_file: Option<PathBuf>) -> VaultSettings {
    VaultSettings {
        address: address.parse().unwrap(),
        mount: "transit".to_owned(),
        key: KEY.to_owned(),
        namespace: None,
        auth,
        ca_file,
        timeout: Duration::from_millis(400),
        algorithm: Algorithm::Rs256,
    }
}

/// One stream whose key is there.
async fn one(broker: &Broker, vault: &VaultServer) -> OneStream {
    let one = OneStream::on(broker, 2).await;
    let token = one.configuration.folder().join("vault-token");
    fs::write(&token, TOKEN).unwrap();
    let signing = vault.signing(&token);
    one.set("signing", signing)
}

#[tokio::test]
async fn its_certificate_must_come_from_the_authorities_of_the_ca_file() {
    let server = VaultServer::start("rsa-2048").await;
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let front = TlsFront::start(folder.path(), server.address()).await;
    let stranger = TlsFront::start(other.path(), server.address()).await;
    let ask = async |ca_file: Option<PathBuf>| {
        let auth = VaultAuth::Token(Secret::literal(TOKEN));
        let settings = settings(&front.origin, auth, ca_file);
        // In a debug build a handshake takes its time.
        let timeout = Duration::from_secs(5);
        let settings = VaultSettings {
            timeout,
            ..settings
        };
        let vault = Vault::new(settings, Box::new(|_| {})).unwrap();
        vault.ask(Duration::ZERO).await
    };
    assert_eq!(ask(Some(front.ca.clone())).await.unwrap().len(), 1);
    for ca_file in [None, Some(stranger.ca.clone())] {
        let fault = ask(ca_file).await.expect_err("nobody vouches for it");
        assert_eq!(fault, VaultFault::Unreachable);
    }
}

/// An operator is told that it is the certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_vault_does_not_answer_is_said_once() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let folder = tempfile::tempdir().unwrap();
    let front = TlsFront::start(folder.path(), vault.address()).await;
    let one = one(broker, &vault)
        .await
        .set("signing.vault.address", front.origin.as_str());
    let mut bridge = one.start().await;
    let no_answer = |line: &serde_json::Value| line["message"] == "no answer from Vault";
    let said = bridge.line("no answer", no_answer).await;
    let why = said["why"].as_str().expect("a reason");
    assert!(why.contains("UnknownIssuer"), "{why}");
    let asked = [("call", "keys"), ("outcome", "moment")];
    bridge
        .metric("setbridge_vault_calls_total", &asked, |n| n >= 3.0)
        .await;
    let lines = bridge.lines();
    assert_eq!(lines.iter().filter(|line| no_answer(line)).count(), 1);
    assert!(!bridge.log_text().contains("hvs."));
    bridge.drain().await;
}

/// A log-in that hangs delays nobody who has a token that is good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_log_in_hangs_the_token_that_is_good_is_used() {
    let server = VaultServer::start("rsa-2048").await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("account");
    fs::write(&token_file, "a.service.account").unwrap();
    // Renewed after six seconds, good for nine.
    server.lease(9);
    let auth = VaultAuth::Kubernetes {
        role: "setbridge".to_owned(),
        mount: "kubernetes".to_owned(),
        token_file,
    };
    let vault = Vault::new(settings(&server.url(), auth, None), Box::new(|_| {})).unwrap();
    let sign = async || vault.sign(1, &[[7; 32]]).await.expect("signed");
    sign().await;
    let logged_in = Instant::now();
    server.fault(Fault::StallLogIn);
    while server.stalled() == 0 {
        sign().await;
    }
    let mut more = 0;
    while logged_in.elapsed() < Duration::from_millis(7500) {
        sign().await;
        more += 1;
    }
    assert_eq!(server.stalled(), 1, "one call tried, {more} others went on");
    assert_eq!(server.log_ins(), 1);
    // Without a good one all wait for the same log-in, and not one after the other.
    let over = Duration::from_millis(9100).saturating_sub(logged_in.elapsed());
    tokio::time::sleep(over).await;
    let started = Instant::now();
    let calls = (0..16).map(|_| vault.sign(1, &[[7; 32]]));
    let answers = futures_util::future::join_all(calls).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Err(VaultFault::Slow))
    );
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    server.fault(Fault::None);
    sign().await;
}

/// Plain HTTP is for an agent on this machine: its token goes through no proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_of_the_environment_gets_no_token_in_the_clear() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let one = one(broker, &vault).await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let environment = [("http_proxy", url.as_str()), ("HTTP_PROXY", url.as_str())];
    let mut bridge = Bridge::start_in(&one.configuration, &environment).await;
    let active = [("state", "active")];
    tokio::select! {
        _ = bridge.metric("setbridge_key_info", &active, |n| n == 1.0) => {}
        asked = proxy.accept() => panic!("the proxy was asked: {asked:?}"),
    }
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_asks_for_the_keys_before_their_time() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let one = one(broker, &vault)
        .await
        .set("signing.vault.refresh", "1h")
        .set("signing.publish_before_use", "2h");
    let mut bridge = one.start().await;
    vault.rotate();
    bridge.hup();
    let next = [("state", "next")];
    bridge
        .metric("setbridge_key_info", &next, |n| n == 1.0)
        .await;
    bridge.drain().await;
}

/// The process ends in time while a call is under way, and what was not signed is sent after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_hangs_does_not_keep_the_process() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let one = one(broker, &vault)
        .await
        .set("signing.vault.timeout", "19s");
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    one.produce(wave(USERS, 0..1)).await;
    all_taken(&one.org, USERS, || bridge.log_text()).await;
    vault.fault(Fault::Stall);
    one.produce(wave(USERS, 1..2)).await;
    while vault.stalled() == 0 {
        tokio::task::yield_now().await;
    }
    bridge.term();
    // Sooner than the call would end by itself.
    assert_eq!(bridge.code(Duration::from_secs(12)).await, 0);
    assert_eq!(one.org.tally().taken as usize, USERS);
    vault.fault(Fault::None);
    let mut bridge = one.start().await;
    all_taken(&one.org, 2 * USERS, || bridge.log_text()).await;
    assert_whole_and_in_order(&one.org, USERS, 2);
    assert_eq!((one.org.tally().refused, one.org.tally().repeats), (0, 0));
    one.all_committed(2 * USERS as i64).await;
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_nobody_can_see_does_not_sign() {
    let [port] = free_ports();
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let one = one(broker, &vault)
        .await
        .set(
            "transmitter.jwks_uri",
            format!("http://127.0.0.1:{port}/jwks.json"),
        )
        .set("signing.publish_before_use", "2s");
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    vault.rotate();
    // For many times as long as it is published before its use.
    bridge
        .line("nobody answers there", |line| {
            line["message"]
                .as_str()
                .is_some_and(|m| m.contains("does not sign yet"))
        })
        .await;
    let awaited = Instant::now();
    while awaited.elapsed() < Duration::from_secs(8) {
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_key_awaited", &[]), 1.0);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    one.produce(wave(USERS, 0..1)).await;
    all_taken(&one.org, USERS, || bridge.log_text()).await;
    // A leaked version: the next one signs, seen or not.
    vault.minimum(1, 2);
    bridge
        .metric("setbridge_key_awaited", &[], |n| n == 0.0)
        .await;
    cache_keys(&one.org, &bridge).await;
    one.produce(wave(USERS, 1..2)).await;
    all_taken(&one.org, 2 * USERS, || bridge.log_text()).await;
    assert_eq!(one.org.tally().refused, 0);
    bridge.drain().await;
}
