//! One run, from the first record to the verdict.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::Cluster;
use super::desk::Desk;
use super::kafka::{Watch, letters, open_replays, replays};
use super::load::{Load, Unit};
use super::names::jti;
use super::oracle::{Findings, History, Place, judge};
use super::plan::{Act, Step, schedule};
use super::receiver::fingerprint;
use super::report::{Counts, finish};
use super::source::{Acknowledged, Source};
use super::stage::{Sets, Stage, set_up};
use super::suspect::{finds, is_suspect};
use super::wishes::{Protocol, Wishes};
use super::world::World;

/// Between two lines about how it goes.
const TELL: Duration = Duration::from_secs(10);
/// After the last fault the rest has to be through by then, and a minute more for every three of the run.
const DRAIN: Duration = Duration::from_secs(90);
/// What gets 500 for ever is told from the moment's fault by what else is accepted. When nothing else comes any more, it
/// is taken after this.
const POISON: Duration = Duration::from_secs(20);
/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(500);

/// All runs, one after the other, on the same brokers. True: each was as it has to be.
///
/// # Errors
/// In words, when a run itself failed: no broker, no port, a record that was never acknowledged.
pub(crate) async fn all(runs: &[Wishes]) -> Result<bool, String> {
    if let [wishes] = runs
        && wishes.plan_only
    {
        return plan(wishes, &folder()?).map(|_| true);
    }
    let cluster = tokio::task::spawn_blocking(Cluster::start);
    let cluster = cluster.await.map_err(|e| e.to_string())??;
    println!("three brokers, Apache Kafka {}", cluster.version);
    for wishes in runs {
        if !run(wishes, &cluster).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn folder() -> Result<std::path::PathBuf, String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos");
    std::fs::create_dir_all(&target).map_err(|e| e.to_string())?;
    Ok(target)
}

fn plan(wishes: &Wishes, target: &Path) -> Result<Vec<Step>, String> {
    let until = u64::try_from(wishes.time.as_millis()).expect("a short time") * 9 / 10;
    let mut steps = schedule(wishes.seed, until, wishes.state);
    if wishes.finds.is_some() {
        steps.retain(|step| !matches!(step.act, Act::Operator(_)));
    }
    let lines = steps
        .iter()
        .map(|step| format!("{:>8} ms  {:?}\n", step.at_ms, step.act));
    let file = target.join("schedule.txt");
    std::fs::write(file, lines.collect::<String>()).map_err(|e| e.to_string())?;
    Ok(steps)
}

async fn run(wishes: &Wishes, cluster: &Cluster) -> Result<bool, String> {
    let target = folder()?;
    let steps = plan(wishes, &target)?;
    cluster.wait_for_all()?;
    let sets = Sets::default();
    let mut stage = set_up(wishes, cluster, &sets).await?;
    println!("{}", title(wishes));
    let began = Instant::now();
    let run = Run::start(wishes, &mut stage, &sets);
    let (mut history, acts) = run.play(&steps).await?;
    let world = &stage.world;
    history.letters = letters(&world.wire, &world.topics).await?;
    (history.acts.replays, history.acts.told) = replays(&world.wire, &world.topics).await?;
    history.attempts = stage.book.attempts();
    history.sets = std::mem::take(&mut sets.lock().expect("no panic"));
    let numbered = (0u32..).zip(&history.sets);
    history.jtis = numbered
        .map(|(set, expected)| fingerprint(jti(set, expected).as_bytes()))
        .collect();
    history.whole_state = wishes.state.is_whole();
    history.forced = world.told.forced.lock().expect("no panic").clone();
    let findings = judge(&history);
    let mut counts = counts(&stage, &acts);
    counts.insert("replays", history.acts.replays.len() as u64);
    counts.insert("seconds", began.elapsed().as_secs());
    world.keep_logs(&target.join("logs"));
    let complaints = stage.book.complaints();
    for line in findings.examples.iter().chain(&complaints) {
        println!("{line}");
    }
    let megabytes = counts["max_rss_mb"];
    if megabytes > wishes.max_rss_mb {
        let most = wishes.max_rss_mb;
        let told = &world.told;
        told.breach(format!("{megabytes} MB of memory, over {most}"));
    }
    let summary = target.join("summary.json");
    finish(&title(wishes), &findings, &counts, &summary).map_err(|e| e.to_string())?;
    let breaches = world.told.breaches.lock().expect("no panic").clone();
    for breach in &breaches {
        println!("BREACH {breach}");
    }
    Ok(verdict(wishes, &findings, &breaches))
}

fn verdict(wishes: &Wishes, findings: &Findings, breaches: &[String]) -> bool {
    let (good, line) = match wishes.finds {
        Some(wanted) if finds(wanted, findings) => (true, "found, as it must be"),
        Some(_) => (false, "THE BROKEN BRIDGE WAS NOT FOUND"),
        None if findings.is_clean() && breaches.is_empty() => (true, "every promise was kept"),
        None => (false, "A PROMISE WAS BROKEN"),
    };
    println!("{line}");
    good
}

fn counts(stage: &Stage, acts: &Counts) -> Counts {
    let told = &stage.world.told;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut counts = Counts::from([
        ("kills", load(&told.kills)),
        ("rebalances", load(&told.rebalances)),
        ("broker_faults", load(&told.broker_faults)),
        ("leader_moves", load(&told.leader_moves)),
        ("network_faults", load(&told.network_faults)),
        ("http_faults", stage.book.faults()),
        ("max_rss_mb", load(&told.max_rss) >> 20),
    ]);
    for act in ["holds", "skips", "rewinds"] {
        counts.insert(act, acts.get(act).copied().unwrap_or(0));
    }
    counts
}

fn title(wishes: &Wishes) -> String {
    let protocol = match wishes.protocol {
        Protocol::Classic => "classic",
        Protocol::Consumer => "consumer",
    };
    let (seed, state) = (wishes.seed, wishes.state.as_str());
    format!("seed {seed}, {state}, {protocol}")
}

/// What happens at once while records come.
struct Run {
    wishes: Wishes,
    world: Arc<World>,
    desk: Arc<Desk>,
    watch: Watch,
    acknowledged: Acknowledged,
    producing: JoinSet<Source>,
    began: Instant,
    told: AtomicU64,
    sets: Sets,
}

impl Run {
    fn start(wishes: &Wishes, stage: &mut Stage, sets: &Sets) -> Run {
        let world = Arc::clone(&stage.world);
        let watch = Watch::start(&world.wire, &world.group, &world.topics);
        let source = Source::new(&world.wire, &world.topics);
        let operator = stage.operator.take().expect("one run");
        let (own, seen) = (Arc::clone(&world), watch.seen());
        let desk = Desk::new(own, operator, Arc::clone(sets), seen, wishes.seed);
        Run {
            wishes: wishes.clone(),
            world,
            desk: Arc::new(desk),
            acknowledged: source.acknowledged(),
            producing: JoinSet::from_iter([produce(source, wishes.clone(), Arc::clone(sets))]),
            watch,
            began: Instant::now(),
            told: AtomicU64::new(0),
            sets: Arc::clone(sets),
        }
    }

    /// Records and faults, then the rest in peace. What the operator did comes with it.
    async fn play(mut self, steps: &[Step]) -> Result<(History, Counts), String> {
        let world = Arc::clone(&self.world);
        for member in 0..world.members.len() {
            world.start(member).await;
        }
        let mut faults = JoinSet::new();
        for step in steps {
            let due = self.began + Duration::from_millis(step.at_ms);
            if !self.sleep_until(due).await {
                break;
            }
            // Some acts take a while (a broker that stops in order); the next one does not wait for it.
            let (world, desk, act) = (Arc::clone(&world), Arc::clone(&self.desk), step.act);
            faults.spawn(async move { perform(world, desk, act).await });
        }
        while let Some(done) = faults.join_next().await {
            done.map_err(|e| format!("a fault: {e}"))?;
        }
        self.recover().await;
        let records = match self.is_found() {
            true => self.acknowledged.records(),
            false => self.drain().await?,
        };
        for member in 0..world.members.len() {
            world.term(member).await;
        }
        std::fs::write(folder()?.join("acts.txt"), self.desk.book()).map_err(|e| e.to_string())?;
        let history = History {
            records: self.committed_of(records),
            committed: self.watch.end(),
            acts: self.desk.acts(),
            ..History::default()
        };
        Ok((history, self.desk.counts()))
    }

    /// Of a run that was ended early only what the bridge says is done.
    fn committed_of<T>(&self, records: Vec<(Place, T)>) -> Vec<(Place, T)> {
        let mut records = records;
        if self.wishes.finds.is_some() {
            let seen = self.watch.seen();
            records.retain(|(place, _)| {
                let next = seen.committed(place.keyed, place.partition);
                next.is_some_and(|next| place.offset < next)
            });
        }
        records
    }

    /// The bridge is broken, and that has been seen.
    fn is_found(&self) -> bool {
        let Some(wanted) = self.wishes.finds else {
            return false;
        };
        let records = self.acknowledged.records();
        let sets = self.sets.lock().expect("no panic").clone();
        let attempts = self.world.book.attempts();
        is_suspect(wanted, &self.watch.seen(), records, sets, attempts)
    }

    /// Everybody is back, nothing is shut, nobody holds anything.
    async fn recover(&self) {
        let world = &self.world;
        world.act(Act::Well).await;
        for node in 0..3 {
            let (world, desk) = (Arc::clone(world), Arc::clone(&self.desk));
            perform(world, desk, Act::BrokerStart(node)).await;
        }
        perform(Arc::clone(world), Arc::clone(&self.desk), Act::RedisStart).await;
        for member in 0..world.members.len() {
            world.act(Act::Resume(member)).await;
            world.act(Act::Start(member)).await;
        }
        self.desk.leave().await;
    }

    /// Waits until every record is produced and committed and every replay is settled.
    async fn drain(&mut self) -> Result<Vec<(Place, Vec<Unit>)>, String> {
        let source = loop {
            tokio::select! {
                source = self.producing.join_next() => {
                    break source.ok_or("nobody produces")?.map_err(|e| format!("producing: {e}"))?;
                }
                () = sleep(LOOK) => self.tell().await,
            }
        };
        let records = source.places(&self.world.wire).await?;
        let (wanted, world) = (records.len() as u64, &self.world);
        let began = Instant::now();
        let deadline = began + DRAIN + self.wishes.time / 3;
        let left = async || match self.watch.total() >= wanted {
            false => Some(format!(
                "{} of {wanted} records are committed",
                self.watch.total()
            )),
            true => match open_replays(&world.wire, &world.group, &world.topics).await {
                0 => None,
                open => Some(format!("{open} replays are not settled")),
            },
        };
        while let Some(left) = left().await {
            if Instant::now() > deadline {
                world.told.breach(format!("hung: {left}"));
                for line in world.statuses().await {
                    println!("{line}");
                }
                break;
            }
            if began.elapsed() > POISON {
                self.desk.mend_poison();
            }
            self.tell().await;
            sleep(LOOK).await;
        }
        Ok(records)
    }

    /// Until then it looks after the members and says how it goes. False: the bridge is broken, and that was found.
    async fn sleep_until(&self, until: Instant) -> bool {
        loop {
            self.tell().await;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            sleep(left.min(LOOK)).await;
            if self.is_found() {
                return false;
            }
        }
    }

    async fn tell(&self) {
        let world = &self.world;
        world.watch().await;
        let elapsed = self.began.elapsed().as_secs();
        let turn = elapsed / TELL.as_secs();
        if self.told.swap(turn, Ordering::Relaxed) != turn {
            println!(
                "{elapsed:>4} s: {} records, {} committed, {} taken, {} faults of HTTP, {} members",
                self.acknowledged.count(),
                self.watch.total(),
                world.book.accepted(),
                world.book.faults(),
                world.running(),
            );
        }
    }
}

/// Brokers stop and start by calls that block.
async fn perform(world: Arc<World>, desk: Arc<Desk>, act: Act) {
    match act {
        Act::BrokerKill(_)
        | Act::BrokerStop(_)
        | Act::BrokerStart(_)
        | Act::RedisKill
        | Act::RedisPause
        | Act::RedisStart
        | Act::Leaders(_)
        | Act::Coordinator => {
            let handle = tokio::runtime::Handle::current();
            let blocking = tokio::task::spawn_blocking(move || handle.block_on(world.act(act)));
            blocking.await.expect("a fault");
        }
        Act::Operator(deed) => desk.act(deed).await,
        _ => world.act(act).await,
    }
}

/// Hands the records over evenly, until a little after the last fault.
async fn produce(source: Source, wishes: Wishes, sets: Sets) -> Source {
    let began = Instant::now();
    let mut source = source;
    let mut load = Load::new(wishes.seed, wishes.records);
    let mut known = 0;
    let mut number = 0;
    while let Some(record) = load.next() {
        if load.sets.len() > known {
            sets.lock()
                .expect("no panic")
                .extend_from_slice(&load.sets[known..]);
            known = load.sets.len();
        }
        // Due at its share of the time; a pause now and then, not after each.
        let due = wishes.time.mul_f64(number as f64 / wishes.records as f64);
        if began + due > Instant::now() + Duration::from_millis(5) {
            sleep_until(began + due).await;
        }
        source.produce(record).await;
        number += 1;
    }
    source
}
