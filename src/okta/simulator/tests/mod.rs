//! Over real TCP: what the simulator takes and refuses; its moods are in `moods`.

mod moods;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Client;
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://org.okta.com";
const RISK: &str = "https://schemas.okta.com/secevent/okta/event-type/user-risk-change";
const CHANGED: &str = "https://schemas.openid.net/secevent/risc/event-type/identifier-changed";

static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));

fn jwks(kid: &str) -> Value {
    let public: PublicKeyComponents<Vec<u8>> = KEY.public_key().into();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": encode(&public.n), "e": encode(&public.e)});
    json!({"keys": [key]})
}

fn given(kid: &str) -> JwksSource {
    JwksSource::Given(Box::new(serde_json::from_value(jwks(kid)).expect("a JWKS")))
}

fn sign_with(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let mut signature = vec![0; KEY.public_modulus_len()];
    KEY.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .expect("signed");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn sign(claims: &Value) -> String {
    sign_with(
        &json!({"typ": "secevent+jwt", "alg": "RS256", "kid": "k1"}),
        claims,
    )
}

/// CONTRACTS §1.7's first payload.
fn risk(jti: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "jti": jti, "iat": 1_750_980_771, "events": {RISK: {
        "subject": {"user": {"format": "email", "email": "user@example.com"}},
        "event_timestamp": 1_750_980_770, "initiating_entity": "system",
        "current_level": "high", "previous_level": "low", "reason_admin": {"en": "seen"}}}})
}

/// CONTRACTS §1.7's second payload.
fn changed(jti: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "jti": jti, "iat": 1_750_980_771, "events": {CHANGED: {
        "subject": {"user": {"format": "email", "email": "OLD@example.com"}},
        "new-value": "NEW@example.com", "event_timestamp": 1_615_304_991}}})
}

async fn start() -> Simulator {
    Simulator::start(SimulatorSettings::new(ISSUER, AUDIENCE, given("k1")))
        .await
        .expect("started")
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .expect("a client")
}

