//! One run: starts broker, receiver and bridge, measures between 10 % and 95 % of the SETs, checks that each arrived once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use setbridge::signing::key::{KeyBits, generate_pem};

use crate::Fallible;
use crate::broker::TOPIC;
use crate::machine::{cpu_of, cpu_of_all};
use crate::sample;

const ISSUER: &str = "https://ssf.bench.example";
/// The mock cluster forgets the oldest records past 5 MiB a partition; keys spread unevenly, so fill half of it.
const RECORDS_PER_PARTITION: u64 = 5 * 1024 * 1024 / 2 / 1024;
/// More does not get steadier, and all of it lies in the broker's memory.
const MOST_RECORDS: f64 = 400_000.0;
/// Enough for two digits: CPU time is counted in hundredths of a second.
const POSTS: &str = "40000";
/// The bridge stands still when no SET arrives for so long.
const STILL: Duration = Duration::from_secs(30);

/// Where the bridge remembers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Memory,
    Sqlite,
}

/// How the bridge signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// One at a time, by aws-lc-rs.
    Single,
    /// Eight at once.
    MultiBuffer,
}

impl Signing {
    /// `signing.multi_buffer`.
    fn word(self) -> &'static str {
        match self {
            Self::Single => "never",
            Self::MultiBuffer => "required",
        }
    }
}

/// What one run came to, between its two measuring points.
pub(crate) struct Measured {
    pub(crate) sets: u64,
    pub(crate) seconds: f64,
    /// Seconds of CPU.
    pub(crate) bridge: f64,
    /// Of these, inside the sign call.
    pub(crate) signing: f64,
    pub(crate) receiver: f64,
    pub(crate) broker: f64,
    /// Of everybody else on this machine.
    pub(crate) others: f64,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.sets as f64 / self.seconds
    }

    /// Microseconds per SET.
    pub(crate) fn per_set(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.sets as f64
    }
}

/// How many records to carry, so that a bridge at 0.85 of OpenSSL's rate is measured for about `seconds` (0.85 of the run).
pub(crate) fn load(signatures_per_second: f64, seconds: f64) -> u64 {
    (signatures_per_second * seconds).min(MOST_RECORDS) as u64
}

