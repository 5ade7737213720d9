//! The members under test, and everything around them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex as Turn;

use super::cluster::{Node, Ports};
use super::kafka::Topics;
use super::link::Link;
use super::oracle::Forced;
use super::receiver::{Book, PROCESS, now_ms};
use super::store::Store;
use super::support::bridge::Bridge;
use super::support::configuration::Configuration;
use super::support::wire::Wire;
use super::told::Told;

/// A process that was asked to end has to within this: `termination_grace` and some time of a busy machine.
const END: Duration = Duration::from_secs(20);
/// A new process answers on its ports by then.
const UP: Duration = Duration::from_secs(90);

/// One member of the group: a process, or none at the moment.
#[derive(Default)]
pub(crate) struct Member {
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    bridge: Bridge,
    pub(super) process: u16,
    paused_ms: Option<u64>,
}

/// Where a member can be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Up {
    pub(crate) slot: usize,
    pub(crate) process: u16,
    pub(crate) admin: SocketAddr,
}

/// Everything that faults happen to.
pub(crate) struct World {
    pub(crate) common: Configuration,
    /// As no fault meets it
    pub(crate) wire: Wire,
    pub(crate) ports: [Ports; 3],
    pub(crate) topics: Topics,
    pub(crate) group: String,
    pub(crate) program: OsString,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) members: Vec<Turn<Member>>,
    pub(crate) nodes: Arc<[Mutex<Node>; 3]>,
    /// By member and broker.
    pub(crate) ways: Vec<[Link; 3]>,
    pub(crate) store: Option<Mutex<Store>>,
    /// By member: its port for Redis, and the way from there.
    pub(crate) store_ways: Vec<(u16, Link)>,
    pub(crate) book: Arc<Book>,
    /// PEM files; the next one signs after each rotation.
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) told: Told,
    pub(crate) processes: AtomicU16,
    pub(crate) rotations: AtomicU64,
}

impl World {
    /// Starts the member unless it runs.
    pub(crate) async fn start(&self, number: usize) {
        let mut member = self.members[number].lock().await;
        if member.running.is_some() {
            return;
        }
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let header = json!({"header": {"name": PROCESS, "value": process.to_string()}});
        let mut own = self.common.clone().set("streams.0.receiver.auth", header);
        let servers = self
            .ports
            .map(|ports| format!("127.0.0.1:{}", ports.members[number].1));
        own = own.set("kafka.bootstrap_servers", servers.join(","));
        if let Some((port, _)) = self.store_ways.get(number) {
            let url = format!("redis://127.0.0.1:{port}");
            own = own.set("state.redis.urls", json!([url]));
        } else {
            let path = self.common.folder().join(format!("member-{number}.sqlite"));
            let state = json!({"backend": "sqlite", "path": path.display().to_string()});
            own = own.set("state", state);
        }
        let environment: Vec<(&str, &str)> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let started =
            tokio::time::timeout(UP, Bridge::start_as(&self.program, &own, &environment)).await;
        match started {
            Ok(bridge) => {
                let mut started = self.told.started.lock().expect("no panic");
                started.push((number, process, now_ms()));
                member.running = Some(Running {
                    bridge,
                    process,
                    paused_ms: None,
                });
            }
            Err(_) => self
                .told
                .breach(format!("process {process} did not start in {UP:?}")),
        }
    }

    pub(super) async fn kill(&self, number: usize) {
        let mut member = self.members[number].lock().await;
        let Some(mut running) = member.running.take() else {
            return;
        };
        self.told.kills.fetch_add(1, Ordering::Relaxed);
        let from = now_ms();
        self.look(&mut running);
        running.bridge.crash().await;
        self.told.force(running.process, from, now_ms() + 1000);
        self.read_log(&running);
    }

    /// Ends the member in order, and says when it does not.
    pub(crate) async fn term(&self, number: usize) {
        let mut member = self.members[number].lock().await;
        let Some(mut running) = member.running.take() else {
            return;
        };
        self.wake(&mut running);
        self.look(&mut running);
        let (process, from) = (running.process, now_ms());
        running.bridge.term();
        let until = tokio::time::Instant::now() + END;
        let code = loop {
            match running.bridge.has_ended() {
                None if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                code => break code,
            }
        };
        match code {
            Some(0) if !self.told.is_outage(now_ms()) => {}
            // The drain was cut off, or its last commit: what was under way is sent again.
            Some(_) => self.told.force(process, from, now_ms()),
            None => {
                self.told
                    .breach(format!("process {process} hung after SIGTERM"));
                self.told.force(process, from, now_ms());
            }
        }
        self.read_log(&running);
    }

    pub(super) async fn pause(&self, number: usize) {
        let mut member = self.members[number].lock().await;
        if let Some(running) = &mut member.running {
            running.paused_ms = Some(now_ms());
            let mut paused = self.told.paused.lock().expect("no panic");
            paused.push((running.process, now_ms()));
            running.bridge.stop();
        }
    }

    pub(super) async fn resume(&self, number: usize) {
        let mut member = self.members[number].lock().await;
        if let Some(running) = &mut member.running {
            self.wake(running);
        }
    }

