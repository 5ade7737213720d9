//! What a simulated org has received, in the words of the tests.

use std::collections::BTreeMap;

use serde_json::Value;
use setbridge::okta::simulator::{JwksSource, Received, Simulator};
use tokio::time::timeout;

use super::bridge::{Bridge, SOON};
use super::configuration::ISSUER;
use super::wire::{Seen, Wire};

/// One SET about a user's level, as the org understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) user: String,
    pub(crate) level: String,
    pub(crate) previous: String,
    pub(crate) time: i64,
    pub(crate) jti: String,
}

impl Receipt {
    fn of(received: &Received) -> Receipt {
        let (_, event) = received.event().expect("exactly one event");
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Receipt {
            user: email(received),
            level: text("current_level"),
            previous: text("previous_level"),
            time: event["event_timestamp"].as_i64().expect("seconds"),
            jti: received.jti().expect("a jti").to_owned(),
        }
    }
}

/// The SETs that took effect, in the order of their effect.
pub(crate) fn taken(org: &Simulator) -> Vec<Receipt> {
    org.log(|log| log.taken().map(Receipt::of).collect())
}

/// The same by user.
pub(crate) fn taken_by_user(org: &Simulator) -> BTreeMap<String, Vec<Receipt>> {
    let mut by_user: BTreeMap<String, Vec<Receipt>> = BTreeMap::new();
    for receipt in taken(org) {
        by_user
            .entry(receipt.user.clone())
            .or_default()
            .push(receipt);
    }
    by_user
}

/// All requests, oldest first.
pub(crate) fn requests(org: &Simulator) -> Vec<Received> {
    org.log(|log| log.received.iter().cloned().collect())
}

/// Waits until so many requests have been answered since the log was cleared.
pub(crate) async fn answered(org: &Simulator, count: usize) {
    let waited = timeout(SOON, org.wait_for(|log| log.received.len() >= count)).await;
    waited.unwrap_or_else(|_| panic!("{:?}, not {count} answers", org.tally()));
}

/// Waits until so many requests have come in, answered or not.
pub(crate) async fn arrived(org: &Simulator, count: u64) {
    let look = async {
        while org.tally().requests < count {
            // A request that is not answered yet is no event of the log.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(SOON, look).await;
    waited.unwrap_or_else(|_| panic!("{:?}, not {count} requests", org.tally()));
}

/// The address in the subject.
pub(crate) fn email(received: &Received) -> String {
    let subject = received.subject().expect("a subject");
    let email = subject["user"]["email"].as_str();
    email.expect("an e-mail address").to_owned()
}

/// True when the SET with these claims is about this user.
pub(crate) fn is_about(claims: &Value, user: &str) -> bool {
    claims["events"].to_string().contains(user)
}

/// What is in the dead-letter topic of this stream; nothing when there is no such topic.
pub(crate) async fn dead_letters(wire: &Wire, topic: &str, stream: &str) -> Vec<Seen> {
    let topic = format!("{topic}.{stream}.dlq");
    if wire.partitions(&topic).await.is_empty() {
        return Vec::new();
    }
    wire.read_all(&topic).await
}

/// The org knows the keys that the bridge publishes at this moment, and asks for no other: a receiver with a cache.
pub(crate) async fn cache_keys(org: &Simulator, bridge: &Bridge) {
    cache_keys_of(org, ISSUER, bridge, &bridge.jwks_url()).await;
}

/// The same for the keys of another issuer, at their own address.
pub(crate) async fn cache_keys_of(org: &Simulator, issuer: &str, bridge: &Bridge, url: &str) {
    let set = bridge.fetch(url).await;
    let set = serde_json::from_str(&set).expect("a JWKS");
    let audience = format!("http://{}", org.address());
    org.register(issuer, &audience, JwksSource::Given(Box::new(set)));
}
