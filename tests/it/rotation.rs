//! Keys that rotate while SETs flow: nobody is refused, nothing is held.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::node::free_ports;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;
use crate::support::operator::setbridge;
use crate::support::receipts::cache_keys;

/// `setbridge keys ACT --ring FOLDER …`, which must succeed; what it says.
async fn keys(act: &[&str], ring: &Path) -> String {
    let ring = ring.display().to_string();
    let args = [&["keys"], act, &["--ring", &ring]].concat();
    let said = setbridge(&args).await;
    assert_eq!(said.code, 0, "{args:?}: {}", said.err);
    said.out
}

/// The same with its keys in a ring, which has none yet.
fn with_ring(one: OneStream) -> (OneStream, PathBuf) {
    let ring = one.configuration.folder().join("ring");
    let folder = ring.display().to_string();
    let one = one
        .set("signing.keys", json!([]))
        .set("signing.ring", folder);
    (one, ring)
}

/// The kids of a ring with this state.
async fn kids(state: &str, ring: &Path) -> Vec<String> {
    let lines = keys(&["list", "--json"], ring).await;
    let all = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.filter(|key| key["state"] == state)
        .map(|key| key["kid"].as_str().expect("a kid").to_owned())
        .collect()
}

async fn signs(bridge: &Bridge, kid: &str) {
    let active = [("kid", kid), ("state", "active")];
    bridge
        .metric("setbridge_key_info", &active, |n| n == 1.0)
        .await;
}

#[tokio::test]
async fn under_full_load_a_rotation_refuses_and_holds_nothing() {
    const USERS: usize = 40;
    const EACH: usize = 60;
    let [port] = free_ports();
    let public = format!("http://127.0.0.1:{port}/jwks.json");
    for broker in brokers() {
        let one = OneStream::on(&broker, 4)
            .await
            .set("transmitter.listen", format!("127.0.0.1:{port}"))
            .set("transmitter.jwks_uri", public.as_str())
            .set("signing.publish_before_use", "8s");
        let (one, ring) = with_ring(one);
        keys(&["rotate"], &ring).await;
        let old = kids("active", &ring).await.pop().expect("the first key");
        let mut bridge = one.start().await;
        cache_keys(&one.org, &bridge).await;
        // Behind a receiver that takes its time, so that the load lasts longer than the rotation.
        let slow = setbridge::okta::simulator::Reply::Judge.after(Duration::from_millis(250));
        let slow = one.org.answer_when(None, |_| true, slow);
        one.produce(wave(USERS, 0..EACH)).await;
        all_taken(&one.org, USERS, || bridge.log_text()).await;

        let out = keys(
            &["rotate", "--publish-before-use", "8s", "--keep", "1h"],
            &ring,
        )
        .await;
        let new = out.split(' ').next().expect("a kid").to_owned();
        bridge
            .metric(
                "setbridge_key_info",
                &[("kid", &new), ("state", "next")],
                |n| n == 1.0,
            )
            .await;
        // The receiver's cache is renewed between publication and use, as it is when max-age is kept to.
        cache_keys(&one.org, &bridge).await;
        signs(&bridge, &new).await;
        let before = one.org.tally().taken;
        assert!(before < (USERS * EACH) as u64, "the load lasted: {before}");
        all_taken(&one.org, before as usize + USERS, || bridge.log_text()).await;
        one.org.withdraw(slow);
        all_taken(&one.org, USERS * EACH, || bridge.log_text()).await;

        let tally = one.org.tally();
        assert_eq!((tally.refused, tally.repeats), (0, 0), "{}", one.name);
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
        assert_eq!(metrics.sum("setbridge_key_awaited", &[]), 0.0);
        assert_whole_and_in_order(&one.org, USERS, EACH);
        let signed_by = |kid: &str| {
            let by = |log: &setbridge::okta::simulator::Log| {
                log.taken()
                    .filter(|received| received.kid.as_deref() == Some(kid))
                    .count()
            };
            one.org.log(by)
        };
        assert!(signed_by(&old) > 0 && signed_by(&new) > 0);
        assert_eq!(signed_by(&old) + signed_by(&new), USERS * EACH);
        let verified = setbridge(&[
            "keys",
            "verify",
            "-c",
            &one.configuration.write().display().to_string(),
        ])
        .await;
        // The metadata belongs at the issuer's address, which nobody serves here.
        assert_eq!(verified.code, 69, "{}{}", verified.out, verified.err);
        for line in [
            format!("it has {old} (retiring)"),
            format!("it has {new} (active)"),
        ] {
            assert!(
                verified.out.contains(&format!("ok    {line}")),
                "{}",
                verified.out
            );
        }
        bridge.drain().await;
    }
}

