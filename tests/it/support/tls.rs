//! Certificates for the TLS listener of the test broker, made anew in every run.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// PEM files of one certificate authority, the broker's certificate under it, and an authority that signed nothing.
pub(crate) struct Certificates {
    /// The authority that clients must trust
    pub(crate) ca: PathBuf,
    /// An authority that did not sign the broker's certificate, for tests of the refusal
    pub(crate) stranger_ca: PathBuf,
    /// Private key and certificate in one file, as Kafka's PEM key store wants it
    pub(crate) key_store: PathBuf,
}

impl Certificates {
    /// Writes the three files into `dir`. The broker's certificate names `localhost` and `127.0.0.1`.
    pub(crate) fn write(dir: &Path) -> Certificates {
        let made = Certificates {
            ca: dir.join("ca.pem"),
            stranger_ca: dir.join("stranger-ca.pem"),
            key_store: dir.join("broker.pem"),
        };
        let (ca_pem, issuer) = authority("setbridge test authority");
        let (stranger_pem, _) = authority("a stranger");
        let key = KeyPair::generate().expect("a key for the broker");
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("names of the broker");
        leaf.distinguished_name
            .push(DnType::CommonName, "setbridge test broker");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf
            .signed_by(&key, &issuer)
            .expect("the broker's certificate");
        let pair = format!("{}{}", key.serialize_pem(), leaf.pem());
        for (path, text) in [
            (&made.ca, &ca_pem),
            (&made.stranger_ca, &stranger_pem),
            (&made.key_store, &pair),
        ] {
            fs::write(path, text).expect("a PEM file in the broker's folder");
        }
        made
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key for the authority");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params
        .self_signed(&key)
        .expect("a self-signed authority")
        .pem();
    (pem, Issuer::new(params, key))
}
