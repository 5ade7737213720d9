//! What is read again while the bridge runs: at SIGHUP all of it, and the key and certificate files also when they change.
//! What cannot be used is said, and the old one stays.

use std::error::Error;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::ring::Ring;
use super::watch::{self, Watch, lock};
use crate::admin::Token;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pipeline::Stream;
use crate::transmitter::Identity;

/// All that can be read again.
pub(super) struct Reload {
    pub(super) rings: Vec<Ring>,
    /// Of the public port, when it speaks TLS.
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) token: Arc<Token>,
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) metrics: Metrics,
    /// The files of the identity.
    pub(super) watch: Arc<Mutex<Watch>>,
}

/// The files of the public port's identity, which are watched. Made before they are read, so that no change between is
/// missed.
pub(super) fn watch(config: &Config) -> Arc<Mutex<Watch>> {
    let tls = config.transmitter.tls.iter();
    let pair = tls.flat_map(|tls| [tls.certificate_file.clone(), tls.key_file.clone()]);
    Arc::new(Mutex::new(Watch::of(pair.collect(), Vec::new())))
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
        for ring in &mut self.rings {
            ring.read_again().await;
        }
        self.certificate().await;
        if let Err(error) = self.token.reload() {
            tracing::error!(
                error = crate::telemetry::chain(&error),
                "the operators' token was not reloaded; the old one stays"
            );
        }
        self.streams.iter().for_each(|stream| stream.reloaded());
    }

    /// Reads again what looks otherwise than before, and moves the rings on with the time.
    async fn look(&mut self) {
        for ring in &mut self.rings {
            ring.look().await;
        }
        let watch = Arc::clone(&self.watch);
        let changed = move || lock(&watch).changed();
        if let Ok(true) = tokio::task::spawn_blocking(changed).await {
            tracing::info!("a certificate file has changed");
            self.certificate().await;
            self.streams.iter().for_each(|stream| stream.reloaded());
        }
    }

    /// A broken new certificate keeps the old one.
    async fn certificate(&mut self) {
        let Some(identity) = self.identity.clone() else {
            return;
        };
        match tokio::task::spawn_blocking(move || identity.reload()).await {
            Err(error) => {
                tracing::error!(%error, "the public port's certificate was not reloaded; the old one stays");
            }
            Ok(Ok(changed)) => {
                tracing::info!(changed, "the public port's certificate was reloaded");
            }
            Ok(Err(error)) => {
                self.metrics.certificate_reload_errors.inc();
                tracing::error!(
                    error = &error as &dyn Error,
                    "the public port's certificate was not reloaded; the old one stays"
                );
            }
        }
    }
}
