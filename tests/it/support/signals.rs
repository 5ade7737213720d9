//! What an operator, or fate, does to a running bridge from outside.

use std::process::Command;

use super::bridge::Bridge;

impl Bridge {
    /// SIGTERM: drain.
    pub(crate) fn term(&self) {
        self.signal("TERM");
    }

    /// SIGHUP: read keys and credentials again.
    pub(crate) fn hup(&self) {
        self.signal("HUP");
    }

    /// SIGKILL: gone at once, as by a power cut.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
    }

    /// SIGSTOP: no thread moves any more.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// SIGCONT: goes on.
    pub(crate) fn cont(&self) {
        self.signal("CONT");
    }

    /// From now on this process can write to no file, as on a full disk; sockets and pipes go on.
    pub(crate) fn fill_disk(&self) {
        self.limit_files("0");
    }

    /// There is room again.
    pub(crate) fn make_room(&self) {
        self.limit_files("unlimited");
    }

    /// Only the soft limit: to raise the hard one again takes privileges.
    fn limit_files(&self, soft: &str) {
        let limit = format!("--fsize={soft}:");
        let set = Command::new("prlimit")
            .args([limit.as_str(), "--pid", &self.pid])
            .status();
        assert!(
            set.is_ok_and(|status| status.success()),
            "prlimit (util-linux) {limit} of {}",
            self.pid
        );
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "signal {name} to {}",
            self.pid
        );
    }
}
