//! Over real TCP, by a plain HTTP client.

use std::path::PathBuf;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::serve::{Limits, serve_within};
use super::*;
use crate::signing::KeySource;

fn key(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/keys")
        .join(name)
}

fn ring(names: &[&str]) -> Arc<KeyRing> {
    let sources: Vec<_> = names.iter().map(|name| KeySource::new(key(name))).collect();
    Arc::new(KeyRing::load(&sources).expect("test keys"))
}

fn publication(issuer: &str, keys: &Arc<KeyRing>) -> Publication {
    Publication {
        issuer: issuer.to_owned(),
        jwks_uri: None,
        keys: Arc::clone(keys),
    }
}

/// A server on a free port; dropped or stopped by the test.
struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits, publications: &[Publication]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address").to_string();
        let router = router(publications, Duration::from_secs(90)).expect("router");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve_within(limits, listener, router, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    /// Status, header part and body of one request.
    async fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).await.expect("connection");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a header");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let (status, head, body) = self.ask("GET", path, "localhost").await;
        if status == 200 {
            assert!(head.contains("content-type: application/json"), "{head}");
            assert!(head.contains("cache-control: public, max-age=90"), "{head}");
        }
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("the server ends");
    }
}

#[tokio::test]
async fn metadata_and_keys_are_found_where_ssf_says() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let issuers = [
        "https://ssf.example.com",
        "https://ssf.example.com/tenant%201/",
        "https://ssf.example.com/a/b",
    ];
    let all: Vec<_> = issuers
        .iter()
        .map(|issuer| publication(issuer, &keys))
        .collect();
    let server = Server::start(Limits::default(), &all).await;

    let (status, root) = server.get("/.well-known/ssf-configuration").await;
    assert_eq!(status, 200);
    assert_eq!(
        root,
        serde_json::json!({
            "spec_version": "1_0",
            "issuer": "https://ssf.example.com",
            "jwks_uri": "https://ssf.example.com/jwks.json",
            "delivery_methods_supported": ["urn:ietf:rfc:8935"],
        })
    );
    let (_, tenant) = server
        .get("/.well-known/ssf-configuration/tenant%201")
        .await;
    assert_eq!(
        tenant["issuer"], "https://ssf.example.com/tenant%201/",
        "exactly as configured"
    );
    assert_eq!(tenant["jwks_uri"], "https://ssf.example.com/jwks.json");
    let (_, deep) = server.get("/.well-known/ssf-configuration/a/b").await;
    assert_eq!(deep["issuer"], "https://ssf.example.com/a/b");

    let (status, jwks) = server.get("/jwks.json").await;
    assert_eq!(status, 200);
    assert_eq!(
        jwks["keys"].as_array().map(Vec::len),
        Some(1),
        "one ring, listed once"
    );
    assert_eq!(jwks["keys"][0]["kid"], keys.active().kid().as_str());
    server.stop().await;
}

#[tokio::test]
async fn anything_else_is_a_plain_404_or_405() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let server = Server::start(
        Limits::default(),
        &[publication("https://h.example/t", &keys)],
    )
    .await;
    for path in [
        "/",
        "/jwks",
        "/jwks.json/",
        "/.well-known/ssf-configuration",
        "/.well-known/ssf-configuration/x",
        "/.well-known/ssf-configuration/t/",
        "/metrics",
    ] {
        let (status, _, body) = server.ask("GET", path, "h.example").await;
        assert_eq!((status, body.as_str()), (404, ""), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (status, head, body) = server.ask(method, "/jwks.json", "h.example").await;
        assert_eq!((status, body.as_str()), (405, ""), "{method}");
        assert!(head.contains("allow: get,head"), "{head}");
    }
    let (status, head, body) = server.ask("HEAD", "/jwks.json", "h.example").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(
        head.contains("content-length: ") && !head.contains("content-length: 0"),
        "{head}"
    );
    server.stop().await;
}