    fn wake(&self, running: &mut Running) {
        if let Some(paused) = running.paused_ms.take() {
            running.bridge.cont();
            // Keys may have changed meanwhile.
            running.bridge.hup();
            self.told.force(running.process, paused, now_ms() + 1000);
        }
    }

    /// The next key signs: the file is replaced, and everybody reads it again.
    pub(super) async fn rotate(&self) {
        let turn = self.rotations.fetch_add(1, Ordering::Relaxed) + 1;
        let next = &self.keys[usize::try_from(turn).expect("few") % self.keys.len()];
        let file = self.common.folder().join("signing.pem");
        let fresh = file.with_extension("new");
        std::fs::copy(next, &fresh).expect("a copy of the key");
        std::fs::rename(&fresh, &file).expect("the key file is replaced");
        for member in &self.members {
            if let Some(running) = &member.lock().await.running
                && running.paused_ms.is_none()
            {
                running.bridge.hup();
            }
        }
    }

    /// Memory, and whether a process has ended that nobody ended.
    pub(crate) async fn watch(&self) {
        for member in &self.members {
            let Ok(mut member) = member.try_lock() else {
                continue;
            };
            if let Some(running) = &mut member.running {
                self.look(running);
            }
            let ended = member.running.as_mut().and_then(|r| r.bridge.has_ended());
            if let Some(code) = ended
                && let Some(running) = member.running.take()
            {
                let process = running.process;
                let last = running.bridge.lines().into_iter().rev().take(3);
                let last: Vec<String> = last.map(|line| line.to_string()).collect();
                self.told.breach(format!(
                    "process {process} ended by itself with {code}: {last:?}"
                ));
                self.told.force(process, now_ms() - 5000, now_ms());
                self.read_log(&running);
            }
        }
    }

    fn look(&self, running: &mut Running) {
        let peak = running.bridge.peak_bytes().unwrap_or(0) as u64;
        self.told.max_rss.fetch_max(peak, Ordering::Relaxed);
    }

    /// What a process said about its partitions.
    fn read_log(&self, running: &Running) {
        let mut assigned_ms = 0;
        for line in running.bridge.lines() {
            let message = line["message"].as_str().unwrap_or_default();
            let at = time_of(&line);
            if message == "partition assigned" {
                // One after the other: one assignment.
                if at > assigned_ms + 200 {
                    self.told.rebalances.fetch_add(1, Ordering::Relaxed);
                }
                assigned_ms = at;
            }
            let cut_off = message.starts_with("partition lost")
                || message.starts_with("the state was not durable");
            if cut_off || message == "partition leaves" {
                // The group may have given the partition away a session before its owner heard of it.
                let before = if cut_off { 8000 } else { 1000 };
                let topic = line["topic"].as_str().unwrap_or_default();
                let number = line["partition"].as_i64();
                let number = number.and_then(|n| i32::try_from(n).ok());
                self.told.let_go(Forced {
                    process: running.process,
                    partition: number.map(|number| (topic == self.topics.keyed, number)),
                    in_order: !cut_off && !self.told.is_outage(at),
                    from_ms: at.saturating_sub(before),
                    until_ms: at + 1000,
                });
            }
        }
    }

    /// Members that can be asked something.
    pub(crate) async fn up(&self) -> Vec<Up> {
        let mut up = Vec::new();
        for (slot, member) in self.members.iter().enumerate() {
            // What is being done to it just now takes it away, or brings it back soon.
            let Ok(member) = member.try_lock() else {
                continue;
            };
            let running = member.running.as_ref();
            if let Some(running) = running.filter(|running| running.paused_ms.is_none()) {
                up.push(Up {
                    slot,
                    process: running.process,
                    admin: running.bridge.admin,
                });
            }
        }
        up
    }

    /// What each member says about itself.
    pub(crate) async fn statuses(&self) -> Vec<String> {
        let mut statuses = Vec::new();
        for member in &self.members {
            if let Some(running) = &member.lock().await.running {
                let status = running.bridge.status();
                let status = tokio::time::timeout(Duration::from_secs(5), status).await;
                let status = status.map_or("no answer".to_owned(), |status| status.to_string());
                statuses.push(format!("process {}: {status}", running.process));
            }
        }
        statuses
    }

    /// How many members run, as far as nothing is being done to them just now.
    pub(crate) fn running(&self) -> usize {
        let members = self.members.iter();
        let runs = |member: &&Turn<Member>| member.try_lock().is_ok_and(|m| m.running.is_some());
        members.filter(runs).count()
    }

    /// Copies what the processes logged, for who looks into a breach.
    pub(crate) fn keep_logs(&self, folder: &Path) {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).expect("a folder for the logs");
        let files = std::fs::read_dir(self.common.folder()).expect("the run's folder");
        for file in files.flatten() {
            let name = file.file_name();
            if name.to_string_lossy().ends_with(".log") {
                let _ = std::fs::copy(file.path(), folder.join(name));
            }
        }
    }
}

fn time_of(line: &Value) -> u64 {
    let time = line["timestamp"]
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .unwrap_or(0)
}
