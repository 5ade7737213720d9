//! What is read again while the bridge runs: at SIGHUP all of it, and the key and certificate files also when they change.
//! What cannot be used is said, and the old one stays.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::assembly;
use super::awaited::Awaited;
use super::remote_keys::RemoteKeys;
use super::watch::{self, Watch};
use crate::admin::{self, Token};
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pipeline::Stream;
use crate::set::Timestamp;
use crate::signing::{KeyError, KeyRing, Reloaded};
use crate::transmitter::Identity;

/// All that can be read again.
pub(super) struct Reload {
    pub(super) keys: Arc<KeyRing>,
    /// Of the public port, when it speaks TLS.
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) token: Arc<Token>,
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) metrics: Metrics,
    pub(super) watch: Arc<Mutex<Watch>>,
    /// Who tells the keys, when they are not read from files.
    pub(super) remote: Option<RemoteKeys>,
    /// Where a key must be seen before it signs.
    pub(super) awaited: Option<Awaited>,
    /// The keys as the metrics show them: kid and state.
    pub(super) shown: Vec<(String, &'static str)>,
}

/// The files that are watched: signing keys, and the identity of the public port. Made before they are read, so that no
/// change between is missed.
pub(super) fn watch(config: &Config) -> Watch {
    let tls = config.transmitter.tls.iter();
    let pair = tls.flat_map(|tls| [tls.certificate_file.clone(), tls.key_file.clone()]);
    let keys = assembly::signing::ring_source(&config.signing).files();
    Watch::of(pair.collect(), keys)
}

/// Reads the ring again; twice, when the first reading led to files that were not watched. Blocking.
fn read_ring(keys: &KeyRing, watch: &Mutex<Watch>) -> Result<Reloaded, Vec<KeyError>> {
    let first = keys.reload();
    if !lock(watch).follow(&keys.files()) {
        return first;
    }
    let changed = first.is_ok_and(|first| first.changed);
    keys.reload().map(|second| Reloaded {
        changed: changed || second.changed,
        ..second
    })
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reload {
    /// Never ends. Beside all else, because a file system may take its time: nobody waits for it. However often
    /// `hung_up` is told while something is read, all is read once more.
    pub(super) async fn keep_up(mut self, hung_up: &Notify) -> std::convert::Infallible {
        let mut look = tokio::time::interval(watch::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = hung_up.notified() => self.all().await,
                _ = look.tick() => self.look().await,
            }
        }
    }

    /// SIGHUP: keys, certificates, CA files and credentials.
    async fn all(&mut self) {
        self.keys_and_certificate().await;
        if let Some(remote) = &mut self.remote {
            remote.want();
            self.look().await;
        }
        if let Err(error) = self.token.reload() {
            tracing::error!(
                error = crate::telemetry::chain(&error),
                "the operators' token was not reloaded; the old one stays"
            );
        }
        self.streams.iter().for_each(|stream| stream.reloaded());
    }

    /// Reads again what looks otherwise than before, and moves the ring on with the time.
    async fn look(&mut self) {
        let watch = Arc::clone(&self.watch);
        let changed = move || lock(&watch).changed();
        if let Ok(true) = tokio::task::spawn_blocking(changed).await {
            tracing::info!("a key or certificate file has changed");
            self.keys_and_certificate().await;
            self.streams.iter().for_each(|stream| stream.reloaded());
        }
        let told = self
            .remote
            .as_mut()
            .and_then(|remote| remote.look(&self.keys, &self.metrics));
        if let Some(told) = told {
            tracing::info!(active = ?told.active, added = told.added.len(), removed = told.removed.len(), "Vault tells of other keys");
            self.streams.iter().for_each(|stream| stream.reloaded());
        }
        let now = Timestamp::from_secs(clock::epoch_seconds());
        let seen = self
            .awaited
            .as_mut()
            .map(|awaited| awaited.look(&self.keys));
        let moved = match seen {
            Some(seen) => self.keys.seen(seen, now),
            None => self.keys.advance(now),
        };
        if let Some(moved) = moved {
            tracing::info!(active = ?moved.active, added = moved.added.len(), removed = moved.removed.len(), "the key ring has moved on");
        }
        self.show_keys();
    }

    /// A broken new key keeps the old ones; so does a certificate.
    async fn keys_and_certificate(&mut self) {
        let (keys, identity) = (Arc::clone(&self.keys), self.identity.clone());
        let (watch, are_told) = (Arc::clone(&self.watch), self.remote.is_some());
        let read = move || {
            let keys = (!are_told).then(|| read_ring(&keys, &watch));
            (keys, identity.map(|identity| identity.reload()))
        };
        let (keys, identity) = match tokio::task::spawn_blocking(read).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "nothing was reloaded; the old keys stay");
                return;
            }
        };
        match keys {
            None => {}
            Some(Ok(reloaded)) => {
                tracing::info!(active = ?reloaded.active, changed = reloaded.changed, "keys reloaded");
                self.show_keys();
            }
            Some(Err(errors)) => {
                self.metrics.key_reload_errors.inc();
                for error in &errors {
                    tracing::error!(
                        error = error as &dyn Error,
                        "keys were not reloaded; the old ones stay"
                    );
                }
            }
        }
        match identity {
            None => {}
            Some(Ok(changed)) => {
                tracing::info!(changed, "the public port's certificate was reloaded");
            }
            Some(Err(error)) => {
                self.metrics.certificate_reload_errors.inc();
                tracing::error!(
                    error = &error as &dyn Error,
                    "the public port's certificate was not reloaded; the old one stays"
                );
            }
        }
    }

    /// In the metrics.
    pub(super) fn show_keys(&mut self) {
        let keys = admin::keys(&self.keys);
        // To show them empties the metric for a moment.
        if keys != self.shown {
            self.metrics
                .set_keys(keys.iter().map(|(kid, state)| (kid.as_str(), *state)));
            self.shown = keys;
        }
        let awaited = !self.keys.awaits().is_empty();
        self.metrics.key_awaited.set(i64::from(awaited));
        self.metrics
            .key_overdue
            .set(i64::from(self.keys.is_overdue()));
    }
}
