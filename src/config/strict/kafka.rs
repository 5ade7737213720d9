//! Kafka's section, and the librdkafka properties that nobody may set but us.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::super::domain::{GroupProtocol, KafkaSettings};
use super::super::pointer::child;
use super::super::raw::{DurationText, RawKafka};
use super::{Checker, text};
use crate::secret::Secret;

/// librdkafka's own default, which suits brokers everywhere.
const DEFAULT_SESSION_TIMEOUT: &str = "45s";

/// Properties that would break a promise or have a key of their own, and what to do instead.
/// A name that ends in `.` stands for all that begin so.
const OURS: [(&str, &str, &str); 24] = [
    ("acks", DEAD_LETTERS, REMOVE),
    (
        "allow.auto.create.topics",
        "a typo in a topic would create it and look healthy",
        REMOVE,
    ),
    (
        "auto.offset.reset",
        "an offset out of range has to be noticed and counted",
        "use `start_at` of the stream",
    ),
    (
        "bootstrap.servers",
        ELSEWHERE,
        "use `kafka.bootstrap_servers`",
    ),
    ("client.id", ELSEWHERE, "use `kafka.client_id`"),
    ("enable.auto.commit", SETTLE_LAST, REMOVE),
    ("enable.auto.offset.store", SETTLE_LAST, REMOVE),
    ("enable.gapless.guarantee", DEAD_LETTERS, REMOVE),
    ("enable.idempotence", DEAD_LETTERS, REMOVE),
    (
        "enable.partition.eof",
        "the consumer has no use for it",
        REMOVE,
    ),
    (
        "group.id",
        "each stream has a group of its own",
        "use `group_id`",
    ),
    ("group.protocol", ELSEWHERE, "use `kafka.group_protocol`"),
    ("group.remote.assignor", ASSIGNMENT, REMOVE),
    (
        "max.poll.interval.ms",
        ELSEWHERE,
        "use `kafka.max_poll_interval`",
    ),
    ("message.send.max.retries", DEAD_LETTERS, REMOVE),
    (
        "metadata.broker.list",
        ELSEWHERE,
        "use `kafka.bootstrap_servers`",
    ),
    ("partition.assignment.strategy", ASSIGNMENT, REMOVE),
    (
        "queued.max.messages.kbytes",
        "it bounds the memory",
        "use `kafka.prefetch`",
    ),
    ("request.required.acks", DEAD_LETTERS, REMOVE),
    ("retries", DEAD_LETTERS, REMOVE),
    (
        "session.timeout.ms",
        ELSEWHERE,
        "use `kafka.session_timeout`",
    ),
    (
        "test.",
        "it makes librdkafka talk to itself",
        "use `setbridge demo` to try without Kafka",
    ),
    (
        "topic.blacklist",
        "it hides topics that the stream names",
        REMOVE,
    ),
    ("transactional.id", DEAD_LETTERS, REMOVE),
];
const REMOVE: &str = "remove it";
const ELSEWHERE: &str = "it has a key of its own";
const SETTLE_LAST: &str = "an offset may be stored only when every SET of its record is settled";
const DEAD_LETTERS: &str = "a dead letter has to be acknowledged by all replicas, exactly once";
const ASSIGNMENT: &str = "the bridge hands partitions over one by one (cooperative-sticky)";

pub(super) fn settings(raw: &RawKafka, checker: &mut Checker<'_>) -> Option<KafkaSettings> {
    let session_timeout = session_timeout(raw, checker);
    let at = "/kafka/max_poll_interval";
    let max_poll_interval = text::positive(&raw.max_poll_interval, at, checker);
    let prefetch_bytes = text::bytes(&raw.prefetch, "/kafka/prefetch", checker);
    bootstrap_ports(&raw.bootstrap_servers, checker);
    let properties: Vec<_> = raw
        .properties
        .iter()
        .map(|(name, value)| {
            let at = child("/kafka/properties", name);
            if refuse_ours(name, &at, checker) {
                return None;
            }
            let value = text::secret(&value.text(), &at, checker)?;
            try_out(name, &value, &at, checker);
            Some((name.clone(), value))
        })
        .collect();
    Some(KafkaSettings {
        bootstrap_servers: raw
            .bootstrap_servers
            .split(',')
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(","),
        client_id: raw.client_id.clone(),
        group_protocol: raw.group_protocol,
        session_timeout: session_timeout?,
        max_poll_interval: max_poll_interval?,
        prefetch_bytes: prefetch_bytes?,
        oauthbearer_token_file: raw
            .oauthbearer_token_file
            .as_ref()
            .map(|path| PathBuf::from(&path.0)),
        properties: properties.into_iter().collect::<Option<_>>()?,
    })
}

fn session_timeout(
    raw: &RawKafka,
    checker: &mut Checker<'_>,
) -> Option<Option<std::time::Duration>> {
    let at = "/kafka/session_timeout";
    match (raw.group_protocol, &raw.session_timeout) {
        (GroupProtocol::Classic, Some(given)) => text::positive(given, at, checker).map(Some),
        (GroupProtocol::Classic, None) => {
            Some(DurationText::from(DEFAULT_SESSION_TIMEOUT).duration())
        }
        (GroupProtocol::Consumer, None) => Some(None),
        (GroupProtocol::Consumer, Some(_)) => checker.wrong(
            at,
            "with `group_protocol: consumer` the broker decides this",
            "remove it; set group.consumer.session.timeout.ms at the broker",
        ),
    }
}

fn bootstrap_ports(servers: &str, checker: &mut Checker<'_>) {
    let bad = servers.split(',').map(str::trim).find(|server| {
        let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        !matches!(port, Some(Ok(1..)))
    });
    if let Some(bad) = bad {
        checker.wrong::<()>(
            "/kafka/bootstrap_servers",
            format!("{bad:?} has no port between 1 and 65535"),
            "write host:port, several parted by commas",
        );
    }
}

fn refuse_ours(name: &str, at: &str, checker: &mut Checker<'_>) -> bool {
    let ours = OURS
        .iter()
        .find(|(ours, _, _)| *ours == name || (ours.ends_with('.') && name.starts_with(ours)));
    if let Some((_, why, instead)) = ours {
        let message = format!("the bridge sets this itself: {why}");
        checker.wrong::<()>(at, message, *instead);
    }
    ours.is_some()
}

/// Asks librdkafka itself. What it says may repeat the value, so its words stay unsaid.
fn try_out(name: &str, value: &Secret, at: &str, checker: &mut Checker<'_>) {
    if value.file().is_some() && value.reveal().is_empty() {
        return; // its file was not read
    }
    let tried = ClientConfig::new()
        .set(name, value.reveal())
        .create_native_config();
    let Err(KafkaError::ClientConfig(fault, ..)) = tried else {
        return;
    };
    let list = "https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md";
    let message = match fault {
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "librdkafka knows no such property",
        _ => "librdkafka does not take this value",
    };
    checker.wrong::<()>(at, message, format!("see {list}"));
}
