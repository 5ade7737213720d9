//! One run, from an empty cluster to the verdict.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use serde_json::json;
use setbridge::okta::simulator::Inspector;
use setbridge::signing::key::{KeyBits, generate_pem};
use setbridge::signing::{KeyRing, KeySource};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::Cluster;
use super::front::Front;
use super::kafka::{STREAM, Source, Topics, Watch, letters};
use super::load::{Expected, Fate, KEYED, LOOSE, Load, mapping};
use super::oracle::{History, judge};
use super::plan::{Act, State, Step, schedule};
use super::receiver::{PATH, Receiver};
use super::report::{Counts, finish};
use super::store::Store;
use super::support::configuration::{Configuration, ISSUER};
use super::support::node::free_ports;
use super::support::wire::Wire;
use super::wishes::{Protocol, Wishes};
use super::world::{Told, World};

/// Keys that sign in turn.
const KEYS: usize = 4;
/// Between two lines about how it goes.
const TELL: Duration = Duration::from_secs(10);
/// After the last fault the rest has to be through by then, and a minute more for every three of the run.
const DRAIN: Duration = Duration::from_secs(90);

/// SETs as they ought to be, growing while records are produced.
type Sets = Arc<Mutex<Vec<Expected>>>;

/// What the whole run stands on.
struct Stage {
    cluster_wire: Wire,
    topics: Topics,
    group: String,
    world: Arc<World>,
    _receiver: Receiver,
    complaints: Arc<super::receiver::Book>,
}

/// True: no promise was broken.
///
/// # Errors
/// In words, when the run itself failed: no broker, no port, a record that was never acknowledged.
pub(crate) async fn run(wishes: &Wishes) -> Result<bool, String> {
    let until = u64::try_from(wishes.time.as_millis()).expect("a short time") * 9 / 10;
    let steps = schedule(wishes.seed, until, wishes.state);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos");
    std::fs::create_dir_all(&target).map_err(|e| e.to_string())?;
    write_plan(&steps, &target.join("schedule.txt")).map_err(|e| e.to_string())?;
    if wishes.plan_only {
        return Ok(true);
    }
    let sets = Sets::default();
    let stage = set_up(wishes, &sets).await?;
    println!("{}", title(wishes));
    let began = Instant::now();
    let mut history = play(wishes, &stage, &sets, &steps).await?;
    history.letters = letters(&stage.cluster_wire, &stage.topics).await?;
    history.attempts = stage.complaints.attempts();
    history.sets = std::mem::take(&mut sets.lock().expect("no panic"));
    history.whole_state = wishes.state.is_whole();
    let told = &stage.world.told;
    history.forced = told.forced.lock().expect("no panic").clone();
    let findings = judge(&history);
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = Counts {
        kills: load(&told.kills),
        rebalances: load(&told.rebalances),
        broker_faults: load(&told.broker_faults),
        http_faults: stage.complaints.faults(),
        max_rss_mb: load(&told.max_rss) >> 20,
        seconds: began.elapsed().as_secs(),
    };
    stage.world.keep_logs(&target.join("logs"));
    for line in findings
        .examples
        .iter()
        .chain(&stage.complaints.complaints())
    {
        println!("{line}");
    }
    if counts.max_rss_mb > wishes.max_rss_mb {
        told.breach(format!(
            "{} MB of memory, over {}",
            counts.max_rss_mb, wishes.max_rss_mb
        ));
    }
    let breaches = told.breaches.lock().expect("no panic").clone();
    finish(
        &title(wishes),
        &findings,
        &counts,
        &target.join("summary.json"),
    )
    .map_err(|e| e.to_string())?;
    for breach in &breaches {
        println!("BREACH {breach}");
    }
    let clean = findings.is_clean() && breaches.is_empty();
    println!(
        "{}",
        if clean {
            "every promise was kept"
        } else {
            "A PROMISE WAS BROKEN"
        }
    );
    Ok(clean)
}

fn title(wishes: &Wishes) -> String {
    let protocol = match wishes.protocol {
        Protocol::Classic => "classic",
        Protocol::Consumer => "consumer",
    };
    let (seed, state) = (wishes.seed, wishes.state.as_str());
    format!("seed {seed}, {state}, {protocol}")
}

fn write_plan(steps: &[Step], file: &Path) -> std::io::Result<()> {
    let lines = steps
        .iter()
        .map(|step| format!("{:>8} ms  {:?}\n", step.at_ms, step.act));
    std::fs::write(file, lines.collect::<String>())
}

