//! One Apache Kafka of our own: one node, KRaft, on free ports, its folder below target/tmp.
//!
//! It must never outlive the test binary: the broker runs under `tests/kafka/tied.sh`, which kills it as soon as the pipe
//! that [`Node`] holds is closed, and the kernel closes it however the test binary ends.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::fresh;
use super::tls::Certificates;
use super::wire::Wire;

/// The user of the SASL listener; a test value.
pub(crate) const USER: &str = "bridge";
/// Its password; a test value.
pub(crate) const PASSWORD: &str = "bridge-test-password";

/// Base64url of 16 bytes, as Kafka wants it; each node is a cluster of its own, so one value does.
const CLUSTER_ID: &str = "c2V0YnJpZGdlLXRlc3RzMQ";
const COMMON: &str = include_str!("../../kafka/server.properties");
/// Two seconds on an idle machine.
const START: Duration = Duration::from_secs(120);

/// The jars that `make kafka` fetched and a Java to run them.
pub(crate) struct Distribution {
    libs: PathBuf,
    java: OsString,
    /// As the jar's name says, e.g. `4.3.0`
    pub(crate) version: String,
}

impl Distribution {
    /// Looks in `SETBRIDGE_KAFKA_LIBS`, else in `target/kafka/libs`.
    ///
    /// # Errors
    /// In words, what is missing.
    pub(crate) fn find() -> Result<Distribution, String> {
        let libs = std::env::var_os("SETBRIDGE_KAFKA_LIBS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka/libs"),
            PathBuf::from,
        );
        let jars = fs::read_dir(&libs).map_err(|e| format!("{}: {e}", libs.display()))?;
        let version = jars
            .filter_map(|jar| jar.ok()?.file_name().into_string().ok())
            .find_map(|jar| {
                let version = jar.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?;
                Some(version.to_owned())
            })
            .ok_or_else(|| format!("{}: no kafka_2.13 jar in it", libs.display()))?;
        let java = std::env::var_os("JAVA_HOME")
            .map(|home| Path::new(&home).join("bin/java").into_os_string())
            .unwrap_or_else(|| "java".into());
        let ran = Command::new(&java).arg("-version").output();
        ran.map_err(|e| format!("no Java to run it with: {e}"))?;
        Ok(Distribution {
            libs,
            java,
            version,
        })
    }

    /// The command that runs this class of Kafka's with these arguments.
    pub(crate) fn java(&self, arguments: &[&str]) -> Vec<OsString> {
        let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/log4j2.properties");
        let mut command = vec![self.java.clone()];
        // A short-lived broker on a busy machine: one collector thread, no second compiler, half a gigabyte.
        command.extend(
            [
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
            ]
            .map(OsString::from),
        );
        command.push(self.libs.join("*").into_os_string());
        command.push(format!("-Dlog4j2.configurationFile={}", log.display()).into());
        command.extend(arguments.iter().map(OsString::from));
        command
    }
}

/// A broker that is formatted, and runs between [`Node::start`] and [`Node::stop`] always on the same ports.
pub(crate) struct Node {
    distribution: Distribution,
    folder: PathBuf,
    plain: Wire,
    secure_bootstrap: String,
    certificates: Certificates,
    tied: Option<Child>,
}

impl Node {
    /// Picks ports and formats a folder; nothing listens yet.
    ///
    /// # Errors
    /// In words, what the storage tool said.
    pub(crate) fn prepare(distribution: Distribution) -> Result<Node, String> {
        let folder = new_folder();
        let [plain, secure, controller] = free_ports();
        let certificates = Certificates::write(&folder);
        let properties = properties(&folder, [plain, secure, controller], &certificates);
        fs::write(folder.join("server.properties"), properties).map_err(|e| e.to_string())?;
        let node = Node {
            distribution,
            folder,
            plain: Wire::to(&format!("127.0.0.1:{plain}")),
            secure_bootstrap: format!("127.0.0.1:{secure}"),
            certificates,
            tied: None,
        };
        node.format()?;
        Ok(node)
    }