/// A static host of the JWKS: whoever asks gets what `fetch` tells, once for each connection.
async fn host(port: u16, document: String) {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("a port");
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let length = document.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{document}"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// JWKS hosted elsewhere, by somebody who forgets to upload the new one: the old key goes on, and that is said.
#[tokio::test]
async fn a_key_that_nobody_can_see_does_not_sign() {
    let broker = &brokers()[0];
    let [port] = free_ports();
    let public = format!("http://127.0.0.1:{port}/jwks.json");
    let one = OneStream::on(broker, 1)
        .await
        .set("transmitter.jwks_uri", public)
        .set("signing.publish_before_use", "1h");
    let (one, ring) = with_ring(one);
    keys(&["rotate"], &ring).await;
    let old = kids("active", &ring).await.pop().expect("the first key");
    let mut bridge = one.start().await;
    cache_keys(&one.org, &bridge).await;
    let stale = bridge.fetch(&bridge.jwks_url()).await;
    let stale = tokio::spawn(host(port, stale));

    keys(&["rotate", "--publish-before-use", "0s"], &ring).await;
    bridge
        .metric("setbridge_key_awaited", &[], |n| n == 1.0)
        .await;
    let said = bridge
        .line("a key that is not seen", |line| {
            line["why"]
                .as_str()
                .is_some_and(|why| why.contains("it is not in the JWKS"))
        })
        .await;
    let new = said["kid"].as_str().expect("a kid").to_owned();
    assert_ne!(new, old);
    signs(&bridge, &old).await;
    one.produce(wave(3, 0..2)).await;
    all_taken(&one.org, 6, || bridge.log_text()).await;

    stale.abort();
    let _ = stale.await;
    let fresh = bridge.fetch(&bridge.jwks_url()).await;
    cache_keys(&one.org, &bridge).await;
    let fresh = tokio::spawn(host(port, fresh));
    signs(&bridge, &new).await;
    one.produce(wave(3, 2..4)).await;
    all_taken(&one.org, 12, || bridge.log_text()).await;
    fresh.abort();

    // The old key is leaked: what it signed, and is not sent yet, is signed again.
    let never = setbridge::okta::simulator::Reply::status(503);
    let never = one.org.answer_when(None, |_| true, never);
    keys(&["rotate", "--now"], &ring).await;
    keys(&["retire", "--now", &new], &ring).await;
    one.produce(wave(3, 4..5)).await;
    bridge.message("the key ring has moved on").await;
    let newest = kids("active", &ring).await.pop().expect("a key");
    signs(&bridge, &newest).await;
    let gone = [("kid", new.as_str())];
    // Two commands, which the bridge may have met one by one.
    bridge
        .metric("setbridge_key_info", &gone, |n| n == 0.0)
        .await;
    cache_keys(&one.org, &bridge).await;
    one.org.withdraw(never);
    all_taken(&one.org, 15, || bridge.log_text()).await;
    assert_eq!(one.org.tally().refused, 0);
    assert_whole_and_in_order(&one.org, 3, 5);
    bridge.drain().await;
}
