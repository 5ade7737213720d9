//! `setbridge run` as a process of its own, as an operator sees it: its log, its two ports, its exit code, signals.
//!
//! It runs under `tests/kafka/tied.sh`, so it never outlives the test. Each wait has a deadline; past it the test fails
//! with the log's end.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::configuration::Configuration;
use super::exposition::Exposition;
use super::fresh;
use super::log::Log;

/// For whatever a healthy bridge does soon. Generous: two cores may be busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Between two looks at something that has no event.
const LOOK: Duration = Duration::from_millis(20);

/// A running `setbridge run`. Dropping it kills the process.
pub(crate) struct Bridge {
    tied: Child,
    pub(super) pid: String,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    http: reqwest::Client,
    /// Where JWKS and metadata are served
    pub(crate) public: SocketAddr,
    /// Where metrics, probes and status are served
    pub(crate) admin: SocketAddr,
}

/// A bridge that did not come up.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Bridge {
    /// Starts a process and returns when its ports are open; Kafka may not have answered yet.
    ///
    /// # Panics
    /// When it ends instead; [`Bridge::try_start`] returns that.
    pub(crate) async fn start(configuration: &Configuration) -> Bridge {
        Bridge::start_in(configuration, &[]).await
    }

    /// As [`Bridge::start`], with these variables in its environment.
    pub(crate) async fn start_in(
        configuration: &Configuration,
        environment: &[(&str, &str)],
    ) -> Bridge {
        Bridge::start_as(&program(), configuration, environment).await
    }

    /// As [`Bridge::start_in`], of another build.
    pub(crate) async fn start_as(
        program: &OsStr,
        configuration: &Configuration,
        environment: &[(&str, &str)],
    ) -> Bridge {
        Bridge::launch(program, configuration, environment)
            .await
            .unwrap_or_else(|ended| panic!("setbridge ended with {:?}:\n{}", ended.code, ended.log))
    }

    /// As [`Bridge::start`], for configurations that are refused.
    pub(crate) async fn try_start(configuration: &Configuration) -> Result<Bridge, Ended> {
        Bridge::launch(&program(), configuration, &[]).await
    }

    async fn launch(
        program: &OsStr,
        configuration: &Configuration,
        environment: &[(&str, &str)],
    ) -> Result<Bridge, Ended> {
        let file = configuration.write();
        let name = fresh("bridge");
        let pid_file = configuration.folder().join(format!("{name}.pid"));
        let mut tied = tied(&pid_file)
            .arg(program)
            .args(["run", "--config"])
            .arg(&file)
            .current_dir(configuration.folder())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("tied.sh starts");
        let log = Arc::new(Log::default());
        let errors = tied.stderr.take().expect("standard error is a pipe");
        let copy = configuration.folder().join(format!("{name}.log"));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || lines.read(errors, &copy));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut bridge = Bridge {
            tied,
            pid: String::new(),
            log,
            reader: Some(reader),
            http: http_client(),
            public: nowhere,
            admin: nowhere,
        };
        let log = Arc::clone(&bridge.log);
        let runs = tokio::select! {
            line = log.wait_for(|line| line["message"] == "setbridge runs") => line,
            code = bridge.ended_early() => {
                bridge.hear_all();
                return Err(Ended { code, log: bridge.log_text() });
            }
        };
        let address = |name: &str| runs[name].as_str().and_then(|text| text.parse().ok());
        bridge.public = address("public").unwrap_or(nowhere);
        bridge.admin = address("admin").expect("the log names the admin address");
        let pid = fs::read_to_string(&pid_file).expect("tied.sh wrote the process id");
        bridge.pid = pid.trim().to_owned();
        Ok(bridge)
    }

    /// Where the JWKS is served.
    pub(crate) fn jwks_url(&self) -> String {
        format!("http://{}/jwks.json", self.public)
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.lines()
    }

    /// All lines so far, as text.
    pub(crate) fn log_text(&self) -> String {
        let lines = self.lines();
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Waits for a line, an earlier one counts too.
    pub(crate) async fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = timeout(SOON, self.log.wait_for(wanted)).await;
        found.unwrap_or_else(|_| panic!("no line about {what}:\n{}", self.end_of_log()))
    }

    /// Waits for the line with this message.
    pub(crate) async fn message(&self, message: &str) -> Value {
        self.line(message, |line| line["message"] == message).await
    }

    /// The body of an answer of the public port.
    pub(crate) async fn fetch(&self, url: &str) -> String {
        let (status, body) = self.ask(url).await;
        assert_eq!(status, 200, "{url}: {body}");
        body
    }

    /// The status and body of an answer of the admin port.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("http://{}{path}", self.admin)).await
    }

    async fn ask(&self, url: &str) -> (u16, String) {
        let answer = self.http.get(url).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}\n{}", self.end_of_log()));
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a text"))
    }

    /// `/metrics`, parsed.
    pub(crate) async fn metrics(&self) -> Exposition {
        Exposition::parse(&self.get("/metrics").await.1)
    }

    /// `/status`, parsed.
    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").await.1).expect("the status is JSON")
    }

    /// Waits until the sum of the samples with these labels satisfies `until`; returns the sum.
    pub(crate) async fn metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        until: impl Fn(f64) -> bool,
    ) -> f64 {
        self.metric_within(SOON, name, labels, until).await
    }

    /// As [`Bridge::metric`] with another deadline.
    pub(crate) async fn metric_within(
        &self,
        deadline: Duration,
        name: &str,
        labels: &[(&str, &str)],
        until: impl Fn(f64) -> bool,
    ) -> f64 {
        let what = format!("{name}{labels:?}");
        let mut sum = 0.0;
        self.watch(deadline, &what, |metrics| {
            sum = metrics.sum(name, labels);
            until(sum)
        })
        .await;
        sum
    }

    /// Looks at all metrics again and again, until `until` says that it has seen what it waits for. What must hold all
    /// the time is asserted in there.
    pub(crate) async fn watch(
        &self,
        deadline: Duration,
        what: &str,
        mut until: impl FnMut(&Exposition) -> bool,
    ) {
        let end = Instant::now() + deadline;
        loop {
            let metrics = self.metrics().await;
            if until(&metrics) {
                return;
            }
            assert!(
                Instant::now() < end,
                "still waiting for {what} after {deadline:?}:\n{}\n{}",
                metrics.nonzero(),
                self.end_of_log()
            );
            sleep(LOOK).await;
        }
    }

    /// Waits until so many SETs of the stream have this outcome.
    pub(crate) async fn outcomes(&self, stream: &str, outcome: &str, count: u64) {
        let labels = [("stream", stream), ("outcome", outcome)];
        #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
        let wanted = count as f64;
        self.metric("setbridge_outcomes_total", &labels, |sum| sum >= wanted)
            .await;
    }

    /// Waits until the stream is held for this reason, or for no reason at all.
    pub(crate) async fn held(&self, stream: &str, reason: Option<&str>) {
        let name = "setbridge_stream_held";
        match reason {
            Some(reason) => {
                let labels = [("stream", stream), ("reason", reason)];
                self.metric(name, &labels, |held| held == 1.0).await;
            }
            None => {
                self.metric(name, &[("stream", stream)], |held| held == 0.0)
                    .await;
            }
        }
    }

    /// Waits until `/status` satisfies `until`.
    pub(crate) async fn status_is(&self, what: &str, until: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let status = self.status().await;
            if until(&status) {
                return status;
            }
            let log = || self.end_of_log();
            assert!(
                Instant::now() < end,
                "{what}: {status:#} after {SOON:?}\n{}",
                log()
            );
            sleep(LOOK).await;
        }
    }

    /// Where the system tells about the process.
    pub(crate) fn process(&self) -> PathBuf {
        Path::new("/proc").join(&self.pid)
    }

    /// Memory of the process that is in use now.
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(self.process().join("status"));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: usize = kib.and_then(|kib| kib.trim().parse().ok()).expect("a size");
        kib * 1024
    }

    /// The most memory that the process has had in use so far; `None` when it is gone.
    #[allow(dead_code, reason = "tests/chaos watches its members")]
    pub(crate) fn peak_bytes(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: usize = line?.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// The exit code, if the process has ended.
    #[allow(dead_code, reason = "tests/chaos watches its members")]
    pub(crate) fn has_ended(&mut self) -> Option<i32> {
        let status = self.tied.try_wait().expect("our own child");
        status.map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for the end of the process: its exit code, 128 + n when signal n ended it. Its whole log is there then.
    pub(crate) async fn code(&mut self, deadline: Duration) -> i32 {
        let ended = timeout(deadline, self.ended_early()).await;
        let code = ended
            .unwrap_or_else(|_| panic!("still runs after {deadline:?}:\n{}", self.end_of_log()));
        self.hear_all();
        code.expect("tied.sh ends by itself")
    }

    /// SIGTERM, and waits for an orderly end.
    pub(crate) async fn drain(&mut self) {
        self.term();
        assert_eq!(self.code(SOON).await, 0, "{}", self.end_of_log());
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) async fn crash(&mut self) {
        self.kill();
        self.code(SOON).await;
    }

    async fn ended_early(&mut self) -> Option<i32> {
        loop {
            if let Some(status) = self.tied.try_wait().expect("our own child") {
                return status.code();
            }
            sleep(LOOK).await;
        }
    }

    /// The pipe is closed by now, or will be: tied.sh's watch held it too.
    fn hear_all(&mut self) {
        drop(self.tied.stdin.take());
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log can be read");
        }
    }

    fn end_of_log(&self) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(30);
        lines[from..]
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.tied.stdin.take());
        // tied.sh kills the process at once and ends with it.
        let _ = self.tied.wait();
    }
}

/// The bridge under test: `SETBRIDGE_BIN`, else the one that was built with the tests.
pub(crate) fn program() -> OsString {
    let given = std::env::var_os("SETBRIDGE_BIN").filter(|program| !program.is_empty());
    given.unwrap_or_else(|| env!("CARGO_BIN_EXE_setbridge").into())
}

/// tied.sh around a shell that writes its process id and becomes the command. Without SIGXFSZ a file that is too large
/// is an error (EFBIG), as a full disk is one (ENOSPC).
fn tied(pid_file: &Path) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/tied.sh"));
    command.args(["sh", "-c", "trap '' XFSZ; echo $$ >\"$0\"; exec \"$@\""]);
    command.arg(pid_file);
    // What the developer's shell sets must not reach the bridge under test.
    let ours: BTreeMap<_, _> = std::env::vars_os()
        .filter(|(name, _)| !name.to_string_lossy().starts_with("SETBRIDGE_"))
        .filter(|(name, _)| !name.to_string_lossy().to_lowercase().ends_with("_proxy"))
        .collect();
    command.env_clear().envs(ours);
    command
}

/// Plain http needs no certificate authorities, so a machine without any will do.
fn http_client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_certs_only([])
        .build()
        .expect("an HTTP client")
}
