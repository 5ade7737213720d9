//! `setbridge dlq replay`: dead letters are produced to the side topic, each once; then their outcomes are followed.

mod work;

use std::io;

use super::letters::{Before, Found, Scan, if_there, replayed, scan};
use super::report::Report;
use super::{At, ReplayArgs, kafka, list};
use crate::bridge::assembly;
use crate::cli::kafka::printable;
use crate::cli::{Console, Exit};
use crate::config::Mode;
use crate::kafka::client::Trouble;
use crate::kafka::producer::WriteError;
use crate::kafka::reader::{ReadError, Turn};
use crate::kafka::topics::TopicError;
use crate::telemetry;
use work::Work;

/// Why the command ends early.
enum Stop {
    Read(ReadError),
    Topic(TopicError),
    Write(WriteError),
    Io(io::Error),
    /// Another command may be at work by now.
    TurnLost {
        produced: usize,
    },
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Stop {
    fn told(self, console: &mut Console<'_>) -> io::Result<Exit> {
        let (text, trouble) = match self {
            Self::Io(error) => return Err(error),
            Self::TurnLost { produced } => {
                writeln!(
                    console.err,
                    "error: the group of this stream's `setbridge dlq replay` has put this command out, so another one may be \
                     at work: it stopped after {produced} replays\n    mend: run it again; what it has replayed is left out"
                )?;
                return Ok(Exit::Unavailable);
            }
            Self::Read(error) => return kafka::refuse(&error, console),
            Self::Topic(error) => {
                let trouble = match &error {
                    TopicError::Forbidden(_) => Trouble::Acl,
                    TopicError::Missing(_) => Trouble::UnknownTopic,
                    TopicError::Refused { trouble, .. } => *trouble,
                };
                (telemetry::chain(&error), trouble)
            }
            Self::Write(error) => {
                let trouble = match &error {
                    WriteError::TooLarge { .. } => Trouble::Other,
                    WriteError::Failed { trouble, .. } => *trouble,
                };
                (telemetry::chain(&error), trouble)
            }
        };
        let (mend, exit) = kafka::of_kafka(trouble);
        writeln!(console.err, "error: {}\n    mend: {mend}", printable(&text))?;
        Ok(exit)
    }
}

pub(super) fn replay(
    at: &At<'_>,
    args: &ReplayArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    if at.stream.mode == Mode::Shadow {
        writeln!(
            console.err,
            "error: stream {} is in shadow mode, which sends nothing and reads no side topic\n    mend: replay when its \
             mode is live",
            at.stream.id
        )?;
        return Ok(Exit::Usage);
    }
    match run(at, args, console) {
        Ok(exit) => Ok(exit),
        Err(stop) => stop.told(console),
    }
}

fn run(at: &At<'_>, args: &ReplayArgs, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let before = if args.again {
        Before::Keep
    } else {
        Before::LeaveOut
    };
    let turn = match args.dry_run {
        true => None,
        false => match turn(at)? {
            Taken::Ours(turn) => Some(turn),
            // Also if one is made right now: nothing is replayed without the turn.
            Taken::NoTopic => return Ok(at.nothing(console)?),
            Taken::Another => {
                writeln!(
                    console.err,
                    "error: another `setbridge dlq replay` of stream {} is at work\n    mend: run it again when that one has \
                     produced its replays; what it replays is left out",
                    at.stream.id
                )?;
                return Ok(Exit::Unavailable);
            }
        },
    };
    let limit = at.choice.limit.unwrap_or(usize::MAX);
    let mut scan = scan(at, &replayed(at)?, before, limit)?;
    if scan.topics == 0 {
        return Ok(at.nothing(console)?);
    }
    let chosen = std::mem::take(&mut scan.found);
    if args.dry_run {
        return Ok(dry_run(at, &chosen, &scan, console)?);
    }
    list::said(&scan, console)?;
    let mut work = Work::new(at, args)?;
    let produced = match &turn {
        Some(turn) if !chosen.is_empty() => work.produce(&chosen, &mut scan, turn),
        _ => Ok(()),
    };
    // Also when it stopped in the middle: what was produced is remembered.
    let prefix = scan.prefix();
    let is_lost = matches!(produced, Err(Stop::TurnLost { .. }));
    let remembered = match turn.filter(|_| !prefix.is_empty() && !is_lost) {
        None => Ok(()),
        Some(turn) => turn.remember(&prefix),
    };
    // The turn is over: another one may produce while this one follows.
    produced?;
    if let Err(error) = remembered {
        // The side topic knows as well, as long as its records are kept.
        writeln!(console.err, "warning: {}", printable(&error.to_string()))?;
    }
    let unfollowed = work.follow(args.wait).err().map(|error| error.to_string());
    let mut report = Report::of(std::mem::take(&mut work.lines), scan.replayed);
    report.unfollowed = unfollowed;
    match at.choice.json {
        true => {
            let text = serde_json::to_string(&report).map_err(io::Error::from)?;
            writeln!(console.out, "{text}")?;
        }
        false => write!(console.out, "{}", report.text())?,
    }
    Ok(report.exit(!args.wait.is_zero()))
}

/// Whose turn it is.
enum Taken {
    Ours(Turn),
    Another,
    /// There is no dead-letter topic.
    NoTopic,
}

/// One command of a stream produces at a time: what one has not produced yet, the other would replay as well. So the turn
/// is taken before anything is looked at.
fn turn(at: &At<'_>) -> Result<Taken, ReadError> {
    for topic in at.all_letter_topics()? {
        if if_there(at.reader.partitions(&topic))?.is_none() {
            continue;
        }
        let turn = Turn::take(&assembly::client(at.config), &at.group(), &topic)?;
        return Ok(turn.map_or(Taken::Another, Taken::Ours));
    }
    Ok(Taken::NoTopic)
}

fn dry_run(
    at: &At<'_>,
    chosen: &[Found],
    scan: &Scan,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    if at.choice.json {
        for found in chosen {
            writeln!(console.out, "{}", list::as_json(found))?;
        }
    } else {
        write!(console.out, "{}", list::text(chosen))?;
    }
    list::said(scan, console)?;
    writeln!(
        console.err,
        "dry run: {} would be replayed, {} were replayed before; nothing was changed",
        chosen.len(),
        scan.replayed
    )?;
    Ok(Exit::Done)
}
