//! Texts with rules that a schema cannot say: addresses, URLs, issuers, secrets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use super::super::domain::{Issuer, TlsIdentity};
use super::super::load::Files;
use super::super::raw::{DurationText, PathText, RawSecret, SizeText};
use super::Checker;
use crate::secret::Secret;

/// An optional part: absent is fine, wrong is not.
pub(super) fn all<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(None) => None,
        Some(Some(part)) => Some(Some(part)),
    }
}

pub(super) fn duration(
    raw: &DurationText,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Duration> {
    match raw.duration() {
        Some(duration) => Some(duration),
        None => checker.wrong(
            at,
            format!("{raw} is no duration"),
            "write a number and a unit: 500ms, 30s, 5m, 24h, 7d",
        ),
    }
}

/// A duration above zero.
pub(super) fn positive(
    raw: &DurationText,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Duration> {
    match duration(raw, at, checker)? {
        Duration::ZERO => checker.wrong(at, "zero makes no sense here", "write a longer time"),
        duration => Some(duration),
    }
}

/// A number of bytes above zero.
pub(super) fn bytes(raw: &SizeText, at: &str, checker: &mut Checker<'_>) -> Option<u64> {
    match raw.bytes() {
        None => checker.wrong(
            at,
            format!("{raw} is no size"),
            "write a number and a unit: 512KiB, 64MiB, 1GiB",
        ),
        Some(0) => checker.wrong(at, "zero makes no sense here", "write a larger size"),
        Some(bytes) => Some(bytes),
    }
}

/// A count above zero.
pub(super) fn count(raw: u32, at: &str, checker: &mut Checker<'_>) -> Option<NonZeroUsize> {
    match usize::try_from(raw).ok().and_then(NonZeroUsize::new) {
        Some(count) => Some(count),
        None => checker.wrong(at, "zero makes no sense here", "use 1 or more"),
    }
}

/// `address:port`; `localhost` and an empty address (every one) are understood.
pub(super) fn listen(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<SocketAddr> {
    if let Ok(address) = raw.parse() {
        return Some(address);
    }
    let parsed = raw.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        match host {
            "" => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            "localhost" => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            _ => None,
        }
    });
    match parsed {
        Some(address) => Some(address),
        None => checker.wrong(
            at,
            format!("{raw:?} is no address to listen on"),
            "write address:port, e.g. 0.0.0.0:8080, 127.0.0.1:9464 or [::]:8080",
        ),
    }
}

/// An absolute `https` URL: without credentials and fragment; `http` only to loopback or when
/// allowed by name.
pub(super) fn web_url(
    raw: &str,
    allow_http: bool,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Url> {
    if raw.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\<>".contains(c)) {
        return checker.wrong(
            at,
            "a URL has no blanks, quotes or backslashes in it",
            "copy it again, without what is around it",
        );
    }
    let url = match Url::parse(raw) {
        Ok(url)
            if raw
                .get(..url.scheme().len() + 3)
                .is_some_and(|r| r.ends_with("://")) =>
        {
            url
        }
        Ok(_) => return checker.wrong(at, "no URL with `://`", "write it as https://host/path"),
        Err(error) => {
            return checker.wrong(
                at,
                format!("not a URL: {error}"),
                "write it as https://host/path",
            );
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return checker.wrong(
            at,
            "there are credentials in the URL",
            "remove them; use `auth`, where they can come from a file",
        );
    }
    if url.fragment().is_some() {
        return checker.wrong(
            at,
            "a URL with a fragment cannot be fetched",
            "remove the `#` and what follows it",
        );
    }
    match url.scheme() {
        "https" => Some(url),
        "http" if allow_http || is_loopback(&url) => Some(url),
        "http" => checker.wrong(
            at,
            "plain http can be read and changed on the way",
            "use https (http is allowed to loopback, and for a receiver with `allow_http: true`)",
        ),
        other => checker.wrong(at, format!("{other} is no scheme for this"), "use https"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || IpAddr::V6(address).to_canonical().is_loopback()
        }
        None => false,
    }
}

/// An issuer (OpenID SSF 1.0 §7.1: an `https` URL without query and fragment), kept as written.
pub(super) fn issuer(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<Issuer> {
    let url = web_url(raw, false, at, checker)?;
    if url.query().is_some() {
        return checker.wrong(
            at,
            "an issuer has no query",
            "remove the `?` and what follows it",
        );
    }
    Some(Issuer(raw.into()))
}

/// A secret as written, or from the file that it names.
pub(super) fn secret(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<Secret> {
    let Some(path) = raw.strip_prefix("file:") else {
        return Some(Secret::literal(raw));
    };
    if path.is_empty() {
        return checker.wrong(at, "`file:` without a path", "write file:/path");
    }
    match checker.files {
        Files::Skip => Some(Secret::unread(path.into())),
        Files::Read => match Secret::from_file(Path::new(path)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                let message = match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                };
                checker.wrong(at, message, "put the secret there, readable for this user")
            }
        },
    }
}

/// A token that guards something of ours: long enough that nobody finds it by trying.
pub(super) fn token(raw: &RawSecret, at: &str, checker: &mut Checker<'_>) -> Option<Secret> {
    const SHORTEST: usize = 16;
    let secret = header_secret(raw, at, checker)?;
    let unread = matches!(checker.files, Files::Skip) && secret.file().is_some();
    if unread || secret.reveal().len() >= SHORTEST {
        return Some(secret);
    }
    checker.wrong(
        at,
        format!("the token has fewer than {SHORTEST} characters"),
        "make one with `openssl rand -hex 32`",
    )
}

/// Our certificate and its key for mutual TLS: both or neither.
pub(super) fn identity(
    certificate: &Option<PathText>,
    key: &Option<PathText>,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Option<TlsIdentity>> {
    match (certificate, key) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => Some(Some(TlsIdentity {
            certificate_file: PathBuf::from(&certificate.0),
            key_file: PathBuf::from(&key.0),
        })),
        (Some(_), None) => checker.wrong(at, "a certificate without its key", "add `key_file`"),
        (None, Some(_)) => checker.wrong(
            at,
            "a key without its certificate",
            "add `certificate_file`",
        ),
    }
}

/// A moment, as RFC 3339 writes it.
pub(super) fn time(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<jiff::Timestamp> {
    raw.parse().ok().or_else(|| {
        checker.wrong(
            at,
            format!("{raw:?} is no time of the calendar"),
            "write a time such as 2026-01-31T08:00:00Z",
        )
    })
}

/// A secret that travels in a header: no line ends, nothing invisible.
pub(super) fn header_secret(
    raw: &RawSecret,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Secret> {
    let secret = secret(&raw.0, at, checker)?;
    if secret
        .reveal()
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        return Some(secret);
    }
    checker.wrong(
        at,
        "there is a character in it that no header can carry",
        "look for line ends, tabs and letters beyond ASCII",
    )
}
