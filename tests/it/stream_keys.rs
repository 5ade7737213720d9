//! Streams with keys of their own: what happens to one ring touches no other, and no receiver believes another one's key.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use setbridge::okta::simulator::{Reply, Simulator};

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{Configuration, receiver};
use crate::support::fresh;
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::operator::setbridge;
use crate::support::receipts::{answered, cache_keys, cache_keys_of};
use crate::support::vault::{Fault, TOKEN, VaultServer};
use crate::support::wire::Wire;

const ISSUER_B: &str = "https://ssf.example.com/b";

/// The label of the ring that stream `a` has, that of `signing`.
const DEFAULT: &str = "(default)";

/// Stream `a` signs by the ring at the top, stream `b` by its own.
struct Two {
    wire: Wire,
    configuration: Configuration,
    topics: [String; 2],
    a: Simulator,
    b: Simulator,
}

impl Two {
    async fn on(broker: &Broker, partitions: i32) -> Two {
        let mut configuration = Configuration::new(broker.wire());
        let (topics, a, b) = (
            [fresh("detections"), fresh("detections")],
            receiver().await,
            receiver().await,
        );
        for (id, topic, org) in [("a", &topics[0], &a), ("b", &topics[1], &b)] {
            broker.create_source(topic, partitions, &[id]).await;
            configuration = configuration.stream_to(id, topic, &org.url());
        }
        Two {
            wire: broker.wire().clone(),
            configuration: configuration.set("streams.1.issuer", ISSUER_B),
            topics,
            a,
            b,
        }
    }

    /// With a ring each, which have a first key.
    async fn with_rings(mut self) -> Two {
        let at = |name: &str| self.configuration.folder().join(name).display().to_string();
        let (one, two) = (at("ring-a"), at("ring-b"));
        self.configuration = self
            .configuration
            .set("signing.keys", json!([]))
            .set("signing.ring", one)
            .set("signing.publish_before_use", "8s")
            .set("streams.1.signing", json!({"ring": two}));
        self.keys(&["rotate"]).await;
        self.keys(&["rotate", "--stream", "b"]).await;
        self
    }

    fn file(&self) -> String {
        self.configuration.write().display().to_string()
    }

    /// `setbridge keys ACT -c FILE`, which must succeed; what it says.
    async fn keys(&self, act: &[&str]) -> String {
        let file = self.file();
        let args = [&["keys"], act, &["-c", &file]].concat();
        let said = setbridge(&args).await;
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        said.out
    }

    /// The key that signs in a ring.
    async fn active(&self, ring: &str) -> String {
        let lines = self.keys(&["list", "--json"]).await;
        let mut keys = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let key = keys.find(|key| key["ring"] == ring && key["state"] == "active");
        let key = key.unwrap_or_else(|| panic!("no active key of {ring} in {lines}"));
        key["kid"].as_str().expect("a kid").to_owned()
    }

    /// The key that signs in the ring at the top, also while the other ring is broken.
    async fn active_at_the_top(&self) -> String {
        let lines = self.keys(&["list", "--json", "--stream", "a"]).await;
        let mut keys = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let key = keys.find(|key| key["state"] == "active").expect("a key");
        key["kid"].as_str().expect("a kid").to_owned()
    }

    async fn produce(&self, of: usize, users: usize, numbers: std::ops::Range<usize>) {
        self.wire
            .produce_all(&self.topics[of], wave(users, numbers))
            .await;
    }

    /// Each org knows the keys at the address of its own stream at this moment, and asks for no other.
    async fn cache_keys(&self, bridge: &Bridge) {
        cache_keys(&self.a, bridge).await;
        self.cache_keys_of_b(bridge).await;
    }

    async fn cache_keys_of_b(&self, bridge: &Bridge) {
        cache_keys_of(&self.b, ISSUER_B, bridge, &jwks_of_b(bridge)).await;
    }
}

fn jwks_of_b(bridge: &Bridge) -> String {
    bridge
        .jwks_url()
        .replace("/jwks.json", "/streams/b/jwks.json")
}

/// The kids under which SETs took effect at this org.
fn kids_at(org: &Simulator) -> BTreeSet<String> {
    org.log(|log| log.taken().filter_map(|set| set.kid.clone()).collect())
}

