//! A stream's receiver: where SETs go, and how we prove who we are.

use std::path::PathBuf;

use url::Url;

use super::super::domain::*;
use super::super::pointer::child;
use super::super::raw::*;
use super::{Checker, text};

pub(super) fn receiver(
    raw: &RawReceiver,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<ReceiverConfig> {
    let url = url(raw, &child(at, "url"), checker);
    let auth = auth(raw, &child(at, "auth"), checker);
    let tls = tls(&raw.tls, &child(at, "tls"), checker);
    let proxy = proxy(raw.proxy.as_ref(), &child(at, "proxy"), checker);
    let connect = text::positive(&raw.connect_timeout, &child(at, "connect_timeout"), checker);
    let request = text::positive(&raw.request_timeout, &child(at, "request_timeout"), checker);
    Some(ReceiverConfig {
        kind: raw.kind,
        url: url?,
        auth: auth?,
        tls: tls?,
        proxy: proxy?,
        connect_timeout: connect?,
        request_timeout: request?,
        rate: raw.rate.map(Rate),
        allow_http: raw.allow_http,
    })
}

fn url(raw: &RawReceiver, at: &str, checker: &mut Checker<'_>) -> Option<Url> {
    let url = text::web_url(&raw.url, raw.allow_http, at, checker)?;
    let host = url.host_str().unwrap_or_default();
    let okta = [".okta.com", ".oktapreview.com", ".okta-emea.com"];
    if okta.iter().any(|domain| {
        host.strip_suffix(domain)
            .is_some_and(|org| org.ends_with("-admin"))
    }) {
        return checker.wrong(
            at,
            "this is the address of the admin console",
            "use the org's own: the same without `-admin`",
        );
    }
    Some(url)
}

fn auth(raw: &RawReceiver, at: &str, checker: &mut Checker<'_>) -> Option<AuthConfig> {
    match (&raw.auth.header, &raw.auth.oauth2) {
        (None, None) => Some(AuthConfig::None),
        (Some(header), None) => header_auth(header, &child(at, "header"), checker),
        (None, Some(oauth2)) => oauth2_auth(raw, oauth2, &child(at, "oauth2"), checker),
        (Some(_), Some(_)) => checker.wrong(
            at,
            "`header` and `oauth2` are both there",
            "keep one of them",
        ),
    }
}

fn header_auth(raw: &RawHeaderAuth, at: &str, checker: &mut Checker<'_>) -> Option<AuthConfig> {
    const OURS: [&str; 8] = [
        "accept",
        "connection",
        "content-length",
        "content-type",
        "host",
        "te",
        "transfer-encoding",
        "user-agent",
    ];
    let value = text::header_secret(&raw.value, &child(at, "value"), checker);
    if OURS.contains(&raw.name.to_ascii_lowercase().as_str()) {
        return checker.wrong(
            &child(at, "name"),
            format!("the header {} is set by the protocol", raw.name),
            "use a header for credentials, such as Authorization",
        );
    }
    Some(AuthConfig::Header {
        name: raw.name.clone(),
        value: value?,
    })
}

fn oauth2_auth(
    receiver: &RawReceiver,
    raw: &RawOAuth2,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<AuthConfig> {
    let at_url = child(at, "token_url");
    let token_url = text::web_url(&raw.token_url, receiver.allow_http, &at_url, checker);
    let credential = match (&raw.client_secret, &raw.private_key_file) {
        (Some(secret), None) => text::secret(&secret.0, &child(at, "client_secret"), checker)
            .map(ClientCredential::Secret),
        (None, Some(file)) => Some(ClientCredential::PrivateKey {
            file: PathBuf::from(&file.0),
            kid: raw.private_key_id.clone(),
        }),
        (None, None) => checker.wrong(
            at,
            "the client has nothing to prove itself with",
            "add `client_secret` or `private_key_file`",
        ),
        (Some(_), Some(_)) => checker.wrong(
            at,
            "`client_secret` and `private_key_file` are both there",
            "keep one of them",
        ),
    };
    if raw.private_key_id.is_some() && raw.private_key_file.is_none() {
        return checker.wrong(
            &child(at, "private_key_id"),
            "this names a key that is not there",
            "remove it, or add `private_key_file`",
        );
    }
    Some(AuthConfig::OAuth2 {
        token_url: token_url?,
        client_id: raw.client_id.clone(),
        credential: credential?,
        scopes: raw.scopes.clone(),
    })
}

fn tls(raw: &RawTls, at: &str, checker: &mut Checker<'_>) -> Option<TlsConfig> {
    let client = text::identity(&raw.certificate_file, &raw.key_file, at, checker)?;
    Some(TlsConfig {
        ca_file: raw.ca_file.as_ref().map(|file| PathBuf::from(&file.0)),
        client,
    })
}

fn proxy(raw: Option<&RawSecret>, at: &str, checker: &mut Checker<'_>) -> Option<ProxyConfig> {
    let Some(raw) = raw else {
        return Some(ProxyConfig::Environment);
    };
    if raw.0 == "none" {
        return Some(ProxyConfig::Direct);
    }
    let secret = text::secret(&raw.0, at, checker)?;
    if secret.reveal().is_empty() {
        return Some(ProxyConfig::Url(secret)); // its file was not read
    }
    // The text may hold a password, so no message repeats it.
    match Url::parse(secret.reveal()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Some(ProxyConfig::Url(secret))
        }
        _ => checker.wrong(
            at,
            "not the URL of a proxy",
            "write http://host:port, or none",
        ),
    }
}
