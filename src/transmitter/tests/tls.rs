//! The public port over TLS, and its certificate read again.

use std::path::Path;

use super::*;

/// Writes a certificate for `localhost` and its key; returns the certificate.
fn write_pair(folder: &Path) -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    std::fs::write(folder.join("tls.pem"), pair.cert.pem()).expect("written");
    std::fs::write(folder.join("tls.key"), pair.signing_key.serialize_pem()).expect("written");
    pair.cert.pem()
}

fn open(folder: &Path) -> Result<Identity, TlsError> {
    Identity::open(&folder.join("tls.pem"), &folder.join("tls.key"))
}

/// Whether a client that trusts this certificate alone gets the JWKS.
async fn fetches(server: &Server, trusted: &str) -> bool {
    let trusted = reqwest::Certificate::from_pem(trusted.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder()
        .tls_certs_only([trusted])
        .no_proxy()
        .build()
        .expect("a client");
    let port = server.address.rsplit(':').next().expect("a port");
    let url = format!("https://localhost:{port}/jwks.json");
    match client.get(url).send().await {
        Ok(answer) => {
            assert_eq!(answer.status(), 200);
            let set: serde_json::Value =
                serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
            set["keys"].as_array().map(Vec::len) == Some(1)
        }
        Err(error) => {
            assert!(error.is_connect(), "{error:?}");
            false
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_a_broken_one_to_nobody() {
    let folder = tempfile::tempdir().expect("folder");
    let first = write_pair(folder.path());
    let identity = Arc::new(open(folder.path()).expect("a pair"));
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let server = Server::speaking(
        Some(Arc::clone(&identity)),
        Limits::default(),
        &[publication("https://localhost", &keys)],
    )
    .await;
    assert!(fetches(&server, &first).await);

    let second = write_pair(folder.path());
    assert!(fetches(&server, &first).await, "not before it is read");
    assert!(identity.reload().expect("a pair"));
    assert!(!identity.reload().expect("the same"), "nothing changed");
    assert!(fetches(&server, &second).await);
    assert!(!fetches(&server, &first).await);

    // The certificate of one pair with the key of another.
    let key = std::fs::read(folder.path().join("tls.key")).expect("a key");
    write_pair(folder.path());
    std::fs::write(folder.path().join("tls.key"), key).expect("written");
    assert!(matches!(identity.reload(), Err(TlsError::Refused { .. })));
    assert!(fetches(&server, &second).await, "the old pair stays");

    // Plain http gets no document, and is no burden.
    let (mut plain, mut answer) = (
        TcpStream::connect(&server.address)
            .await
            .expect("connection"),
        Vec::new(),
    );
    plain
        .write_all(b"GET /jwks.json HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("request");
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn whoever_never_speaks_tls_is_dropped() {
    let folder = tempfile::tempdir().expect("folder");
    write_pair(folder.path());
    let identity = open(folder.path()).expect("a pair");
    let limits = Limits {
        header: Duration::from_millis(200),
        ..Limits::default()
    };
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let all = [publication("https://localhost", &keys)];
    let server = Server::speaking(Some(Arc::new(identity)), limits, &all).await;
    let mut silent = TcpStream::connect(&server.address)
        .await
        .expect("connection");
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.expect("its end");
    assert!(rest.is_empty());
    server.stop().await;
}

#[test]
fn what_is_no_identity_is_refused_with_its_file() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let refused = |what: &str| open(folder.path()).expect_err(what);
    assert!(
        matches!(refused("nothing is there"), TlsError::Unreadable { path, .. } if path == at("tls.pem"))
    );
    write_pair(folder.path());
    std::fs::write(at("tls.key"), "no key").expect("written");
    assert!(matches!(refused("no key"), TlsError::Empty { path, .. } if path == at("tls.key")));
    write_pair(folder.path());
    std::fs::write(at("tls.pem"), "").expect("written");
    assert!(
        matches!(refused("no certificate"), TlsError::Empty { path, .. } if path == at("tls.pem"))
    );
    std::fs::copy(at("tls.key"), at("tls.pem")).expect("copied");
    assert!(
        matches!(refused("a key as certificate"), TlsError::Empty { path, .. } if path == at("tls.pem"))
    );
}
