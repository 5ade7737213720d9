//! Over real TCP, by a plain HTTP client.

mod crowd;
mod tls;

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

/// An issuer, and the keys that are served at its address.
type Served = (Publication, Arc<KeyRing>);

fn publication(issuer: &str, keys: &Arc<KeyRing>) -> Served {
    let publication = Publication {
        issuer: issuer.to_owned(),
        jwks_uri: None,
    };
    (publication, Arc::clone(keys))
}

/// The first one's keys at `/jwks.json`, those of others at the addresses of streams `1`, `2`, …
fn routes(served: &[Served], max_age: Duration) -> Result<Router, MetadataError> {
    let mut rings: Vec<ServedRing> = Vec::new();
    for (at, (_, ring)) in served.iter().enumerate() {
        let path = match at {
            0 => JWKS_PATH.to_owned(),
            _ => stream_jwks_path(&at.to_string()),
        };
        rings.push((path, Arc::clone(ring)));
    }
    let publications = served.iter().map(|(publication, _)| publication.clone());
    router(rings, &publications.collect::<Vec<_>>(), max_age)
}

/// A server on a free port; dropped or stopped by the test.
struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits, publications: &[Served]) -> Self {
        Self::speaking(None, limits, publications).await
    }

    async fn speaking(
        identity: Option<Arc<Identity>>,
        limits: Limits,
        publications: &[Served],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address").to_string();
        let router = routes(publications, Duration::from_secs(90)).expect("router");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve_within(
            limits,
            listener,
            identity,
            router,
            async move {
                let _ = stopped.await;
            },
        ));
        Self {
            address,
            stop,
            task,
        }
    }

    /// Status, header part and body of one request.
    async fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String, String) {
        self.ask_with(method, path, host, "").await
    }

    /// With more header lines, each with its line end.
    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        host: &str,
        more: &str,
    ) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).await.expect("connection");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
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
    assert_eq!(
        jwks["keys"][0]["kid"],
        keys.active(crate::signing::Algorithm::Rs256)
            .expect("a key")
            .kid()
            .as_str()
    );
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

/// RFC 9110 §8.8.3 and §13.1.2: a strong tag, the same for the same bytes, in every process.
#[tokio::test]
async fn whoever_has_the_document_is_told_so_without_it() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let all = [publication("https://h.example", &keys)];
    let [one, two] = [
        Server::start(Limits::default(), &all).await,
        Server::start(Limits::default(), &all).await,
    ];
    let tag_in = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("etag: "));
        line.expect("a tag").to_owned()
    };
    for path in ["/jwks.json", METADATA_PATH] {
        // The header is shown in lower case, so the tag is taken from the answer as it came.
        let mut stream = TcpStream::connect(&one.address).await.expect("connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answer");
        let tag = tag_in(answer.split_once("\r\n\r\n").expect("a header").0);
        assert!(tag.starts_with('"') && tag.ends_with('"'), "strong: {tag}");
        for (known, status) in [
            (tag.clone(), 304),
            (format!("W/{tag}"), 304),
            (format!("\"another\", {tag}"), 304),
            ("*".to_owned(), 304),
            ("\"another\"".to_owned(), 200),
            ("not a tag".to_owned(), 200),
        ] {
            for method in ["GET", "HEAD"] {
                let more = format!("If-None-Match: {known}\r\n");
                let (found, head, body) = two.ask_with(method, path, "h", &more).await;
                assert_eq!(found, status, "{method} {path} {known}");
                assert_eq!(tag_in(&head), tag.to_lowercase());
                assert!(head.contains("cache-control: public, max-age=90"), "{head}");
                assert_eq!(body.is_empty(), status == 304 || method == "HEAD");
            }
        }
    }
    one.stop().await;
    two.stop().await;
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
    // One address for each ring, and no key of another ring there, whatever host was asked.
    for (path, ring) in [("/jwks.json", &one), ("/streams/1/jwks.json", &two)] {
        let (status, jwks) = server.get(path).await;
        assert_eq!(status, 200);
        let kids = jwks["keys"].as_array().expect("keys").iter();
        let kids: Vec<_> = kids.map(|key| key["kid"].clone()).collect();
        let own = ring
            .active(crate::signing::Algorithm::Rs256)
            .expect("a key");
        assert_eq!(kids, [own.kid().as_str()], "{path}");
    }
    assert_eq!(server.get("/streams/2/jwks.json").await.0, 404);
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
    assert_eq!(
        after["keys"][0]["kid"],
        keys.active(crate::signing::Algorithm::Rs256)
            .expect("a key")
            .kid()
            .as_str()
    );
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
        routes(&twice, Duration::ZERO),
        Err(MetadataError::SamePlace(..))
    ));
    let mut other = publication("https://h.example", &keys);
    other.0.jwks_uri = Some("https://cdn.example/k.json".to_owned());
    let two = [publication("https://h.example", &keys), other];
    assert!(matches!(
        routes(&two, Duration::ZERO),
        Err(MetadataError::TwoJwksUris(_))
    ));
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
