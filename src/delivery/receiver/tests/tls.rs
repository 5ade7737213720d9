use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;

/// A certificate authority and what it has signed, as PEM files in a folder.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("written");
        Self {
            dir,
            issuer: Issuer::new(params, key),
            der: certificate.der().clone(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sign(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(&self.path("leaf.pem"), &certificate.pem());
        write(&self.path("leaf.key"), &key.serialize_pem());
        (certificate.der().clone(), key)
    }

    /// A TLS peer that answers every connection with a 202; `mutual` = wants a certificate of this CA.
    async fn serve(&self, mutual: bool) -> String {
        let (certificate, key) = self.sign("localhost");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder();
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let builder = if mutual {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder
            .with_single_cert(vec![certificate], key)
            .expect("a server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut seen = [0; 4096];
                    if stream.read(&mut seen).await.is_ok_and(|n| n > 0) {
                        let _gone = stream
                            .write_all(b"HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n")
                            .await;
                        let _gone = stream.shutdown().await;
                    }
                });
            }
        });
        format!("https://localhost:{port}/events")
    }

    fn trusting(&self, url: &str) -> ReceiverSettings {
        ReceiverSettings {
            ca_files: vec![self.path("ca.pem")],
            system_roots: false,
            ..direct(url)
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

async fn verdict(settings: ReceiverSettings) -> Verdict {
    receiver(settings)
        .push(Bytes::from_static(b"a.b.c"))
        .await
        .verdict
}

const TLS: Verdict = Verdict::Moment(MomentFault::Tls);

#[tokio::test]
async fn an_extra_authority_is_trusted_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let url = ours.serve(false).await;
    assert_eq!(verdict(ours.trusting(&url)).await, Verdict::Accepted);
    assert_eq!(verdict(theirs.trusting(&url)).await, TLS);
    let by_address = url.replace("localhost", "127.0.0.1");
    assert_eq!(
        verdict(ours.trusting(&by_address)).await,
        TLS,
        "the name must fit"
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    let url = authority.serve(true).await;
    assert_eq!(verdict(authority.trusting(&url)).await, TLS, "without one");
    let client_certificate = Some(ClientCertificate {
        certificate: authority.path("leaf.pem"),
        key: authority.path("leaf.key"),
    });
    let settings = ReceiverSettings {
        client_certificate,
        ..authority.trusting(&url)
    };
    assert_eq!(verdict(settings).await, Verdict::Accepted);
}

#[tokio::test]
async fn who_speaks_no_tls_is_a_tls_fault() {
    let authority = Authority::new();
    let peer = Peer::start(vec![Act::Silence]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    assert_eq!(
        verdict(authority.trusting(&format!("https://localhost:{port}/"))).await,
        TLS
    );
    // A handshake that never ends is cut off by the connect time-out.
    let silent = peer.url.replace("http://127.0.0.1", "https://localhost");
    let settings = ReceiverSettings {
        connect_timeout: Duration::from_millis(100),
        ..authority.trusting(&silent)
    };
    assert_eq!(
        verdict(settings).await,
        Verdict::Moment(MomentFault::Connect)
    );
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_a_reload_keeps_the_old() {
    let authority = Authority::new();
    let url = authority.serve(false).await;
    let base = authority.trusting(&url);
    let missing = ReceiverSettings {
        ca_files: vec![authority.path("nope.pem")],
        ..base.clone()
    };
    assert!(matches!(
        Receiver::new(missing),
        Err(ReceiverError::File { .. })
    ));
    write(&authority.path("empty.pem"), "no certificate");
    let empty = ReceiverSettings {
        ca_files: vec![authority.path("empty.pem")],
        ..base.clone()
    };
    assert!(matches!(
        Receiver::new(empty),
        Err(ReceiverError::CaFile { .. })
    ));
    let files = ClientCertificate {
        certificate: authority.path("ca.pem"),
        key: authority.path("empty.pem"),
    };
    let broken = ReceiverSettings {
        client_certificate: Some(files),
        ..base.clone()
    };
    assert!(matches!(
        Receiver::new(broken),
        Err(ReceiverError::ClientCertificate { .. })
    ));
    let proxy = ProxySettings::Url(Secret::literal("::not a url::".to_owned()));
    let no_proxy = Receiver::new(ReceiverSettings {
        proxy,
        ..base.clone()
    });
    assert!(matches!(no_proxy, Err(ReceiverError::Proxy)));

    let receiver = receiver(base);
    write(&authority.path("ca.pem"), "");
    assert!(receiver.reload().is_err());
    assert_eq!(
        receiver.push(Bytes::from_static(b"x")).await.verdict,
        Verdict::Accepted
    );
}

#[tokio::test]
async fn a_proxy_gets_the_request() {
    let proxy = Peer::once("HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n").await;
    let through = Secret::literal(
        proxy
            .url
            .replace("http://", "http://user:hush@")
            .replace("/events", ""),
    );
    let url = TargetUrl::parse("http://receiver.example/events", true).expect("allowed");
    let settings = ReceiverSettings {
        proxy: ProxySettings::Url(through),
        ..ReceiverSettings::new(url)
    };
    let settings = ReceiverSettings {
        system_roots: false,
        ..settings
    };
    assert!(!format!("{settings:?}").contains("hush"));
    assert_eq!(verdict(settings).await, Verdict::Accepted);
    let request = proxy.requests().remove(0).to_ascii_lowercase();
    assert!(
        request.starts_with("post http://receiver.example/events http/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("proxy-authorization: basic "));
}
