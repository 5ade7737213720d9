//! The configuration of a bridge under test: a tree of the keys that config/setbridge.yaml documents, with short waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use serde_json::{Map, Value, json};
use setbridge::okta::simulator::{JwksSource, Simulator, SimulatorSettings};
use setbridge::signing::{KeyRing, KeySource};
use tempfile::TempDir;

use super::fresh;
use super::redis_server::RedisServer;
use super::wire::{Message, Wire};

/// `iss` of every SET, as it is registered at every receiver.
pub(crate) const ISSUER: &str = "https://ssf.example.com";

const KEY: &str = include_str!("../../fixtures/keys/rsa-2048.pkcs8.pem");

/// A configuration in a folder of its own. Clones share the folder, so a second process finds key and state of the first.
#[derive(Clone)]
pub(crate) struct Configuration {
    folder: Arc<TempDir>,
    tree: Value,
}

impl Configuration {
    /// Without a stream; state in memory, ports chosen by the system, a consumer group that nobody used before.
    pub(crate) fn new(wire: &Wire) -> Configuration {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("signing.pem"), KEY).expect("a key file");
        let mut properties: Map<String, Value> = wire
            .properties()
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        for (name, value) in [
            ("auto.commit.interval.ms", "100"),
            ("heartbeat.interval.ms", "500"),
            ("statistics.interval.ms", "500"),
            ("reconnect.backoff.max.ms", "500"),
        ] {
            properties.entry(name).or_insert(json!(value));
        }
        let tree = json!({
            "group_id": fresh("group"),
            "kafka": {
                "bootstrap_servers": wire.bootstrap(),
                "session_timeout": "6s",
                "properties": properties,
            },
            "signing": {"keys": [{"file": "signing.pem"}], "threads": 1},
            "transmitter": {"issuer": ISSUER, "listen": "127.0.0.1:0"},
            "admin": {"listen": "127.0.0.1:0"},
            "state": {"backend": "memory"},
            "log": {"format": "json"},
            "streams": [],
        });
        Configuration {
            folder: Arc::new(folder),
            tree,
        }
    }

    /// One more stream, from this topic to this simulated org, where it is registered with the key at hand.
    pub(crate) fn stream(self, id: &str, topic: &str, receiver: &Simulator) -> Configuration {
        let audience = format!("http://{}", receiver.address());
        receiver.register(ISSUER, &audience, self.jwks());
        self.stream_to(id, topic, &receiver.url())
    }

    /// One more stream, from this topic to this URL.
    pub(crate) fn stream_to(mut self, id: &str, topic: &str, url: &str) -> Configuration {
        let stream = json!({
            "id": id,
            "topics": [topic],
            "receiver": {"url": url},
            "retry": {"initial_delay": "20ms", "max_delay": "200ms"},
            "hold": {"initial_probe_delay": "50ms", "max_probe_delay": "200ms"},
        });
        let streams = self.tree["streams"].as_array_mut().expect("a list");
        streams.push(stream);
        self
    }

    /// Sets any key by its dotted path: `streams.0.retry.max_delay`. Below `kafka.properties` the rest is one name.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Configuration {
        let properties = "kafka.properties.";
        if let Some(name) = key.strip_prefix(properties) {
            self.tree["kafka"]["properties"][name] = value.into();
            return self;
        }
        let mut at = &mut self.tree;
        for part in key.split('.') {
            at = match part.parse::<usize>() {
                Ok(number) => &mut at[number],
                Err(_) => &mut at[part],
            };
        }
        *at = value.into();
        self
    }

    /// KIP-848, where the broker decides about time-outs.
    pub(crate) fn consumer_protocol(mut self) -> Configuration {
        let kafka = self.tree["kafka"].as_object_mut().expect("a mapping");
        kafka.remove("session_timeout");
        kafka.insert("group_protocol".to_owned(), json!("consumer"));
        let properties = self.tree["kafka"]["properties"].as_object_mut();
        properties
            .expect("a mapping")
            .remove("heartbeat.interval.ms");
        self
    }

    /// Keeps the state in a file of the folder.
    pub(crate) fn sqlite(self) -> Configuration {
        let path = self.folder().join("state.sqlite").display().to_string();
        self.set("state", json!({"backend": "sqlite", "path": path}))
    }

    /// Keeps the state in this Redis, under keys that no other test uses. Clones share them.
    pub(crate) fn redis(self, server: &RedisServer) -> Configuration {
        self.set(
            "state",
            json!({
                "backend": "redis",
                "redis": {
                    "urls": [server.url()],
                    "key_prefix": format!("{}:", fresh("test")),
                    "connect_timeout": "500ms",
                    "request_timeout": "500ms",
                },
            }),
        )
    }

    /// The public half of `signing.pem`, as a receiver would have fetched it.
    pub(crate) fn jwks(&self) -> JwksSource {
        let key = KeySource::new(self.folder().join("signing.pem"));
        let ring = KeyRing::load(&[key]).expect("the key of the fixtures");
        let set = serde_json::to_value(&*ring.jwks()).expect("a JWKS");
        JwksSource::Given(serde_json::from_value(set).expect("a JWKS"))
    }

    /// Where key, state, logs and the file itself are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The consumer group of a stream in live mode.
    pub(crate) fn group(&self, stream: &str) -> String {
        let group = self.tree["group_id"].as_str().expect("a text");
        format!("{group}.{stream}")
    }

    /// Writes the file that `setbridge run` reads. JSON is YAML.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder().join(format!("{}.yaml", fresh("setbridge")));
        let text = serde_json::to_string_pretty(&self.tree).expect("a tree of texts");
        fs::write(&path, text).expect("a configuration file");
        path
    }
}

/// A simulated org, over real TCP. [`Configuration::stream`] registers us there.
pub(crate) async fn receiver() -> Simulator {
    let nobody = JwksSource::Given(Box::new(JwkSet { keys: Vec::new() }));
    let settings = SimulatorSettings::new(ISSUER, "", nobody);
    Simulator::start(settings).await.expect("a simulated org")
}

/// A detection of the native format: this user has this level now.
pub(crate) fn risk(id: &str, user: &str, level: &str) -> Value {
    json!({"id": id, "kind": "user-risk-change", "user": user, "level": level})
}

/// A detection as its producer sends it: keyed by the user.
pub(crate) fn record(detection: &Value) -> Message {
    let user = detection["user"].as_str().expect("one user");
    Message::new(detection.to_string()).key(user)
}

/// `user007@example.com`
pub(crate) fn user(number: usize) -> String {
    format!("user{number:03}@example.com")
}
