//! TLS in front of a plain receiver: what comes in over TLS goes on to the address behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A running front with a certificate for `localhost` of an authority of its own. Dropping it closes the port.
pub(crate) struct TlsFront {
    /// `https://localhost:port`
    pub(crate) origin: String,
    /// The authority, in PEM
    pub(crate) ca: PathBuf,
    server: JoinHandle<()>,
}

impl TlsFront {
    /// Writes the authority's certificate into `folder` and serves.
    pub(crate) async fn start(folder: &Path, behind: SocketAddr) -> TlsFront {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key for the authority");
        let authority = params.self_signed(&key).expect("an authority");
        let ca = folder.join("receiver-ca.pem");
        std::fs::write(&ca, authority.pem()).expect("a file for the authority");
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate().expect("a key for the front");
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a TLS server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        TlsFront {
            origin: format!("https://localhost:{port}"),
            ca,
            server: tokio::spawn(serve(listener, acceptor, behind)),
        }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) {
    loop {
        let (outside, _) = listener.accept().await.expect("a connection");
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Whoever does not trust the certificate leaves here.
            let Ok(mut outside) = acceptor.accept(outside).await else {
                return;
            };
            let Ok(mut inside) = TcpStream::connect(behind).await else {
                return;
            };
            // Either side may go at any time.
            let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}
