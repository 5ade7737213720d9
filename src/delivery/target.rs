//! URLs that we may send to: parsed once, then trusted.

use std::fmt;

use thiserror::Error;
use url::{Host, Url};

/// An absolute `https` URL without credentials and fragment; `http` only to loopback, or when allowed by
/// name. Used for receivers and for token endpoints.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(Url);

/// Why a URL may not be sent to. Never shows the URL: it may hold credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetUrlError {
    /// Not an absolute URL with a host.
    #[error("not an absolute URL such as https://host/path")]
    NotAbsolute,
    /// Neither https nor http.
    #[error("the scheme must be https")]
    Scheme,
    /// Plain http to another machine.
    #[error("plain http is for loopback addresses only; use https, or set `allow_http: true`")]
    PlainHttp,
    /// User or password in the URL.
    #[error("credentials in a URL end up in logs; use the receiver's `auth` setting")]
    Credentials,
    /// A `#fragment` is never sent.
    #[error("a URL to send to has no fragment (`#…`)")]
    Fragment,
}

/// Scheme, host and port: what pacing is shared by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetOrigin {
    scheme: String,
    host: String,
    port: u16,
}

impl TargetUrl {
    /// Parses and checks `text`.
    ///
    /// # Errors
    /// See [`TargetUrlError`].
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, TargetUrlError> {
        let url = Url::parse(text.trim()).map_err(|_| TargetUrlError::NotAbsolute)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(TargetUrlError::Scheme);
        }
        let host = url.host().ok_or(TargetUrlError::NotAbsolute)?;
        if url.scheme() == "http" && !allow_http && !is_loopback(&host) {
            return Err(TargetUrlError::PlainHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetUrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetUrlError::Fragment);
        }
        Ok(Self(url))
    }

    /// The URL itself.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> TargetOrigin {
        TargetOrigin {
            scheme: self.0.scheme().to_owned(),
            host: self.0.host_str().unwrap_or_default().to_owned(),
            port: self.0.port_or_known_default().unwrap_or_default(),
        }
    }
}

/// Without path and query: those may name a tenant.
impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetUrl({})", self.origin())
    }
}

impl fmt::Display for TargetOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_to() {
        let rows = [
            ("https://org.okta.com/security/api/v1/security-events", None),
            (" https://h.example ", None),
            ("http://127.0.0.1:8080/x", None),
            ("http://127.9.9.9/x", None),
            ("http://[::1]:8080/x", None),
            ("http://localhost/x", None),
            ("http://h.example/x", Some(TargetUrlError::PlainHttp)),
            (
                "http://localhost.example/x",
                Some(TargetUrlError::PlainHttp),
            ),
            (
                "http://127.0.0.1.example/x",
                Some(TargetUrlError::PlainHttp),
            ),
            ("http://10.0.0.1/x", Some(TargetUrlError::PlainHttp)),
            ("https://u:p@h.example/", Some(TargetUrlError::Credentials)),
            ("https://u@h.example/", Some(TargetUrlError::Credentials)),
            ("https://h.example/#x", Some(TargetUrlError::Fragment)),
            ("ftp://h.example/", Some(TargetUrlError::Scheme)),
            ("unix:/x", Some(TargetUrlError::Scheme)),
            ("h.example/x", Some(TargetUrlError::NotAbsolute)),
            ("", Some(TargetUrlError::NotAbsolute)),
            ("https://", Some(TargetUrlError::NotAbsolute)),
        ];
        for (text, expected) in rows {
            assert_eq!(TargetUrl::parse(text, false).err(), expected, "{text}");
        }
        assert!(TargetUrl::parse("http://h.example/x", true).is_ok());
    }

    #[test]
    fn debug_shows_the_origin_only() {
        let url = TargetUrl::parse("https://H.example/tenant-7?key=1", false).expect("valid");
        assert_eq!(format!("{url:?}"), "TargetUrl(https://h.example:443)");
    }
}
