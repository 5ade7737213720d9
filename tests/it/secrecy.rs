//! A private member of a key, and its passphrase, show nowhere: every endpoint, every log line at its loudest, every error,
//! every command. Who gets this wrong gives away the organisation.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::one_stream::OneStream;
use crate::support::operator::setbridge;

const JWK: &str = include_str!("../fixtures/keys/rsa-2048.jwk.json");
const SEALED: &str = include_str!("../fixtures/keys/rsa-2048.pkcs8.encrypted.pem");
const PLAIN: &str = include_str!("../fixtures/keys/rsa-2048-other.pkcs8.pem");
const PASSPHRASE: &str = "pass-7c1f-phrase";
/// A key of a stream's own.
const OWN: &str = include_str!("../fixtures/keys/rsa-3072.pkcs1.pem");

/// What to look for: each private member in the ways in which one is written down, the lines of the PEM files, and the passphrase.
fn private() -> Vec<String> {
    let jwk: Value = serde_json::from_str(JWK).expect("JSON");
    let mut found = vec![PASSPHRASE.to_owned()];
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        let base64 = jwk[name].as_str().expect("a member");
        let octets = URL_SAFE_NO_PAD.decode(base64).expect("base64url");
        let hex: String = octets.iter().map(|o| format!("{o:02x}")).collect();
        let list: Vec<String> = octets[..8].iter().map(u8::to_string).collect();
        found.extend([
            base64[..24].to_owned(),
            STANDARD.encode(&octets)[..24].to_owned(),
            hex[..24].to_owned(),
            hex[..24].to_uppercase(),
            list.join(", "),
        ]);
    }
    // The first line of a PKCS#8 holds the modulus' length and begin, which is public.
    let lines = SEALED
        .lines()
        .chain(PLAIN.lines())
        // Its first nine lines are the modulus.
        .chain(OWN.lines().skip(10))
        .filter(|line| line.len() == 64);
    let private = lines.skip(6).map(|line| line[..32].to_owned());
    found.extend(private);
    found
}

fn assert_quiet(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what}: nothing was looked at");
    for private in private() {
        assert!(!text.contains(&private), "{what} shows {private}");
    }
}

#[tokio::test]
async fn no_private_member_and_no_passphrase_shows_anywhere() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let folder = one.configuration.folder().to_owned();
    let at = |name: &str| folder.join(name).display().to_string();
    fs::write(at("signing.json"), JWK).expect("a key");
    fs::write(at("next.pem"), PLAIN).expect("a key");
    fs::write(at("passphrase"), PASSPHRASE).expect("a passphrase");
    let keys = json!([
        {"file": at("signing.json")},
        {"file": at("next.pem"), "not_before": "2199-01-01T00:00:00Z"},
    ]);
    fs::write(at("own.pem"), OWN).expect("a key");
    let mut one = one;
    one.configuration = one
        .configuration
        .clone()
        .stream_to("own", &one.topic, &one.org.url())
        .set("streams.1.issuer", "https://ssf.example.com/own")
        .set(
            "streams.1.signing",
            json!({"keys": [{"file": at("own.pem")}]}),
        );
    let one = one
        .set("signing.keys", keys)
        .set("signing.passphrase_file", at("passphrase"))
        .set("log.level", "trace")
        .set("admin.token", "0123456789abcdef");
    let mut bridge = one.start().await;
    let audience = format!("http://{}", one.org.address());
    let jwks = setbridge::okta::simulator::jwks_at(&bridge.jwks_url()).expect("a URL");
    one.org
        .register(crate::support::configuration::ISSUER, &audience, jwks);
    one.produce([record(&risk("1", &user(1), "high"))]).await;
    bridge.outcomes("okta", "delivered", 1).await;

    // Every endpoint, and ones that are none.
    let origin = bridge.jwks_url().replace("/jwks.json", "");
    assert_quiet("/jwks.json", &bridge.fetch(&bridge.jwks_url()).await);
    let of_own = format!("{origin}/streams/own/jwks.json");
    assert_quiet("the stream's own JWKS", &bridge.fetch(&of_own).await);
    let metadata = format!("{origin}/.well-known/ssf-configuration");
    assert_quiet("metadata", &bridge.fetch(&metadata).await);
    for path in [
        "/metrics",
        "/status",
        "/livez",
        "/readyz",
        "/streams/okta/hold",
    ] {
        let (status, body) = bridge.get(path).await;
        assert_quiet(path, &format!("{status} {body}"));
    }

    // Every way in which a reload of keys goes wrong, each said in the log.
    let errors = "setbridge_key_reload_errors_total";
    let damaged =
        JWK.replacen("\"dq\": \"", "\"dq\": \"A", 1)
            .replacen("\"dq\":\"", "\"dq\":\"A", 1);
    assert_ne!(damaged, JWK);
    for (n, broken) in [
        damaged,
        JWK[..JWK.len() / 2].to_owned(),
        SEALED.to_owned(),
        PLAIN[..PLAIN.len() / 2].to_owned(),
        format!("{PLAIN}{PLAIN}"),
        PLAIN.replace("PRIVATE KEY", "SECRET KEY"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(at("signing.json"), &broken).expect("a file");
        bridge.hup();
        #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
        let said = (n + 1) as f64;
        bridge.metric(errors, &[], |n| n >= said).await;
        let checked = setbridge(&["check", &one.configuration.write().display().to_string()]).await;
        assert_eq!(checked.code, 78);
        assert_quiet("check", &(checked.out + &checked.err));
        let shown = setbridge(&["keys", "jwks", &at("signing.json")]).await;
        assert_quiet("keys jwks", &(shown.out + &shown.err));
    }
    fs::write(at("signing.json"), JWK).expect("a key");
    fs::write(at("own.pem"), &OWN[..OWN.len() / 2]).expect("a file");
    bridge.hup();
    bridge.message("keys reloaded").await;
    bridge
        .metric(errors, &[("ring", "own")], |n| n >= 1.0)
        .await;
    let checked = setbridge(&["check", &one.configuration.write().display().to_string()]).await;
    assert!(checked.err.contains("streams[1].signing"), "{checked:?}");
    assert_quiet("check", &checked.err);
    fs::write(at("own.pem"), OWN).expect("a key");

    // Every command about keys that works.
    let configuration = one.configuration.write().display().to_string();
    for args in [
        vec!["keys", "list", "-c", &configuration],
        vec!["keys", "list", "--json", "-c", &configuration],
        vec!["keys", "list", "--stream", "own", "-c", &configuration],
        vec!["keys", "jwks", "--stream", "own", "-c", &configuration],
        vec!["keys", "verify", "-c", &configuration],
        vec!["keys", "jwks", &at("signing.json"), &at("next.pem")],
        vec![
            "keys",
            "rotate",
            "--ring",
            &at("ring"),
            "--passphrase-file",
            &at("passphrase"),
        ],
        vec![
            "keys",
            "export",
            &at("out"),
            "--issuer",
            "https://ssf.example.com",
            "--key",
            &at("signing.json"),
        ],
    ] {
        let said = setbridge(&args).await;
        assert_quiet(&args.join(" "), &(said.out + &said.err + "."));
    }
    let exported = fs::read_to_string(at("out/jwks.json")).expect("a JWKS");
    assert_quiet("the export", &exported);
    bridge.drain().await;
    let log = bridge.log_text();
    assert!(
        log.contains("TRACE") || log.contains("\"level\":\"TRACE\""),
        "the loudest level"
    );
    assert_quiet("the log", &log);
}
