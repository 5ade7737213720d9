//! The token that a call carries.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::answers;
use super::client::{CallKind, Wire};
use super::{VaultAuth, VaultFault};
use crate::secret::Secret;

/// A token without an end is asked for again after so long; so is one that lasts longer.
const MAX_LEASE: Duration = Duration::from_secs(3600);

/// A token that was refused is not given up for another one when it is younger: the policy is wrong, not the token.
const YOUNG: Duration = Duration::from_secs(10);

/// Where tokens come from.
pub(super) enum Login {
    Token(Secret),
    Kubernetes {
        role: String,
        mount: String,
        token_file: PathBuf,
        held: Mutex<Option<Held>>,
    },
}

/// A token of a log-in.
pub(super) struct Held {
    token: HeaderValue,
    since: Instant,
    lease: Duration,
}

impl Held {
    /// Two thirds of the lease: time enough to try again before it ends.
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < self.lease * 2 / 3
    }

    fn is_valid(&self) -> bool {
        self.since.elapsed() < self.lease
    }
}

#[derive(Serialize)]
struct LogIn<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    /// Seconds; 0: without an end.
    lease_duration: u64,
}

impl Login {
    pub(super) fn of(auth: VaultAuth) -> Self {
        match auth {
            VaultAuth::Token(secret) => Self::Token(secret),
            VaultAuth::Kubernetes {
                role,
                mount,
                token_file,
            } => Self::Kubernetes {
                role,
                mount,
                token_file,
                held: Mutex::new(None),
            },
        }
    }

    /// The present token. A file is read each time: it is small, and so nothing has to be told that it has changed.
    pub(super) async fn token(&self, wire: &Wire) -> Result<HeaderValue, VaultFault> {
        match self {
            Self::Token(secret) => {
                let secret = secret.clone();
                let read = tokio::task::spawn_blocking(move || secret.read_again());
                let read = read.await.map_err(|_| VaultFault::NoToken)?;
                header(read.map_err(|_| VaultFault::NoToken)?.reveal())
            }
            Self::Kubernetes { held, .. } => {
                let mut held = held.lock().await;
                if let Some(known) = held.as_ref().filter(|held| held.is_fresh()) {
                    return Ok(known.token.clone());
                }
                match self.log_in(wire).await {
                    Ok(new) => Ok(held.insert(new).token.clone()),
                    // Not renewed yet, but still good.
                    Err(fault) => held
                        .as_ref()
                        .filter(|held| held.is_valid())
                        .map(|held| held.token.clone())
                        .ok_or(fault),
                }
            }
        }
    }

    /// Another token than the one that was refused, if there may be one.
    pub(super) async fn instead_of(
        &self,
        refused: &HeaderValue,
        wire: &Wire,
    ) -> Option<HeaderValue> {
        if let Self::Kubernetes { held, .. } = self {
            let mut held = held.lock().await;
            // Not twice for calls that were refused together.
            held.take_if(|held| held.token == refused && held.since.elapsed() >= YOUNG);
        }
        let token = self.token(wire).await.ok()?;
        (token != *refused).then_some(token)
    }

    async fn log_in(&self, wire: &Wire) -> Result<Held, VaultFault> {
        let Self::Kubernetes {
            role,
            mount,
            token_file,
            ..
        } = self
        else {
            return Err(VaultFault::NoToken);
        };
        let since = Instant::now();
        let jwt = read(token_file).await?;
        let body = LogIn {
            role,
            jwt: jwt.reveal(),
        };
        let url = wire.url(&["auth", mount, "login"]);
        let request = wire.post(url, &body)?;
        let answer = wire.send(CallKind::LogIn, 0, request).await?;
        let body = match answer.status {
            200 => answer.body,
            status if answers::is_moment(status) => return Err(VaultFault::Busy(status)),
            status => return Err(VaultFault::LogInRefused(status)),
        };
        let LoggedIn { auth } =
            serde_json::from_slice(&body).map_err(|_| VaultFault::Unreadable)?;
        let text = zeroize::Zeroizing::new(auth.client_token);
        let lease = match auth.lease_duration {
            0 => MAX_LEASE,
            seconds => Duration::from_secs(seconds).min(MAX_LEASE),
        };
        Ok(Held {
            token: header(&text)?,
            since,
            lease,
        })
    }
}

async fn read(path: &Path) -> Result<Secret, VaultFault> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || Secret::from_file(&path)).await;
    read.ok().and_then(Result::ok).ok_or(VaultFault::NoToken)
}

/// Marked as sensitive, so that no `Debug` shows it.
fn header(token: &str) -> Result<HeaderValue, VaultFault> {
    let mut value = HeaderValue::from_str(token.trim()).map_err(|_| VaultFault::NoToken)?;
    value.set_sensitive(true);
    if value.is_empty() {
        return Err(VaultFault::NoToken);
    }
    Ok(value)
}
