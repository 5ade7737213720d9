//! A server that speaks what Vault's and OpenBao's documents and sources say of the transit engine and of the Kubernetes
//! log-in: one key with versions, tokens, and the ways in which it may fail. It is not Vault.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Name of the key, at `transit`.
pub(crate) const KEY: &str = "sets";

/// The first token that it takes.
pub(crate) const TOKEN: &str = "hvs.test-token-0000000000000001";

enum Pair {
    Rsa(KeyPair),
    P256(EcdsaKeyPair),
}

struct Version {
    pair: Pair,
    created: jiff::Timestamp,
}

/// How signing fails.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Every request gets this status: 503 is sealed, 473 a standby.
    All(u16),
    /// Requests to sign get this status.
    Sign(u16),
    /// Each SET's signature is another one's.
    Wrong,
    /// The first SET of a call with several is told to fail.
    Item,
    /// No answer to who wants signatures.
    Stall,
    /// No answer to a log-in.
    StallLogIn,
}

struct Book {
    kind: &'static str,
    versions: Vec<Version>,
    min_decryption: usize,
    min_encryption: usize,
    tokens: BTreeSet<String>,
    fault: Fault,
    /// SETs of each call for signatures that was answered in full.
    batches: Vec<usize>,
    /// Log-ins so far, and how long their tokens last, in seconds.
    log_ins: usize,
    lease: u64,
    namespaces: BTreeSet<String>,
    /// Requests that get no answer.
    stalled: usize,
}

/// A running server. Dropping it closes the port.
pub(crate) struct VaultServer {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

impl VaultServer {
    /// With one version of a key of this type, made long ago.
    pub(crate) async fn start(kind: &'static str) -> VaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        VaultServer::serve(kind, listener)
    }

    /// The same at this address, where nobody has listened so far.
    pub(crate) async fn start_at(kind: &'static str, port: u16) -> VaultServer {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("a port");
        VaultServer::serve(kind, listener)
    }

    fn serve(kind: &'static str, listener: TcpListener) -> VaultServer {
        let book = Book {
            kind,
            versions: vec![Version::new(kind, 30 * 24 * 3600)],
            min_decryption: 1,
            min_encryption: 0,
            tokens: BTreeSet::from([TOKEN.to_owned()]),
            fault: Fault::None,
            batches: Vec::new(),
            log_ins: 0,
            lease: 3600,
            namespaces: BTreeSet::new(),
            stalled: 0,
        };
        let book = Arc::new(Mutex::new(book));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&book));
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("served");
        });
        VaultServer {
            address,
            book,
            server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `signing` of a configuration is to be; the token is in this file.
    pub(crate) fn signing(&self, token_file: &std::path::Path) -> Value {
        json!({
            "backend": "vault_transit",
            "publish_before_use": "8s",
            "vault": {
                "address": self.url(),
                "key": KEY,
                "token": format!("file:{}", token_file.display()),
                "refresh": "1s",
                "timeout": "2s",
            },
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("a book")
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.book().fault = fault;
    }

    /// Only this token is good from now on.
    pub(crate) fn take_only(&self, token: &str) {
        self.book().tokens = BTreeSet::from([token.to_owned()]);
    }

    /// Tokens of log-ins last so long.
    pub(crate) fn lease(&self, seconds: u64) {
        self.book().lease = seconds;
    }

    /// `vault write -f transit/keys/sets/rotate`.
    pub(crate) fn rotate(&self) {
        let version = Version::new(self.book().kind, 0);
        self.book().versions.push(version);
    }

    /// `vault write transit/keys/sets/config …`.
    pub(crate) fn minimum(&self, decryption: usize, encryption: usize) {
        let mut book = self.book();
        (book.min_decryption, book.min_encryption) = (decryption, encryption);
    }

    /// SETs of each call that was answered.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.book().batches.clone()
    }

    /// Requests so far that got no answer.
    pub(crate) fn stalled(&self) -> usize {
        self.book().stalled
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log_ins(&self) -> usize {
        self.book().log_ins
    }

    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        self.book().namespaces.clone()
    }
}

impl Drop for VaultServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Version {
    fn new(kind: &str, age: i64) -> Version {
        let pair = match kind {
            "ecdsa-p256" => {
                Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
            }
            _ => Pair::Rsa(KeyPair::generate(KeySize::Rsa2048).expect("a key")),
        };
        let now = jiff::Timestamp::now().as_second();
        let created = jiff::Timestamp::from_second(now - age).expect("a time");
        Version { pair, created }
    }

    fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der().expect("encodes"),
            Pair::P256(pair) => pair.public_key().as_der().expect("encodes"),
        };
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64"))
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
    }

    /// Over a digest: PKCS#1 v1.5, PSS with a salt as long as the digest, or R and S.
    fn sign(&self, digest: &[u8], algorithm: Option<&str>) -> Vec<u8> {
        let digest = Digest::import_less_safe(digest, &SHA256).expect("a digest");
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = match algorithm {
                    Some("pkcs1v15") => &RSA_PKCS1_SHA256,
                    Some("pss") => &RSA_PSS_SHA256,
                    other => panic!("{other:?}"),
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(padding, &digest, &mut signature)
                    .expect("signs");
                signature
            }
            Pair::P256(pair) => pair.sign_digest(&digest).expect("signs").as_ref().to_vec(),
        }
    }
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024)
        .await
        .expect("a body");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let what = format!("{} {}", head.method, head.uri.path());
    let is_sign = what == format!("POST /v1/transit/sign/{KEY}/sha2-256");
    let is_log_in = what == "POST /v1/auth/kubernetes/login";
    let stalls = {
        let mut book = book.lock().expect("a book");
        let stalls = match book.fault {
            Fault::Stall => is_sign,
            Fault::StallLogIn => is_log_in,
            _ => false,
        };
        book.stalled += usize::from(stalls);
        stalls
    };
    if stalls {
        std::future::pending::<()>().await;
    }
    let mut book = book.lock().expect("a book");
    match book.fault {
        Fault::All(status) => return fails(status, "Vault is sealed"),
        Fault::Sign(status) if is_sign => return fails(status, "permission denied"),
        _ => {}
    }
    if is_log_in {
        return book.log_in(&body);
    }
    if !book.knows(&head.headers) {
        return fails(403, "permission denied");
    }
    if let Some(namespace) = head.headers.get("x-vault-namespace") {
        let namespace = namespace.to_str().expect("text").to_owned();
        book.namespaces.insert(namespace);
    }
    if is_sign {
        book.sign(&body)
    } else if what == format!("GET /v1/transit/keys/{KEY}") {
        book.keys()
    } else {
        fails(404, "no handler for route")
    }
}

