//! The commands, against real files.

use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::*;

const RSA_2048: KindArgs = KindArgs {
    algorithm: Algorithm::Rs256,
    bits: KeyBits::Rsa2048,
};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    keys: KeysCommand,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/keys")
        .join(name)
}

fn json(file: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(file).expect("file")).expect("JSON")
}

#[test]
fn a_generated_key_is_private_and_is_not_replaced_silently() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("key.pem");
    let mut out = Vec::new();
    generate(RSA_2048, &file, false, &mut out).expect("key");
    assert_eq!(
        fs::metadata(&file).expect("file").permissions().mode() & 0o777,
        0o600
    );
    let key = KeySource::new(&file)
        .load()
        .expect("a key that we can read");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        format!("{}\n", key.kid())
    );
    assert_eq!(key.bits(), 2048);

    let before = fs::read(&file).expect("file");
    let refused = generate(RSA_2048, &file, false, &mut Vec::new());
    let refused = refused.expect_err("exists");
    assert!(matches!(refused, KeysError::Exists(_)));
    assert_eq!(refused.exit().code(), 73);
    assert!(refused.to_string().contains("--force"));
    assert_eq!(fs::read(&file).expect("file"), before);

    generate(RSA_2048, &file, true, &mut Vec::new()).expect("forced");
    assert_ne!(fs::read(&file).expect("file"), before);
    assert_eq!(
        fs::metadata(&file).expect("file").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(folder.path()).expect("folder").count(),
        1,
        "no draft stays"
    );
}

#[test]
fn a_key_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    for file in [
        folder.path().join("no/such/folder/key.pem"),
        PathBuf::from("/"),
    ] {
        let fault = generate(RSA_2048, &file, true, &mut Vec::new());
        assert_eq!(
            fault.expect_err("fault").exit().code(),
            73,
            "{}",
            file.display()
        );
    }
    // --force replaces a file, not a folder.
    let fault = generate(RSA_2048, folder.path(), true, &mut Vec::new());
    assert!(matches!(fault, Err(KeysError::Write { .. })));
}

#[test]
fn jwks_shows_public_members_only_and_lists_every_fault() {
    let mut out = Vec::new();
    let files = [fixture("rsa-2048.jwk.json"), fixture("rsa-3072.pkcs1.pem")];
    jwks(&sources(&files), &mut out).expect("jwks");
    let set: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let keys = set["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    for key in keys {
        let members: Vec<_> = key.as_object().expect("object").keys().collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
    }

    let files = [
        fixture("none.pem"),
        fixture("rsa-pss-2048.pkcs8.pem"),
        fixture("rsa-1024.pkcs8.pem"),
    ];
    let fault = jwks(&sources(&files), &mut Vec::new()).expect_err("faults");
    assert_eq!(fault.to_string().lines().count(), 3);
    assert_eq!(fault.exit().code(), 65);
    let fault = jwks(&sources(&files[..1]), &mut Vec::new()).expect_err("fault");
    assert_eq!(fault.exit().code(), 66);
}

#[test]
fn export_lays_out_what_a_web_server_would_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let issuer = "https://b.example.com/tenant/1/";
    let of = |issuer: &str, key: &str| ExportArgs {
        dir: folder.path().to_owned(),
        issuer: issuer.to_owned(),
        keys: vec![fixture(key)],
        stream: None,
        jwks_uri: None,
    };
    let first = of(issuer, "rsa-2048.pkcs8.pem");
    export(&first, &mut Vec::new()).expect("export");
    let metadata = json(&folder.path().join(".well-known/ssf-configuration/tenant/1"));
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["jwks_uri"], "https://b.example.com/jwks.json");
    let exported = json(&folder.path().join("jwks.json"));
    assert_eq!(exported["keys"][0]["kty"], "RSA");

    // Again, after a rotation: replaced.
    let second = ExportArgs {
        jwks_uri: Some("https://cdn.example/k".to_owned()),
        ..of(issuer, "rsa-3072.pkcs1.pem")
    };
    export(&second, &mut Vec::new()).expect("export");
    let metadata = json(&folder.path().join(".well-known/ssf-configuration/tenant/1"));
    assert_eq!(metadata["jwks_uri"], "https://cdn.example/k");

    // A stream's own keys are apart from those.
    let before = json(&folder.path().join("jwks.json"));
    let own = ExportArgs {
        stream: Some("tenant-b".to_owned()),
        ..of("https://b.example.com/b", "rsa-2048.pkcs8.pem")
    };
    export(&own, &mut Vec::new()).expect("export");
    let metadata = json(&folder.path().join(".well-known/ssf-configuration/b"));
    let address = "https://b.example.com/streams/tenant-b/jwks.json";
    assert_eq!(metadata["jwks_uri"], address);
    let exported = json(&folder.path().join("streams/tenant-b/jwks.json"));
    assert_ne!(exported, before);
    assert_eq!(json(&folder.path().join("jwks.json")), before);

    for bad in ["http://b.example.com", "b.example.com"] {
        let refused = export(&of(bad, "rsa-2048.pkcs8.pem"), &mut Vec::new());
        assert_eq!(refused.expect_err(bad).exit().code(), 64);
    }
}

#[test]
fn the_command_line_reads_as_documented() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    let Ok(Cli {
        keys: KeysCommand::Generate(args),
    }) = parse("x generate --bits 4096 --out k.pem")
    else {
        panic!("generate")
    };
    assert_eq!((args.kind.bits, args.force), (KeyBits::Rsa4096, false));
    assert!(parse("x generate --bits 1024 --out k.pem").is_err());
    assert!(parse("x generate").is_err(), "--out is needed");
    for files in [0, 2] {
        let line = ["x jwks a.pem b.jwk", "x jwks -c setbridge.yaml"][usize::from(files == 0)];
        let Ok(Cli {
            keys: KeysCommand::Jwks(args),
        }) = parse(line)
        else {
            panic!("{line}")
        };
        assert_eq!(args.files.len(), files, "{line}");
        assert_eq!(args.config.config.is_some(), files == 0, "{line}");
    }
    let Ok(Cli {
        keys: KeysCommand::Export(args),
    }) = parse("x export dir --issuer https://h --key a.pem b.pem --key c.jwk")
    else {
        panic!("export")
    };
    assert_eq!(args.keys.len(), 3);
    for id in ["../x", "", "A", "-a"] {
        let line = [
            "x",
            "export",
            "dir",
            "--issuer",
            "https://h",
            "--key",
            "a",
            "--stream",
            id,
        ];
        assert!(Cli::try_parse_from(line).is_err(), "{id:?}");
    }
    assert!(
        parse("x list --ring keys --stream a").is_err(),
        "one of them"
    );
    assert!(parse("x jwks a.pem --stream a").is_err(), "one of them");
}
