//! Arguments → command → exit code.

use std::process::ExitCode;

/// Of all CPU time but signing, glibc's allocator took a sixth (docs/performance.md): a SET's memory is freed by another thread than
/// the one that took it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    setbridge::cli::main(std::env::args_os()).into()
}
