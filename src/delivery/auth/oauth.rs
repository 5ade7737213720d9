//! OAuth 2.0 client credentials (RFC 6749 §4.4): one cached token, renewed before it expires, one refresh
//! at a time. Whoever waited for a refresh shares its result, also a failure: a token endpoint that is
//! down sees one request, not one per SET in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::super::advice::{self, TimeHeaders};
use super::super::target::TargetUrl;
use super::super::verdict::{MomentFault, SetUpFault, Verdict};
use super::{AssertionKey, Credential, CredentialFault, sensitive};
use crate::clock::epoch_seconds;
use crate::secret::Secret;

/// Lifetime of a token that names none, and bounds for those that do, in seconds.
const DEFAULT_LIFETIME: u64 = 300;
const MAX_LIFETIME: u64 = 24 * 3600;

/// A token is renewed this long before its end, or after four fifths of its life if that is later.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Longest token response that is read, in bytes.
const MAX_TOKEN_BODY: usize = 64 * 1024;

/// How a client secret is sent (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretStyle {
    /// HTTP Basic; what servers must support.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// What proves that we are the client.
#[derive(Debug, Clone)]
pub enum ClientCredential {
    /// A shared secret.
    Secret {
        /// The secret.
        secret: Secret,
        /// How it is sent.
        style: SecretStyle,
    },
    /// `private_key_jwt` (RFC 7523).
    PrivateKey(AssertionKey),
}

/// OAuth 2.0 client credentials, as configured.
#[derive(Debug, Clone)]
pub struct OAuthSettings {
    /// The token endpoint.
    pub token_url: TargetUrl,
    /// Our client id.
    pub client_id: String,
    /// What proves it.
    pub credential: ClientCredential,
    /// Scopes, joined by blanks; empty = none are asked for.
    pub scopes: Vec<String>,
    /// `aud` of the assertion; `None` = the token URL (CONTRACTS §2.4).
    pub assertion_audience: Option<String>,
}

#[derive(Debug, Clone)]
struct Token {
    credential: Credential,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Debug, Default)]
struct LastRefresh {
    /// Refreshes ended so far.
    number: u64,
    fault: Option<CredentialFault>,
}

/// The token of one receiver.
#[derive(Debug)]
pub(in super::super) struct TokenSource {
    settings: OAuthSettings,
    advice_cap: Duration,
    current: ArcSwapOption<Token>,
    /// Refreshes ended so far, readable without the lock.
    refreshes: AtomicU64,
    refresh: Mutex<LastRefresh>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

impl TokenSource {
    pub(super) fn new(settings: OAuthSettings, advice_cap: Duration) -> Self {
        Self {
            settings,
            advice_cap,
            current: ArcSwapOption::empty(),
            refreshes: AtomicU64::new(0),
            refresh: Mutex::new(LastRefresh::default()),
        }
    }

    /// The cached token; a fresh one when it has expired; a fresh one if possible when it soon will.
    pub(super) async fn token(&self, client: &Client) -> Result<Credential, CredentialFault> {
        let known = self.current.load_full();
        let now = Instant::now();
        if let Some(token) = known.filter(|token| token.expires_at > now) {
            if token.renew_at > now {
                return Ok(token.credential.clone());
            }
            // One renews; the others go on with the token that is still good, and so does this one when
            // the renewal fails.
            if let Ok(mut last) = self.refresh.try_lock() {
                let renewed = self.refresh(&mut last, client).await;
                return Ok(renewed.unwrap_or_else(|_| token.credential.clone()));
            }
            return Ok(token.credential.clone());
        }
        self.fresher_than(0, client).await
    }

    /// A token of a later issue than `stale`, that has not expired: another task's, or a new one.
    pub(super) async fn fresher_than(
        &self,
        stale: u64,
        client: &Client,
    ) -> Result<Credential, CredentialFault> {
        let seen = self.refreshes.load(Ordering::Acquire);
        let mut last = self.refresh.lock().await;
        let current = self.current.load_full();
        if let Some(token) =
            current.filter(|t| t.credential.issue > stale && t.expires_at > Instant::now())
        {
            return Ok(token.credential.clone());
        }
        if let (true, Some(fault)) = (last.number > seen, last.fault) {
            return Err(fault);
        }
        self.refresh(&mut last, client).await
    }

    async fn refresh(
        &self,
        last: &mut LastRefresh,
        client: &Client,
    ) -> Result<Credential, CredentialFault> {
        let issue = last.number + 1;
        let fetched = self.fetch(issue, client).await;
        last.number = issue;
        last.fault = fetched.as_ref().err().copied();
        self.refreshes.store(issue, Ordering::Release);
        let token = fetched?;
        let credential = token.credential.clone();
        self.current.store(Some(token.into()));
        Ok(credential)
    }

