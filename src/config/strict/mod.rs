//! The raw configuration → the strict one: everything that the schema cannot say.
//!
//! Each function takes a part as it is written and the JSON pointer to it, says every mistake that
//! it sees, and returns the strict part when there was none.

mod kafka;
mod receiver;
mod relations;
mod replay;
mod rings;
mod signing;
mod state;
mod stream;
mod text;
mod vault;

use std::collections::BTreeMap;

use super::domain::*;
use super::fingerprint;
use super::load::{Files, Finding};
use super::mistake::Mistake;
use super::pointer::child;
use super::raw::*;
use super::tree::Places;
use url::Url;

/// What the functions here share: where things were written, and what is wrong with them.
pub(super) struct Checker<'a> {
    places: &'a Places,
    files: Files,
    found: Vec<Finding>,
}

impl Checker<'_> {
    /// Notes a mistake; gives [`None`], for `return checker.wrong(…)`.
    fn wrong<T>(
        &mut self,
        at: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Option<T> {
        let place = self.places.value(at);
        self.found.push(Finding {
            pointer: at.to_owned(),
            unknown_key: false,
            silent: false,
            mistake: Mistake::at(place, at, message, mend),
        });
        None
    }
}

/// The strict configuration. Relations between its parts are looked at only when `whole`: when no
/// part had to be replaced by a placeholder.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn config(
    raw: &RawConfig,
    places: &Places,
    files: Files,
    whole: bool,
) -> Result<Config, Vec<Finding>> {
    let mut checker = Checker {
        places,
        files,
        found: Vec::new(),
    };
    let config = assemble(raw, &mut checker);
    if let Some(config) = &config
        && whole
    {
        relations::check(config, raw, &mut checker);
    }
    match config {
        Some(config) if checker.found.is_empty() => Ok(config),
        _ => Err(checker.found),
    }
}

fn assemble(raw: &RawConfig, checker: &mut Checker<'_>) -> Option<Config> {
    let kafka = kafka::settings(&raw.kafka, checker);
    let signing = signing::settings(&raw.signing, checker);
    let transmitter = transmitter(&raw.transmitter, checker);
    let jwks_uri = transmitter.as_ref().and_then(|part| part.jwks_uri.as_ref());
    let rings = rings::rings(raw, jwks_uri, checker);
    let admin = admin(&raw.admin, checker);
    let state = state::state(&raw.state, checker);
    let shutdown = shutdown(&raw.shutdown, checker);
    let log = log(&raw.log, checker);
    distinct_ids(&raw.streams, checker);
    let issuer = transmitter.as_ref().and_then(|part| part.issuer.clone());
    let streams: Vec<Option<StreamConfig>> = raw
        .streams
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let at = child("/streams", index);
            let ring = rings.as_ref().map(|rings| rings.of_streams[index].clone());
            stream::stream(raw, stream, issuer.as_ref(), ring, &at, checker)
        })
        .collect();
    let streams: Vec<StreamConfig> = streams.into_iter().collect::<Option<_>>()?;
    let rings = rings?.all;
    let transmitter = transmitter?.settings(&streams, &rings, raw, checker)?;
    Some(Config {
        kafka: kafka?,
        signing: signing?,
        rings,
        transmitter,
        admin: admin?,
        state: state?,
        shutdown: shutdown?,
        log: log?,
        streams,
        hash: fingerprint::config_hash(raw),
        places: checker.places.clone(),
    })
}

/// The transmitter before the streams' issuers are known.
struct TransmitterParts {
    issuer: Option<Issuer>,
    listen: Option<std::net::SocketAddr>,
    jwks_uri: Option<Url>,
    max_age: std::time::Duration,
    tls: Option<TlsIdentity>,
}

fn transmitter(raw: &RawTransmitter, checker: &mut Checker<'_>) -> Option<TransmitterParts> {
    let issuer = raw
        .issuer
        .as_ref()
        .map(|issuer| text::issuer(issuer, "/transmitter/issuer", checker));
    let listen = match raw.listen.as_str() {
        "none" => Some(None),
        listen => text::listen(listen, "/transmitter/listen", checker).map(Some),
    };
    let jwks_uri = raw.jwks_uri.as_ref().map(|uri| {
        let at = "/transmitter/jwks_uri";
        text::web_url(uri, false, at, checker)
    });
    let max_age = text::duration(&raw.max_age, "/transmitter/max_age", checker);
    let (certificate, key) = (&raw.tls.certificate_file, &raw.tls.key_file);
    let tls = text::identity(certificate, key, "/transmitter/tls", checker);
    if raw.listen == "none" && tls.as_ref().is_some_and(Option::is_some) {
        return checker.wrong(
            "/transmitter/tls",
            "there is no public listener that could speak TLS",
            "remove `tls`, or give `listen` an address",
        );
    }
    Some(TransmitterParts {
        issuer: text::all(issuer)?,
        listen: listen?,
        jwks_uri: text::all(jwks_uri)?,
        max_age: max_age?,
        tls: tls?,
    })
}

