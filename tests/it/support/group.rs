//! Several processes in one consumer group of the stream `okta`, over a topic that nobody used before.

use setbridge::okta::simulator::Simulator;

use super::bridge::Bridge;
use super::broker::Broker;
use super::configuration::{Configuration, receiver};
use super::fresh;
use super::numbered::{all_taken, member, register, wave};
use super::wire::Wire;

/// What the members `a`, `b` and `c` have in common.
pub(crate) struct Group {
    pub(crate) wire: Wire,
    pub(crate) topic: String,
    pub(crate) org: Simulator,
    pub(crate) common: Configuration,
}

impl Group {
    /// A group without a member yet.
    pub(crate) async fn new(broker: &Broker, partitions: i32) -> Group {
        let topic = fresh("detections");
        broker.create_source(&topic, partitions, &["okta"]).await;
        let org = receiver().await;
        let common = Configuration::new(broker.wire()).stream("okta", &topic, &org);
        register(&org, &common, &["a", "b", "c"]);
        Group {
            wire: broker.wire().clone(),
            topic,
            org,
            common,
        }
    }

    /// A member with a state file of its own.
    pub(crate) async fn start(&self, kid: &str) -> Bridge {
        Bridge::start(&member(&self.common, kid)).await
    }

    /// Waits until it has so many partitions.
    pub(crate) async fn assigned(&self, bridge: &Bridge, partitions: f64) {
        let of = [("stream", "okta")];
        bridge
            .metric("setbridge_partitions_assigned", &of, |n| n == partitions)
            .await;
    }

    /// See [`wave`].
    pub(crate) async fn produce(&self, users: usize, numbers: std::ops::Range<usize>) {
        self.wire
            .produce_all(&self.topic, wave(users, numbers))
            .await;
    }

    /// Waits until so many SETs took effect.
    pub(crate) async fn taken(&self, count: usize, bridges: &[&Bridge]) {
        let logs = || bridges.iter().map(|b| b.log_text()).collect();
        all_taken(&self.org, count, logs).await;
    }
}
