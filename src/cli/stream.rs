//! `setbridge stream hold|resume|skip|rewind`: an operator's acts on a running bridge, through its admin port.

mod ask;
mod rewind;

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::run::block_on;
use super::{ConfigArgs, Console, Exit, LogArgs};
use crate::config::Config;
use crate::secret::Secret;
use crate::telemetry::chain;
use ask::{Address, Answered, Asker};

/// What to do to a running stream.
#[derive(Debug, Subcommand)]
pub enum StreamCommand {
    /// Hold a stream: offsets are kept, nothing leaves until `resume`, not even after a restart
    Hold(HoldArgs),
    /// End an operator's hold; one for another reason stays
    Resume(ResumeArgs),
    /// Make a dead letter of the one SET that blocks a stream, or of the one named
    Skip(SkipArgs),
    /// Send once more what was sent before, from a place or a time on; only while an operator holds the stream
    Rewind(rewind::RewindArgs),
}

/// Which stream, and where it runs.
#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    /// Id of the stream
    #[arg(long, value_name = "ID")]
    stream: String,
    /// Admin port of a running bridge; can be repeated. Default: admin.listen of the configuration
    #[arg(long = "admin", value_name = "URL")]
    addresses: Vec<Address>,
    /// File with the token; default admin.token of the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print what each bridge answered, as JSON
    #[arg(long)]
    json: bool,
    /// The configuration, for the address and the token.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `stream hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Why; shown in /status, so name nobody
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Where.
    #[command(flatten)]
    at: WhereArgs,
}

/// Arguments of `stream resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Where.
    #[command(flatten)]
    at: WhereArgs,
}

/// Arguments of `stream skip`.
#[derive(Debug, Args)]
pub struct SkipArgs {
    /// The SET; default the one that waits for an outcome longest, as /status shows it
    #[arg(long, value_name = "JTI", allow_hyphen_values = true)]
    jti: Option<String>,
    /// Where.
    #[command(flatten)]
    at: WhereArgs,
}

impl StreamCommand {
    pub(super) fn run(&self, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
        match self {
            Self::Hold(HoldArgs { reason, at }) => {
                let body = reason
                    .as_ref()
                    .map_or(json!({}), |why| json!({"reason": why}));
                every_bridge(at, "hold", &body, log, console)
            }
            Self::Resume(ResumeArgs { at }) => every_bridge(at, "resume", &json!({}), log, console),
            Self::Skip(args) => skip(args, log, console),
            Self::Rewind(args) => rewind::rewind(args, log, console),
        }
    }
}

/// Tells all of them, and says whom it reached.
fn every_bridge(
    at: &WhereArgs,
    act: &'static str,
    body: &Value,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let asker = match at.asker(log, console)? {
        Ok(asker) => asker,
        Err(exit) => return Ok(exit),
    };
    let mut answers = Vec::new();
    block_on(async {
        answers = asker.ask_all(act, body).await;
        Exit::Done
    })?;
    if at.json {
        print_json(&answers, console)?;
    }
    let mut worst = Exit::Done;
    for answered in &answers {
        match &answered.answer {
            Ok(answer) if !at.json => writeln!(
                console.out,
                "{}: {}",
                answered.address,
                state_of(act, answer)
            )?,
            Ok(_) => {}
            Err(refused) => {
                writeln!(console.err, "{}: {refused}", answered.address)?;
                // Whom it did not reach matters most: the others have done it.
                if matches!(worst, Exit::Done) || refused.exit() == Exit::Unavailable {
                    worst = refused.exit();
                }
            }
        }
    }
    let is_local = |answered: &Answered| {
        let answer = answered.answer.as_ref();
        answer.is_ok_and(|answer| answer["shared_state"] == false)
    };
    if answers.len() == 1 && answers.iter().all(is_local) {
        writeln!(
            console.err,
            "this bridge keeps its state for itself: if there are other replicas, name each by --admin"
        )?;
    }
    Ok(worst)
}

