//! The token that a call carries.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::answers;
use super::client::{CallKind, Wire};
use super::{VaultAuth, VaultFault};
use crate::secret::Secret;

/// A token without an end is asked for again after so long; so is one that lasts longer.
const MAX_LEASE: Duration = Duration::from_secs(3600);

/// A token that was refused is not given up for another one when it is younger: the policy is wrong, not the token.
const YOUNG: Duration = Duration::from_secs(10);

/// From a renewal that failed to the next one, while the token is good.
const AGAIN: Duration = Duration::from_secs(10);

/// Where tokens come from.
pub(super) enum Login {
    Token(Secret),
    Kubernetes {
        role: String,
        mount: String,
        token_file: PathBuf,
        held: Mutex<Option<Held>>,
        /// One log-in at a time, and how the last one failed.
        at_work: tokio::sync::Mutex<Option<(Instant, VaultFault)>>,
    },
}

/// A token of a log-in.
#[derive(Clone)]
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
                held: Mutex::default(),
                at_work: tokio::sync::Mutex::default(),
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
            Self::Kubernetes { held, at_work, .. } => self.present(held, at_work, wire).await,
        }
    }

    /// The token of the last log-in, or of a new one. While that token is good, one call in ten seconds tries to renew it,
    /// and no other one waits for that.
    async fn present(
        &self,
        held: &Mutex<Option<Held>>,
        at_work: &tokio::sync::Mutex<Option<(Instant, VaultFault)>>,
        wire: &Wire,
    ) -> Result<HeaderValue, VaultFault> {
        let asked = Instant::now();
        let known = || lock(held).clone().filter(Held::is_valid);
        let mut failed = match known() {
            Some(known) if known.is_fresh() => return Ok(known.token),
            Some(known) => match at_work.try_lock() {
                Ok(failed) => failed,
                Err(_) => return Ok(known.token),
            },
            None => at_work.lock().await,
        };
        // Somebody else may have logged in, or failed to, meanwhile.
        let known = known();
        let said = *failed;
        match (known, said) {
            (Some(known), _) if known.is_fresh() => return Ok(known.token),
            (Some(known), Some((at, _))) if at.elapsed() < AGAIN => return Ok(known.token),
            (None, Some((at, fault))) if at >= asked => return Err(fault),
            _ => {}
        }
        match self.log_in(wire).await {
            Ok(new) => {
                *failed = None;
                Ok(lock(held).insert(new).token.clone())
            }
            Err(fault) => {
                *failed = Some((Instant::now(), fault));
                let known = lock(held).clone().filter(Held::is_valid);
                // Not renewed yet, but still good.
                known.map(|known| known.token).ok_or(fault)
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
            // Not twice for calls that were refused together.
            lock(held).take_if(|held| held.token == refused && held.since.elapsed() >= YOUNG);
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

fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
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
