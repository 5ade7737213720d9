//! TLS of the public port: a certificate and its key from files, which can be read again while connections are open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Why the files do not make an identity.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No PEM block of the kind that belongs there.
    #[error("{} holds no {wanted} as PEM", path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
        /// A certificate, or a private key.
        wanted: &'static str,
    },
    /// Certificate and key are no pair, or of a kind that is not supported.
    #[error("{} and its key do not fit: {source}", certificate.display())]
    Refused {
        /// The certificate's file.
        certificate: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

impl TlsError {
    /// The file at fault.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } | Self::Empty { path, .. } => path,
            Self::Refused { certificate, .. } => certificate,
        }
    }
}

/// Who we are on the public port. TLS 1.2 and 1.3; clients are not asked who they are: what is served is public.
#[derive(Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// The pair that new connections are shown.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Identity {
    /// Reads both files: PEM, the leaf first. Blocking.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = read(certificate, key, &provider)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(pair)));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Refused {
                certificate: certificate.to_owned(),
                source,
            })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            provider,
            current,
            config: Arc::new(config),
        })
    }

    /// Reads the files again; true when the certificate is another one. Connections that are open keep theirs. Blocking.
    ///
    /// # Errors
    /// [`TlsError`]; the old pair stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let pair = read(&self.certificate, &self.key, &self.provider)?;
        let changed = pair.cert != self.current.0.load().cert;
        self.current.0.store(Arc::new(pair));
        Ok(changed)
    }

    /// Makes connections confidential.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

fn read(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fault(certificate, "certificate", error))?;
    if chain.is_empty() {
        return Err(fault(certificate, "certificate", pem::Error::NoItemsFound));
    }
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, "private key", error))?;
    // Also asks whether the key belongs to the certificate.
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Refused {
        certificate: certificate.to_owned(),
        source,
    })
}

/// rustls' error, without what it read.
fn fault(path: &Path, wanted: &'static str, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Unreadable { path, source },
        _ => TlsError::Empty { path, wanted },
    }
}
