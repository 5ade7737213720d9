//! Which rings of keys there are, and which stream has which: that of `signing`, or one of its own.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::super::domain::{KeysConfig, RingConfig, RingName, StreamId};
use super::super::pointer::{child, dotted};
use super::super::raw::{RawConfig, RawRing, RawVault, SigningBackend};
use super::{Checker, signing, text, vault};

const DEFAULT: &str = "/signing";

/// All rings, and the name of each stream's.
pub(super) struct Rings {
    pub(super) all: Vec<RingConfig>,
    pub(super) of_streams: Vec<RingName>,
}

/// `jwks_uri` is where receivers find the JWKS of the default ring, if that was said.
pub(super) fn rings(
    all: &RawConfig,
    jwks_uri: Option<&Url>,
    checker: &mut Checker<'_>,
) -> Option<Rings> {
    let at = child(DEFAULT, "publish_before_use");
    let before_use = text::duration(&all.signing.publish_before_use, &at, checker);
    let reading = Reading { all, before_use };
    let default = reading.default(jwks_uri, checker);
    let each = (0..all.streams.len()).map(|index| reading.own(index, checker));
    // All of them, so that every mistake is told.
    let own: Vec<Option<Option<RingConfig>>> = each.collect();
    let own: Vec<Option<RingConfig>> = own.into_iter().collect::<Option<_>>()?;
    let mut rings = Vec::from_iter(default?);
    let each = own.into_iter().enumerate().map(|(index, own)| match own {
        None => Some(RingName::Default),
        Some(own) => join(own, all, index, &mut rings, checker),
    });
    let of_streams: Vec<Option<RingName>> = each.collect();
    Some(Rings {
        of_streams: of_streams.into_iter().collect::<Option<_>>()?,
        all: rings,
    })
}

struct Reading<'a> {
    all: &'a RawConfig,
    /// `signing.publish_before_use`.
    before_use: Option<Duration>,
}

impl Reading<'_> {
    fn names_own(&self, index: usize) -> bool {
        self.all.streams[index].signing.ring().names_keys()
    }

    /// The ring of `signing`; none when there is nothing that it is for.
    fn default(
        &self,
        jwks_uri: Option<&Url>,
        checker: &mut Checker<'_>,
    ) -> Option<Option<RingConfig>> {
        let words = self.all.signing.ring();
        let streams = 0..self.all.streams.len();
        let users: Vec<usize> = streams.filter(|index| !self.names_own(*index)).collect();
        if users.is_empty() && !self.all.streams.is_empty() && !words.names_keys() {
            return Some(None);
        }
        let check = words.check_published.unwrap_or(jwks_uri.is_some());
        let ring = RingConfig {
            name: RingName::Default,
            at: DEFAULT.to_owned(),
            keys: self.keys(words, DEFAULT, &users, checker)?,
            passphrase_file: passphrase_file(words),
            publish_before_use: self.before_use?,
            check_published: check,
            jwks_uri: jwks_uri.cloned(),
        };
        Some(Some(ring))
    }

    /// The ring of a stream that names keys.
    fn own(&self, index: usize, checker: &mut Checker<'_>) -> Option<Option<RingConfig>> {
        let stream = &self.all.streams[index];
        let words = stream.signing.ring();
        let at_stream = child("/streams", index);
        let at = child(&at_stream, "signing");
        if !words.names_keys() {
            return no_keys(words, stream.jwks_uri.is_some(), &at_stream, checker).map(|()| None);
        }
        let keys = self.keys(words, &at, &[index], checker);
        let before_use = match words.publish_before_use {
            Some(given) => text::duration(given, &child(&at, "publish_before_use"), checker),
            None => self.before_use,
        };
        let jwks_uri = stream.jwks_uri.as_ref().map(|uri| {
            let at = child(&at_stream, "jwks_uri");
            text::web_url(uri, false, &at, checker)
        });
        let jwks_uri = text::all(jwks_uri)?;
        let check = words.check_published.or(self.all.signing.check_published);
        Some(Some(RingConfig {
            name: RingName::Stream(StreamId(stream.id.as_str().into())),
            at,
            keys: keys?,
            passphrase_file: passphrase_file(words),
            publish_before_use: before_use?,
            check_published: check.unwrap_or(jwks_uri.is_some()),
            jwks_uri,
        }))
    }

    fn keys(
        &self,
        words: RawRing<'_>,
        at: &str,
        streams: &[usize],
        checker: &mut Checker<'_>,
    ) -> Option<KeysConfig> {
        match words.backend {
            SigningBackend::Files => signing::keys(words, at, checker),
            SigningBackend::VaultTransit => vault::keys(self.all, words, at, streams, checker),
        }
    }
}

