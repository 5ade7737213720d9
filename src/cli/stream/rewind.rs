//! `setbridge stream rewind`: how many SETs would go out once more, and sending them.

use std::collections::BTreeSet;
use std::io;
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::ask::Answered;
use super::{WhereArgs, print_json};
use crate::cli::run::block_on;
use crate::cli::{Console, Exit, LogArgs};

/// Arguments of `stream rewind`.
#[derive(Debug, Args)]
pub struct RewindArgs {
    /// From this record of one partition on
    #[arg(
        long,
        value_name = "TOPIC:PARTITION:OFFSET",
        required_unless_present = "since"
    )]
    to: Option<Place>,
    /// From the first record of each partition at or behind this time on, e.g. 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "to")]
    since: Option<jiff::Timestamp>,
    /// Only say how many SETs it would be
    #[arg(long)]
    dry_run: bool,
    /// Where.
    #[command(flatten)]
    at: WhereArgs,
}

#[derive(Clone, Debug)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write topic:partition:offset";
        let mut parts = text.rsplitn(3, ':');
        let offset = parts.next().and_then(|text| text.parse().ok());
        let partition = parts.next().and_then(|text| text.parse().ok());
        let topic = parts.next().filter(|topic| !topic.is_empty());
        match (topic, partition, offset) {
            (Some(topic), Some(partition @ 0..), Some(offset @ 0..)) => Ok(Self {
                topic: topic.to_owned(),
                partition,
                offset,
            }),
            _ => Err(FORM),
        }
    }
}

pub(super) fn rewind(
    args: &RewindArgs,
    log: &LogArgs,
    console: &mut Console<'_>,
) -> io::Result<Exit> {
    let asker = match args.at.asker(log, console)? {
        Ok(asker) => asker,
        Err(exit) => return Ok(exit),
    };
    let mut body = json!({"dry_run": args.dry_run});
    if let Some(Place {
        topic,
        partition,
        offset,
    }) = &args.to
    {
        body["to"] = json!({"topic": topic, "partition": partition, "offset": offset});
    }
    if let Some(since) = args.since {
        body["since_ms"] = json!(since.as_millisecond());
    }
    let mut answers = Vec::new();
    block_on(async {
        answers = asker.ask_all("rewind", &body).await;
        Exit::Done
    })?;
    if args.at.json {
        print_json(&answers, console)?;
    }
    let done = answers.iter().any(|answered| answered.answer.is_ok());
    let mut worst = Exit::Done;
    for Answered { address, answer } in &answers {
        match answer {
            Ok(answer) if !args.at.json => {
                writeln!(console.out, "{address}: {}", told(answer))?;
            }
            Ok(_) => {}
            // Another one has the partition.
            Err(refused) if done && args.to.is_some() && refused.exit() == Exit::NoInput => {}
            Err(refused) => {
                writeln!(console.err, "{address}: {refused}")?;
                worst = refused.exit();
            }
        }
    }
    let missing = missing(&answers);
    if !missing.is_empty() && args.to.is_none() {
        let missing: Vec<String> = missing.iter().map(|(t, p)| format!("{t}:{p}")).collect();
        writeln!(
            console.err,
            "not reached: {}: name the bridges that have them by --admin",
            missing.join(", ")
        )?;
        worst = Exit::Unavailable;
    }
    Ok(worst)
}

/// Partitions that every bridge says are elsewhere.
fn missing(answers: &[Answered]) -> BTreeSet<(String, i64)> {
    let elsewhere = answers.iter().filter_map(|answered| {
        let answer = answered.answer.as_ref().ok()?;
        let list = answer["rewound"]["elsewhere"].as_array()?.iter();
        let place = |place: &Value| Some((place[0].as_str()?.to_owned(), place[1].as_i64()?));
        Some(list.filter_map(place).collect::<BTreeSet<_>>())
    });
    elsewhere.reduce(|all, one| &all & &one).unwrap_or_default()
}

/// What one bridge did, or would do, in words.
fn told(answer: &Value) -> String {
    let rewound = &answer["rewound"];
    let count = |name: &str| rewound[name].as_u64().unwrap_or(0);
    let goes = match answer["dry_run"] == true {
        true => "would go out again",
        false => "go out again when the stream is resumed",
    };
    let mut text = format!("{} SETs {goes}", count("again"));
    let not_delivered = count("not_delivered");
    if not_delivered > 0 {
        text += &format!(", {not_delivered} of them not known as delivered (dead letters, mostly)");
    }
    if count("too_old") > 0 {
        text += &format!(", {} of them too old by max_event_age", count("too_old"));
    }
    if count("waiting") > 0 {
        text += &format!("; {} wait for their first outcome", count("waiting"));
    }
    for begins in rewound["partitions"].as_array().into_iter().flatten() {
        let topic = begins["topic"].as_str().unwrap_or("?");
        text += &format!(
            "\n  {topic}:{} from offset {} (it stood at {})",
            begins["partition"], begins["from"], begins["settled"]
        );
    }
    text
}