/// Status and, for a 400, `err` and `description`.
async fn push(simulator: &Simulator, set: String) -> (u16, Value) {
    let request = client()
        .post(simulator.url())
        .header("content-type", "application/secevent+jwt");
    let response = request.body(set).send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn both_reference_payloads_are_taken_and_repeats_ignored() {
    let simulator = start().await;
    for claims in [risk("a"), changed("b"), risk("a")] {
        assert_eq!(push(&simulator, sign(&claims)).await, (202, Value::Null));
    }
    let tally = simulator.tally();
    assert_eq!(
        (tally.requests, tally.taken, tally.repeats, tally.refused),
        (3, 2, 1, 0)
    );
    simulator.log(|log| {
        let first = &log.received[0];
        assert_eq!(
            (first.jti(), first.valid, first.kid.as_deref()),
            (Some("a"), Some(true), Some("k1"))
        );
        assert_eq!(first.event().map(|(uri, _)| uri), Some(RISK));
        assert_eq!(
            first.subject(),
            Some(&json!({"user": {"format": "email", "email": "user@example.com"}}))
        );
        assert_eq!(
            first.header("content-type"),
            Some("application/secevent+jwt")
        );
        assert_eq!(
            log.with_jti("a").map(|r| r.taken).collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(
            log.received[1]
                .event()
                .map(|(_, event)| &event["new-value"]),
            Some(&json!("NEW@example.com"))
        );
    });
}

/// Sets (or, with `None`, removes) a member of the event of `claims`.
fn event_with(mut claims: Value, member: &str, value: Option<Value>) -> Value {
    let events = claims["events"].as_object_mut().expect("events");
    let event = events
        .values_mut()
        .next()
        .expect("one")
        .as_object_mut()
        .expect("an object");
    match value {
        Some(value) => event.insert(member.to_owned(), value),
        None => event.remove(member),
    };
    claims
}

fn claims_with(mut claims: Value, member: &str, value: Option<Value>) -> Value {
    let object = claims.as_object_mut().expect("an object");
    match value {
        Some(value) => object.insert(member.to_owned(), value),
        None => object.remove(member),
    };
    claims
}

#[tokio::test]
async fn every_breach_of_the_schema_is_invalid_request() {
    let simulator = start().await;
    let simple = json!({"format": "email", "email": "a@example.com"});
    let (event, claims) = (event_with, claims_with);
    let breaches = [
        event(risk("x"), "current_level", None),
        event(risk("x"), "previous_level", None),
        event(risk("x"), "previous_level", Some(json!("LOW"))),
        event(risk("x"), "current_level", Some(json!(7))),
        event(risk("x"), "event_timestamp", None),
        event(risk("x"), "event_timestamp", Some(json!(1_750_980_770.5))),
        event(
            risk("x"),
            "event_timestamp",
            Some(json!(1_615_304_991_643_i64)),
        ),
        event(risk("x"), "event_timestamp", Some(json!("1750980770"))),
        event(risk("x"), "subject", None),
        event(risk("x"), "subject", Some(simple)),
        event(
            risk("x"),
            "subject",
            Some(json!({"user": {"format": "email"}})),
        ),
        event(
            risk("x"),
            "subject",
            Some(json!({"user": {"email": "a@example.com"}})),
        ),
        event(
            risk("x"),
            "subject",
            Some(json!({"user": {"format": "mail", "email": "a@example.com"}})),
        ),
        event(risk("x"), "initiating_entity", Some(json!("robot"))),
        event(risk("x"), "reason_admin", None),
        event(risk("x"), "reason_admin", Some(json!("text"))),
        event(risk("x"), "reason_admin", Some(json!({"es": "hola"}))),
        event(changed("x"), "event_timestamp", None),
        event(changed("x"), "new-value", Some(json!(1))),
        claims(risk("x"), "jti", None),
        claims(risk("x"), "iat", None),
        claims(risk("x"), "iat", Some(json!("1"))),
        claims(risk("x"), "iat", Some(json!(4_000_000_000_i64))),
        claims(risk("x"), "exp", Some(json!(4_000_000_000_i64))),
        claims(risk("x"), "sub", Some(json!("a"))),
        claims(risk("x"), "events", Some(json!({}))),
        claims(
            risk("x"),
            "events",
            Some(json!({"https://other.example/event": {}})),
        ),
        claims(
            risk("x"),
            "events",
            Some(json!({RISK: risk("x")["events"][RISK], CHANGED: {}})),
        ),
        claims(risk("x"), "events", None),
    ];
    for breach in breaches {
        let (status, body) = push(&simulator, sign(&breach)).await;
        assert_eq!(
            (status, &body["err"]),
            (400, &json!("invalid_request")),
            "{breach}"
        );
    }
    assert_eq!(simulator.tally().taken, 0);
    // The text that CONTRACTS §1.5 has.
    let (_, body) = push(&simulator, sign(&event(risk("x"), "previous_level", None))).await;
    let text = "Failed claim validation in security event token. 'events.mediationUserRiskChangeEvent.previousRiskLevel': The field cannot be left blank";
    assert_eq!(body["description"], text);
}

#[tokio::test]
async fn header_key_and_envelope_have_their_codes() {
    let simulator = start().await;
    let header = |typ: &str, alg: &str, kid: &str| json!({"typ": typ, "alg": alg, "kid": kid});
    let good = header("secevent+jwt", "RS256", "k1");
    let mut forged = sign(&risk("x"));
    let tail = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(forged.len() - 10..forged.len() - 9, tail);
    let rows = [
        (
            sign_with(&header("JWT", "RS256", "k1"), &risk("x")),
            "invalid_request",
        ),
        (
            sign_with(&header("secevent+jwt", "RS512", "k1"), &risk("x")),
            "invalid_request",
        ),
        (
            sign_with(&header("secevent+jwt", "none", "k1"), &risk("x")),
            "invalid_request",
        ),
        (
            sign_with(&header("secevent+jwt", "RS256", "k2"), &risk("x")),
            "invalid_key",
        ),
        (
            sign_with(&json!({"typ": "secevent+jwt", "alg": "RS256"}), &risk("x")),
            "invalid_key",
        ),
        (
            sign_with(
                &good,
                &claims_with(risk("x"), "iss", Some(json!("https://issuer.example/"))),
            ),
            "invalid_issuer",
        ),
        (
            sign_with(
                &good,
                &claims_with(risk("x"), "aud", Some(json!("https://org.okta.com/"))),
            ),
            "invalid_audience",
        ),
        (
            sign_with(
                &good,
                &claims_with(risk("x"), "aud", Some(json!([AUDIENCE]))),
            ),
            "invalid_audience",
        ),
        (forged, "authentication_failed"),
        (format!("\"{}\"", sign(&risk("x"))), "invalid_request"),
        ("a.b".to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
    ];
    for (set, err) in rows {
        let (status, body) = push(&simulator, set.clone()).await;
        assert_eq!((status, &body["err"]), (400, &json!(err)), "{set}");
        assert!(
            body["description"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    simulator.log(|log| {
        let wrong_key = log
            .received
            .iter()
            .find(|r| r.kid.as_deref() == Some("k2"))
            .expect("kept");
        assert_eq!(
            (wrong_key.err.as_deref(), wrong_key.valid),
            (Some("invalid_key"), Some(false))
        );
    });
    let plain = client()
        .post(simulator.url())
        .body(sign(&risk("x")))
        .send()
        .await
        .expect("an answer");
    assert_eq!(plain.status(), 415);
}

#[tokio::test]
async fn keys_come_from_the_jwks_url_and_unknown_ones_are_fetched_again() {
    static FETCHES: AtomicUsize = AtomicUsize::new(0);
    static KID: std::sync::Mutex<&str> = std::sync::Mutex::new("old");
    let keys = get(async || {
        FETCHES.fetch_add(1, Ordering::SeqCst);
        axum::Json(jwks(*KID.lock().expect("a lock")))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!(
        "http://{}/jwks.json",
        listener.local_addr().expect("an address")
    );
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/jwks.json", keys)).await },
    );
    let settings = SimulatorSettings::new(ISSUER, AUDIENCE, jwks_at(&url).expect("a URL"));
    let simulator = Simulator::start(settings).await.expect("started");
    let by = |kid: &str, jti: &str| {
        sign_with(
            &json!({"typ": "secevent+jwt", "alg": "RS256", "kid": kid}),
            &risk(jti),
        )
    };

    let (_, body) = push(&simulator, by("new", "1")).await;
    assert_eq!(
        body,
        json!({"err": "invalid_key", "description": "No matching key was found in JWKS uri, kid=new"})
    );
    assert_eq!(push(&simulator, by("old", "2")).await.0, 202);
    assert_eq!(
        FETCHES.load(Ordering::SeqCst),
        1,
        "the first fetch is cached"
    );
    *KID.lock().expect("a lock") = "new";
    assert_eq!(push(&simulator, by("new", "1")).await.0, 202);
    assert_eq!(FETCHES.load(Ordering::SeqCst), 2);
}
