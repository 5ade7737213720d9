//! Sample detections of both kinds, a few bad records and a few duplicates among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::okta::simulator::{Received, Reply, Simulator};

const USERS: u64 = 200;
/// Pace of the second part, whose latency is measured.
const LIVE_PAUSE: Duration = Duration::from_millis(5);
const LIVE_AT_MOST: u64 = 400;

/// What the records must come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Records produced.
    pub records: u64,
    /// SETs that take effect.
    pub delivered: u64,
    /// SETs under a jti that was delivered before.
    pub duplicates: u64,
    /// Records that cannot become a SET.
    pub bad: u64,
}

/// What one record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    Risk,
    Renamed,
    /// The record before, once more.
    Repeat,
    /// Not JSON, a level that is none, an address that is none.
    Bad(u64),
}

/// Produces the sample detections.
#[derive(Debug, Clone)]
pub struct Feed {
    bootstrap: String,
    topic: String,
    count: u64,
}

impl Feed {
    /// `count` records for `topic`.
    #[must_use]
    pub fn new(bootstrap: &str, topic: &str, count: u64) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            count,
        }
    }

    /// Records of the first part: as fast as they can be written.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.count - (self.count / 5).min(LIVE_AT_MOST)
    }

    /// What the first `records` come to.
    #[must_use]
    pub fn expected(&self, records: u64) -> Expected {
        let mut expected = Expected {
            records,
            ..Expected::default()
        };
        for number in 0..records {
            match sample(number) {
                Sample::Risk | Sample::Renamed => expected.delivered += 1,
                Sample::Repeat => expected.duplicates += 1,
                Sample::Bad(_) => expected.bad += 1,
            }
        }
        expected
    }

    /// Writes the records `from..to`, one after the other; `live`: with pauses between.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub fn produce(&self, from: u64, to: u64, live: bool) -> Result<(), KafkaError> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("linger.ms", if live { "0" } else { "5" })
            .set("queue.buffering.max.messages", "200000")
            .create()?;
        for number in from..to {
            let (key, value) = record(number);
            let mut next = BaseRecord::to(&self.topic).key(&key).payload(&value);
            while let Err((error, again)) = producer.send(next) {
                if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::QueueFull) {
                    return Err(error);
                }
                producer.poll(Duration::from_millis(20));
                next = again;
            }
            producer.poll(if live { LIVE_PAUSE } else { Duration::ZERO });
        }
        producer.flush(Duration::from_secs(30))
    }
}

fn sample(number: u64) -> Sample {
    match number % 100 {
        4 => Sample::Repeat,
        7 => Sample::Bad(number / 100),
        n if n % 10 == 2 => Sample::Renamed,
        _ => Sample::Risk,
    }
}

/// Key and value of a record; the key is the subject, as the README asks of producers.
fn record(number: u64) -> (String, String) {
    let user = format!("user{:03}@example.com", number % USERS);
    let level = ["low", "medium", "high"][(number / USERS % 3) as usize];
    let id = format!("demo-{number:06}");
    let value = match sample(number) {
        Sample::Repeat => return record(number - 1),
        Sample::Risk => serde_json::json!({
            "id": id, "kind": "user-risk-change", "user": user, "level": level,
            "reason": format!("impossible travel, detection {id}"),
        })
        .to_string(),
        Sample::Renamed => serde_json::json!({
            "id": id, "kind": "identifier-changed", "user": user,
            "new_value": format!("user{:03}.{number}@example.com", number % USERS),
        })
        .to_string(),
        Sample::Bad(kind) => match kind % 3 {
            0 => "{this is not JSON".to_owned(),
            1 => serde_json::json!({"id": id, "kind": "user-risk-change", "user": user, "level": "purple"}).to_string(),
            _ => serde_json::json!({"id": id, "kind": "user-risk-change", "user": "nobody", "level": level}).to_string(),
        },
    };
    (user, value)
}

/// The record behind a SET about a risk: its reason names the detection.
pub(super) fn record_of(received: &Received) -> Option<String> {
    let reason = received.event()?.1["reason_admin"]["en"].as_str()?;
    let number = reason.rsplit_once("demo-")?.1.parse().ok()?;
    Some(record(number).1)
}

/// Tells the simulator to answer every n-th request with 429 and 503 in turn; 0: never.
pub(super) fn make_trouble(simulator: &Simulator, every: u64) {
    if every == 0 {
        return;
    }
    for (offset, reply) in [
        (0, Reply::too_many_requests(1)),
        (every / 2, Reply::status(503)),
    ] {
        let seen = Arc::new(AtomicU64::new(offset));
        simulator.answer_when(
            None,
            move |_| seen.fetch_add(1, Ordering::Relaxed) % every == every - 1,
            reply,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_the_record_before_and_the_sum_is_the_count() {
        assert_eq!(record(104), record(103));
        let expected = Feed::new("", "", 1000).expected(1000);
        assert_eq!(
            expected.delivered + expected.duplicates + expected.bad,
            1000
        );
        assert_eq!((expected.duplicates, expected.bad), (10, 10));
        let last = |count: u64| sample(count - 1);
        assert!(
            [1, 10, 100, 1000, 5000]
                .into_iter()
                .all(|count| !matches!(last(count), Sample::Bad(_)))
        );
    }
}
