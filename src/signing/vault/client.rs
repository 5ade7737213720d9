//! The HTTP API: `GET /v1/{mount}/keys/{key}` and `POST /v1/{mount}/sign/{key}/sha2-256`. One call is one attempt, but
//! for a token that was replaced meanwhile; whoever asked tries again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Request, Response, redirect};
use serde::Serialize;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use super::answers::{self, KeyVersions, Signed};
use super::login::Login;
use super::{VaultFault, VaultSettings};
use crate::signing::algorithm::Algorithm;
use crate::signing::key::SigningKey;
use crate::signing::life::Life;

/// A hundred versions of an RSA-4096 key are 100 KB, a call's signatures 50 KB.
const MAX_BODY: usize = 4 * 1024 * 1024;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");

/// Why no client could be made.
#[derive(Debug, Error)]
pub enum VaultSetUpError {
    /// The file of certificates.
    #[error("{} cannot be used as a CA file for Vault: {why}", path.display())]
    CaFile {
        /// `signing.vault.ca_file`.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificates of the system, for example.
    #[error("cannot make an HTTP client for Vault: {0}")]
    Client(String),
}

/// What was asked of Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Signatures.
    Sign,
    /// The public keys.
    Keys,
    /// A token.
    LogIn,
}

impl CallKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sign, Self::Keys, Self::LogIn];

    /// As in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Keys => "keys",
            Self::LogIn => "log_in",
        }
    }
}

/// One request and how it ended, for who counts them.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// What was asked.
    pub kind: CallKind,
    /// One of [`Call::OUTCOMES`].
    pub outcome: &'static str,
    /// Until the answer was read.
    pub took: Duration,
    /// Digests in it, to be signed.
    pub batch: usize,
}

impl Call {
    /// Answered; the moment's fault; the set-up's.
    pub const OUTCOMES: [&'static str; 3] = ["ok", "moment", "set_up"];
}

/// What is worth counting.
#[derive(Debug, Clone, Copy)]
pub enum Seen {
    /// A request ended.
    Call(Call),
    /// A signature did not fit the public key, and was thrown away.
    WrongSignature,
}

/// Is told of what is worth counting.
pub type Observer = Box<dyn Fn(Seen) + Send + Sync>;

/// One key in Vault.
pub struct Vault {
    wire: Wire,
    login: Login,
    settings: VaultSettings,
    /// The keys may be others than we know.
    suspect: AtomicBool,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct SignRequest<'a> {
    key_version: u32,
    prehashed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt_length: Option<&'static str>,
    marshaling_algorithm: &'static str,
    batch_input: &'a [Input],
}

#[derive(Serialize)]
struct Input {
    input: String,
}

impl Vault {
    /// Reads the CA file; asks nothing. Blocking.
    ///
    /// # Errors
    /// [`VaultSetUpError`].
    pub fn new(settings: VaultSettings, observe: Observer) -> Result<Self, VaultSetUpError> {
        Ok(Self {
            wire: Wire::new(&settings, observe)?,
            login: Login::of(settings.auth.clone()),
            settings,
            suspect: AtomicBool::new(false),
        })
    }

    /// What the key signs by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.settings.algorithm
    }

    /// Every version of the key, with its life where a key is published for `before_use` before it signs.
    ///
    /// # Errors
    /// [`VaultFault`].
    pub async fn ask(&self, before_use: Duration) -> Result<Vec<(SigningKey, Life)>, VaultFault> {
        let versions = self.keys().await?;
        let made = |(version, pem, life)| {
            let key = SigningKey::in_vault(version, pem, self.settings.algorithm);
            let wrong = VaultFault::WrongKey("not one for the configured algorithm");
            key.map(|key| (key, life)).ok_or(wrong)
        };
        versions.lives(before_use).into_iter().map(made).collect()
    }

    async fn keys(&self) -> Result<KeyVersions, VaultFault> {
        let url = self
            .wire
            .url(&[&self.settings.mount, "keys", &self.settings.key]);
        let request = || Ok(self.wire.get(url.clone()));
        let answer = self.call(CallKind::Keys, 0, request).await?;
        match answer.status {
            200 => KeyVersions::read(&answer.body),
            status => Err(fault(status)),
        }
    }

    /// Signatures over these SHA-256 digests by this version, in their order: raw octets, R and S for ES256.
    ///
    /// # Errors
    /// [`VaultFault`] of the whole call; one of a single digest stands in its place.
    pub async fn sign(
        &self,
        version: u32,
        digests: &[[u8; 32]],
    ) -> Result<Vec<Signed>, VaultFault> {
        let algorithm = self.settings.algorithm;
        let encode = |digest: &[u8; 32]| Input {
            input: STANDARD.encode(digest),
        };
        let inputs: Vec<Input> = digests.iter().map(encode).collect();
        let body = SignRequest {
            key_version: version,
            prehashed: true,
            signature_algorithm: match algorithm {
                Algorithm::Rs256 => Some("pkcs1v15"),
                Algorithm::Ps256 => Some("pss"),
                Algorithm::Es256 | Algorithm::EdDsa => None,
            },
            // As long as the digest (RFC 7518 §3.5).
            salt_length: (algorithm == Algorithm::Ps256).then_some("hash"),
            // R and S instead of DER (RFC 7518 §3.4).
            marshaling_algorithm: match algorithm {
                Algorithm::Es256 => "jws",
                _ => "asn1",
            },
            batch_input: &inputs,
        };
        let path = [&self.settings.mount, "sign", &self.settings.key, "sha2-256"];
        let url = self.wire.url(&path);
        let request = || self.wire.post(url.clone(), &body);
        let answer = self.call(CallKind::Sign, digests.len(), request).await?;
        match answers::signatures(answer.status, &answer.body, version, digests.len()) {
            Some(signed) => signed,
            None if answer.status == 200 => Err(VaultFault::Unreadable),
            None => Err(fault(answer.status)),
        }
    }

