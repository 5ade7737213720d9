//! The HTTP client: one SET, one POST, one [`Answer`] (RFC 8935 §2).
//!
//! One attempt never loops and never sleeps; what follows is `policy`'s. The single exception is DESIGN
//! §5's: a 401 fetches a fresh credential of our own and tries once more. Redirects are never followed,
//! no compression is accepted, and a response body is read up to 64 KiB, so that an endless one ends.

mod client;
mod fault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response};
use thiserror::Error;

use super::advice::{self, Advice, RateHeaders};
use super::auth::{Auth, AuthError, AuthSettings, Credential, CredentialFault, time_headers};
use super::target::TargetUrl;
use super::verdict::{ErrCode, MAX_BODY, MomentFault, Verdict, judge};
use crate::clock::epoch_seconds;
use crate::secret::Secret;

/// How long a body that nobody needs is read so that the connection can be used again; after that the
/// connection is given up.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// Through which proxy.
#[derive(Debug, Clone, Default)]
pub enum ProxySettings {
    /// As the environment says (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one, for everything; its URL may hold credentials.
    Url(Secret),
}

/// A certificate chain and its key for mutual TLS, both PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Leaf first.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1; not encrypted.
    pub key: PathBuf,
}

/// One receiver, as configured.
#[derive(Debug, Clone)]
pub struct ReceiverSettings {
    /// Where SETs are POSTed to.
    pub url: TargetUrl,
    /// How we authenticate.
    pub auth: AuthSettings,
    /// TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the start of an attempt to the end of the response body.
    pub total_timeout: Duration,
    /// Further trusted certificate authorities (PEM bundles).
    pub ca_files: Vec<PathBuf>,
    /// False: only `ca_files` are trusted.
    pub system_roots: bool,
    /// For mutual TLS.
    pub client_certificate: Option<ClientCertificate>,
    /// Through which proxy.
    pub proxy: ProxySettings,
    /// The longest wait that a receiver can impose by its headers.
    pub advice_cap: Duration,
    /// Idle connections that are kept.
    pub max_idle_connections: usize,
}

impl ReceiverSettings {
    /// The defaults for a URL: no authentication, 5 s to connect, 30 s in all, waits up to 5 min.
    #[must_use]
    pub fn new(url: TargetUrl) -> Self {
        Self {
            url,
            auth: AuthSettings::None,
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(30),
            ca_files: Vec::new(),
            system_roots: true,
            client_certificate: None,
            proxy: ProxySettings::Environment,
            advice_cap: Duration::from_secs(300),
            max_idle_connections: 1024,
        }
    }
}

/// Settings that make no client.
#[derive(Debug, Error)]
pub enum ReceiverError {
    /// A certificate or key file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A CA file holds no certificate.
    #[error("{path} holds no PEM certificate")]
    CaFile {
        /// The file.
        path: PathBuf,
    },
    /// Client certificate and key do not make an identity.
    #[error("{certificate} and {key} are no PEM certificate with its private key")]
    ClientCertificate {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The proxy's URL. The text of the error is left out: it may hold credentials.
    #[error("the proxy's URL is not valid")]
    Proxy,
    /// The credential.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// No usable TLS set-up, for instance no certificate authority at all on this machine.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it means.
    pub verdict: Verdict,
    /// The response's status, if there was a response.
    pub status: Option<u16>,
    /// The `err` of a 400.
    pub err: Option<ErrCode>,
    /// From the start of the push to the judged answer.
    pub elapsed: Duration,
    /// The earliest next attempt that the receiver asks for; only when this one was not accepted.
    pub advice: Option<Advice>,
    /// The rate-limit headers, for pacing.
    pub rate: RateHeaders,
}

impl Answer {
    /// True for a 429 of the receiver itself: pacing then stops its origin for as long as advised.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.verdict == Verdict::Moment(MomentFault::TooManyRequests)
    }
}

/// A receiver that SETs are pushed to. Shared by all tasks of a stream.
#[derive(Debug)]
pub struct Receiver {
    settings: ReceiverSettings,
    client: ArcSwap<Client>,
    auth: Auth,
}

impl Receiver {
    /// Reads the files that `settings` names and builds the client. Sends nothing.
    ///
    /// # Errors
    /// See [`ReceiverError`].
    pub fn new(settings: ReceiverSettings) -> Result<Self, ReceiverError> {
        let client = ArcSwap::from_pointee(client::build(&settings)?);
        let auth = Auth::new(settings.auth.clone(), settings.advice_cap)?;
        Ok(Self {
            settings,
            client,
            auth,
        })
    }

