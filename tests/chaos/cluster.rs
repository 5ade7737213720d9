//! Three brokers of Apache Kafka: KRaft, replication 3, `min.insync.replicas` 2; each can be stopped, killed, started.
//!
//! They run under `tests/kafka/tied.sh`, so they never outlive the driver.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::support::node::{Distribution, free_ports, new_folder};
use super::support::wire::Wire;

const COMMON: &str = include_str!("../kafka/server.properties");
/// Base64url of 16 bytes, as Kafka wants it.
const CLUSTER_ID: &str = "c2V0YnJpZGdlLWNoYW9zMQ";
/// The same, of the broker's log folder, by broker.
const FOLDER_IDS: [&str; 3] = [
    "c2V0YnJpZGdlLW5vZGUtMQ",
    "c2V0YnJpZGdlLW5vZGUtMg",
    "c2V0YnJpZGdlLW5vZGUtMw",
];
/// Ten seconds on an idle machine.
const START: Duration = Duration::from_secs(120);
/// A broker that was asked to stop and does not is killed then.
const STOP: Duration = Duration::from_secs(15);

/// What a cluster has over the one broker of the tests.
const THREE: &str = "
offsets.topic.num.partitions=3
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
# Leaders move back to a broker that came back.
auto.leader.rebalance.enable=true
# Each member has a listener of its own, behind a way that can be shut.
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT,M0:PLAINTEXT,M1:PLAINTEXT,M2:PLAINTEXT
leader.imbalance.check.interval.seconds=3
leader.imbalance.per.broker.percentage=0
";

/// The ports of one broker.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    client: u16,
    controller: u16,
    /// By member: where the broker listens, and where the member is told to come to.
    pub(crate) members: [(u16, u16); 3],
}

/// One broker.
pub(crate) struct Node {
    folder: PathBuf,
    command: Vec<std::ffi::OsString>,
    tied: Option<Child>,
}

/// All of them; each is used by one fault at a time.
pub(crate) struct Cluster {
    pub(crate) nodes: Arc<[Mutex<Node>; 3]>,
    pub(crate) ports: [Ports; 3],
    pub(crate) wire: Wire,
    pub(crate) version: String,
}

impl Cluster {
    /// Formats three folders and starts all; returns when all answer.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn start() -> Result<Cluster, String> {
        let distribution = Distribution::find()?;
        let free: [u16; 24] = free_ports();
        let ports = [0, 1, 2].map(|number| {
            let own = &free[number * 8..];
            Ports {
                client: own[0],
                controller: own[1],
                members: [2, 4, 6].map(|at| (own[at], own[at + 1])),
            }
        });
        let folder = new_folder();
        let mut nodes = Vec::new();
        for number in 0..3 {
            nodes.push(Node::prepare(&distribution, &folder, number, &ports)?);
        }
        let bootstrap = ports.map(|ports| format!("127.0.0.1:{}", ports.client));
        let nodes: [Node; 3] = nodes.try_into().map_err(|_| "three brokers")?;
        let cluster = Cluster {
            nodes: Arc::new(nodes.map(Mutex::new)),
            ports,
            wire: Wire::to(&bootstrap.join(",")),
            version: distribution.version.clone(),
        };
        for node in cluster.nodes.iter() {
            node.lock().expect("no panic").start()?;
        }
        cluster.wait_for_all()?;
        Ok(cluster)
    }

    /// Waits until the cluster says that it has three brokers.
    ///
    /// # Errors
    /// When it does not in time.
    pub(crate) fn wait_for_all(&self) -> Result<(), String> {
        let mut config = self.wire.client();
        config.set("reconnect.backoff.max.ms", "200");
        let asking: BaseConsumer = config.create().map_err(|e| e.to_string())?;
        let until = Instant::now() + START;
        loop {
            let answer = asking.fetch_metadata(None, Duration::from_secs(1));
            if answer.is_ok_and(|metadata| metadata.brokers().len() == 3) {
                return Ok(());
            }
            if Instant::now() > until {
                let node = self.nodes[0].lock().expect("no panic");
                let folder = node.folder.display();
                return Err(format!("no cluster of three in {START:?}: see {folder}"));
            }
        }
    }
}

impl Node {
    fn prepare(
        distribution: &Distribution,
        all: &Path,
        number: usize,
        ports: &[Ports; 3],
    ) -> Result<Node, String> {
        let folder = all.join(format!("node-{}", number + 1));
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let properties = folder.join("server.properties");
        let text = text(&folder, number, ports);
        fs::write(&properties, text).map_err(|e| e.to_string())?;
        let properties = properties.display().to_string();
        let voters: Vec<String> = (0..3)
            .map(|n| {
                let port = ports[n].controller;
                format!("{}@127.0.0.1:{port}:{}", n + 1, FOLDER_IDS[n])
            })
            .collect();
        let format = distribution.java(&[
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
            &properties,
            "--initial-controllers",
            &voters.join(","),
        ]);
        let said = Command::new(&format[0])
            .args(&format[1..])
            .stdin(Stdio::null())
            .output();
        let said = said.map_err(|e| format!("the storage tool: {e}"))?;
        if !said.status.success() {
            let (out, err) = (said.stdout, said.stderr);
            let text = [out, err].concat();
            return Err(format!(
                "the storage tool: {}",
                String::from_utf8_lossy(&text)
            ));
        }
        Ok(Node {
            command: distribution.java(&["kafka.Kafka", &properties]),
            folder,
            tied: None,
        })
    }

    /// Starts the broker and does not wait for it.
    ///
    /// # Errors
    /// In words, when there is no process.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.tied.is_some() {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("server.log"));
        let log = log.map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/tied.sh"))
            .args(["sh", "-c", "echo $$ >\"$0\"; exec \"$@\""])
            .arg(self.pid_file())
            .args(&self.command)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn();
        self.tied = Some(child.map_err(|e| format!("tied.sh: {e}"))?);
        Ok(())
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.tied.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(&mut self) {
        let pid = fs::read_to_string(self.pid_file()).unwrap_or_default();
        let Some(child) = &mut self.tied else { return };
        let _ = Command::new("kill")
            .args(["-s", "TERM", pid.trim()])
            .status();
        let until = Instant::now() + STOP;
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn text(folder: &Path, number: usize, ports: &[Ports; 3]) -> String {
    let mut text = format!("{COMMON}{THREE}");
    let own = &ports[number];
    let client = format!("PLAINTEXT://127.0.0.1:{}", own.client);
    let [mut listeners, mut advertised] = [client.clone(), client];
    for (member, (port, front)) in own.members.iter().enumerate() {
        write!(listeners, ",M{member}://127.0.0.1:{port}").expect("writing to a string");
        write!(advertised, ",M{member}://127.0.0.1:{front}").expect("writing to a string");
    }
    write!(listeners, ",CONTROLLER://127.0.0.1:{}", own.controller).expect("writing to a string");
    let controllers = ports.map(|ports| format!("127.0.0.1:{}", ports.controller));
    for (key, value) in [
        ("node.id", (number + 1).to_string()),
        ("listeners", listeners),
        ("advertised.listeners", advertised),
        ("controller.quorum.bootstrap.servers", controllers.join(",")),
        ("log.dirs", folder.join("logs").display().to_string()),
    ] {
        writeln!(text, "{key}={value}").expect("writing to a string");
    }
    text
}
