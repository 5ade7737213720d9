//! Certificates of the receiver: one that the bridges trust, and one of a stranger.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Both fronts of the receiver.
pub(crate) struct Front {
    pub(crate) own: TlsAcceptor,
    /// Its authority signed nothing that the bridges know.
    pub(crate) stranger: TlsAcceptor,
    /// The authority behind `own`, in PEM
    pub(crate) ca: PathBuf,
}

impl Front {
    /// Writes the authority's certificate into `folder`.
    pub(crate) fn make(folder: &Path) -> Front {
        let ca = folder.join("receiver-ca.pem");
        let (own, pem) = acceptor();
        let (stranger, _) = acceptor();
        fs::write(&ca, pem).expect("a file for the authority");
        Front { own, stranger, ca }
    }
}

/// For `localhost`, of an authority of its own, whose PEM comes with it.
fn acceptor() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key for the authority");
    let authority = params.self_signed(&key).expect("an authority");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key for the receiver");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a TLS server");
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}