fn fails(status: u16, why: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, axum::Json(json!({"errors": [why]}))).into_response()
}

impl Book {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let token = headers.get("x-vault-token");
        let token = token.and_then(|token| token.to_str().ok());
        token.is_some_and(|token| self.tokens.contains(token))
    }

    fn log_in(&mut self, body: &Value) -> Response {
        if body["role"] != "setbridge" || body["jwt"] != "a.service.account" {
            return fails(403, "permission denied");
        }
        self.log_ins += 1;
        let token = format!("hvs.log-in-{:016}", self.log_ins);
        self.tokens = BTreeSet::from([token.clone()]);
        axum::Json(json!({"auth": {
            "client_token": token,
            "lease_duration": self.lease,
            "renewable": true,
            "policies": ["setbridge"],
        }}))
        .into_response()
    }

    fn keys(&self) -> Response {
        let mut keys = Map::new();
        for (at, version) in self.versions.iter().enumerate() {
            if at + 1 >= self.min_decryption {
                let version = json!({
                    "name": self.kind,
                    "public_key": version.public_pem(),
                    "creation_time": version.created.to_string(),
                });
                keys.insert((at + 1).to_string(), version);
            }
        }
        axum::Json(json!({"data": {
            "name": KEY,
            "type": self.kind,
            "keys": keys,
            "latest_version": self.versions.len(),
            "min_available_version": 0,
            "min_decryption_version": self.min_decryption,
            "min_encryption_version": self.min_encryption,
            "supports_signing": true,
        }}))
        .into_response()
    }

    fn sign(&mut self, body: &Value) -> Response {
        assert_eq!(body["prehashed"], true, "only digests come here");
        let inputs = body["batch_input"].as_array().expect("a batch");
        let number = body["key_version"].as_u64().expect("a version") as usize;
        let algorithm = body["signature_algorithm"].as_str();
        if algorithm == Some("pss") {
            assert_eq!(body["salt_length"], "hash");
        }
        let is_jws = body["marshaling_algorithm"] == "jws";
        assert_eq!(is_jws, self.kind == "ecdsa-p256");
        let may = number >= self.min_encryption.max(self.min_decryption);
        let version = self.versions.get(number - 1).filter(|_| may);
        let fault = self.fault;
        let one = |(at, input): (usize, &Value)| {
            let digest = input["input"].as_str().expect("an input");
            let mut digest = STANDARD.decode(digest).expect("base64");
            let Some(version) = version else {
                return json!({"error": "requested version for signing is less than the minimum encryption key version"});
            };
            if fault == Fault::Item && at == 0 && inputs.len() > 1 {
                return json!({"error": "unable to sign"});
            }
            if fault == Fault::Wrong {
                digest.reverse();
            }
            let signature = version.sign(&digest, algorithm);
            let text = match is_jws {
                true => URL_SAFE_NO_PAD.encode(signature),
                false => STANDARD.encode(signature),
            };
            json!({"signature": format!("vault:v{number}:{text}"), "key_version": number})
        };
        let results: Vec<Value> = inputs.iter().enumerate().map(one).collect();
        self.batches.push(results.len());
        axum::Json(json!({"data": {"batch_results": results}})).into_response()
    }
}
