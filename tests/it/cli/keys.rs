//! `setbridge keys`: made, shown, and exported.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{empty, setbridge};

#[test]
fn keys_are_made_shown_and_exported() {
    let folder = empty();
    let made = setbridge(&folder, &["keys", "generate", "--out", "a.pem"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let kid = made.out.trim();
    let mode = |path: &str| {
        fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("a.pem"), 0o600);
    let again = setbridge(&folder, &["keys", "generate", "--out", "a.pem"]);
    assert_eq!(again.code, 73, "the key that is there stays");

    let jwks = setbridge(&folder, &["keys", "jwks", "a.pem"]).json();
    assert_eq!(jwks["keys"][0]["kid"], kid);
    let members = |jwks: &Value| {
        let mut members: Vec<String> = jwks["keys"][0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        members.sort();
        members
    };
    let public = ["alg", "e", "kid", "kty", "n", "use"];
    assert_eq!(members(&jwks), public);

    let issuer = "https://ssf.example.com/tenant1";
    let args = [
        "keys", "export", "out", "--issuer", issuer, "--key", "a.pem",
    ];
    let exported = setbridge(&folder, &args);
    assert_eq!(exported.code, 0, "{}", exported.err);
    let read = |path: &str| -> Value {
        assert_eq!(mode(path), 0o644);
        serde_json::from_slice(&fs::read(folder.path().join(path)).unwrap()).unwrap()
    };
    assert_eq!(members(&read("out/jwks.json")), public);
    let metadata = read("out/.well-known/ssf-configuration/tenant1");
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["jwks_uri"], "https://ssf.example.com/jwks.json");

    let args = [
        "keys",
        "export",
        "out",
        "--issuer",
        "http://ssf.example.com",
        "--key",
        "a.pem",
    ];
    assert_eq!(setbridge(&folder, &args).code, 64);
    assert_eq!(setbridge(&folder, &["keys", "jwks", "b.pem"]).code, 66);
    fs::write(folder.path().join("garbage.pem"), "garbage").unwrap();
    assert_eq!(
        setbridge(&folder, &["keys", "jwks", "garbage.pem"]).code,
        65
    );
}