    /// Reads header, CA and certificate files again. What is on the wire goes on with the old ones.
    ///
    /// # Errors
    /// See [`ReceiverError`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), ReceiverError> {
        let client = client::build(&self.settings)?;
        self.auth.reload()?;
        self.client.store(Arc::new(client));
        Ok(())
    }

    /// Where it pushes to.
    #[must_use]
    pub fn url(&self) -> &TargetUrl {
        &self.settings.url
    }

    /// One attempt: POSTs the compact JWS `set` and judges what comes back. Dropping the future aborts the
    /// request; the receiver may have got it nevertheless.
    pub async fn push(&self, set: Bytes) -> Answer {
        let answer = self.push_if(set, || true).await;
        // It always may, so there is an answer.
        answer.unwrap_or_else(|| moment(MomentFault::TokenEndpoint))
    }

    /// The same, if it still may leave when there is a credential for it: fetching one takes its time, before the
    /// first request and after a 401. [`None`]: it may not, and nothing was sent, or nothing but what got the 401.
    pub async fn push_if(&self, set: Bytes, may: impl Fn() -> bool) -> Option<Answer> {
        let started = Instant::now();
        let mut answer = self.push_once(set, may).await?;
        answer.elapsed = started.elapsed();
        Some(answer)
    }

    async fn push_once(&self, set: Bytes, may: impl Fn() -> bool) -> Option<Answer> {
        let client = Arc::clone(&self.client.load());
        let credential = match self.auth.credential(&client).await {
            Ok(credential) => credential,
            Err(fault) => return Some(unsent(fault)),
        };
        if !may() {
            return None;
        }
        let answer = self
            .attempt(&client, set.clone(), credential.as_ref())
            .await;
        let Some(stale) = credential.filter(|_| answer.status == Some(401)) else {
            return Some(answer);
        };
        match self.auth.renew(&stale, &client).await {
            Ok(Some(_)) if !may() => None,
            Ok(Some(fresh)) => Some(self.attempt(&client, set, Some(&fresh)).await),
            Ok(None) => Some(answer),
            Err(fault) => Some(unsent(fault)),
        }
    }

    async fn attempt(
        &self,
        client: &Client,
        set: Bytes,
        credential: Option<&Credential>,
    ) -> Answer {
        let mut request = client
            .post(self.settings.url.as_url().clone())
            .header(CONTENT_TYPE, "application/secevent+jwt")
            .header(ACCEPT, "application/json")
            .body(set);
        if let Some(credential) = credential {
            request = request.header(credential.name.clone(), credential.value.clone());
        }
        match request.send().await {
            Ok(response) => self.judged(response).await,
            Err(error) => moment(fault::classify(&error)),
        }
    }

    async fn judged(&self, response: Response) -> Answer {
        let status = response.status().as_u16();
        let (cap, now) = (self.settings.advice_cap, epoch_seconds());
        let times = time_headers(response.headers());
        let rate = advice::read_rate(&times, now, cap);
        let advised = advice::read_advice(&times, &rate, status, now, cap);
        // A header that is no text is a media type that we do not know, not a missing one.
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap_or("?").to_owned());
        let body = if status == 400 {
            match read_body(response).await {
                Ok(body) => body,
                // The answer broke off: the same bytes will get a whole one next time.
                Err(error) => return moment(fault::classify(&error)),
            }
        } else {
            drain(response).await;
            Vec::new()
        };
        let judgement = judge(status, media_type.as_deref(), &body);
        if !body.is_empty() {
            show_description(&body);
        }
        let accepted = judgement.verdict == Verdict::Accepted;
        Answer {
            verdict: judgement.verdict,
            status: Some(status),
            err: judgement.err,
            elapsed: Duration::ZERO,
            advice: advised.filter(|_| !accepted),
            rate,
        }
    }
}

/// The body up to one byte over [`MAX_BODY`], so that the judge sees that it was cut.
async fn read_body(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_BODY + 1 - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() > MAX_BODY {
            break;
        }
    }
    Ok(body)
}

/// Reads a short rest, so that the connection can be used again. Its content means nothing, and neither
/// does its breaking off: the status has been said.
async fn drain(mut response: Response) {
    let rest = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > MAX_BODY {
                break;
            }
        }
    };
    let _given_up = tokio::time::timeout(DRAIN_TIME, rest).await;
}

/// RFC 8935's `description` names people at times: only ever at debug level, and shortened (DESIGN P8).
fn show_description(body: &[u8]) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
        tracing::debug!(body = ?text, "the receiver's 400");
    }
}

fn moment(fault: MomentFault) -> Answer {
    unsent(CredentialFault {
        verdict: Verdict::Moment(fault),
        status: None,
        advice: None,
    })
}

fn unsent(fault: CredentialFault) -> Answer {
    Answer {
        verdict: fault.verdict,
        status: fault.status,
        err: None,
        elapsed: Duration::ZERO,
        advice: fault.advice,
        rate: RateHeaders::default(),
    }
}

#[cfg(test)]
mod tests;
