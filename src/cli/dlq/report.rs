//! What became of each replay: a table for people, one JSON object for programs.

use std::collections::BTreeMap;

use comfy_table::Table;
use serde::Serialize;

use super::letters::Found;
use crate::cli::Exit;
use crate::cli::kafka::short;

/// So many lines about single dead letters at most.
const LINES: usize = 50;

/// One outcome of a replay: of a SET, or of a detection that made none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) jti: Option<String>,
}

impl Told {
    /// It is settled, and no outcome was told: an operator skipped it while that could not be written, or the topic for
    /// outcomes was emptied.
    pub(super) fn nothing() -> Self {
        Self {
            outcome: "not_told".to_owned(),
            reason: None,
            jti: None,
        }
    }
}

/// A dead letter that was chosen.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    /// Where it is.
    pub(super) place: String,
    pub(super) origin: String,
    pub(super) jti: Option<String>,
    /// Why it was not replayed.
    pub(super) skipped: Option<String>,
    /// Where the replay is.
    pub(super) replay: Option<(String, i32, i64)>,
    pub(super) outcomes: Vec<Told>,
    /// The bridge is done with it.
    pub(super) settled: bool,
}

impl Line {
    pub(super) fn new(found: &Found) -> Self {
        Self {
            place: found.place.to_string(),
            origin: found.letter.origin.to_string(),
            jti: found.letter.jti.clone(),
            skipped: None,
            replay: None,
            outcomes: Vec::new(),
            settled: false,
        }
    }

    /// Replayed, and its end is not known.
    pub(super) fn is_open(&self) -> bool {
        self.replay.is_some() && !self.settled
    }
}

/// All of them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Produced to a side topic.
    pub(super) replayed: usize,
    /// Left out: replayed by an earlier run.
    pub(super) replayed_before: usize,
    /// How many SETs (or detections) had each outcome.
    pub(super) outcomes: BTreeMap<String, usize>,
    /// Replays whose end is not known yet.
    pub(super) not_yet_settled: usize,
    pub(super) skipped: usize,
    /// Why the outcomes were not followed to the end.
    pub(super) unfollowed: Option<String>,
    pub(super) letters: Vec<Line>,
}

impl Report {
    pub(super) fn of(lines: Vec<Line>, replayed_before: usize) -> Self {
        let mut outcomes = BTreeMap::new();
        for told in lines.iter().flat_map(|line| &line.outcomes) {
            *outcomes.entry(told.outcome.clone()).or_default() += 1;
        }
        let count = |of: fn(&Line) -> bool| lines.iter().filter(|line| of(line)).count();
        Self {
            replayed: count(|line| line.replay.is_some()),
            replayed_before,
            outcomes,
            not_yet_settled: count(Line::is_open),
            skipped: count(|line| line.skipped.is_some()),
            unfollowed: None,
            letters: lines,
        }
    }

