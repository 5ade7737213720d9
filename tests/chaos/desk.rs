//! The operator of a run: acts by the real commands, at the admin ports of whoever is up, one after the other; each is
//! written down for the oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex as Turn;
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::kafka::{STREAM, Seen, log_end};
use super::load::{Expected, Fate, KEYED};
use super::names::jti;
use super::oracle::{Acts, Hold, Rewind, Skip, SkipEnd};
use super::plan::Deed;
use super::receiver::{fingerprint, now_ms};
use super::support::operator::{Operator, Said, setbridge};
use super::world::{Up, World};

/// What was on the wire when the hold was told has come by then: the bridges' `request_timeout`, and a busy machine.
const ON_THE_WIRE_MS: u64 = 4_000;
/// Dead letters that one command brings back.
const REPLAYED: usize = 20;
/// What is refused for ever stays so for each such SET.
const STUBBORN: u32 = 8;
/// A dead letter so old is whole, and its record was committed if it ever is.
const OLD_MS: u64 = 3_000;
/// So often an act is tried that finds nothing to act on, and so long after one another.
const TRIES: usize = 5;
const BETWEEN: Duration = Duration::from_millis(400);
/// Every member comes back within this.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the operator sits.
pub(crate) struct Desk {
    world: Arc<World>,
    operator: Operator,
    /// For commands that ask Kafka
    config: PathBuf,
    sets: Arc<Mutex<Vec<Expected>>>,
    seen: Seen,
    now: Turn<Now>,
    acts: Mutex<Acts>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    book: Mutex<String>,
}

/// One operator does one thing at a time.
struct Now {
    dice: Dice,
    /// When it was told to hold, and who said that it does.
    held: Option<(u64, Vec<Up>)>,
}

impl Desk {
    pub(crate) fn new(
        world: Arc<World>,
        operator: Operator,
        sets: Arc<Mutex<Vec<Expected>>>,
        seen: Seen,
        seed: u64,
    ) -> Desk {
        Desk {
            config: world.common.write(),
            world,
            operator,
            sets,
            seen,
            now: Turn::new(Now {
                dice: Dice::new(seed, "deeds"),
                held: None,
            }),
            acts: Mutex::default(),
            counts: Mutex::default(),
            book: Mutex::default(),
        }
    }

    /// Does one thing, after those before it.
    pub(crate) async fn act(&self, deed: Deed) {
        let mut now = self.now.lock().await;
        let now = &mut *now;
        match deed {
            Deed::Hold => self.hold(now).await,
            Deed::Resume => self.resume(now).await,
            Deed::SkipBlocking => self.skip_blocking(now).await,
            Deed::SkipNamed => self.skip_named(now).await,
            Deed::Replay { forced } => self.replay(now, forced).await,
            Deed::Rewind(records) => self.rewind(now, records).await,
        }
    }

    /// Every hold has ended.
    pub(crate) async fn leave(&self) {
        let mut now = self.now.lock().await;
        self.resume(&mut now).await;
    }

    /// What was done, but for what is in the topics.
    pub(crate) fn acts(&self) -> Acts {
        let mut acts = self.acts.lock().expect("no panic").clone();
        acts.mended = self.world.book.mended();
        acts
    }

