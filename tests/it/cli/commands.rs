//! Commands with the configuration of a test, while the test's receiver goes on answering.

use std::process::{Child, Stdio};

use super::{Ran, Run};
use crate::support::configuration::Configuration;

/// Runs `setbridge COMMAND -c FILE …` and waits for its end.
pub(super) async fn command(configuration: &Configuration, args: &[&str]) -> Ran {
    let file = configuration.write().display().to_string();
    let folder = configuration.folder().to_owned();
    let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    args.extend(["-c".to_owned(), file]);
    let run = move || {
        let run = Run {
            folder: &folder,
            input: b"",
            environment: &[],
        };
        run.go(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

/// Starts it, for a test that ends it.
pub(super) fn start(configuration: &Configuration, args: &[&str], out: Stdio) -> Child {
    let file = configuration.write().display().to_string();
    let run = Run {
        folder: configuration.folder(),
        input: b"",
        environment: &[],
    };
    let mut command = run.command(&[args, &["-c", &file]].concat());
    let command = command.stdin(Stdio::null()).stdout(out);
    command.stderr(Stdio::null()).spawn().expect("setbridge")
}