/// A child that ends with this value.
struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// This binary in another part.
    fn start(part: &[&str]) -> Fallible<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(stdout),
            child,
        })
    }

    fn hear(&mut self) -> Fallible<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let line = line.trim();
        (!line.is_empty())
            .then(|| line.to_owned())
            .ok_or_else(|| "a peer of the bridge ended".into())
    }

    /// Counts of the receiver: taken, refused, repeated.
    fn tally(&mut self) -> Fallible<[u64; 3]> {
        let stdin = self.stdin.as_mut().ok_or("no standard input")?;
        stdin.write_all(b"?\n")?;
        let line = self.hear()?;
        let mut counts = line.split(' ').map(str::parse::<u64>);
        let mut next = || counts.next().ok_or("three counts")?.map_err(|_| "a count");
        Ok([next()?, next()?, next()?])
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends by itself when its standard input does; what is left of it must not outlive the bench.
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bridge, and where it can be asked.
struct Bridge {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Bridge {
    fn start(
        folder: &Path,
        bootstrap: &str,
        receiver: &str,
        (state, signing): (State, Signing),
    ) -> Fallible<Self> {
        let config = folder.join("setbridge.json");
        let state = match state {
            State::Memory => json!({"backend": "memory"}),
            State::Sqlite => json!({"backend": "sqlite", "path": folder.join("state.sqlite")}),
        };
        // JSON is YAML.
        let text = json!({
            "group_id": "bench",
            "kafka": {"bootstrap_servers": bootstrap},
            "signing": {"keys": [{"file": folder.join("signing.pem")}], "multi_buffer": signing.word()},
            "transmitter": {"issuer": ISSUER, "listen": "127.0.0.1:0"},
            "admin": {"listen": "127.0.0.1:0"},
            "state": state,
            "log": {"format": "json"},
            "streams": [{
                "id": "bench",
                "topics": [TOPIC],
                "mapping": serde_json::from_str::<serde_json::Value>(sample::MAPPING)?,
                "receiver": {"url": receiver, "proxy": "none"},
            }],
        });
        std::fs::write(&config, text.to_string())?;
        let log = folder.join("bridge.log");
        let child = Command::new(env!("CARGO_BIN_EXE_setbridge"))
            .arg("run")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let mut bridge = Self {
            child,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        let started = Instant::now();
        while bridge.admin.port() == 0 {
            if bridge.is_gone()? || started.elapsed() > STILL {
                return Err(bridge.failure("it did not start"));
            }
            std::thread::park_timeout(Duration::from_millis(20));
            bridge.admin = bridge.logged_address()?.unwrap_or(bridge.admin);
        }
        Ok(bridge)
    }

    /// The address in the log's line "setbridge runs", once it is there.
    fn logged_address(&self) -> Fallible<Option<SocketAddr>> {
        let log = std::fs::read_to_string(&self.log)?;
        let mut lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
        let admin = lines.find_map(|line| Some(line.ok()?["admin"].as_str()?.to_owned()));
        Ok(admin.map(|admin| admin.parse()).transpose()?)
    }

    fn is_gone(&mut self) -> Fallible<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    fn failure(&self, what: &str) -> Box<dyn std::error::Error> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or("nothing");
        format!(
            "the bridge: {what}; the last in {}: {last}",
            self.log.display()
        )
        .into()
    }

    /// One counter of `/metrics`.
    fn counter(&self, name: &str) -> Fallible<f64> {
        let mut connection = TcpStream::connect(self.admin)?;
        connection
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .ok_or(format!("/metrics has no {name}"))?;
        Ok(line.trim().parse()?)
    }

    /// SIGTERM, and the exit code that must be 0.
    fn end(&mut self) -> Fallible<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(
                format!("the bridge ended with {status}; see {}", self.log.display()).into(),
            );
        }
        Ok(())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Nothing is left to end after `end`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The three processes of a run.
struct Trio {
    broker: Peer,
    receiver: Peer,
    bridge: Bridge,
}

struct Sample {
    at: Instant,
    taken: u64,
    bridge: f64,
    signing: f64,
    receiver: f64,
    broker: f64,
    all: f64,
}

impl Trio {
    fn start(way: (State, Signing), count: u64) -> Fallible<Self> {
        let partitions = count.div_ceil(RECORDS_PER_PARTITION).max(4);
        let mut broker = Peer::start(&["broker", &count.to_string(), &partitions.to_string()])?;
        let folder = folder()?;
        let jwks = folder.join("jwks.json");
        make_key(&folder, &jwks)?;
        let mut receiver = Peer::start(&["receiver", ISSUER, &jwks.display().to_string()])?;
        let (bootstrap, url) = (broker.hear()?, receiver.hear()?);
        let bridge = Bridge::start(&folder, &bootstrap, &url, way)?;
        Ok(Self {
            broker,
            receiver,
            bridge,
        })
    }

    /// Waits until the receiver has taken so many.
    fn wait_for(&mut self, count: u64) -> Fallible<()> {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let [taken, refused, repeated] = self.receiver.tally()?;
            if refused + repeated > 0 {
                return Err(format!("{refused} SETs refused, {repeated} repeated").into());
            }
            if taken >= count {
                return Ok(());
            }
            if taken > last {
                (last, moved) = (taken, Instant::now());
            }
            if self.bridge.is_gone()? {
                return Err(self.bridge.failure("it ended by itself"));
            }
            if moved.elapsed() > STILL {
                return Err(self
                    .bridge
                    .failure(&format!("it stands still at {taken} SETs")));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn sample(&mut self) -> Fallible<Sample> {
        Ok(Sample {
            // /metrics first: what it costs must not lie between the counts.
            signing: self.bridge.counter("setbridge_sign_cpu_seconds_total")?,
            at: Instant::now(),
            taken: self.receiver.tally()?[0],
            bridge: cpu_of(self.bridge.child.id())?,
            receiver: cpu_of(self.receiver.child.id())?,
            broker: cpu_of(self.broker.child.id())?,
            all: cpu_of_all()?,
        })
    }
}

/// CPU seconds of one POST to such a receiver, by reqwest alone.
pub(crate) fn bare_post() -> Fallible<f64> {
    let folder = folder()?;
    let jwks = folder.join("jwks.json");
    make_key(&folder, &jwks)?;
    let mut receiver = Peer::start(&["receiver", ISSUER, &jwks.display().to_string()])?;
    let url = receiver.hear()?;
    let key = folder.join("signing.pem").display().to_string();
    let mut poster = Peer::start(&["poster", &url, ISSUER, &key, POSTS])?;
    Ok(poster.hear()?.parse()?)
}

/// Carries `count` records. `hold`: prints the bridge's pid.
pub(crate) fn whole_path(way: (State, Signing), count: u64, hold: bool) -> Fallible<Measured> {
    let mut trio = Trio::start(way, count)?;
    if hold {
        println!("bridge {}", trio.bridge.child.id());
    }
    trio.wait_for(count / 10)?;
    let from = trio.sample()?;
    trio.wait_for(count / 100 * 95)?;
    let to = trio.sample()?;
    trio.wait_for(count)?;
    trio.bridge.end()?;
    let [taken, ..] = trio.receiver.tally()?;
    if taken != count {
        return Err(format!("{count} records became {taken} SETs").into());
    }
    let (bridge, receiver, broker) = (
        to.bridge - from.bridge,
        to.receiver - from.receiver,
        to.broker - from.broker,
    );
    Ok(Measured {
        sets: to.taken - from.taken,
        seconds: (to.at - from.at).as_secs_f64(),
        bridge,
        signing: to.signing - from.signing,
        receiver,
        broker,
        others: (to.all - from.all - bridge - receiver - broker).max(0.0),
    })
}

/// A fresh folder for key, configuration, state and log. On the disk of the build, since SQLite's cost is the disk's.
fn folder() -> Fallible<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole_path");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn make_key(folder: &Path, jwks: &Path) -> Fallible<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let (pem, _) = generate_pem(KeyBits::Rsa2048)?;
    let path = folder.join("signing.pem");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(pem.as_bytes())?;
    let out = Command::new(env!("CARGO_BIN_EXE_setbridge"))
        .args(["keys", "jwks"])
        .arg(&path)
        .output()?;
    std::fs::write(jwks, out.stdout)?;
    Ok(())
}
