//! Arguments, exit codes, and what is written where.

use clap::CommandFactory;

use super::*;

fn run(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let args = std::iter::once("setbridge").chain(args.iter().copied());
    let exit = match Cli::try_parse_from(args) {
        Ok(cli) => dispatch(cli, &mut console),
        Err(error) => usage(&error, &mut console),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit.unwrap(), text(out), text(err))
}

#[test]
fn the_tree_of_commands_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_64_and_help_is_none() {
    let (exit, out, err) = run(&["chekc"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("check"), "{err}");
    assert_eq!(run(&[]).0, Exit::Usage);
    assert_eq!(run(&["check"]).0, Exit::Usage);
    assert_eq!(run(&["check", "x", "--set", "novalue"]).0, Exit::Usage);
    let (exit, out, _) = run(&["--help"]);
    assert_eq!(exit, Exit::Done);
    assert!(out.contains("78 wrong configuration"), "{out}");
    assert_eq!(run(&["--version"]).0, Exit::Done);
}

/// A jti and a thumbprint are base64url: one in 64 begins with a hyphen.
#[test]
fn a_name_may_begin_with_a_hyphen() {
    const NAME: &str = "-3fPq_x";
    for args in [
        vec![
            "dlq", "replay", "--stream", "okta", "--jti", NAME, "--jti", "--x", "--force",
        ],
        vec![
            "stream", "skip", "--stream", "okta", "--jti", NAME, "--json",
        ],
        vec!["keys", "retire", NAME, "--ring", "r", "--now"],
        vec!["keys", "retire", "--now", NAME, "--ring", "r"],
    ] {
        let parsed = Cli::try_parse_from(["setbridge"].iter().chain(&args));
        let cli = parsed.unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let shown = format!("{:?}", cli.command);
        assert!(shown.contains(NAME), "{shown}");
        let flag = if args.contains(&"--force") {
            "force: true"
        } else {
            "--"
        };
        assert!(flag == "--" || shown.contains(flag), "{shown}");
    }
}

#[test]
fn check_shows_every_mistake_of_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = write("good.yaml", crate::config::DEMO);
    let bad = write(
        "bad.yaml",
        &crate::config::DEMO.replace("  backend: memory", "  backend: memroy\n  widow: 1h"),
    );
    let (exit, out, err) = run(&["check", "--skip-files", &good, &bad, "/nowhere/x.yaml"]);
    assert_eq!(exit, Exit::Config);
    assert!(
        out.starts_with(&format!("{good}: ok, 1 stream, hash ")),
        "{out}"
    );
    assert_eq!(
        err,
        format!(
            "{bad}:15:12: state.backend: \"memroy\" is not known here\n    mend: did you mean \
             `memory`? Known: sqlite, memory, redis\n\
             {bad}:16:3: state.widow: unknown key\n    mend: did you mean `window`?\n\
             {bad}: 2 mistakes\n\
             /nowhere/x.yaml:1:1: cannot read the file: No such file or directory (os error 2)\n    \
             mend: check its path and that this user may read it\n\
             /nowhere/x.yaml: 1 mistake\n"
        )
    );
}

#[test]
fn flags_go_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.yaml");
    std::fs::write(&path, crate::config::DEMO).unwrap();
    let path = path.display().to_string();
    let (exit, _, err) = run(&[
        "check",
        &path,
        "--log-level",
        "a=b=c",
        "--set",
        "kafka.zebra=1",
    ]);
    assert_eq!(exit, Exit::Config);
    assert!(err.contains("flag --log-level: log.level: "), "{err}");
    assert!(
        err.contains("flag --set kafka.zebra: kafka.zebra: no such key"),
        "{err}"
    );
}

#[test]
fn schema_and_completions_are_printed() {
    let (exit, out, _) = run(&["schema"]);
    assert_eq!(exit, Exit::Done);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["title"], "setbridge configuration");
    for shell in ["bash", "zsh", "fish"] {
        let (exit, out, _) = run(&["completion", shell]);
        assert_eq!(exit, Exit::Done);
        assert!(out.contains("setbridge"), "{shell}");
    }
}

#[test]
fn exit_codes_are_those_of_sysexits() {
    let codes = [
        Exit::Done,
        Exit::Usage,
        Exit::Unavailable,
        Exit::Software,
        Exit::Io,
        Exit::Config,
    ]
    .map(Exit::code);
    assert_eq!(codes, [0, 64, 69, 70, 74, 78]);
}