#[tokio::test]
async fn hosts_that_share_a_path_are_told_apart() {
    let (one, two) = (ring(&["rsa-2048.pkcs8.pem"]), ring(&["rsa-3072.pkcs1.pem"]));
    let all = [
        publication("https://one.example", &one),
        publication("https://two.example:8443/", &two),
    ];
    let server = Server::start(Limits::default(), &all).await;
    for (host, issuer) in [
        ("one.example", "https://one.example"),
        ("TWO.example:8443", "https://two.example:8443/"),
        ("10.0.0.7", "https://one.example"),
    ] {
        let (_, _, body) = server.ask("GET", METADATA_PATH, host).await;
        let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(document["issuer"], issuer, "Host: {host}");
    }
    let (_, jwks) = server.get("/jwks.json").await;
    let kids: Vec<_> = jwks["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|k| k["kid"].clone())
        .collect();
    assert_eq!(
        kids,
        [one.active().kid().as_str(), two.active().kid().as_str()]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_reload_is_visible_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("key.pem");
    std::fs::copy(key("rsa-2048.pkcs8.pem"), &file).expect("copy");
    let keys = Arc::new(KeyRing::load(&[KeySource::new(&file)]).expect("ring"));
    let server = Server::start(
        Limits::default(),
        &[publication("https://h.example", &keys)],
    )
    .await;
    let (_, before) = server.get("/jwks.json").await;
    std::fs::copy(key("rsa-3072.pkcs1.pem"), &file).expect("copy");
    assert_eq!(
        server.get("/jwks.json").await.1,
        before,
        "not before the reload"
    );
    keys.reload().expect("reload");
    let (_, after) = server.get("/jwks.json").await;
    assert_ne!(before, after);
    assert_eq!(after["keys"][0]["kid"], keys.active().kid().as_str());
    server.stop().await;
}

#[tokio::test]
async fn slow_clients_are_dropped_and_do_not_hold_up_others() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        connections: 2,
        header: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&server.address)
            .await
            .expect("connection");
        stream
            .write_all(b"GET /jwks.json HTTP/1.1\r\nHo")
            .await
            .expect("half a header");
        slow.push(stream);
    }
    // All slots are taken by clients that never finish; a third one is served once they are dropped.
    assert_eq!(server.get("/jwks.json").await.0, 200);
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_has_an_end() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        connection: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let mut idle = TcpStream::connect(&server.address)
        .await
        .expect("connection");
    idle.write_all(b"GET /jwks.json HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("request");
    let mut all = Vec::new();
    idle.read_to_end(&mut all)
        .await
        .expect("answer, then the end of the connection");
    assert!(all.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_a_request_but_not_for_ever() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        drain: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let mut open = TcpStream::connect(&server.address)
        .await
        .expect("connection");
    open.write_all(b"GET /jwks.json HT")
        .await
        .expect("half a header");
    let address = server.address.clone();
    let started = Instant::now();
    server.stop().await;
    assert!(
        started.elapsed() < Limits::default().header,
        "the drain has its own deadline"
    );
    assert!(
        TcpStream::connect(&address).await.is_err(),
        "the port is closed"
    );
}

#[test]
fn issuers_that_cannot_be_published_are_refused() {
    for bad in ["", "example.com", "ftp://h.example", "mailto:a@h.example"] {
        assert!(
            matches!(SsfMetadata::new(bad, None), Err(MetadataError::NotAUrl(_))),
            "{bad}"
        );
    }
    for bad in [
        "https://h.example?x=1",
        "https://h.example/a#b",
        "https://h.example/?",
    ] {
        assert!(
            matches!(
                SsfMetadata::new(bad, None),
                Err(MetadataError::QueryOrFragment(_))
            ),
            "{bad}"
        );
    }
    let secret = SsfMetadata::new("https://user:hunter2@h.example", None).expect_err("refused");
    assert_eq!(secret, MetadataError::Credentials);
    assert!(!secret.to_string().contains("hunter2"));
    assert!(SsfMetadata::new("https://h.example", Some("jwks.json")).is_err());

    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let twice = [
        publication("https://h.example", &keys),
        publication("https://h.example/", &keys),
    ];
    assert!(matches!(
        router(&twice, Duration::ZERO),
        Err(MetadataError::SamePlace(..))
    ));
    let mut other = publication("https://h.example", &keys);
    other.jwks_uri = Some("https://cdn.example/k.json".to_owned());
    let two = [publication("https://h.example", &keys), other];
    assert!(matches!(
        router(&two, Duration::ZERO),
        Err(MetadataError::TwoJwksUris(_))
    ));

    let named = |name: &str| {
        let source = KeySource {
            kid: Some("k1".to_owned()),
            ..KeySource::new(key(name))
        };
        Arc::new(KeyRing::load(&[source]).expect("ring"))
    };
    let clash = [
        publication("https://one.example", &named("rsa-2048.pkcs8.pem")),
        publication("https://two.example", &named("rsa-3072.pkcs1.pem")),
    ];
    assert!(
        matches!(router(&clash, Duration::ZERO), Err(MetadataError::SharedKid(kid)) if kid == "k1")
    );
}

#[test]
fn plain_http_is_confidential_on_loopback_only() {
    for (issuer, expected) in [
        ("https://h.example", true),
        ("http://h.example", false),
        ("http://127.0.0.1:8080", true),
        ("http://[::1]:8080/x", true),
        ("http://localhost", true),
        ("http://localhost.example", false),
    ] {
        let metadata = SsfMetadata::new(issuer, None).expect("metadata");
        assert_eq!(metadata.is_confidential(), expected, "{issuer}");
    }
    let mixed = SsfMetadata::new("https://h.example", Some("http://h.example/jwks.json"));
    assert!(!mixed.expect("metadata").is_confidential());
}
