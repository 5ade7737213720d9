//! Arguments → command → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    setbridge::cli::main(std::env::args_os()).into()
}
