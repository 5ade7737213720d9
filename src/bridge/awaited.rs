//! A key whose time has come signs only when it was seen in the JWKS at its public address: a receiver that does not know
//! a `kid` refuses every SET under it. Until then the old key goes on, and that is said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use url::Url;

use crate::signing::{KeyRing, PublicJwk};
use crate::transmitter::Outside;

/// From one look at the public JWKS to the next.
const AGAIN: Duration = Duration::from_secs(10);

/// What is there, and why the others are not seen.
#[derive(Default)]
struct Found {
    seen: Vec<PublicJwk>,
    unseen: Vec<(PublicJwk, String)>,
}

/// Asks for the keys that the ring awaits.
pub(super) struct Awaited {
    /// Of the ring, for the log.
    ring: String,
    /// Where receivers find the JWKS.
    url: Url,
    outside: Outside,
    /// The question under way: one at a time.
    asking: JoinSet<Found>,
    asked: Option<Instant>,
    /// The last thing that was said, so that it is said once.
    said: Vec<(PublicJwk, String)>,
}

impl Awaited {
    pub(super) fn at(ring: String, url: Url, outside: Outside) -> Self {
        Self {
            ring,
            url,
            outside,
            asking: JoinSet::new(),
            asked: None,
            said: Vec::new(),
        }
    }

    /// Takes the answer that has come, and asks when it is time. The keys that were seen.
    pub(super) fn look(&mut self, ring: &Arc<KeyRing>) -> Vec<PublicJwk> {
        let keys = ring.awaits();
        if keys.is_empty() {
            self.asking.abort_all();
            self.said.clear();
            return keys;
        }
        // An error: aborted, when the ring awaited nothing for a while.
        let answer = self.asking.try_join_next();
        let Found { seen, unseen } = answer.and_then(Result::ok).unwrap_or_default();
        self.say(unseen);
        let is_time = self.asked.is_none_or(|asked| asked.elapsed() >= AGAIN);
        if seen.is_empty() && self.asking.is_empty() && is_time {
            self.asked = Some(Instant::now());
            let (outside, url) = (self.outside.clone(), self.url.clone());
            self.asking
                .spawn(async move { find(keys, &outside, &url).await });
        }
        seen
    }

    fn say(&mut self, unseen: Vec<(PublicJwk, String)>) {
        for (key, why) in &unseen {
            let is_said = self.said.iter().any(|(of, said)| (of, said) == (key, why));
            if !is_said {
                tracing::warn!(
                    ring = self.ring,
                    kid = key.kid().as_str(),
                    why,
                    "a key whose time has come does not sign yet; the old one goes on"
                );
            }
        }
        if !unseen.is_empty() {
            self.said = unseen;
        }
    }
}

async fn find(keys: Vec<PublicJwk>, outside: &Outside, url: &Url) -> Found {
    let fetched = outside.fetch(url).await;
    let mut found = Found::default();
    for key in keys {
        match &fetched {
            Ok(jwks) if jwks.publishes(&key) => found.seen.push(key),
            Ok(_) => {
                let why = format!("it is not in the JWKS at {url}");
                found.unseen.push((key, why));
            }
            Err(error) => found.unseen.push((key, error.to_string())),
        }
    }
    found
}