fn passphrase_file(words: RawRing<'_>) -> Option<PathBuf> {
    words.passphrase_file.map(|file| PathBuf::from(&file.0))
}

/// What is about keys of a stream's own is wrong where it has none: it would change nothing.
fn no_keys(
    words: RawRing<'_>,
    has_jwks_uri: bool,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<()> {
    let signing = child(at, "signing");
    let given = [
        (
            words.passphrase_file.is_some(),
            child(&signing, "passphrase_file"),
        ),
        (
            words.publish_before_use.is_some(),
            child(&signing, "publish_before_use"),
        ),
        (
            words.check_published.is_some(),
            child(&signing, "check_published"),
        ),
        (has_jwks_uri, child(at, "jwks_uri")),
    ];
    let mut fine = Some(());
    for (_, at) in given.iter().filter(|(is_given, _)| *is_given) {
        fine = checker.wrong(
            at,
            "this is about keys of the stream's own, and it names none",
            "add `signing.keys` or `signing.ring` to the stream, or remove this: its keys are those of `signing` at the top",
        );
    }
    fine
}

/// The ring of the stream at `index`: an earlier one, if the keys are the same, or a new one.
fn join(
    own: RingConfig,
    all: &RawConfig,
    index: usize,
    rings: &mut Vec<RingConfig>,
    checker: &mut Checker<'_>,
) -> Option<RingName> {
    for ring in &*rings {
        if ring.keys.are(&own.keys) {
            return same_keys(&own, ring, all, index, checker);
        }
        if let Some(file) = own.keys.shared_file(&ring.keys) {
            return checker.wrong(
                &own.at,
                format!("{} is among the keys of {} too", file.display(), dotted(&ring.at)),
                "let them have the same keys, all of them, or no key in common: one that leaks is rotated in one ring",
            );
        }
    }
    let name = own.name.clone();
    rings.push(own);
    Some(name)
}

fn same_keys(
    own: &RingConfig,
    ring: &RingConfig,
    all: &RawConfig,
    index: usize,
    checker: &mut Checker<'_>,
) -> Option<RingName> {
    let RingName::Stream(first) = &ring.name else {
        return checker.wrong(
            &own.at,
            "these are the keys of `signing` at the top, which the stream has anyway",
            "remove them here, or give the stream other keys",
        );
    };
    let streams = &all.streams;
    let before = streams.iter().find(|stream| stream.id == first.as_str())?;
    let words = [&before.signing, &streams[index].signing];
    let algorithm = words.map(|words| words.algorithm.unwrap_or(all.signing.algorithm));
    let is_vault = matches!(own.keys, KeysConfig::Vault(_));
    let differences = [
        (
            own.passphrase_file != ring.passphrase_file,
            "passphrase_file",
        ),
        (
            own.publish_before_use != ring.publish_before_use,
            "publish_before_use",
        ),
        (
            own.check_published != ring.check_published,
            "check_published",
        ),
        (own.jwks_uri != ring.jwks_uri, "jwks_uri"),
        (is_vault && algorithm[0] != algorithm[1], "algorithm"),
        (
            is_vault && !is_same(&words[0].vault, &words[1].vault),
            "vault",
        ),
    ];
    match differences.iter().find(|(differs, _)| *differs) {
        None => Some(ring.name.clone()),
        Some((_, what)) => checker.wrong(
            &own.at,
            format!("the stream {first} has these keys too, with another `{what}`"),
            "write the same in both streams: they share one ring",
        ),
    }
}

/// The tokens are compared apart: they are never serialized.
fn is_same(one: &RawVault, other: &RawVault) -> bool {
    let token = |of: &RawVault| of.token.as_ref().map(|token| token.0.clone());
    let rest = |of: &RawVault| serde_json::to_value(of).ok();
    token(one) == token(other) && rest(one) == rest(other)
}
