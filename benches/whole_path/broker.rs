//! The broker process: librdkafka's mock cluster with the whole load in it before anybody reads.

use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode::QueueFull;

use crate::Fallible;
use crate::sample;

pub(crate) const TOPIC: &str = "detections";
const DEAD_LETTERS: &str = "detections.bench.dlq";

/// Says where it listens once the load is there, and stays until its standard input ends.
pub(crate) fn run(count: &str, partitions: &str) -> Fallible<()> {
    let cluster = MockCluster::new(1)?;
    cluster.create_topic(TOPIC, partitions.parse()?, 1)?;
    // It would be held without: the mock cluster lets nobody else create a topic.
    cluster.create_topic(DEAD_LETTERS, 1, 1)?;
    let bootstrap = cluster.bootstrap_servers();
    produce(&bootstrap, count.parse()?)?;
    println!("{bootstrap}");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn produce(bootstrap: &str, count: u64) -> Fallible<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "20")
        .create()?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let time_ms = u64::try_from(since_1970.as_millis())?;
    for number in 0..count {
        let (key, value) = sample::detection(number, time_ms);
        let mut next = BaseRecord::to(TOPIC).key(&key).payload(&value);
        while let Err((error, again)) = producer.send(next) {
            if error.rdkafka_error_code() != Some(QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(20));
            next = again;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}
