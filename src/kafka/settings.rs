//! What one stream consumes, and the librdkafka properties that the promises depend on.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;

use super::client::KafkaClient;
use super::side::SideSettings;
use super::start::StartAt;

/// What one stream consumes, and how.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// The cluster.
    pub client: KafkaClient,
    /// Consumer group.
    pub group: String,
    /// Topic names, or one pattern that starts with `^`.
    pub topics: Vec<String>,
    /// Where to start without any commit.
    pub start_at: StartAt,
    /// KIP-848 instead of the classic protocol.
    pub kip848: bool,
    /// Classic protocol only: time without heartbeat after which the group drops a member.
    pub session_timeout: Option<Duration>,
    /// Time without poll after which librdkafka leaves the group.
    pub max_poll_interval: Duration,
    /// Bytes that librdkafka fetches ahead.
    pub prefetch_bytes: u64,
    /// The side topics; [`None`]: no dead letters come back.
    pub side: Option<SideSettings>,
}

impl ConsumerSettings {
    /// Whether librdkafka takes the properties together. Reads the files that they name; no network.
    ///
    /// # Errors
    /// librdkafka's words.
    pub fn try_out(&self) -> KafkaResult<()> {
        let mut config = self.config();
        config.set("bootstrap.servers", "");
        config.create::<BaseConsumer>().map(drop)
    }

    /// The librdkafka configuration: the operator's properties, then what the promises depend on.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = self.client.config();
        config
            .set("group.id", &self.group)
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set(
                "max.poll.interval.ms",
                self.max_poll_interval.as_millis().to_string(),
            )
            .set(
                "queued.max.messages.kbytes",
                (self.prefetch_bytes / 1024).max(1024).to_string(),
            );
        // Defaults that the operator may change.
        let mut default = |name: &str, value: &str| {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        };
        default("auto.commit.interval.ms", "1000");
        // The default of 1000 ms stalls a small prefetch queue: 11.6k/s against 62k/s.
        default("fetch.queue.backoff.ms", "20");
        default("statistics.interval.ms", "5000");
        if self.kip848 {
            config.set("group.protocol", "consumer");
        } else {
            config.set("group.protocol", "classic");
            if config.get("partition.assignment.strategy").is_none() {
                config.set("partition.assignment.strategy", "cooperative-sticky");
            }
            if let Some(timeout) = self.session_timeout {
                config.set("session.timeout.ms", timeout.as_millis().to_string());
            }
        }
        config
    }

    /// The same for the reader of the side topics: it joins no group, commits when it is told to, and fetches little ahead,
    /// because it is slow on purpose.
    pub(super) fn side_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config();
        for name in [
            "group.instance.id",
            "group.remote.assignor",
            "partition.assignment.strategy",
        ] {
            config.remove(name);
        }
        // Nobody expects heartbeats of it; but librdkafka checks the two against each other, and 45 s is its default.
        let session = self.session_timeout.unwrap_or(Duration::from_secs(45));
        let session = session.min(self.max_poll_interval);
        config
            .set("group.id", group)
            .set("session.timeout.ms", session.as_millis().to_string())
            .set("group.protocol", "classic")
            .set("enable.auto.commit", "false")
            .set("queued.min.messages", "32")
            .set("queued.max.messages.kbytes", "1024");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KIP-848 knows no session time-out of the client, so the default of 45 s must not meet a shorter poll interval.
    #[test]
    fn side_topics_are_read_with_a_short_poll_interval() {
        for kip848 in [true, false] {
            let settings = ConsumerSettings {
                client: KafkaClient::new("127.0.0.1:1", "test", []),
                group: "g".to_owned(),
                topics: vec!["detections".to_owned()],
                start_at: StartAt::Earliest,
                kip848,
                session_timeout: (!kip848).then_some(Duration::from_secs(6)),
                max_poll_interval: Duration::from_secs(10),
                prefetch_bytes: 1 << 20,
                side: None,
            };
            settings.try_out().unwrap();
            let mut side = settings.side_config("g.replay");
            side.set("bootstrap.servers", "");
            side.create::<BaseConsumer>().unwrap();
        }
    }
}
