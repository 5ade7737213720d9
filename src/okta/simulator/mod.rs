//! A receiver that behaves like Okta's SET endpoint, over real TCP: the peer of `setbridge demo`, of the
//! tests and of the bench. It must never be lenient where Okta's schema is not.
//!
//! | behaviour | faithful to | or assumed |
//! |---|---|---|
//! | `POST /security/api/v1/security-events`, 202 with an empty body | CONTRACTS §1.1, §1.5 | |
//! | `typ` = `secevent+jwt`, `kid`, `alg` required | §1.1 | only RS256 is accepted; a wrong one is `invalid_request` |
//! | `kid` looked up in the JWKS that the transmitter serves | §1.5 (`invalid_key` text) | cached, fetched again for an unknown `kid` |
//! | 400 with `err` and `description`, the five codes | §1.5 | the order of the checks: iss, aud, kid, signature, claims |
//! | wrong issuer or audience | the codes | their texts; 404 elsewhere, 415 for another content type |
//! | the six event types, required members, enums, integer times | §1.2 | the names inside texts for all but `user-risk-change` and `device-compliance-change` |
//! | either `reason_admin` or `reason_user` | §1.2 (text, not schema) | enforced |
//! | exactly one event, no `exp`, no `sub`, bare token | §3.1, §3.2 | Okta may be milder |
//! | `iat` not in the future | §5.1 | no leeway |
//! | a repeated `jti` is answered 202 and ignored | §1.6 | how many are remembered: 1,000,000 |
//! | rate limits, 5xx, resets, silence | | only when told: [`Simulator::answer_next`], [`Simulator::answer_when`] |

mod endpoint;
mod faults;
mod inspector;
mod jwks;
mod listener;
mod received;
mod schema;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

pub use faults::{Reply, RuleId};
pub use inspector::{Inspected, Inspector};
pub use jwks::JwksSource;
pub use received::{Answered, Log, Received, Tally};

use endpoint::Endpoint;

/// The path of Okta's SET endpoint.
pub const SET_PATH: &str = "/security/api/v1/security-events";

/// What the simulated org expects.
#[derive(Debug, Clone)]
pub struct SimulatorSettings {
    /// Where it listens; port 0 = any free one.
    pub bind: SocketAddr,
    /// The registered provider's issuer; compared exactly.
    pub issuer: String,
    /// The org URL that `aud` must be; compared exactly.
    pub audience: String,
    /// Where the provider's keys are.
    pub jwks: JwksSource,
    /// Every n-th SET is verified in full; 1 = each. The others are only counted and told apart by `jti`.
    pub verify_every: u64,
    /// How many SETs are kept in the [`Log`], newest; 0 = none, counts only.
    pub keep: usize,
}

impl SimulatorSettings {
    /// On a free loopback port, verifying everything, keeping 100,000.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, jwks: JwksSource) -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            jwks,
            verify_every: 1,
            keep: 100_000,
        }
    }
}

/// The simulator cannot start.
#[derive(Debug, Error)]
pub enum SimulatorError {
    /// The address is taken or not ours.
    #[error("cannot listen on {bind}")]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No HTTP client for the JWKS.
    #[error("cannot set up the client that fetches the JWKS")]
    Client(#[source] reqwest::Error),
}

/// A running simulator. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    endpoint: Arc<Endpoint>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Binds and serves.
    ///
    /// # Errors
    /// See [`SimulatorError`].
    #[expect(
        clippy::disallowed_methods,
        reason = "its owner is the simulator, which aborts it when dropped"
    )]
    pub async fn start(settings: SimulatorSettings) -> Result<Self, SimulatorError> {
        let bind = settings.bind;
        let failed = |source| SimulatorError::Bind { bind, source };
        let listener = TcpListener::bind(bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let endpoint = Arc::new(Endpoint::new(settings).map_err(SimulatorError::Client)?);
        let server = tokio::spawn(endpoint::serve(listener, Arc::clone(&endpoint)));
        Ok(Self {
            address,
            endpoint,
            server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to push to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{SET_PATH}", self.address)
    }

    /// The next `times` requests get `reply`, after whatever was queued before. Rules of
    /// [`Simulator::answer_when`] come first.
    pub fn answer_next(&self, times: usize, reply: Reply) {
        self.endpoint.faults().queue(times, reply);
    }

    /// Requests whose SET satisfies `when` get `reply`, at most `times` times (`None` = until it is taken
    /// back). `when` sees the claims as they were sent, not yet verified. A [`Reply::ResetUnread`] counts as
    /// [`Reply::ResetRead`] here: the SET had to be read.
    pub fn answer_when(
        &self,
        times: Option<usize>,
        when: impl Fn(&serde_json::Value) -> bool + Send + Sync + 'static,
        reply: Reply,
    ) -> RuleId {
        self.endpoint.faults().rule(times, Box::new(when), reply)
    }

    /// Takes one rule back.
    pub fn withdraw(&self, rule: RuleId) {
        self.endpoint.faults().withdraw(rule);
    }

    /// Takes all rules and queued replies back: Okta is well again.
    pub fn recover(&self) {
        self.endpoint.faults().clear();
    }

    /// Expects another issuer, audience or key source from now on; a mended (or broken) registration.
    pub fn register(&self, issuer: &str, audience: &str, jwks: JwksSource) {
        self.endpoint.register(issuer, audience, jwks);
    }

    /// Looks at the log; keep it short, requests wait meanwhile.
    pub fn log<R>(&self, look: impl FnOnce(&Log) -> R) -> R {
        self.endpoint.received().look(look)
    }

    /// The counts.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.log(|log| log.tally)
    }

    /// Waits until the log satisfies `until`; looks again after every request.
    pub async fn wait_for(&self, until: impl FnMut(&Log) -> bool) {
        self.endpoint.received().wait_for(until).await;
    }

    /// Forgets what was received and counted, but not the known `jti`s.
    pub fn clear_log(&self) {
        self.endpoint.received().clear();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.endpoint.close();
        self.server.abort();
    }
}

/// A JWKS by URL.
///
/// # Errors
/// When the text is no URL.
pub fn jwks_at(url: &str) -> Result<JwksSource, url::ParseError> {
    Ok(JwksSource::Url(Url::parse(url)?))
}

#[cfg(test)]
mod tests;
