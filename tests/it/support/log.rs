//! The log of a process as it grows.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;
use tokio::sync::Notify;

/// A captured log: one JSON object a line; whatever is no JSON is kept as a string.
#[derive(Default)]
pub(super) struct Log {
    lines: Mutex<Vec<Value>>,
    grown: Notify,
}

impl Log {
    /// All lines so far.
    pub(super) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// Reads until the pipe is closed; the copy is for a person who looks into the folder of a failed test.
    pub(super) fn read(&self, errors: impl std::io::Read, copy: &Path) {
        let mut copy = File::create(copy).expect("a file for the log");
        for line in BufReader::new(errors).split(b'\n') {
            let line = line.expect("the log is a pipe");
            let text = String::from_utf8_lossy(&line).into_owned();
            let _ = writeln!(copy, "{text}");
            let line = serde_json::from_str(&text).unwrap_or(Value::String(text));
            self.lines.lock().unwrap().push(line);
            self.grown.notify_waiters();
        }
    }

    /// Waits for a line, an earlier one counts too.
    pub(super) async fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            // Registered before looking, so that nothing slips in between.
            grown.as_mut().enable();
            let found = self
                .lines
                .lock()
                .unwrap()
                .iter()
                .find(|line| wanted(line))
                .cloned();
            if let Some(line) = found {
                return line;
            }
            grown.await;
        }
    }
}
