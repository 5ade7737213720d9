//! An operator at the command line of a running bridge: `setbridge stream …`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::bridge::{Bridge, program};
use super::configuration::Configuration;

/// What [`with_token`] configures.
pub(crate) const TOKEN: &str = "correct-horse-battery";

/// How one command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What `--json` printed: one answer for each bridge.
    pub(crate) fn answers(&self) -> Vec<Value> {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Who has the token of this configuration.
pub(crate) struct Operator {
    token_file: PathBuf,
    stream: String,
}

impl Operator {
    /// The operator of a configuration, which gets the token.
    pub(crate) fn of(configuration: &mut Configuration) -> Operator {
        let token_file = configuration.folder().join("admin-token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let file = format!("file:{}", token_file.display());
        *configuration = configuration.clone().set("admin.token", file);
        Operator {
            token_file,
            stream: "okta".to_owned(),
        }
    }

    /// The same of another stream.
    #[allow(dead_code, reason = "tests/chaos has a stream of another name")]
    pub(crate) fn of_stream(mut self, stream: &str) -> Operator {
        stream.clone_into(&mut self.stream);
        self
    }

    /// `setbridge stream ACT --stream okta …` at these bridges.
    pub(crate) async fn tell(&self, act: &str, bridges: &[&Bridge], more: &[&str]) -> Said {
        let admins: Vec<SocketAddr> = bridges.iter().map(|bridge| bridge.admin).collect();
        self.tell_at(act, &admins, more).await
    }

    /// The same, at these admin ports.
    pub(crate) async fn tell_at(&self, act: &str, admins: &[SocketAddr], more: &[&str]) -> Said {
        let admins = admins.iter().map(SocketAddr::to_string);
        let admins: Vec<String> = admins.flat_map(|at| ["--admin".to_owned(), at]).collect();
        let mut args = vec!["stream", act, "--stream", &self.stream];
        args.extend(admins.iter().map(String::as_str));
        let token_file = self.token_file.display().to_string();
        if !more.contains(&"--token-file") {
            args.extend(["--token-file", token_file.as_str()]);
        }
        args.extend(more);
        setbridge(&args).await
    }

    /// As [`Operator::tell`], for what has to be done.
    pub(crate) async fn does(&self, act: &str, bridge: &Bridge, more: &[&str]) -> Said {
        let said = self.tell(act, &[bridge], more).await;
        assert_eq!(said.code, 0, "{said:?}");
        said
    }
}

/// One run of the binary, with nothing of the caller's environment. What it asks of this test's own tasks is answered.
pub(crate) async fn setbridge(args: &[&str]) -> Said {
    let mut command = Command::new(program());
    command.args(args).env_clear().stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = ended.await.unwrap().unwrap();
    Said {
        code: ended.status.code().expect("no signal"),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    }
}