    async fn fetch(&self, issue: u64, client: &Client) -> Result<Token, CredentialFault> {
        let asked_at = Instant::now();
        let response = self
            .request(client)?
            .send()
            .await
            .map_err(|_| moment(None))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Err(self.fault_of(status, response.headers()));
        }
        let body = read_bounded(response)
            .await
            .ok_or_else(|| moment(Some(status)))?;
        let parsed: TokenResponse = serde_json::from_slice(&body).map_err(|_| refused(status))?;
        let access_token = Zeroizing::new(parsed.access_token);
        if !parsed.token_type.eq_ignore_ascii_case("bearer") {
            return Err(refused(status));
        }
        let text = Zeroizing::new(format!("Bearer {}", access_token.as_str()));
        let value = sensitive(&text).ok_or_else(|| refused(status))?;
        let named = parsed
            .expires_in
            .and_then(|n| n.as_f64())
            .map_or(DEFAULT_LIFETIME, |n| n as u64);
        let lifetime = Duration::from_secs(named.clamp(1, MAX_LIFETIME));
        let renew_after = lifetime.saturating_sub(RENEW_BEFORE).max(lifetime * 4 / 5);
        Ok(Token {
            credential: Credential {
                name: AUTHORIZATION,
                value,
                issue,
            },
            renew_at: asked_at + renew_after,
            expires_at: asked_at + lifetime,
        })
    }

    fn request(&self, client: &Client) -> Result<RequestBuilder, CredentialFault> {
        let settings = &self.settings;
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !settings.scopes.is_empty() {
            form.push(("scope", settings.scopes.join(" ")));
        }
        let mut request = client
            .post(settings.token_url.as_url().clone())
            .header(ACCEPT, "application/json");
        match &settings.credential {
            ClientCredential::Secret {
                secret,
                style: SecretStyle::Basic,
            } => {
                request = request.header(AUTHORIZATION, basic(&settings.client_id, secret)?);
            }
            ClientCredential::Secret {
                secret,
                style: SecretStyle::Post,
            } => {
                form.push(("client_id", settings.client_id.clone()));
                form.push(("client_secret", secret.reveal().to_owned()));
            }
            ClientCredential::PrivateKey(key) => {
                let url = settings.token_url.as_url().as_str();
                let audience = settings.assertion_audience.as_deref().unwrap_or(url);
                let assertion = key
                    .sign(&settings.client_id, audience, epoch_seconds())
                    .map_err(|_| moment(None))?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.push(("client_assertion_type", kind.to_owned()));
                form.push(("client_assertion", assertion));
            }
        }
        Ok(request.form(&form))
    }

    /// 408, 425, 429 and 5xx are the moment's; everything else says that our set-up is refused.
    fn fault_of(&self, status: u16, headers: &HeaderMap) -> CredentialFault {
        if !matches!(status, 100..=199 | 408 | 425 | 429 | 500..) {
            return refused(status);
        }
        let times = time_headers(headers);
        let now = epoch_seconds();
        let rate = advice::read_rate(&times, now, self.advice_cap);
        let advice = advice::read_advice(&times, &rate, status, now, self.advice_cap);
        CredentialFault {
            advice,
            ..moment(Some(status))
        }
    }
}

/// The headers that [`advice`] reads, as text.
pub(in super::super) fn time_headers(headers: &HeaderMap) -> TimeHeaders<'_> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    TimeHeaders {
        retry_after: text("retry-after"),
        limit: text("x-rate-limit-limit"),
        remaining: text("x-rate-limit-remaining"),
        reset: text("x-rate-limit-reset"),
        date: text("date"),
    }
}

fn basic(
    client_id: &str,
    secret: &Secret,
) -> Result<reqwest::header::HeaderValue, CredentialFault> {
    // RFC 6749 §2.3.1: both are form-encoded first.
    let form =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = Zeroizing::new(format!("{}:{}", form(client_id), form(secret.reveal())));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    sensitive(&text).ok_or_else(|| moment(None))
}

async fn read_bounded(mut response: Response) -> Option<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_TOKEN_BODY {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

fn moment(status: Option<u16>) -> CredentialFault {
    CredentialFault {
        verdict: Verdict::Moment(MomentFault::TokenEndpoint),
        status,
        advice: None,
    }
}

fn refused(status: u16) -> CredentialFault {
    CredentialFault {
        verdict: Verdict::SetUp(SetUpFault::TokenRefused),
        status: Some(status),
        advice: None,
    }
}

#[cfg(test)]
mod tests;
