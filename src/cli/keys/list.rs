//! `setbridge keys list`: every key of a ring, or of all rings, with what it does now.

use std::io;
use std::sync::Arc;

use clap::Args;
use comfy_table::Table;
use jiff::Timestamp as Instant;
use serde_json::{Value, json};

use super::ended;
use super::ring::RingArgs;
use crate::bridge::assembly;
use crate::bridge::assembly::signing::ShownFault;
use crate::cli::{Console, Exit, LogArgs};
use crate::config::RingConfig;
use crate::signing::{KeyRing, KeyState, Life, RingSource, SigningKey};

/// Arguments of `keys list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which ring.
    #[command(flatten)]
    pub of: RingArgs,
    /// One JSON object a key
    #[arg(long)]
    pub json: bool,
}

/// A ring whose keys are to be shown.
struct Shown {
    /// Where there are several.
    name: Option<String>,
    ring: Result<KeyRing, ShownFault>,
}

impl RingArgs {
    /// The keys of all that were asked for, also those in Vault; with their rings' names, if there are several rings.
    fn shown(
        &self,
        log: &LogArgs,
        console: &mut Console<'_>,
    ) -> io::Result<Result<Vec<Shown>, Exit>> {
        if let Some(folder) = &self.ring {
            let source = RingSource::Folder {
                folder: folder.clone(),
                passphrase_file: self.passphrase_file.clone(),
            };
            let ring = KeyRing::open(source, None).map_err(ShownFault::Files);
            return Ok(Ok(vec![Shown { name: None, ring }]));
        }
        let config = match self.config.load(log, console)? {
            Ok(config) => config,
            Err(exit) => return Ok(Err(exit)),
        };
        let rings = super::which::some(&config, self.stream.as_deref(), console)?;
        let has_several = config.rings.len() > 1;
        let shown = |ring: &RingConfig| Shown {
            name: has_several.then(|| ring.name.to_string()),
            ring: assembly::signing::shown_ring(ring),
        };
        Ok(rings.map(|rings| rings.into_iter().map(shown).collect()))
    }
}

/// Shows each key with what it does now. What is wrong with one ring hides no other.
pub(super) fn list(args: &ListArgs, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let rings = match args.of.shown(log, console)? {
        Ok(rings) => rings,
        Err(exit) => return Ok(exit),
    };
    let has_names = rings.iter().any(|ring| ring.name.is_some());
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let ring = has_names.then_some("RING");
    table.set_header(ring.into_iter().chain([
        "KID",
        "STATE",
        "ALGORITHM",
        "BITS",
        "SIGNS FROM",
        "SIGNS UNTIL",
        "PUBLISHED UNTIL",
    ]));
    let mut exit = Exit::Done;
    for Shown { name, ring } in rings {
        let keys = match ring {
            Ok(ring) => ring.keys(),
            Err(fault) => {
                if let Some(name) = name {
                    write!(console.err, "ring {name}: ")?;
                }
                exit = ended(Err(fault.into()), console)?;
                continue;
            }
        };
        for key in &keys {
            if args.json {
                writeln!(console.out, "{}", as_json(name.as_deref(), key))?;
            } else {
                table.add_row(as_row(name.as_deref(), key));
            }
        }
    }
    if !args.json && !table.is_empty() {
        writeln!(console.out, "{table}")?;
    }
    Ok(exit)
}

type ShownKey = (Arc<SigningKey>, Life, KeyState);

/// When it signs, until when, and until when it is published.
fn times(life: &Life) -> [Option<String>; 3] {
    [life.not_before, life.not_after, life.published_until].map(|time| {
        let at = time.and_then(|time| Instant::from_second(time.as_secs()).ok());
        at.map(|at| at.to_string())
    })
}

fn as_json(ring: Option<&str>, (key, life, state): &ShownKey) -> Value {
    let [not_before, not_after, published_until] = times(life);
    let mut line = json!({
        "kid": key.kid(),
        "state": state.as_str(),
        "algorithm": key.algorithm(),
        "bits": key.bits(),
        "not_before": not_before,
        "not_after": not_after,
        "published_until": published_until,
    });
    if let Some(ring) = ring {
        line["ring"] = ring.into();
    }
    line
}

fn as_row(ring: Option<&str>, (key, life, state): &ShownKey) -> Vec<String> {
    let mut row: Vec<String> = ring.map(str::to_owned).into_iter().collect();
    row.extend([
        key.kid().to_string(),
        state.as_str().to_owned(),
        key.algorithm().to_string(),
        key.bits().to_string(),
    ]);
    row.extend(times(life).map(|time| time.unwrap_or_else(|| "-".to_owned())));
    row
}
