//! The input at hand, written down before it is tried: a stack that overflows ends the process before libFuzzer could.

use std::path::PathBuf;
use std::sync::LazyLock;

/// Named by scripts/fuzz.sh, which keeps the file when the process died.
static FILE: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("SETBRIDGE_FUZZ_INPUT").map(PathBuf::from));

pub(crate) fn keep(input: &[u8]) {
    if let Some(file) = &*FILE {
        std::fs::write(file, input).expect("the folder is there");
    }
}