    fn format(&self) -> Result<(), String> {
        let properties = self.folder.join("server.properties");
        let scram = |mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]");
        let command = self.distribution.java(&[
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
            &properties.to_string_lossy(),
            "--add-scram",
            &scram("SCRAM-SHA-256"),
            "--add-scram",
            &scram("SCRAM-SHA-512"),
        ]);
        let said = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("the storage tool: {e}"))?;
        if said.status.success() {
            return Ok(());
        }
        let (out, err) = (said.stdout, said.stderr);
        Err(format!(
            "the storage tool: {}: {}{}",
            said.status,
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&err)
        ))
    }

    /// Starts the broker and returns when it answers; at once when it runs already.
    ///
    /// # Errors
    /// In words, with the end of the broker's log.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.tied.is_some() {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let properties = self.folder.join("server.properties");
        let child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/tied.sh"))
            .args(
                self.distribution
                    .java(&["kafka.Kafka", &properties.to_string_lossy()]),
            )
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in the terminal ends the test binary; the closed pipe then ends the broker.
            .process_group(0)
            .spawn()
            .map_err(|e| format!("tied.sh: {e}"))?;
        self.tied = Some(child);
        self.wait_until_it_answers()
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let mut config = self.plain.client();
        config.set("reconnect.backoff.max.ms", "200");
        let consumer: BaseConsumer = config.create().map_err(|e| e.to_string())?;
        let until = Instant::now() + START;
        loop {
            let answer = consumer.fetch_metadata(None, Duration::from_secs(1));
            if answer.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
                return Ok(());
            }
            let ended = match &mut self.tied {
                Some(child) => child.try_wait().map_err(|e| e.to_string())?,
                None => None,
            };
            if let Some(status) = ended {
                self.tied = None;
                return Err(format!("the broker ended: {status}\n{}", self.end_of_log()));
            }
            if Instant::now() > until {
                self.stop();
                return Err(format!("no answer in {START:?}\n{}", self.end_of_log()));
            }
        }
    }

    /// Kills the broker, as a power cut would. What it acknowledged is still there after the next start.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.tied.take() {
            drop(child.stdin.take());
            child.wait().expect("tied.sh ends when its pipe is closed");
        }
    }

    /// The version of the broker.
    pub(crate) fn version(&self) -> &str {
        &self.distribution.version
    }

    /// The plain-text listener, where everybody may do everything.
    pub(crate) fn plain(&self) -> &Wire {
        &self.plain
    }

    /// The TLS listener for `USER` by `SCRAM-SHA-256`, `SCRAM-SHA-512` or `PLAIN`. A later `with` replaces any property.
    pub(crate) fn secure(&self, mechanism: &str) -> Wire {
        self.tls()
            .with("sasl.mechanism", mechanism)
            .with("sasl.username", USER)
            .with("sasl.password", PASSWORD)
    }

    /// The TLS listener for `USER` by an unsigned OAUTHBEARER token.
    pub(crate) fn bearer(&self) -> Wire {
        self.tls()
            .with("sasl.mechanism", "OAUTHBEARER")
            .with("enable.sasl.oauthbearer.unsecure.jwt", "true")
            .with("sasl.oauthbearer.config", &format!("principal={USER}"))
    }

    /// A certificate authority that the broker's certificate does not come from.
    pub(crate) fn stranger_ca(&self) -> &Path {
        &self.certificates.stranger_ca
    }

    fn tls(&self) -> Wire {
        Wire::to(&self.secure_bootstrap)
            .with("security.protocol", "SASL_SSL")
            .with("ssl.ca.location", &self.certificates.ca.to_string_lossy())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(40);
        format!("{}:\n{}", self.log().display(), lines[from..].join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn properties(
    folder: &Path,
    [plain, secure, controller]: [u16; 3],
    certificates: &Certificates,
) -> String {
    let clients = format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}");
    let mut text = COMMON.to_owned();
    for (key, value) in [
        (
            "listeners",
            format!("{clients},CONTROLLER://127.0.0.1:{controller}"),
        ),
        ("advertised.listeners", clients),
        (
            "controller.quorum.bootstrap.servers",
            format!("127.0.0.1:{controller}"),
        ),
        ("log.dirs", folder.join("logs").display().to_string()),
        (
            "listener.name.sasl_ssl.ssl.keystore.location",
            certificates.key_store.display().to_string(),
        ),
        (
            "listener.name.sasl_ssl.plain.sasl.jaas.config",
            format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"
            ),
        ),
    ] {
        writeln!(text, "{key}={value}").expect("writing to a string");
    }
    text
}

/// A new folder below target/tmp. Those of test binaries that are gone are deleted first.
pub(crate) fn new_folder() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for folder in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = folder.file_name();
        let owner = name
            .to_str()
            .and_then(|n| n.strip_prefix("kafka-")?.split('-').next());
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test binary may be deleting it at the same time.
            let _ = fs::remove_dir_all(folder.path());
        }
    }
    let folder = all.join(fresh("kafka"));
    fs::create_dir_all(&folder).expect("a folder for the broker");
    folder
}

/// Ports below the range from which the kernel gives ports to everybody who asks for any (32768 and up on Linux), so
/// that no other test gets one of them between this look and the broker's start.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than COUNT");
    // The listeners are kept until all ports are chosen, so that no two are the same.
    let mut held = Vec::with_capacity(N);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % COUNT;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == N {
            break;
        }
    }
    assert_eq!(held.len(), N, "free ports from {FIRST} on");
    std::array::from_fn(|i| held[i].0)
}
