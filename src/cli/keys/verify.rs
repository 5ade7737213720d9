//! `setbridge keys verify`: fetches the public JWKS and metadata as a receiver does, and compares them with our keys.

use std::fmt::Display;
use std::io;

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::bridge::assembly;
use crate::cli::{ConfigArgs, Console, Exit, LogArgs};
use crate::config::{IssuerMetadata, RingConfig};
use crate::signing::{KeyRing, KeyState};
use crate::transmitter::{Fetched, Outside, OutsideError, SsfMetadata};

/// Arguments of `keys verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 a receiver finds what it needs · 65 it finds something else · 69 an address cannot be fetched")]
pub struct VerifyArgs {
    /// What receivers of this stream find; else what those of all streams do
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// One JSON object a finding
    #[arg(long)]
    pub json: bool,
}

/// One thing that was looked at.
struct Finding {
    ok: bool,
    /// The address cannot be fetched: nothing can be said of what is there.
    unreachable: bool,
    what: String,
}

impl Finding {
    fn of(ok: bool, what: impl Display) -> Self {
        Self {
            ok,
            unreachable: false,
            what: what.to_string(),
        }
    }
}

pub(super) fn verify(
    args: &VerifyArgs,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let config = match args.config.load(log, console)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let stream = args.stream.as_deref();
    let configured = match super::which::some(&config, stream, console)? {
        Ok(rings) => rings,
        Err(exit) => return Ok(exit),
    };
    let mut rings = Vec::new();
    for ring in configured {
        match assembly::signing::shown_ring(ring) {
            Ok(keys) => rings.push((ring, keys)),
            Err(fault) => return super::ended(Err(fault.into()), console),
        }
    }
    let stream = config
        .streams
        .iter()
        .find(|of| Some(of.id.as_str()) == stream);
    let issuers = config.transmitter.issuers.iter();
    let issuers = issuers.filter(|issuer| stream.is_none_or(|of| of.issuer == issuer.issuer));
    let issuers: Vec<&IssuerMetadata> = issuers.collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let findings = match Outside::new() {
        Ok(outside) => runtime.block_on(look(&issuers, &rings, &outside)),
        Err(error) => {
            writeln!(console.err, "{error}")?;
            return Ok(Exit::Software);
        }
    };
    for finding in &findings {
        if args.json {
            let line = json!({"ok": finding.ok, "finding": finding.what});
            writeln!(console.out, "{line}")?;
        } else {
            let mark = if finding.ok { "ok   " } else { "WRONG" };
            writeln!(console.out, "{mark} {}", finding.what)?;
        }
    }
    Ok(if findings.iter().any(|finding| finding.unreachable) {
        Exit::Unavailable
    } else if findings.iter().all(|finding| finding.ok) {
        Exit::Done
    } else {
        Exit::Data
    })
}

/// Every issuer, each address once, with the ring whose keys belong there.
async fn look(
    issuers: &[&IssuerMetadata],
    rings: &[(&RingConfig, KeyRing)],
    outside: &Outside,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for issuer in issuers {
        findings.extend(metadata(issuer, outside).await);
        let address = (&issuer.jwks_uri, &issuer.ring);
        if seen.contains(&address) {
            continue;
        }
        seen.push(address);
        let ring = rings.iter().find(|(ring, _)| ring.name == issuer.ring);
        match (outside.fetch(&issuer.jwks_uri).await, ring) {
            (Ok(fetched), Some((config, ring))) => {
                findings.extend(jwks(config, issuer, ring, &fetched));
                let others = rings.iter().filter(|(ring, _)| ring.name != issuer.ring);
                findings.extend(strangers(others, issuer, &fetched));
            }
            (Err(error), Some(_)) => findings.push(fault(&error)),
            (_, None) => {}
        }
    }
    findings
}

/// Whoever trusts this JWKS must not trust the keys of other rings.
fn strangers<'a>(
    others: impl Iterator<Item = &'a (&'a RingConfig, KeyRing)>,
    issuer: &IssuerMetadata,
    fetched: &Fetched,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (of, ring) in others {
        for (key, ..) in ring.keys() {
            if fetched.publishes(key.public()) {
                let (url, kid, name) = (&issuer.jwks_uri, key.kid(), &of.name);
                let what = format!("{url} has {kid} too, a key of the ring {name}");
                findings.push(Finding::of(false, what));
            }
        }
    }
    findings
}

fn fault(error: &OutsideError) -> Finding {
    Finding {
        ok: false,
        unreachable: true,
        what: error.to_string(),
    }
}

/// SSF 1.0 §7.2: the metadata, and that it says what our SETs say.
async fn metadata(issuer: &IssuerMetadata, outside: &Outside) -> Vec<Finding> {
    let expected = SsfMetadata::new(issuer.issuer.as_str(), Some(issuer.jwks_uri.as_str()));
    let found = expected.ok().and_then(|expected| expected.url());
    let Some(url) = found else {
        return vec![Finding::of(
            false,
            format!(
                "{} is no issuer that can be published",
                issuer.issuer.as_str()
            ),
        )];
    };
    let fetched = match outside.fetch(&url).await {
        Ok(fetched) => fetched,
        Err(error) => return vec![fault(&error)],
    };
    let says = |member: &str, expected: &str| {
        let found = &fetched.document[member];
        let ok = found == expected;
        let what = if ok {
            format!("{url} says {member} {expected}")
        } else {
            format!("{url} says {member} {found}, our configuration {expected}")
        };
        Finding::of(ok, what)
    };
    vec![
        says("issuer", issuer.issuer.as_str()),
        says("jwks_uri", issuer.jwks_uri.as_str()),
    ]
}

fn jwks(
    config: &RingConfig,
    issuer: &IssuerMetadata,
    ring: &KeyRing,
    fetched: &Fetched,
) -> Vec<Finding> {
    let url = &issuer.jwks_uri;
    let mut findings = vec![
        Finding::of(
            is_confidential(issuer),
            format!("{url} is fetched over https"),
        ),
        // Okta asks for it (CONTRACTS §2.2).
        Finding::of(
            fetched.content_type.starts_with("application/json"),
            format!(
                "its content type is {:?}; receivers want application/json",
                fetched.content_type
            ),
        ),
        Finding::of(
            !has_private(&fetched.document),
            "it holds public members only",
        ),
    ];
    for (key, _, state) in ring.keys() {
        let wanted = state != KeyState::Gone;
        let found = fetched.publishes(key.public());
        let (kid, state) = (key.kid(), state.as_str());
        let what = match found {
            true => format!("it has {kid} ({state})"),
            false => format!("it lacks {kid} ({state})"),
        };
        findings.push(Finding::of(found == wanted, what));
    }
    if let Some(max_age) = fetched.max_age {
        let before_use = config.publish_before_use.as_secs();
        findings.push(Finding::of(
            max_age <= before_use,
            format!("receivers may keep it for {max_age} s; a key is published {before_use} s before it signs"),
        ));
    }
    findings
}

fn is_confidential(issuer: &IssuerMetadata) -> bool {
    SsfMetadata::new(issuer.issuer.as_str(), Some(issuer.jwks_uri.as_str()))
        .is_ok_and(|metadata| metadata.is_confidential())
}

/// Whether a member of a private key is in there (RFC 7518 §6.2.2, §6.3.2, §6.4).
fn has_private(document: &Value) -> bool {
    let keys = document["keys"].as_array().into_iter().flatten();
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    keys.into_iter()
        .any(|key| private.iter().any(|member| key.get(member).is_some()))
}
