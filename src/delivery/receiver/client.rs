//! Settings → `reqwest::Client`.

use std::path::Path;

use reqwest::{Certificate, Client, Identity, Proxy, redirect};
use zeroize::Zeroizing;

use super::super::auth::AuthSettings;
use super::{ClientCertificate, ProxySettings, ReceiverError, ReceiverSettings};

/// What we say we are.
pub(super) const USER_AGENT: &str = concat!("setbridge/", env!("CARGO_PKG_VERSION"));

pub(super) fn build(settings: &ReceiverSettings) -> Result<Client, ReceiverError> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        // One attempt is one attempt: repeating is the retry policy's business.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.total_timeout)
        .pool_max_idle_per_host(settings.max_idle_connections);
    builder = match &settings.proxy {
        ProxySettings::Environment => builder,
        ProxySettings::Direct => builder.no_proxy(),
        ProxySettings::Url(url) => {
            builder.proxy(Proxy::all(url.reveal()).map_err(|_| ReceiverError::Proxy)?)
        }
    };
    let mut authorities = Vec::new();
    for path in &settings.ca_files {
        authorities.extend(read_authorities(path)?);
    }
    builder = if settings.system_roots && uses_tls(settings) {
        builder.tls_certs_merge(authorities)
    } else {
        builder.tls_certs_only(authorities)
    };
    if let Some(files) = &settings.client_certificate {
        builder = builder.identity(read_identity(files)?);
    }
    builder.build().map_err(ReceiverError::Client)
}

/// Plain http needs no certificate authorities; a machine without any must not be refused for it.
fn uses_tls(settings: &ReceiverSettings) -> bool {
    let encrypted = settings.url.as_url().scheme() == "https";
    encrypted
        || matches!(settings.auth, AuthSettings::OAuth(_))
        || matches!(settings.proxy, ProxySettings::Url(_))
}

fn read_authorities(path: &Path) -> Result<Vec<Certificate>, ReceiverError> {
    let pem = read(path)?;
    let found = Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty());
    found.ok_or_else(|| ReceiverError::CaFile {
        path: path.to_owned(),
    })
}

fn read_identity(files: &ClientCertificate) -> Result<Identity, ReceiverError> {
    let mut pem = read(&files.key)?;
    pem.push(b'\n');
    pem.extend_from_slice(&read(&files.certificate)?);
    Identity::from_pem(&pem).map_err(|_| ReceiverError::ClientCertificate {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ReceiverError> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| ReceiverError::File {
            path: path.to_owned(),
            source,
        })
}
