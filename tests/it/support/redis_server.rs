//! A Redis of our own: Debian's redis-server on a free port of loopback, its folder a temporary one. The unit tests of
//! `src/state` use this file too.
//!
//! It must never outlive the test binary: it runs under `tests/kafka/tied.sh`, see `node`.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A tenth of a second on an idle machine.
const START: Duration = Duration::from_secs(60);

/// A redis-server that a test may stop, kill, pause and start again; what it acknowledged is in its append-only file.
pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    tied: Option<Child>,
}

#[allow(
    dead_code,
    reason = "each test binary that has this file uses its part"
)]
impl RedisServer {
    /// One that all tests of this binary share, each with a key prefix of its own.
    pub(crate) fn shared() -> &'static RedisServer {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(|| RedisServer::start(&[]))
    }

    /// A server of this test alone. `arguments` are further lines of redis.conf as words: `--maxmemory 1mb`.
    ///
    /// # Panics
    /// When it does not start; without redis-server, which `scripts/setup.sh --redis` installs.
    pub(crate) fn start(arguments: &[&str]) -> RedisServer {
        let mut server = RedisServer::prepare(arguments);
        server.start_again();
        server
    }

    /// The same, but it does not run yet.
    pub(crate) fn prepare(arguments: &[&str]) -> RedisServer {
        RedisServer {
            folder: TempDir::new().expect("a folder"),
            port: free_port(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            tied: None,
        }
    }

    /// Further lines of redis.conf for the next start.
    pub(crate) fn with(&mut self, arguments: &[&str]) {
        let more = arguments.iter().map(|&word| word.to_owned());
        self.arguments.extend(more);
    }

    /// Starts it, and returns when it has loaded its file and answers.
    pub(crate) fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.expect("a log file");
        let port = self.port.to_string();
        let folder = self.folder.path().display().to_string();
        let pid_file = self.pid_file().display().to_string();
        let mut words: Vec<&str> = vec!["redis-server", "--bind", "127.0.0.1", "--dir", &folder];
        let tls = self.arguments.iter().any(|word| word == "--tls-port");
        if !tls {
            words.extend(["--port", &port]);
        }
        words.extend(["--pidfile", &pid_file, "--save", "", "--appendonly", "yes"]);
        // By default a write waits while the disk is busy, for two seconds at most, and is acknowledged all the same.
        words.extend(["--appendfsync", "always"]);
        words.extend(self.arguments.iter().map(String::as_str));
        if tls {
            words.extend(["--port", "0"]);
        }
        let child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/tied.sh"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("tied.sh");
        self.tied = Some(child);
        let until = Instant::now() + START;
        while !fs::read_to_string(self.log()).is_ok_and(|log| is_ready(&log)) {
            let ended = self.tied.as_mut().and_then(|child| child.try_wait().ok());
            if ended.flatten().is_some() || Instant::now() > until {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                panic!(
                    "redis-server does not start (scripts/setup.sh --redis installs it):\n{log}"
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
    }

    /// SIGKILL, as by a power cut, but that the kernel keeps what was written.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.tied.take() {
            drop(child.stdin.take());
            child.wait().expect("tied.sh ends when its pipe is closed");
        }
        // The next start is ready when *its* log says so.
        let _ = fs::remove_file(self.log());
    }

    /// SIGSTOP: its sockets are open, and nobody answers.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.pid_file()).expect("a pid file");
        let sent = Command::new("kill").args([name, pid.trim()]).status();
        assert!(sent.expect("kill").success(), "{name} {pid}");
    }

    /// Loses everything, as a replica does that takes over and never heard of it.
    pub(crate) fn lose_everything(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(self.folder.path().join("appendonlydir"));
    }

    /// TCP port on loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What redis-cli prints for this command.
    ///
    /// # Panics
    /// When the server does not carry it out.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let mut cli = Command::new("redis-cli");
        cli.args(["-e", "-p", &port]).args(words);
        let said = cli.stdin(Stdio::null()).output().expect("redis-cli");
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        assert!(said.status.success(), "{words:?}: {text}");
        text
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("server.pid")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_ready(log: &str) -> bool {
    log.contains("Ready to accept connections")
}

/// One whose port for the cluster's bus, which is higher by 10,000, is free as well.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok()) {
            return port;
        }
    }
}