    /// `followed`: what is not settled yet has had its time.
    pub(super) fn exit(&self, followed: bool) -> Exit {
        let bad = ["dead_lettered", "not_told"];
        let again: usize = bad.iter().filter_map(|bad| self.outcomes.get(*bad)).sum();
        match again + self.skipped {
            _ if followed && self.not_yet_settled > 0 => Exit::Unavailable,
            0 => Exit::Done,
            _ => Exit::Data,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let mut row = |name: &str, count: usize| {
            table.add_row([name.to_owned(), count.to_string()]);
        };
        row("replayed", self.replayed);
        for (outcome, count) in &self.outcomes {
            let name = match outcome.as_str() {
                "dead_lettered" => "  dead-lettered again".to_owned(),
                "stale" => "  stale: something newer was accepted, not sent".to_owned(),
                "not_told" => "  settled, but the outcome was not told".to_owned(),
                "duplicate" => "  duplicate: the receiver has it already, not sent".to_owned(),
                other => format!("  {}", short(other, 40)),
            };
            row(&name, *count);
        }
        row("  not yet settled", self.not_yet_settled);
        row("skipped", self.skipped);
        row("replayed before, left out", self.replayed_before);
        let mut text = format!("{}\n", table.trim_fmt());
        let told = self.letters.iter().filter_map(of_interest);
        let lines: Vec<String> = told.collect();
        for line in lines.iter().take(LINES) {
            text.push_str(line);
            text.push('\n');
        }
        if lines.len() > LINES {
            text.push_str(&format!(
                "… and {} more; --json has all\n",
                lines.len() - LINES
            ));
        }
        if let Some(why) = &self.unfollowed {
            text.push_str(&format!(
                "the outcomes could not be followed: {}\n",
                short(why, 300)
            ));
        }
        if self.not_yet_settled > 0 {
            text.push_str(
                "not settled yet: the bridge looks for side topics every 15 s and sends replay.rate a second; is it running, \
                 live, and not held? Do not replay again: what is in the side topic is not lost.\n",
            );
        }
        text
    }
}

/// A line about whatever did not go well.
fn of_interest(line: &Line) -> Option<String> {
    let what = match (&line.skipped, line.is_open()) {
        (Some(why), _) => format!("skipped: {why}"),
        (None, true) => "not yet settled".to_owned(),
        (None, false) => {
            let bad = |told: &&Told| !matches!(told.outcome.as_str(), "delivered" | "duplicate");
            let told = line.outcomes.iter().find(bad)?;
            match &told.reason {
                Some(reason) => format!("{}, {reason}", told.outcome),
                None => told.outcome.clone(),
            }
        }
    };
    let jti = line
        .jti
        .as_deref()
        .map_or_else(String::new, |jti| format!(" jti {jti}"));
    Some(format!(
        "{} (of {}{}): {}",
        line.place,
        short(&line.origin, 300),
        short(&jti, 60),
        short(&what, 200)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(outcome: Option<&str>, settled: bool) -> Line {
        let told = outcome.map(|outcome| Told {
            outcome: outcome.to_owned(),
            reason: (outcome == "dead_lettered").then(|| "bad_email".to_owned()),
            jti: None,
        });
        Line {
            place: "detections.okta.dlq:0:7".to_owned(),
            origin: "detections:0:1".to_owned(),
            jti: Some("j\u{1b}".to_owned()),
            skipped: None,
            replay: Some(("detections.okta.replay".to_owned(), 0, 0)),
            outcomes: told.into_iter().collect(),
            settled,
        }
    }

    #[test]
    fn the_exit_code_says_whether_anything_is_left_to_do() {
        let delivered = || line(Some("delivered"), true);
        let stale = || line(Some("stale"), true);
        let again = || line(Some("dead_lettered"), true);
        let exit = |lines| Report::of(lines, 0).exit(true);
        assert_eq!(exit(vec![]), Exit::Done);
        assert_eq!(exit(vec![delivered(), stale()]), Exit::Done);
        assert_eq!(exit(vec![delivered(), again()]), Exit::Data);
        assert_eq!(exit(vec![line(Some("not_told"), true)]), Exit::Data);
        assert_eq!(exit(vec![again(), line(None, false)]), Exit::Unavailable);
        let unfollowed = Report::of(vec![line(None, false)], 0);
        assert_eq!(unfollowed.exit(false), Exit::Done, "nobody waited");
        let mut skipped = line(None, false);
        skipped.replay = None;
        skipped.skipped = Some("too large".to_owned());
        assert_eq!(exit(vec![skipped.clone()]), Exit::Data);

        let report = Report::of(vec![delivered(), again(), skipped, line(None, false)], 3);
        let text = report.text();
        for said in [
            "dead_lettered, bad_email",
            "skipped: too large",
            "not settled yet",
            "jti j\\u{1b}",
        ] {
            assert!(text.contains(said), "{said}\n{text}");
        }
        assert_eq!((report.replayed, report.not_yet_settled), (3, 1));
    }
}
