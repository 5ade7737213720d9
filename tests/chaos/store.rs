//! A Redis of our own, which writes everything down before it answers: it may be killed at any moment.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::node::free_ports;

/// Redis loads its file in less.
const START: Duration = Duration::from_secs(30);

/// A server that is up between [`Store::start`] and [`Store::kill`], always on the same port, over the same file.
pub(crate) struct Store {
    folder: PathBuf,
    port: u16,
    tied: Option<Child>,
}

impl Store {
    /// Starts one with its file in this folder.
    ///
    /// # Errors
    /// When there is no `redis-server`.
    pub(crate) fn new(folder: PathBuf) -> Result<Store, String> {
        let version = Command::new("redis-server").arg("--version").output();
        version.map_err(|e| format!("redis-server (scripts/setup.sh --redis): {e}"))?;
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let [port] = free_ports();
        let mut store = Store {
            folder,
            port,
            tied: None,
        };
        store.start();
        Ok(store)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        if self.tied.is_some() {
            return;
        }
        let tied = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/tied.sh");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("redis.log"))
            .expect("a log of Redis");
        let child = Command::new(tied)
            .args(["sh", "-c", "echo $$ >\"$0\"; exec \"$@\""])
            .arg(self.folder.join("pid"))
            .args(["redis-server", "--bind", "127.0.0.1", "--port"])
            .arg(self.port.to_string())
            .args(["--dir", &self.folder.display().to_string()])
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--save",
                "",
            ])
            .args(["--maxmemory-policy", "noeviction"])
            .stdin(Stdio::piped())
            .stdout(log)
            .spawn()
            .expect("tied.sh starts");
        self.tied = Some(child);
        let until = Instant::now() + START;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "Redis does not answer in {START:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
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
        if let Some(child) = &mut self.tied {
            let pid = std::fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
            let _ = Command::new("kill")
                .args(["-s", "TERM", pid.trim()])
                .status();
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.kill();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}
