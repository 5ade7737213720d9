//! Where state is kept.

use std::path::PathBuf;

use url::{Host, Url};

use super::super::domain::*;
use super::super::pointer::child;
use super::super::raw::*;
use super::{Checker, text};

const URLS: &str = "/state/redis/urls";
/// As `redis-server` listens unless told otherwise.
const PORT: u16 = 6379;

pub(super) fn state(raw: &RawState, checker: &mut Checker<'_>) -> Option<StateConfig> {
    let window = text::positive(&raw.window, "/state/window", checker);
    let max_entries = text::count(raw.max_entries, "/state/max_entries", checker);
    if raw.backend == StateBackend::Redis {
        return redis(&raw.redis, window, checker).map(|redis| StateConfig::Redis(Box::new(redis)));
    }
    if !raw.redis.urls.is_empty() {
        return checker.wrong(
            URLS,
            "there is a Redis, but `state.backend` is another one",
            "set `state.backend: redis`, or remove `urls`",
        );
    }
    Some(match raw.backend {
        StateBackend::Memory => StateConfig::Memory {
            window: window?,
            max_entries: max_entries?,
        },
        _ => StateConfig::Sqlite {
            path: PathBuf::from(&raw.path.0),
            window: window?,
        },
    })
}

fn redis(
    raw: &RawRedis,
    window: Option<std::time::Duration>,
    checker: &mut Checker<'_>,
) -> Option<RedisConfig> {
    let at = "/state/redis";
    let nodes = nodes(raw, checker);
    let password = raw
        .password
        .as_ref()
        .map(|password| text::secret(&password.0, &child(at, "password"), checker));
    if raw.username.is_some() && raw.password.is_none() {
        checker.wrong::<()>(
            &child(at, "username"),
            "a user without a password",
            "add `password`, best as file:/path",
        );
    }
    let connect = text::positive(&raw.connect_timeout, &child(at, "connect_timeout"), checker);
    let request = text::positive(&raw.request_timeout, &child(at, "request_timeout"), checker);
    let tls = tls(&raw.tls, &child(at, "tls"), checker);
    let (nodes, is_tls) = nodes?;
    let tls = tls?;
    if !is_tls && tls != TlsConfig::default() {
        return checker.wrong(
            &child(at, "tls"),
            "there are files for TLS, but the URLs are redis://",
            "write rediss:// in `urls`, or remove `tls`",
        );
    }
    Some(RedisConfig {
        nodes,
        cluster: raw.cluster,
        tls: is_tls.then_some(tls),
        username: raw.username.clone(),
        password: text::all(password)?,
        key_prefix: raw.key_prefix.clone(),
        connect_timeout: connect?,
        request_timeout: request?,
        on_unavailable: raw.on_unavailable,
        window: window?,
    })
}

/// The nodes, and whether they speak TLS.
fn nodes(raw: &RawRedis, checker: &mut Checker<'_>) -> Option<(Vec<(String, u16)>, bool)> {
    if raw.urls.is_empty() {
        return checker.wrong(
            URLS,
            "`backend: redis` needs a Redis",
            "add its address: urls: [redis://host:6379]",
        );
    }
    let each = raw.urls.iter().enumerate();
    let nodes: Vec<Option<_>> = each
        .map(|(index, url)| node(url, &child(URLS, index), checker))
        .collect();
    let nodes: Vec<(String, u16, bool)> = nodes.into_iter().collect::<Option<_>>()?;
    let is_tls = nodes.iter().any(|(_, _, tls)| *tls);
    if is_tls && !nodes.iter().all(|(_, _, tls)| *tls) {
        return checker.wrong(
            URLS,
            "redis:// and rediss:// are both there",
            "write all of them in one way",
        );
    }
    let plain = |(host, port, _)| (host, port);
    Some((nodes.into_iter().map(plain).collect(), is_tls))
}

fn node(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<(String, u16, bool)> {
    const MEND: &str = "write redis://host:6379, or rediss://host:6379 for TLS";
    let url = match Url::parse(raw) {
        Ok(url) if matches!(url.scheme(), "redis" | "rediss") && url.has_host() => url,
        Ok(_) => return checker.wrong(at, "no address of a Redis", MEND),
        Err(error) => return checker.wrong(at, format!("not a URL: {error}"), MEND),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return checker.wrong(
            at,
            "there are credentials in the URL",
            "remove them; use `username` and `password`, which can come from a file",
        );
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return checker.wrong(
            at,
            "there is something behind host and port",
            "remove it: the keys are in database 0, and all begin with `key_prefix`",
        );
    }
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => {
            return checker.wrong(at, "there is no host", MEND);
        }
    };
    // Of this scheme the library knows nothing, so it takes an IPv6 address for a name.
    let host = host.trim_matches(['[', ']']).to_owned();
    Some((host, url.port().unwrap_or(PORT), url.scheme() == "rediss"))
}

fn tls(raw: &RawRedisTls, at: &str, checker: &mut Checker<'_>) -> Option<TlsConfig> {
    let client = text::identity(&raw.certificate_file, &raw.key_file, at, checker)?;
    Some(TlsConfig {
        ca_file: raw.ca_file.as_ref().map(|file| PathBuf::from(&file.0)),
        client,
    })
}