    /// A signature was not given out, for this reason.
    pub(super) fn failed(&self, fault: VaultFault) {
        if fault == VaultFault::WrongSignature {
            (self.wire.observe)(Seen::WrongSignature);
        }
        if fault.suspects_keys() {
            self.suspect.store(true, Ordering::Release);
        }
    }

    /// Whether the keys should be asked for now, out of turn.
    #[must_use]
    pub fn keys_are_suspect(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    /// With the present token; with the next one, when it was replaced meanwhile.
    async fn call(
        &self,
        kind: CallKind,
        batch: usize,
        request: impl Fn() -> Result<Request, VaultFault>,
    ) -> Result<Answer, VaultFault> {
        let token = self.login.token(&self.wire).await?;
        let with = |token: &HeaderValue| {
            let mut request = request()?;
            request.headers_mut().insert(TOKEN, token.clone());
            Ok(request)
        };
        let answer = self.wire.send(kind, batch, with(&token)?).await?;
        if answer.status != 403 {
            return Ok(answer);
        }
        match self.login.instead_of(&token, &self.wire).await {
            Some(token) => self.wire.send(kind, batch, with(&token)?).await,
            None => Ok(answer),
        }
    }
}

fn fault(status: u16) -> VaultFault {
    if answers::is_moment(status) {
        VaultFault::Busy(status)
    } else {
        VaultFault::Refused(status)
    }
}

/// A status, and a body of bounded length.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// The connection pool, and who counts.
pub(super) struct Wire {
    http: Client,
    address: Url,
    observe: Observer,
    /// Why the last call got no answer, so that it is said once.
    said: Mutex<String>,
}

impl Wire {
    fn new(settings: &VaultSettings, observe: Observer) -> Result<Self, VaultSetUpError> {
        let mut headers = HeaderMap::new();
        // Vault's agent can be told to want it, as a shield against requests that a browser is tricked into.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &settings.namespace {
            let namespace = HeaderValue::from_str(namespace);
            let namespace = namespace.map_err(|e| VaultSetUpError::Client(e.to_string()))?;
            headers.insert("x-vault-namespace", namespace);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("setbridge/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // The token goes to nobody but the configured address.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.timeout)
            .timeout(settings.timeout);
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_only(authorities(path)?);
        } else if settings.address.scheme() == "http" {
            // An agent on this machine: needs no authorities, and a machine without any must not be refused for it. A
            // proxy of the environment would get the token in the clear.
            builder = builder.tls_certs_only(Vec::new()).no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| VaultSetUpError::Client(crate::telemetry::chain(&error)))?;
        Ok(Self {
            http,
            address: settings.address.clone(),
            observe,
            said: Mutex::default(),
        })
    }

    /// A fault has no words of its own: a certificate that nobody trusts looks like a port that is closed.
    fn say(&self, why: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !why.is_empty() && *said != why {
            tracing::warn!(why, "no answer from Vault");
        }
        *said = why;
    }

    /// `/v1/…` below the address; a part may have several segments, as a mount has.
    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.address.clone();
        let parts = path.iter().flat_map(|part| part.split('/'));
        if let Ok(mut segments) = url.path_segments_mut() {
            let parts = parts.filter(|part| !part.is_empty());
            segments.pop_if_empty().push("v1").extend(parts);
        }
        url
    }

    fn get(&self, url: Url) -> Request {
        Request::new(reqwest::Method::GET, url)
    }

    pub(super) fn post(&self, url: Url, body: &impl Serialize) -> Result<Request, VaultFault> {
        let body = serde_json::to_vec(body).map_err(|_| VaultFault::Unreadable)?;
        let mut request = Request::new(reqwest::Method::POST, url);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    pub(super) async fn send(
        &self,
        kind: CallKind,
        batch: usize,
        request: Request,
    ) -> Result<Answer, VaultFault> {
        let started = Instant::now();
        let answer = match self.http.execute(request).await {
            Ok(response) => {
                self.say(String::new());
                read(response).await
            }
            Err(error) => {
                let fault = of_transport(&error);
                // What failed below HTTP; without the address, and nothing of a request is in it.
                self.say(crate::telemetry::chain(&error.without_url()));
                Err(fault)
            }
        };
        let outcome = match &answer {
            Ok(answer) if answer.status < 300 => "ok",
            Ok(answer) if !answers::is_moment(answer.status) => "set_up",
            _ => "moment",
        };
        (self.observe)(Seen::Call(Call {
            kind,
            outcome,
            took: started.elapsed(),
            batch,
        }));
        answer
    }
}

async fn read(mut response: Response) -> Result<Answer, VaultFault> {
    let status = response.status().as_u16();
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|e| of_transport(&e))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(VaultFault::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

fn of_transport(error: &reqwest::Error) -> VaultFault {
    if error.is_timeout() {
        VaultFault::Slow
    } else {
        VaultFault::Unreachable
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, VaultSetUpError> {
    let wrong = |why: String| VaultSetUpError::CaFile {
        path: path.to_owned(),
        why,
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong("there is no PEM certificate in it".to_owned())),
    }
}
