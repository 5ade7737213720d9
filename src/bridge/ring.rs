//! One ring of keys of the running bridge: it follows its files, whoever tells its keys, and the time. What is wrong with
//! one ring touches no other, nor the streams of others.

use std::error::Error;
use std::sync::{Arc, Mutex};

use super::awaited::Awaited;
use super::remote_keys::RemoteKeys;
use super::watch::{Watch, lock};
use crate::admin;
use crate::clock;
use crate::metrics::RingMetrics;
use crate::pipeline::Stream;
use crate::signing::{KeyError, KeyRing, Reloaded};

/// A ring, and what it follows.
pub(super) struct Ring {
    /// As in metrics and logs.
    pub(super) name: String,
    pub(super) keys: Arc<KeyRing>,
    /// The streams whose keys these are.
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) metrics: RingMetrics,
    /// Its key files.
    pub(super) watch: Arc<Mutex<Watch>>,
    /// Who tells the keys, when they are not read from files.
    pub(super) remote: Option<RemoteKeys>,
    /// Where a key must be seen before it signs.
    pub(super) awaited: Option<Awaited>,
}

/// Reads the ring again; twice, when the first reading led to files that were not watched. Blocking.
fn read(keys: &KeyRing, watch: &Mutex<Watch>) -> Result<Reloaded, Vec<KeyError>> {
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

impl Ring {
    /// At the start: waits for one answer of whoever tells the keys, whatever it is.
    pub(super) async fn first(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.first(&self.keys, &self.metrics).await;
        }
    }

    /// SIGHUP: reads the files again, or asks whoever tells the keys.
    pub(super) async fn read_again(&mut self) {
        match &mut self.remote {
            Some(remote) => remote.want(),
            None => self.reload().await,
        }
        self.look().await;
    }

    /// Reads again what looks otherwise than before, and moves on with the time.
    pub(super) async fn look(&mut self) {
        let watch = Arc::clone(&self.watch);
        let changed = move || lock(&watch).changed();
        if let Ok(true) = tokio::task::spawn_blocking(changed).await {
            tracing::info!(ring = self.name, "a key file has changed");
            self.reload().await;
            self.streams.iter().for_each(|stream| stream.reloaded());
        }
        let told = self
            .remote
            .as_mut()
            .and_then(|remote| remote.look(&self.keys, &self.metrics));
        if let Some(told) = told {
            tracing::info!(ring = self.name, active = ?told.active, added = told.added.len(), removed = told.removed.len(), "Vault tells of other keys");
            self.streams.iter().for_each(|stream| stream.reloaded());
        }
        let now = clock::now();
        let seen = self
            .awaited
            .as_mut()
            .map(|awaited| awaited.look(&self.keys));
        let moved = match seen {
            Some(seen) => self.keys.seen(seen, now),
            None => self.keys.advance(now),
        };
        if let Some(moved) = moved {
            tracing::info!(ring = self.name, active = ?moved.active, added = moved.added.len(), removed = moved.removed.len(), "the key ring has moved on");
        }
        self.show();
    }

    /// A broken new key keeps the old ones.
    async fn reload(&mut self) {
        let (keys, watch) = (Arc::clone(&self.keys), Arc::clone(&self.watch));
        match tokio::task::spawn_blocking(move || read(&keys, &watch)).await {
            Err(error) => {
                tracing::error!(ring = self.name, %error, "keys were not reloaded; the old ones stay");
            }
            Ok(Ok(reloaded)) => {
                tracing::info!(ring = self.name, active = ?reloaded.active, changed = reloaded.changed, "keys reloaded");
                self.show();
            }
            Ok(Err(errors)) => {
                self.metrics.reload_errors.inc();
                for error in &errors {
                    tracing::error!(
                        ring = self.name,
                        error = error as &dyn Error,
                        "keys were not reloaded; the old ones stay"
                    );
                }
            }
        }
    }

    /// In the metrics.
    pub(super) fn show(&mut self) {
        self.metrics.show_keys(admin::keys(&self.keys));
        let awaited = !self.keys.awaits().is_empty();
        self.metrics.awaited.set(i64::from(awaited));
        let overdue = self.keys.is_overdue();
        self.metrics.overdue.set(i64::from(overdue));
    }
}
