//! How the bridge proves itself to a receiver that wants more than a signature, and what it trusts.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use setbridge::okta::simulator::{Reply, SET_PATH};

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, ISSUER, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::receipts::{answered, requests, taken};
use crate::support::tls_front::TlsFront;
use crate::support::token_endpoint::TokenEndpoint;
use crate::support::wire::Message;

fn detection(n: usize) -> Message {
    record(&risk("1", &user(n), "high"))
}

/// The `Authorization` headers of all requests, oldest first.
fn authorizations(org: &setbridge::okta::simulator::Simulator) -> Vec<String> {
    let requests = requests(org);
    let headers = requests.iter().map(|r| r.header("authorization"));
    headers.map(|h| h.unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_header_from_a_file_is_sent_and_read_again_on_sighup() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = Configuration::new(wire).stream("okta", &topic, &org);
        let file = configuration.folder().join("credential");
        std::fs::write(&file, "Bearer old\n").unwrap();
        let auth = json!({"header": {
            "name": "Authorization",
            "value": format!("file:{}", file.display()),
        }});
        let configuration = configuration.set("streams.0.receiver.auth", auth);
        let mut bridge = Bridge::start(&configuration).await;
        wire.produce(&topic, detection(1)).await;
        bridge.outcomes("okta", "delivered", 1).await;
        assert_eq!(authorizations(&org), ["Bearer old"], "{name}");

        // The receiver takes the old one no longer: the stream is held until the file is read again.
        org.answer_when(None, |_| true, Reply::status(401));
        wire.produce(&topic, detection(2)).await;
        bridge.held("okta", Some("unauthorized")).await;
        std::fs::write(&file, "Bearer new\n").unwrap();
        org.recover();
        bridge.hup();
        bridge.outcomes("okta", "delivered", 2).await;
        bridge.held("okta", None).await;
        wire.produce(&topic, detection(3)).await;
        bridge.outcomes("okta", "delivered", 3).await;
        assert_eq!(authorizations(&org).pop().unwrap(), "Bearer new", "{name}");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn client_credentials_are_exchanged_once_and_again_after_a_401() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let (org, tokens) = (receiver().await, TokenEndpoint::start().await);
        let auth = json!({"oauth2": {
            "token_url": tokens.url(),
            "client_id": "setbridge",
            "client_secret": "open sesame",
            "scopes": ["ssf.write", "ssf.read"],
        }});
        let configuration = Configuration::new(wire)
            .stream("okta", &topic, &org)
            .set("streams.0.receiver.auth", auth);
        let mut bridge = Bridge::start(&configuration).await;
        wire.produce_all(&topic, (0..20).map(detection)).await;
        bridge.outcomes("okta", "delivered", 20).await;
        let asked = tokens.asked();
        assert_eq!(asked.len(), 1, "{name}: one token for all");
        assert_eq!(asked[0].field("grant_type"), Some("client_credentials"));
        assert_eq!(asked[0].field("scope"), Some("ssf.write ssf.read"));
        let basic = format!("Basic {}", STANDARD.encode("setbridge:open+sesame"));
        assert_eq!(asked[0].headers["authorization"], basic.as_str());
        assert!(authorizations(&org).iter().all(|a| a == "Bearer token-1"));

        // Revoked before its time: a fresh one is fetched once, and the stream is not held.
        org.clear_log();
        org.answer_next(1, Reply::status(401));
        wire.produce(&topic, detection(100)).await;
        bridge.outcomes("okta", "delivered", 21).await;
        assert_eq!(tokens.asked().len(), 2, "{name}");
        let sent = authorizations(&org);
        assert_eq!(sent, ["Bearer token-1", "Bearer token-2"], "{name}");
        let bodies: Vec<_> = requests(&org).into_iter().map(|r| r.raw).collect();
        assert_eq!(bodies[0], bodies[1], "{name}: the same bytes");
        let holds = bridge.metrics().await;
        assert_eq!(
            holds.sum("setbridge_stream_holds_total", &[]),
            0.0,
            "{name}"
        );

        // A fresh one that is refused too is the set-up's fault.
        org.answer_when(None, |_| true, Reply::status(401));
        wire.produce(&topic, detection(101)).await;
        bridge.held("okta", Some("unauthorized")).await;
        org.recover();
        bridge.outcomes("okta", "delivered", 22).await;
        bridge.held("okta", None).await;
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_refused_client_holds_and_the_receiver_is_never_asked() {
    let broker = &brokers()[0];
    let (topic, wire) = (fresh("detections"), broker.wire());
    broker.create_source(&topic, 1, &["okta"]).await;
    let (org, tokens) = (receiver().await, TokenEndpoint::start().await);
    tokens.refuse(true);
    let configuration = Configuration::new(wire).stream("okta", &topic, &org);
    let auth = json!({"oauth2": {
        "token_url": tokens.url(),
        "client_id": "setbridge",
        "private_key_file": configuration.folder().join("signing.pem"),
        "private_key_id": "client-key",
    }});
    let configuration = configuration.set("streams.0.receiver.auth", auth);
    let mut bridge = Bridge::start(&configuration).await;
    wire.produce(&topic, detection(1)).await;
    bridge.held("okta", Some("token_refused")).await;
    assert_eq!(org.tally().requests, 0);
    tokens.refuse(false);
    bridge.outcomes("okta", "delivered", 1).await;

    // private_key_jwt (RFC 7523): a signed statement in place of a secret.
    let asked = tokens.asked().pop().unwrap();
    let kind = asked.field("client_assertion_type");
    assert_eq!(
        kind,
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    let assertion: Vec<&str> = asked
        .field("client_assertion")
        .unwrap()
        .split('.')
        .collect();
    let part = |n: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion[n]).unwrap()).unwrap()
    };
    assert_eq!(part(0)["kid"], "client-key");
    assert_eq!(
        (&part(1)["iss"], &part(1)["sub"]),
        (&json!("setbridge"), &json!("setbridge"))
    );
    assert_eq!(part(1)["aud"], tokens.url());
    bridge.drain().await;
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_retried() {
    let broker = &brokers()[0];
    let (topic, wire) = (fresh("detections"), broker.wire());
    broker.create_source(&topic, 1, &["okta"]).await;
    let org = receiver().await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let auth = json!({"oauth2": {
        "token_url": format!("http://{gone}/token"),
        "client_id": "setbridge",
        "client_secret": "secret",
    }});
    let configuration = Configuration::new(wire)
        .stream("okta", &topic, &org)
        .set("streams.0.receiver.auth", auth);
    let mut bridge = Bridge::start(&configuration).await;
    wire.produce(&topic, detection(1)).await;
    let retries = [("stream", "okta"), ("fault", "token_endpoint")];
    bridge
        .metric("setbridge_push_retries_total", &retries, |sum| sum >= 3.0)
        .await;
    bridge.held("okta", None).await;
    assert_eq!(org.tally().requests, 0);
    bridge.drain().await;
}

#[tokio::test]
async fn a_receiver_behind_a_private_authority_is_reached_with_its_ca_file() {
    for broker in brokers() {
        let (topic, wire, name) = (fresh("detections"), broker.wire(), broker.name());
        broker.create_source(&topic, 1, &["okta"]).await;
        let org = receiver().await;
        let configuration = Configuration::new(wire);
        let front = TlsFront::start(configuration.folder(), org.address()).await;
        org.register(ISSUER, &front.origin, configuration.jwks());
        let url = format!("{}{SET_PATH}", front.origin);
        let distrusting = configuration.stream_to("okta", &topic, &url);
        let ca = front.ca.display().to_string();
        let trusting = distrusting
            .clone()
            .set("streams.0.receiver.tls.ca_file", ca);

        wire.produce(&topic, detection(1)).await;
        let mut bridge = Bridge::start(&distrusting).await;
        let retries = [("stream", "okta"), ("fault", "tls")];
        bridge
            .metric("setbridge_push_retries_total", &retries, |sum| sum >= 3.0)
            .await;
        bridge.drain().await;
        assert_eq!(org.tally().requests, 0, "{name}: nothing was sent");

        let mut bridge = Bridge::start(&trusting).await;
        bridge.outcomes("okta", "delivered", 1).await;
        assert_eq!(taken(&org).len(), 1, "{name}");
        answered(&org, 1).await;
        bridge.drain().await;
    }
}