async fn set_up(wishes: &Wishes, sets: &Sets) -> Result<Stage, String> {
    let cluster = tokio::task::spawn_blocking(Cluster::start);
    let cluster = cluster.await.map_err(|e| e.to_string())??;
    println!("three brokers, Apache Kafka {}", cluster.version);
    let wire = cluster.wire.clone();
    let topics = Topics {
        keyed: "keyed".to_owned(),
        loose: "loose".to_owned(),
    };
    wire.create_topic(&topics.keyed, KEYED, &[]).await;
    wire.create_topic(&topics.loose, LOOSE, &[]).await;
    let [port] = free_ports();
    let origin = format!("https://localhost:{port}");
    let mut common = configuration(&wire, &origin, &topics);
    if wishes.protocol == Protocol::Consumer {
        common = common.consumer_protocol();
    }
    let (keys, public) = keys(common.folder())?;
    std::fs::copy(&keys[0], common.folder().join("signing.pem")).map_err(|e| e.to_string())?;
    let front = Front::make(common.folder());
    common = common.set(
        "streams.0.receiver.tls",
        json!({"ca_file": front.ca.display().to_string()}),
    );
    let store = match wishes.state {
        State::Redis => Some(Store::start()),
        _ => None,
    };
    if let Some(store) = &store {
        let redis = json!({"urls": [store.url()]});
        common = common.set("state", json!({"backend": "redis", "redis": redis}));
    }
    let inspector = Inspector::new(ISSUER, &origin, public).map_err(|e| e.to_string())?;
    let of = Arc::clone(sets);
    let fates = move |set: u32| {
        let sets = of.lock().expect("no panic");
        sets.get(set as usize)
            .map_or(Fate::Accepted, |expected| expected.fate)
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let receiver = Receiver::start(address, front, inspector, Box::new(fates), wishes.seed);
    let book = Arc::clone(&receiver.book);
    let group = common.group(STREAM);
    let world = World {
        common,
        keyed: topics.keyed.clone(),
        state: wishes.state,
        environment: wishes.environment.clone(),
        members: (0..wishes.state.members())
            .map(|_| Default::default())
            .collect(),
        nodes: cluster.nodes.map(Mutex::new),
        store: store.map(Mutex::new),
        book: Arc::clone(&book),
        keys,
        told: Told::default(),
        processes: AtomicU16::new(0),
        rotations: AtomicU64::new(0),
    };
    Ok(Stage {
        cluster_wire: wire,
        topics,
        group,
        world: Arc::new(world),
        _receiver: receiver,
        complaints: book,
    })
}

fn configuration(wire: &Wire, origin: &str, topics: &Topics) -> Configuration {
    let limits = json!({"max_unsettled": 2000, "max_uncommitted": 4000, "max_elements": 100});
    Configuration::new(wire)
        .stream_to(STREAM, &topics.keyed, &format!("{origin}{PATH}"))
        .set("streams.0.topics", json!([topics.keyed, topics.loose]))
        .set("streams.0.mapping", mapping())
        .set("streams.0.receiver.proxy", "none")
        .set("streams.0.receiver.connect_timeout", "2s")
        .set("streams.0.receiver.request_timeout", "3s")
        .set(
            "streams.0.retry",
            json!({"initial_delay": "20ms", "max_delay": "500ms"}),
        )
        .set(
            "streams.0.hold",
            json!({"initial_probe_delay": "100ms", "max_probe_delay": "500ms"}),
        )
        .set(
            "streams.0.receiver_error",
            json!({"attempts": 20, "after": "5s", "other_subjects": 20}),
        )
        .set("streams.0.dead_letter", json!({"replication_factor": 3}))
        .set("kafka.max_poll_interval", "10s")
        .set("kafka.properties.auto.commit.interval.ms", "500")
        .set(
            "shutdown",
            json!({"drain_deadline": "6s", "termination_grace": "8s"}),
        )
        .set("limits", limits)
}

/// Fresh keys in files, and what a receiver knows of them.
fn keys(folder: &Path) -> Result<(Vec<PathBuf>, JwkSet), String> {
    let mut files = Vec::new();
    for number in 0..KEYS {
        let (pem, _) = generate_pem(KeyBits::Rsa2048).map_err(|e| e.to_string())?;
        let file = folder.join(format!("key-{number}.pem"));
        std::fs::write(&file, pem.as_bytes()).map_err(|e| e.to_string())?;
        files.push(file);
    }
    let sources: Vec<KeySource> = files.iter().map(KeySource::new).collect();
    let ring = KeyRing::load(&sources).map_err(|e| format!("{e:?}"))?;
    let set = serde_json::to_value(&*ring.jwks()).map_err(|e| e.to_string())?;
    Ok((
        files,
        serde_json::from_value(set).map_err(|e| e.to_string())?,
    ))
}

/// Records and faults, then the rest in peace.
async fn play(
    wishes: &Wishes,
    stage: &Stage,
    sets: &Sets,
    steps: &[Step],
) -> Result<History, String> {
    let world = &stage.world;
    for member in 0..world.members.len() {
        world.start(member).await;
    }
    let watch = Watch::start(&stage.cluster_wire, &stage.group, &stage.topics);
    let source = Source::new(&stage.cluster_wire, &stage.topics);
    let acknowledged = source.acknowledged();
    let began = Instant::now();
    let mut producing = JoinSet::new();
    producing.spawn(produce(source, wishes.clone(), Arc::clone(sets), began));
    let mut faults = JoinSet::new();
    for step in steps {
        sleep_or_tell(
            stage,
            &watch,
            || acknowledged.count(),
            began,
            began + Duration::from_millis(step.at_ms),
        )
        .await;
        let (world, act) = (Arc::clone(world), step.act);
        // Some acts take a while (a broker that stops in order); the next one does not wait for it.
        faults.spawn(async move { perform(world, act).await });
    }
    while let Some(done) = faults.join_next().await {
        done.map_err(|e| format!("a fault: {e}"))?;
    }
    recover(world).await;
    let source = loop {
        tokio::select! {
            source = producing.join_next() => {
                break source.ok_or("nobody produces")?.map_err(|e| format!("producing: {e}"))?;
            }
            () = sleep_or_tell(stage, &watch, || acknowledged.count(), began, Instant::now() + TELL) => {}
        }
    };
    let records = tokio::task::spawn_blocking(|| source.places());
    let records = records.await.map_err(|e| e.to_string())??;
    let wanted = records.len() as u64;
    let deadline = Instant::now() + DRAIN + wishes.time / 3;
    while watch.total() < wanted && Instant::now() < deadline {
        sleep_or_tell(
            stage,
            &watch,
            || wanted,
            began,
            Instant::now() + Duration::from_millis(500),
        )
        .await;
    }
    if watch.total() < wanted {
        let done = watch.total();
        world
            .told
            .breach(format!("hung: {done} of {wanted} records are committed"));
        tell_status(world).await;
    }
    for member in 0..world.members.len() {
        world.term(member).await;
    }
    Ok(History {
        records,
        committed: watch.end(),
        ..History::default()
    })
}

/// Brokers stop and start by calls that block.
async fn perform(world: Arc<World>, act: Act) {
    match act {
        Act::BrokerKill(_)
        | Act::BrokerStop(_)
        | Act::BrokerStart(_)
        | Act::RedisKill
        | Act::RedisPause
        | Act::RedisStart => {
            let handle = tokio::runtime::Handle::current();
            let blocking = tokio::task::spawn_blocking(move || handle.block_on(world.act(act)));
            blocking.await.expect("a fault");
        }
        _ => world.act(act).await,
    }
}

async fn recover(world: &Arc<World>) {
    world.act(Act::Well).await;
    for node in 0..3 {
        perform(Arc::clone(world), Act::BrokerStart(node)).await;
    }
    perform(Arc::clone(world), Act::RedisStart).await;
    for member in 0..world.members.len() {
        world.act(Act::Resume(member)).await;
        world.act(Act::Start(member)).await;
    }
}

/// Hands the records over evenly, until a little after the last fault.
async fn produce(source: Source, wishes: Wishes, sets: Sets, began: Instant) -> Source {
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

/// Waits until then, looks after the members and says how it goes.
async fn sleep_or_tell(
    stage: &Stage,
    watch: &Watch,
    produced: impl Fn() -> u64,
    began: Instant,
    until: Instant,
) {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    loop {
        stage.world.watch().await;
        let elapsed = began.elapsed().as_secs();
        let turn = elapsed / TELL.as_secs();
        if TOLD.swap(turn, Ordering::Relaxed) != turn {
            println!(
                "{elapsed:>4} s: {} records, {} committed, {} taken, {} faults of HTTP, {} members",
                produced(),
                watch.total(),
                stage.complaints.accepted(),
                stage.complaints.faults(),
                stage.world.running(),
            );
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        sleep(left.min(Duration::from_millis(500))).await;
    }
}

async fn tell_status(world: &World) {
    for line in world.statuses().await {
        println!("{line}");
    }
}
