//! A key whose time has come signs only when it was seen in the JWKS at its public address: a receiver that does not know
//! a `kid` refuses every SET under it. Until then the old key goes on, and that is said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use url::Url;

use crate::signing::{KeyRing, Kid, PublicJwk};
use crate::transmitter::Outside;

/// From one look at the public JWKS to the next.
const AGAIN: Duration = Duration::from_secs(10);

/// Asks for the key that the ring awaits.
pub(super) struct Awaited {
    /// Where receivers find the JWKS.
    url: Url,
    outside: Outside,
    /// The question under way: one at a time.
    asking: JoinSet<Result<Kid, String>>,
    asked: Option<Instant>,
    /// The last thing that was said, so that it is said once.
    said: String,
}

impl Awaited {
    pub(super) fn at(url: Url, outside: Outside) -> Self {
        Self {
            url,
            outside,
            asking: JoinSet::new(),
            asked: None,
            said: String::new(),
        }
    }

    /// Takes the answer that has come, and asks when it is time. The kid that was seen, if one was.
    pub(super) fn look(&mut self, ring: &Arc<KeyRing>) -> Option<Kid> {
        let Some(key) = ring.awaits() else {
            self.asking.abort_all();
            self.said.clear();
            return None;
        };
        match self.asking.try_join_next() {
            Some(Ok(Ok(kid))) => return Some(kid),
            Some(Ok(Err(why))) => self.say(&key, why),
            // Aborted, when the ring awaited nothing for a while.
            Some(Err(_)) | None => {}
        }
        let is_time = self.asked.is_none_or(|asked| asked.elapsed() >= AGAIN);
        if self.asking.is_empty() && is_time {
            self.asked = Some(Instant::now());
            let (outside, url) = (self.outside.clone(), self.url.clone());
            self.asking.spawn(async move {
                let found = outside.fetch(&url).await.map_err(|e| e.to_string())?;
                if found.publishes(&key) {
                    Ok(key.kid().clone())
                } else {
                    Err(format!("it is not in the JWKS at {url}"))
                }
            });
        }
        None
    }

    fn say(&mut self, key: &PublicJwk, why: String) {
        if self.said != why {
            tracing::warn!(
                kid = key.kid().as_str(),
                why,
                "a key whose time has come does not sign yet; the old one goes on"
            );
            self.said = why;
        }
    }
}
