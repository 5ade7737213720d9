//! What a run stands on: topics, ways, Redis, receiver, configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU64};
use std::sync::{Arc, Mutex};

use jsonwebtoken::jwk::JwkSet;
use serde_json::json;
use setbridge::okta::simulator::Inspector;
use setbridge::signing::key::{KeyBits, generate_pem};
use setbridge::signing::{KeyRing, KeySource};

use super::cluster::Cluster;
use super::front::Front;
use super::kafka::{STREAM, Topics};
use super::link::Link;
use super::load::{Expected, Fate, KEYED, LOOSE, mapping};
use super::plan::State;
use super::receiver::{Book, PATH, Receiver};
use super::store::Store;
use super::support::bridge::program;
use super::support::configuration::{Configuration, ISSUER};
use super::support::fresh;
use super::support::node::free_ports;
use super::support::operator::Operator;
use super::support::wire::Wire;
use super::told::Told;
use super::wishes::{Protocol, Wishes};
use super::world::World;

/// Keys that sign in turn.
const KEYS: usize = 4;

/// SETs as they ought to be, growing while records are produced.
pub(crate) type Sets = Arc<Mutex<Vec<Expected>>>;

/// What the whole run stands on.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) operator: Option<Operator>,
    pub(crate) book: Arc<Book>,
    _receiver: Receiver,
}

/// Everything but the cluster, which may have had other runs before.
///
/// # Errors
/// In words.
pub(crate) async fn set_up(
    wishes: &Wishes,
    cluster: &Cluster,
    sets: &Sets,
) -> Result<Stage, String> {
    let wire = cluster.wire.clone();
    let topics = Topics {
        keyed: fresh("keyed"),
        loose: fresh("loose"),
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
        let redis = json!({"urls": [format!("redis://127.0.0.1:{}", store.port())]});
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
    let operator = Operator::of(&mut common).of_stream(STREAM);
    let (ways, store_ways) = ways(wishes.state.members(), cluster, store.as_ref()).await;
    let world = World {
        group: common.group(STREAM),
        common,
        wire,
        ports: cluster.ports,
        topics,
        ways,
        store_ways,
        program: wishes.program.clone().unwrap_or_else(program),
        environment: wishes.environment.clone(),
        members: (0..wishes.state.members())
            .map(|_| Default::default())
            .collect(),
        nodes: Arc::clone(&cluster.nodes),
        store: store.map(Mutex::new),
        book: Arc::clone(&book),
        keys,
        told: Told::default(),
        processes: AtomicU16::new(0),
        rotations: AtomicU64::new(0),
    };
    Ok(Stage {
        world: Arc::new(world),
        operator: Some(operator),
        book,
        _receiver: receiver,
    })
}

/// From each member to each broker, and to Redis.
async fn ways(
    members: usize,
    cluster: &Cluster,
    store: Option<&Store>,
) -> (Vec<[Link; 3]>, Vec<(u16, Link)>) {
    let (mut ways, mut store_ways) = (Vec::new(), Vec::new());
    for member in 0..members {
        let [a, b, c] = cluster.ports.map(|ports| {
            let (port, front) = ports.members[member];
            Link::start(front, port)
        });
        ways.push([a.await, b.await, c.await]);
        if let Some(store) = store {
            let [front] = free_ports();
            store_ways.push((front, Link::start(front, store.port()).await));
        }
    }
    (ways, store_ways)
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
        .set("streams.0.replay", json!({"rate": 100}))
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