/// Asks one after the other, because exactly one SET is to be skipped.
fn skip(args: &SkipArgs, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Exit> {
    let asker = match args.at.asker(log, console)? {
        Ok(asker) => asker,
        Err(exit) => return Ok(exit),
    };
    if args.jti.is_none() && asker.addresses() > 1 {
        writeln!(
            console.err,
            "error: each bridge has a blocking SET of its own\n    mend: name the SET by --jti, or one bridge"
        )?;
        return Ok(Exit::Usage);
    }
    let body = args
        .jti
        .as_ref()
        .map_or(json!({}), |jti| json!({"jti": jti}));
    let mut answers = Vec::new();
    block_on(async {
        answers = asker.ask_until_done("skip", &body).await;
        Exit::Done
    })?;
    if args.at.json {
        print_json(&answers, console)?;
    }
    if let Some(Answered {
        address,
        answer: Ok(answer),
    }) = answers.last()
    {
        if !args.at.json {
            writeln!(console.out, "{address}: {}", end_of(answer))?;
        }
        return Ok(Exit::Done);
    }
    let mut worst = Exit::Done;
    for Answered { address, answer } in &answers {
        if let Err(refused) = answer {
            writeln!(console.err, "{address}: {refused}")?;
            // Who was not reached may have it.
            if worst == Exit::Done || refused.exit() != Exit::NoInput {
                worst = refused.exit();
            }
        }
    }
    Ok(worst)
}

/// What became of one that was to be skipped, in words.
fn end_of(answer: &Value) -> String {
    let set = &answer["set"];
    let name = set["jti"].as_str().map_or_else(
        || "what could not become a SET".to_owned(),
        |jti| format!("SET {jti}"),
    );
    let origin = set["origin"].as_str().unwrap_or("?");
    let end = match (answer["outcome"].as_str(), answer["reason"].as_str()) {
        (None, _) => "has no outcome yet (it is on the wire, or waits behind another one, or for the state); it is skipped as soon as it can be".to_owned(),
        (Some("dead_lettered"), Some("skipped")) => "skipped: it is a dead letter".to_owned(),
        (Some("dead_lettered"), reason) => {
            format!("is a dead letter by itself ({})", reason.unwrap_or("?"))
        }
        (Some(outcome), _) => format!("not skipped: {outcome}"),
    };
    format!("{name} of {origin}: {end}")
}

fn print_json(answers: &[Answered], console: &mut Console<'_>) -> io::Result<()> {
    let all: Vec<Value> = answers.iter().map(Answered::to_json).collect();
    writeln!(console.out, "{:#}", Value::Array(all))
}

/// What a stream came to, in words.
fn state_of(act: &str, answer: &Value) -> String {
    let reasons = answer["held"].as_array();
    let reasons: Vec<&str> = reasons
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match (act, reasons.as_slice()) {
        (_, []) => "the stream flows".to_owned(),
        ("resume", _) => format!("resumed, but still held: {}", reasons.join(", ")),
        _ => format!("held: {}", reasons.join(", ")),
    }
}

impl WhereArgs {
    /// Finds the addresses and the token, or says what is missing.
    fn asker(&self, log: &LogArgs, console: &mut Console<'_>) -> io::Result<Result<Asker, Exit>> {
        let needs_config = self.addresses.is_empty() || self.token_file.is_none();
        let config = match needs_config
            .then(|| self.config.load(log, console))
            .transpose()?
        {
            None => None,
            Some(Ok(config)) => Some(config),
            Some(Err(exit)) => {
                if exit == Exit::Usage {
                    writeln!(console.err, "    or: --admin URL and --token-file FILE")?;
                }
                return Ok(Err(exit));
            }
        };
        let token = match (&self.token_file, &config) {
            (Some(file), _) => match Secret::from_file(file) {
                Ok(token) => token,
                Err(error) => {
                    writeln!(console.err, "error: {}", chain(&error))?;
                    return Ok(Err(Exit::NoInput));
                }
            },
            (None, Some(Config { admin, .. })) if admin.token.is_some() => {
                admin.token.clone().unwrap_or_else(|| Secret::literal(""))
            }
            _ => {
                writeln!(
                    console.err,
                    "error: the configuration has no admin.token\n    mend: set it for `setbridge run` too, or give --token-file FILE"
                )?;
                return Ok(Err(Exit::Denied));
            }
        };
        let mut addresses = self.addresses.clone();
        if let (true, Some(config)) = (addresses.is_empty(), &config) {
            addresses.push(Address::of(config.admin.listen));
        }
        match Asker::new(addresses, &self.stream, token) {
            Ok(asker) => Ok(Ok(asker)),
            Err(error) => {
                writeln!(console.err, "error: {}", chain(&error))?;
                Ok(Err(Exit::Usage))
            }
        }
    }
}
