//! Which brokers the tests really ran on, written down so that the last lines of `make test` can say it.
//!
//! libtest swallows what a passing test prints, so each fact is one line in the file named by `SETBRIDGE_TEST_REPORT`
//! (scripts/test.sh reads it), else in target/tmp. Nothing is left out in silence.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::thread;

/// One fact about this run.
pub(crate) enum Fact<'a> {
    /// A broker that tests ran on, in words
    Broker(&'a str),
    /// This test ran on the mock cluster only, because there is no Apache Kafka here
    MockOnly,
    /// This test did not run at all, for this reason
    LeftOut(&'a str),
}

/// Appends one line: `broker<TAB>words`, `mock-only<TAB>test` or `left-out<TAB>test: reason`.
pub(crate) fn write_down(fact: &Fact<'_>) {
    let line = match fact {
        Fact::Broker(words) => format!("broker\t{words}\n"),
        Fact::MockOnly => format!("mock-only\t{}\n", test_name()),
        Fact::LeftOut(reason) => format!("left-out\t{}: {reason}\n", test_name()),
    };
    // One write of one short line to a file opened for appending: lines of parallel tests do not mix.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file())
        .and_then(|mut f| f.write_all(line.as_bytes()))
        .expect("the report about used brokers can be written");
}

fn file() -> PathBuf {
    std::env::var_os("SETBRIDGE_TEST_REPORT").map_or_else(
        || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("brokers-used.txt"),
        PathBuf::from,
    )
}

/// libtest names the thread of each test after it.
fn test_name() -> String {
    thread::current().name().unwrap_or("a test").to_owned()
}
