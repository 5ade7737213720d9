//! Public keys that somebody else tells: asked for at the start, again and again, and when something does not fit them.
//! While nobody answers, the keys that are known stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clock;
use crate::metrics::RingMetrics;
use crate::signing::{KeyRing, Life, Reloaded, SigningKey, Vault, VaultFault};

/// From one question to the next at least, also when there is a reason to ask.
const AT_LEAST: Duration = Duration::from_secs(1);

type Asked = Result<Vec<(SigningKey, Life)>, VaultFault>;

/// Asks Vault for the keys of the ring.
pub(super) struct RemoteKeys {
    /// Name of the ring, for the log.
    name: String,
    vault: Arc<Vault>,
    refresh: Duration,
    before_use: Duration,
    /// The question under way: one at a time.
    asking: JoinSet<Asked>,
    asked: Option<Instant>,
    /// Ask at the next opportunity.
    wanted: bool,
    /// The last fault that was said, so that it is said once.
    said: String,
}

impl RemoteKeys {
    pub(super) fn of(
        name: String,
        vault: Arc<Vault>,
        refresh: Duration,
        before_use: Duration,
    ) -> Self {
        Self {
            name,
            vault,
            refresh,
            before_use,
            asking: JoinSet::new(),
            asked: None,
            wanted: false,
            said: String::new(),
        }
    }

    /// At the start: waits for one answer, whatever it is.
    pub(super) async fn first(&mut self, ring: &KeyRing, metrics: &RingMetrics) {
        self.asked = Some(Instant::now());
        let answer = self.vault.ask(self.before_use).await;
        self.take(answer, ring, metrics);
    }

    /// An operator wants it now.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Takes the answer that has come, and asks when it is time. What changed, if something did.
    pub(super) fn look(&mut self, ring: &KeyRing, metrics: &RingMetrics) -> Option<Reloaded> {
        let moved = match self.asking.try_join_next() {
            Some(Ok(answer)) => self.take(answer, ring, metrics),
            Some(Err(_)) | None => None,
        };
        let since = self.asked.map(|asked| asked.elapsed());
        let wanted = self.wanted || !ring.is_known() || self.vault.keys_are_suspect();
        let after = if wanted { AT_LEAST } else { self.refresh };
        if self.asking.is_empty() && since.is_none_or(|since| since >= after) {
            self.wanted = false;
            self.asked = Some(Instant::now());
            let (vault, before_use) = (Arc::clone(&self.vault), self.before_use);
            self.asking
                .spawn(async move { vault.ask(before_use).await });
        } else {
            // What was suspect stays so until it is asked about.
            self.wanted = wanted;
        }
        moved
    }

    fn take(&mut self, answer: Asked, ring: &KeyRing, metrics: &RingMetrics) -> Option<Reloaded> {
        let now = clock::now();
        let told = answer
            .map_err(|fault| fault.to_string())
            .and_then(|keys| ring.replace(keys, now).map_err(|fault| fault.to_string()));
        match told {
            Ok(reloaded) => {
                self.said.clear();
                Some(reloaded).filter(|reloaded| reloaded.changed)
            }
            Err(why) => {
                metrics.reload_errors.inc();
                if self.said != why {
                    tracing::error!(
                        ring = self.name,
                        error = why,
                        "the keys in Vault are not known anew; those that are known stay"
                    );
                    self.said = why;
                }
                None
            }
        }
    }
}
