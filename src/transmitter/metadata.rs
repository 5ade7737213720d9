//! The Transmitter Configuration Metadata (SSF 1.0 §7.1, CONTRACTS §3.6) of one issuer.

use serde::Serialize;
use thiserror::Error;
use url::{Host, Url};

use super::{JWKS_PATH, METADATA_PATH};

/// Push delivery (RFC 8935), as SSF names it.
const PUSH: &str = "urn:ietf:rfc:8935";

/// What `/.well-known/ssf-configuration` says. Members that would be empty do not exist: SSF forbids
/// zero-element arrays, and endpoints that are not served must not be named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SsfMetadata {
    spec_version: &'static str,
    issuer: String,
    jwks_uri: String,
    delivery_methods_supported: [&'static str; 1],
    #[serde(skip)]
    path: String,
    #[serde(skip)]
    authority: String,
    #[serde(skip)]
    confidential: bool,
}

/// Why an issuer or a JWKS address cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// Not an absolute http(s) URL with a host.
    #[error("`{0}` is not an absolute https URL")]
    NotAUrl(String),
    /// A query or a fragment, which SSF forbids in an issuer.
    #[error("issuer `{0}` must have neither a query nor a fragment")]
    QueryOrFragment(String),
    /// A user name or a password in the URL. The URL is not repeated, it may hold a secret.
    #[error("an issuer or JWKS address must not hold a user name or a password")]
    Credentials,
    /// One issuer with two JWKS addresses.
    #[error("issuer `{0}` is given two different jwks_uri; give it one")]
    TwoJwksUris(String),
    /// Two issuers whose metadata would be at one URL.
    #[error("issuers `{0}` and `{1}` would have their metadata at one address; use one spelling")]
    SamePlace(String, String),
}

impl SsfMetadata {
    /// The metadata of `issuer`. Without `jwks_uri`: `/jwks.json` at the issuer's origin, whatever its
    /// path. Whether plain http is allowed is the caller's
    /// decision, see [`is_confidential`](Self::is_confidential).
    ///
    /// # Errors
    /// [`MetadataError`] when either is not a URL that can be published.
    pub fn new(issuer: &str, jwks_uri: Option<&str>) -> Result<Self, MetadataError> {
        Self::at(issuer, jwks_uri, JWKS_PATH)
    }

    /// As [`new`](Self::new), with the JWKS at `path` of the issuer's origin unless `jwks_uri` says otherwise.
    ///
    /// # Errors
    /// As for that.
    pub fn at(issuer: &str, jwks_uri: Option<&str>, path: &str) -> Result<Self, MetadataError> {
        let url = parse(issuer)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(MetadataError::QueryOrFragment(issuer.to_owned()));
        }
        let jwks_url = match jwks_uri {
            Some(text) => parse(text)?,
            None => url
                .join(path)
                .map_err(|_| MetadataError::NotAUrl(issuer.to_owned()))?,
        };
        let tenant = url.path().strip_suffix('/').unwrap_or(url.path());
        Ok(Self {
            spec_version: "1_0",
            issuer: issuer.to_owned(),
            jwks_uri: jwks_uri.map_or_else(|| jwks_url.to_string(), str::to_owned),
            delivery_methods_supported: [PUSH],
            path: format!("{METADATA_PATH}{tenant}"),
            authority: url.authority().to_owned(),
            confidential: is_confidential(&url) && is_confidential(&jwks_url),
        })
    }

    /// The `iss` of the SETs, exactly as configured.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the keys are.
    #[must_use]
    pub fn jwks_uri(&self) -> &str {
        &self.jwks_uri
    }

    /// The path under which this document is found: the well-known part comes before the issuer's
    /// own path, a trailing `/` removed first (SSF §7.2.1).
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where a receiver looks for this document.
    #[must_use]
    pub fn url(&self) -> Option<Url> {
        Url::parse(&self.issuer).ok()?.join(&self.path).ok()
    }

    /// `host` or `host:port` of the issuer, the default port left out.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Issuer and JWKS are both https, or plain http to a loopback address.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.confidential
    }
}

fn parse(text: &str) -> Result<Url, MetadataError> {
    let url = Url::parse(text).map_err(|_| MetadataError::NotAUrl(text.to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(MetadataError::Credentials);
    }
    match url.scheme() {
        "https" | "http" => Ok(url),
        _ => Err(MetadataError::NotAUrl(text.to_owned())),
    }
}

fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https"
        || match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}