impl TransmitterParts {
    fn settings(
        self,
        streams: &[StreamConfig],
        rings: &[RingConfig],
        raw: &RawConfig,
        checker: &mut Checker<'_>,
    ) -> Option<TransmitterSettings> {
        let mut issuers: BTreeMap<Issuer, &RingConfig> = BTreeMap::new();
        let mut fine = Some(());
        for (index, stream) in streams.iter().enumerate() {
            let ring = rings.iter().find(|ring| ring.name == stream.ring)?;
            let first = *issuers.entry(stream.issuer.clone()).or_insert(ring);
            if first.name != ring.name {
                fine = shared_issuer(index, stream, &raw.streams[index], checker);
            }
        }
        fine?;
        // Without a stream its metadata is served all the same.
        let default = rings.iter().find(|ring| ring.name == RingName::Default);
        if let (Some(issuer), Some(ring)) = (self.issuer, default) {
            issuers.entry(issuer).or_insert(ring);
        }
        let metadata = |(issuer, ring): (Issuer, &RingConfig)| {
            let default = || {
                Url::parse(issuer.as_str())
                    .ok()?
                    .join(&ring.name.jwks_path())
                    .ok()
            };
            let Some(jwks_uri) = ring.jwks_uri.clone().or_else(default) else {
                return checker.wrong(
                    "/transmitter/jwks_uri",
                    "no address of the JWKS follows from the issuer",
                    "set `transmitter.jwks_uri`",
                );
            };
            let ring = ring.name.clone();
            Some(IssuerMetadata {
                issuer,
                jwks_uri,
                ring,
            })
        };
        let issuers: Vec<Option<IssuerMetadata>> = issuers.into_iter().map(metadata).collect();
        Some(TransmitterSettings {
            listen: self.listen,
            issuers: issuers.into_iter().collect::<Option<_>>()?,
            max_age: self.max_age,
            tls: self.tls,
        })
    }
}

/// A receiver finds one JWKS by an issuer, and believes what any key in it signs.
fn shared_issuer(
    index: usize,
    stream: &StreamConfig,
    raw: &RawStream,
    checker: &mut Checker<'_>,
) -> Option<()> {
    let at = child("/streams", index);
    let at = if raw.issuer.is_some() {
        child(&at, "issuer")
    } else {
        at
    };
    let issuer = stream.issuer.as_str();
    checker.wrong(
        &at,
        format!("another stream has the issuer {issuer} too, but other keys; a receiver knows one JWKS for an issuer"),
        "give the stream with keys of its own an `issuer` of its own, such as https://HOST/STREAM, or both streams the same keys",
    )
}

fn admin(raw: &RawAdmin, checker: &mut Checker<'_>) -> Option<AdminSettings> {
    let listen = text::listen(&raw.listen, "/admin/listen", checker);
    let at = "/admin/liveness_threshold";
    let liveness_threshold = text::positive(&raw.liveness_threshold, at, checker);
    let token = raw.token.as_ref();
    let token = token.map(|token| text::token(token, "/admin/token", checker));
    Some(AdminSettings {
        listen: listen?,
        liveness_threshold: liveness_threshold?,
        token: text::all(token)?,
    })
}

fn shutdown(raw: &RawShutdown, checker: &mut Checker<'_>) -> Option<ShutdownSettings> {
    let drain = text::positive(&raw.drain_deadline, "/shutdown/drain_deadline", checker);
    let at = "/shutdown/termination_grace";
    let grace = text::positive(&raw.termination_grace, at, checker);
    Some(ShutdownSettings {
        drain_deadline: drain?,
        termination_grace: grace?,
    })
}

fn log(raw: &RawLog, checker: &mut Checker<'_>) -> Option<LogSettings> {
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&raw.level) {
        return checker.wrong(
            "/log/level",
            format!("{:?} is no log filter: {error}", raw.level),
            "write error, warn, info, debug or trace, or e.g. info,setbridge::delivery=debug",
        );
    }
    Some(LogSettings {
        format: raw.format,
        level: raw.level.clone(),
    })
}

fn distinct_ids(streams: &[RawStream], checker: &mut Checker<'_>) {
    let mut first = BTreeMap::new();
    for (index, stream) in streams.iter().enumerate() {
        if let Some(before) = first.get(&stream.id) {
            checker.wrong::<()>(
                &child(&child("/streams", index), "id"),
                format!("streams[{before}] has the id {:?} too", stream.id),
                "give each stream an id of its own",
            );
        } else {
            first.insert(&stream.id, index);
        }
    }
}
