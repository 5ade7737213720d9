//! The main job over the wire: every detection is delivered once, in order, and its offset is committed after that.

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver, record, risk, user};
use crate::support::fresh;

#[tokio::test]
async fn one_detection_is_delivered() {
    for broker in brokers() {
        let (topic, wire) = (fresh("detections"), broker.wire());
        broker.create_topic(&topic, 1).await;
        let org = receiver().await;
        let configuration = Configuration::new(wire).stream("okta", &topic, &org);
        let mut bridge = Bridge::start(&configuration).await;
        wire.produce(&topic, record(&risk("1", &user(1), "high")))
            .await;
        bridge.outcomes("okta", "delivered", 1).await;
        assert_eq!(org.tally().taken, 1, "{}", broker.name());
        bridge.drain().await;
    }
}