    /// How many acts were carried out, by their name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().expect("no panic").clone()
    }

    fn count(&self, act: &'static str, times: u64) {
        *self
            .counts
            .lock()
            .expect("no panic")
            .entry(act)
            .or_default() += times;
    }

    fn note(&self, note: impl FnOnce(&mut Acts)) {
        note(&mut self.acts.lock().expect("no panic"));
    }

    async fn tell(&self, act: &str, up: &[Up], more: &[&str]) -> Vec<Value> {
        let admins: Vec<_> = up.iter().map(|up| up.admin).collect();
        let more = [more, &["--json"]].concat();
        let asked_ms = now_ms();
        let said = self.operator.tell_at(act, &admins, &more).await;
        self.write(asked_ms, &format!("{act} {more:?}"), &said);
        serde_json::from_str(&said.out).unwrap_or_default()
    }

    /// For who looks into a breach: what was said, and when.
    fn write(&self, asked_ms: u64, what: &str, said: &Said) {
        let mut book = self.book.lock().expect("no panic");
        let (answered_ms, Said { code, out, err }) = (now_ms(), said);
        let out: String = out.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = format!(
            "{asked_ms} {what}\n{answered_ms}   {code} {out} {}\n",
            err.trim()
        );
        book.push_str(&line);
    }

    /// All that was said.
    pub(crate) fn book(&self) -> String {
        self.book.lock().expect("no panic").clone()
    }

    async fn hold(&self, now: &mut Now) {
        for _ in 0..TRIES {
            let up = self.world.up().await;
            if !up.is_empty() {
                let answers = self.tell("hold", &up, &["--reason", "chaos"]).await;
                let holding = up
                    .iter()
                    .zip(&answers)
                    .filter(|(_, answer)| is_held(answer));
                let holding: Vec<Up> = holding.map(|(up, _)| *up).collect();
                if !holding.is_empty() {
                    self.count("holds", 1);
                    now.held = Some((now_ms(), holding));
                    return;
                }
            }
            sleep(BETWEEN).await;
        }
    }

    /// Asks until every member has said that it goes on; those that are away are asked when they are back.
    async fn resume(&self, now: &mut Now) {
        if let Some((since, holding)) = now.held.take() {
            self.kept(since, now_ms(), &holding);
        }
        let until = Instant::now() + PATIENCE;
        let mut left: Vec<usize> = (0..self.world.members.len()).collect();
        while Instant::now() < until {
            let up = self.world.up().await;
            let up: Vec<Up> = { up.into_iter() }
                .filter(|up| left.contains(&up.slot))
                .collect();
            if !up.is_empty() {
                let answers = self.tell("resume", &up, &[]).await;
                for (up, answer) in up.iter().zip(&answers) {
                    if answer["error"].is_null() && answer["held"].is_array() && !is_held(answer) {
                        left.retain(|slot| *slot != up.slot);
                    }
                }
            }
            if left.is_empty() {
                self.rewinds_are_over().await;
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        let told = &self.world.told;
        told.breach(format!("members {left:?} were not resumed in {PATIENCE:?}"));
    }

    /// Who said so held until it was asked to resume, or until it was stopped or ended; so did whoever came after it.
    fn kept(&self, since: u64, until_ms: u64, holding: &[Up]) {
        let told = &self.world.told;
        let started = told.started.lock().expect("no panic").clone();
        let paused = told.paused.lock().expect("no panic").clone();
        let shared = self.world.store.is_some();
        let after = started.iter().filter(|(slot, _, at)| {
            let told = holding.iter().any(|up| up.slot == *slot);
            (told || shared) && since < *at && *at < until_ms
        });
        let after = after.map(|(_, process, at)| (*process, *at));
        let first = holding
            .iter()
            .map(|up| (up.process, since + ON_THE_WIRE_MS));
        for (process, from_ms) in first.chain(after) {
            let stopped = paused
                .iter()
                .filter(|(who, at)| *who == process && *at > since);
            let stopped = stopped.map(|(_, at)| *at).min();
            self.note(|acts| {
                acts.holds.push(Hold {
                    process,
                    from_ms,
                    until_ms: stopped.unwrap_or(until_ms).min(until_ms),
                });
            });
        }
    }

    /// What blocks one of the members.
    async fn skip_blocking(&self, now: &mut Now) {
        for _ in 0..TRIES {
            let up = self.world.up().await;
            if !up.is_empty() {
                let which = usize::try_from(now.dice.below(up.len() as u64)).expect("an index");
                let at_ms = now_ms();
                let answers = self.tell("skip", &up[which..=which], &[]).await;
                if self.skipped(at_ms, None, &answers) != SkipEnd::Not {
                    return;
                }
            }
            sleep(BETWEEN).await;
        }
    }

    /// A few of those that were produced last: most of them wait in a lane, or are on the wire.
    async fn skip_named(&self, now: &mut Now) {
        for _ in 0..TRIES {
            let up = self.world.up().await;
            let set = {
                let sets = self.sets.lock().expect("no panic");
                let back = now.dice.between(1, 60);
                let set = (sets.len() as u64).checked_sub(back);
                set.and_then(|set| u32::try_from(set).ok())
                    .map(|set| jti(set, &sets[set as usize]))
            };
            let Some(jti) = set.filter(|_| !up.is_empty()) else {
                return;
            };
            let at_ms = now_ms();
            let answers = self.tell("skip", &up, &["--jti", &jti]).await;
            self.skipped(at_ms, Some(fingerprint(jti.as_bytes())), &answers);
        }
    }

    fn skipped(&self, at_ms: u64, named: Option<u64>, answers: &[Value]) -> SkipEnd {
        let told = answers.iter().find(|answer| answer["error"].is_null());
        let lost = answers.is_empty() || answers.iter().any(|answer| answer["reached"] == false);
        let end = match told {
            Some(told) if told["outcome"].is_null() => SkipEnd::Unknown,
            Some(told) if told["reason"] == "skipped" => SkipEnd::Skipped,
            None if lost => SkipEnd::Unknown,
            _ => SkipEnd::Not,
        };
        if end == SkipEnd::Skipped {
            self.count("skips", 1);
        }
        let theirs = told.and_then(|told| told["set"]["jti"].as_str());
        let jti = named.or(theirs.map(|jti| fingerprint(jti.as_bytes())));
        self.note(|acts| acts.skips.push(Skip { at_ms, jti, end }));
        end
    }

    /// Mends the receiver for what was refused, and brings it back; now and then also what can never be sent.
    async fn replay(&self, now: &mut Now, forced: bool) {
        let listed = self.dlq("list", &["--json"]).await;
        let letters = listed
            .out
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut letters: Vec<Value> = letters.filter(|letter| self.is_ripe(letter)).collect();
        now.dice.shuffle(&mut letters);
        letters.truncate(REPLAYED);
        let mut more = vec!["--wait", "0", "--json"];
        let jtis: Vec<&str> = letters
            .iter()
            .filter_map(|letter| letter["jti"].as_str())
            .collect();
        self.mend(&jtis);
        more.extend(jtis.iter().flat_map(|jti| ["--jti", jti]));
        if jtis.is_empty() {
            more.extend([
                "--reason",
                "invalid_json",
                "--reason",
                "bad_email",
                "--limit",
                "3",
            ]);
        }
        if forced {
            more.push("--force");
        }
        let said = self.dlq("replay", &more).await;
        if !matches!(said.code, 0 | 65 | 69) {
            println!("dlq replay: {said:?}");
        }
    }

    async fn dlq(&self, what: &str, more: &[&str]) -> Said {
        let config = self.config.display().to_string();
        let command = ["dlq", what, "-c", &config, "--stream", STREAM];
        let asked_ms = now_ms();
        let said = setbridge(&[&command, more].concat()).await;
        if what == "replay" {
            self.write(asked_ms, &format!("dlq replay {more:?}"), &said);
        }
        said
    }

    /// It was not brought back yet, and its record is committed, so only the replay can send it.
    fn is_ripe(&self, letter: &Value) -> bool {
        let origin = letter["origin"].as_str().unwrap_or_default();
        let mut parts = origin.rsplit(':');
        let offset = parts.next().and_then(|text| text.parse::<i64>().ok());
        let partition = parts.next().and_then(|text| text.parse().ok());
        let keyed = parts.next() == Some(&*self.world.topics.keyed);
        let next = partition.and_then(|partition| self.seen.committed(keyed, partition));
        let committed = next.zip(offset).is_some_and(|(next, offset)| offset < next);
        let at_ms = letter["at_ms"].as_u64().unwrap_or(u64::MAX);
        committed && letter["replayed"] == false && at_ms < now_ms().saturating_sub(OLD_MS)
    }

    /// The receiver takes most of what it refused.
    fn mend(&self, jtis: &[&str]) {
        let sets = self.sets.lock().expect("no panic");
        let refused = (0u32..)
            .zip(sets.iter())
            .filter(|(_, set)| set.fate != Fate::Accepted);
        for (set, expected) in refused {
            let stubborn = expected.fate == Fate::Refused && set % STUBBORN == 0;
            if !stubborn && jtis.contains(&jti(set, expected).as_str()) {
                self.world.book.mend(set);
            }
        }
    }

    /// The receiver takes what it gave 500 so far.
    pub(crate) fn mend_poison(&self) {
        let sets = self.sets.lock().expect("no panic");
        for (set, _) in (0u32..)
            .zip(sets.iter())
            .filter(|(_, set)| set.fate == Fate::Poison)
        {
            self.world.book.mend(set);
        }
    }

    /// One partition that somebody has at the moment.
    async fn rewind(&self, now: &mut Now, records: u16) {
        for _ in 0..TRIES {
            let partition = i32::try_from(now.dice.below(KEYED as u64)).expect("a partition");
            let next = self
                .seen
                .committed(true, partition)
                .filter(|next| *next > 0);
            let up = self.world.up().await;
            if let (Some(next), Some(_), false) = (next, &now.held, up.is_empty())
                && self
                    .rewind_to(&up, partition, (next - i64::from(records)).max(0))
                    .await
            {
                return;
            }
            sleep(BETWEEN).await;
        }
    }

    /// False: surely nobody did it.
    async fn rewind_to(&self, up: &[Up], partition: i32, from: i64) -> bool {
        let to = format!("{}:{partition}:{from}", self.world.topics.keyed);
        let at_ms = now_ms();
        let answers = self.tell("rewind", up, &["--to", &to]).await;
        let done = answers.iter().any(|answer| answer["rewound"].is_object());
        let surely_not = |answer: &Value| matches!(answer["status"].as_u64(), Some(404 | 422));
        if done {
            self.count("rewinds", 1);
        } else if !answers.is_empty() && answers.iter().all(surely_not) {
            return false;
        }
        let mut rewind = Rewind {
            partition: (true, partition),
            from,
            to: i64::MAX,
            at_ms,
            until_ms: u64::MAX,
            done,
        };
        if done {
            rewind.until_ms = now_ms();
            rewind.to = self.end_of(partition).await;
        }
        self.note(|acts| acts.rewinds.push(rewind));
        true
    }

    /// Nobody holds any more, so those that were not answered are done by now, or never will be.
    async fn rewinds_are_over(&self) {
        let until_ms = now_ms();
        let rewinds = self.acts().rewinds;
        let open = |rewind: &Rewind| rewind.until_ms == u64::MAX;
        for index in (0..rewinds.len()).filter(|index| open(&rewinds[*index])) {
            let to = self.end_of(rewinds[index].partition.1).await;
            self.note(|acts| {
                (acts.rewinds[index].until_ms, acts.rewinds[index].to) = (until_ms, to)
            });
        }
    }

    async fn end_of(&self, partition: i32) -> i64 {
        let world = &self.world;
        log_end(&world.wire, &world.topics.keyed, partition).await
    }
}

fn is_held(answer: &Value) -> bool {
    let reasons = answer["held"].as_array();
    reasons.is_some_and(|reasons| reasons.iter().any(|reason| reason == "operator"))
}