async fn is(bridge: &Bridge, ring: &str, kid: &str, state: &str) {
    let labels = [("ring", ring), ("kid", kid), ("state", state)];
    bridge
        .metric("setbridge_key_info", &labels, |n| n == 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_full_load_one_ring_rotates_and_the_other_stays() {
    const USERS: usize = 20;
    const EACH: usize = 60;
    for broker in brokers() {
        let two = Two::on(&broker, 2).await.with_rings().await;
        let (of_a, old) = (two.active(DEFAULT).await, two.active("b").await);
        assert_ne!(of_a, old);
        let mut bridge = Bridge::start(&two.configuration).await;
        two.cache_keys(&bridge).await;
        let published = bridge.fetch(&bridge.jwks_url()).await;
        assert!(published.contains(&of_a) && !published.contains(&old));
        let published = bridge.fetch(&jwks_of_b(&bridge)).await;
        assert!(published.contains(&old) && !published.contains(&of_a));
        let origin = bridge.jwks_url().replace("/jwks.json", "");
        let metadata = format!("{origin}/.well-known/ssf-configuration/b");
        let metadata: Value = serde_json::from_str(&bridge.fetch(&metadata).await).expect("JSON");
        assert_eq!(
            (&metadata["issuer"], &metadata["jwks_uri"]),
            (
                &json!(ISSUER_B),
                &json!("https://ssf.example.com/streams/b/jwks.json")
            )
        );

        // Behind receivers that take their time, so that the load lasts longer than the rotation.
        let slow = || Reply::Judge.after(Duration::from_millis(600));
        let rules = [&two.a, &two.b].map(|org| org.answer_when(None, |_| true, slow()));
        for of in [0, 1] {
            two.produce(of, USERS, 0..EACH).await;
        }
        all_taken(&two.b, USERS, || bridge.log_text()).await;
        let rotated = two.keys(&["rotate", "--stream", "b", "--keep", "1h"]).await;
        let new = rotated.split(' ').next().expect("a kid").to_owned();
        is(&bridge, "b", &new, "next").await;
        // The receiver's cache is renewed between publication and use, as it is when max-age is kept to.
        two.cache_keys_of_b(&bridge).await;
        is(&bridge, "b", &new, "active").await;
        let before = two.b.tally().taken;
        assert!(before < (USERS * EACH) as u64, "the load lasted: {before}");
        two.a.withdraw(rules[0]);
        two.b.withdraw(rules[1]);
        for org in [&two.a, &two.b] {
            all_taken(org, USERS * EACH, || bridge.log_text()).await;
            let tally = org.tally();
            assert_eq!((tally.refused, tally.repeats), (0, 0));
            assert_whole_and_in_order(org, USERS, EACH);
        }
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_stream_holds_total", &[]), 0.0);
        assert_eq!(kids_at(&two.a), BTreeSet::from([of_a.clone()]));
        assert_eq!(kids_at(&two.b), BTreeSet::from([old, new]));
        is(&bridge, DEFAULT, &of_a, "active").await;
        let kids = metrics.sum("setbridge_key_info", &[("ring", DEFAULT)]);
        assert_eq!(kids, 1.0, "nothing was added to the other ring");
        bridge.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_one_ring_touches_no_stream_of_another() {
    let broker = &brokers()[0];
    let two = Two::on(broker, 1).await.with_rings().await;
    let (of_a, of_b) = (two.active(DEFAULT).await, two.active("b").await);
    let mut bridge = Bridge::start(&two.configuration).await;
    two.cache_keys(&bridge).await;

    // A receiver that knows only the other ring's keys believes none of these, and only its stream is held.
    cache_keys_of(&two.b, ISSUER_B, &bridge, &bridge.jwks_url()).await;
    two.produce(1, 2, 0..1).await;
    bridge.held("b", Some("invalid_key")).await;
    two.produce(0, 2, 0..1).await;
    all_taken(&two.a, 2, || bridge.log_text()).await;
    bridge.held("a", None).await;
    assert_eq!(two.b.tally().taken, 0);
    two.cache_keys_of_b(&bridge).await;
    all_taken(&two.b, 2, || bridge.log_text()).await;

    // A broken file of one ring: both go on with the keys that they have.
    let manifest = two.configuration.folder().join("ring-b/ring.json");
    let good = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, "{\"keys\": [").expect("a file");
    let errors = "setbridge_key_reload_errors_total";
    bridge.metric(errors, &[("ring", "b")], |n| n == 1.0).await;
    for of in [0, 1] {
        two.produce(of, 2, 1..2).await;
    }
    all_taken(&two.a, 4, || bridge.log_text()).await;
    all_taken(&two.b, 4, || bridge.log_text()).await;
    // The other ring rotates meanwhile.
    two.keys(&["rotate", "--now"]).await;
    let newest = two.active_at_the_top().await;
    assert_ne!(newest, of_a);
    is(&bridge, DEFAULT, &newest, "active").await;
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum(errors, &[("ring", DEFAULT)]), 0.0);
    is(&bridge, "b", &of_b, "active").await;
    fs::write(&manifest, good).expect("a file");
    let reloaded = |line: &Value| line["message"] == "keys reloaded" && line["ring"] == "b";
    bridge.line("the ring is whole again", reloaded).await;

    // SIGHUP reaches both.
    bridge.hup();
    for ring in [DEFAULT, "b"] {
        let read = |line: &Value| line["message"] == "keys reloaded" && line["ring"] == ring;
        bridge.line(ring, read).await;
    }
    bridge.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_key_is_replaced_in_its_ring_alone() {
    let broker = &brokers()[0];
    let two = Two::on(broker, 1).await.with_rings().await;
    let (of_a, leaked) = (two.active(DEFAULT).await, two.active("b").await);
    let mut bridge = Bridge::start(&two.configuration).await;
    two.cache_keys(&bridge).await;
    let never = Reply::status(503);
    let never = two.b.answer_when(None, |_| true, never);
    two.produce(1, 3, 0..2).await;
    answered(&two.b, 3).await;
    let first = two
        .b
        .log(|log| log.received.front().and_then(|set| set.kid.clone()));
    assert_eq!(first.as_deref(), Some(leaked.as_str()));

    two.keys(&["rotate", "--now", "--stream", "b"]).await;
    two.keys(&["retire", "--now", "--stream", "b", &leaked])
        .await;
    let new = two.active("b").await;
    is(&bridge, "b", &new, "active").await;
    let gone = [("ring", "b"), ("kid", leaked.as_str())];
    bridge
        .metric("setbridge_key_info", &gone, |n| n == 0.0)
        .await;
    assert!(!bridge.fetch(&jwks_of_b(&bridge)).await.contains(&leaked));
    two.cache_keys(&bridge).await;
    two.b.withdraw(never);
    two.produce(0, 3, 0..2).await;
    all_taken(&two.b, 6, || bridge.log_text()).await;
    all_taken(&two.a, 6, || bridge.log_text()).await;
    // What was signed by the leaked key, and not delivered, was signed again.
    assert_eq!(kids_at(&two.b), BTreeSet::from([new]));
    assert_eq!(kids_at(&two.a), BTreeSet::from([of_a]));
    assert_eq!((two.a.tally().refused, two.b.tally().refused), (0, 0));
    for org in [&two.a, &two.b] {
        assert_whole_and_in_order(org, 3, 2);
    }
    bridge.drain().await;
}

/// One stream's key in Vault, the other's in a file: Vault is sealed, and the other stream does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_can_have_its_key_in_vault() {
    let broker = &brokers()[0];
    let vault = VaultServer::start("rsa-2048").await;
    let mut two = Two::on(broker, 1).await;
    let token: PathBuf = two.configuration.folder().join("vault-token");
    fs::write(&token, TOKEN).expect("a token");
    let signing = vault.signing(&token);
    two.configuration = two.configuration.set("streams.1.signing", signing);
    let mut bridge = Bridge::start(&two.configuration).await;
    two.cache_keys(&bridge).await;
    for of in [0, 1] {
        two.produce(of, 3, 0..1).await;
    }
    all_taken(&two.a, 3, || bridge.log_text()).await;
    all_taken(&two.b, 3, || bridge.log_text()).await;
    assert!(kids_at(&two.a).is_disjoint(&kids_at(&two.b)));

    vault.fault(Fault::Sign(403));
    two.produce(1, 3, 1..2).await;
    bridge.held("b", Some("external_signer")).await;
    two.produce(0, 3, 1..2).await;
    all_taken(&two.a, 6, || bridge.log_text()).await;
    bridge.held("a", None).await;
    vault.fault(Fault::None);
    all_taken(&two.b, 6, || bridge.log_text()).await;
    assert_eq!((two.a.tally().refused, two.b.tally().refused), (0, 0));
    bridge.drain().await;

    // A start while that Vault is down: the other stream works, and its JWKS is served.
    vault.fault(Fault::All(503));
    let mut bridge = Bridge::start(&two.configuration).await;
    for of in [0, 1] {
        two.produce(of, 3, 2..3).await;
    }
    bridge.held("b", Some("external_signer")).await;
    all_taken(&two.a, 9, || bridge.log_text()).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
    let own = reqwest::get(jwks_of_b(&bridge)).await.expect("an answer");
    assert_eq!(own.status(), 503, "an empty JWKS would be believed");
    assert!(bridge.fetch(&bridge.jwks_url()).await.contains("kid"));
    vault.fault(Fault::None);
    all_taken(&two.b, 9, || bridge.log_text()).await;
    bridge.drain().await;
}
