//! Produces the records of a run, and finds out where they lie.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::kafka::{Topics, place};
use super::load::{Produced, Unit};
use super::oracle::Place;
use super::support::wire::Wire;

/// Longer than any outage of a run.
const DELIVERY: Duration = Duration::from_secs(240);
/// A record's header: which one it is, by the order of producing.
const NUMBER: &str = "number";

/// Where each record came to lie, by the order of producing.
#[derive(Default)]
struct Landed {
    places: Mutex<Vec<Option<(i32, i64)>>>,
    units: Mutex<Vec<(bool, Vec<Unit>)>>,
    acknowledged: AtomicU64,
    failure: Mutex<Option<String>>,
}

struct Context(Arc<Landed>);

impl ClientContext for Context {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        match result {
            Ok(message) => {
                let place = (message.partition(), message.offset());
                self.0.places.lock().expect("no panic")[*number] = Some(place);
                self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                *self.0.failure.lock().expect("no panic") = Some(error.to_string());
            }
        }
    }
}

/// Produces the records of a run, in order.
pub(crate) struct Source {
    producer: ThreadedProducer<Context>,
    landed: Arc<Landed>,
    topics: Topics,
}

impl Source {
    pub(crate) fn new(wire: &Wire, topics: &Topics) -> Source {
        let landed = Arc::new(Landed::default());
        let mut config = wire.client();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("reconnect.backoff.max.ms", "500")
            .set("message.timeout.ms", DELIVERY.as_millis().to_string());
        Source {
            producer: config
                .create_with_context(Context(Arc::clone(&landed)))
                .expect("a producer"),
            landed,
            topics: topics.clone(),
        }
    }

    /// Hands one record over; it is acknowledged later.
    pub(crate) async fn produce(&mut self, record: Produced) {
        let number = {
            let mut units = self.landed.units.lock().expect("no panic");
            units.push((record.keyed, record.units));
            units.len() - 1
        };
        self.landed.places.lock().expect("no panic").push(None);
        loop {
            let mut message =
                BaseRecord::with_opaque_to(self.topics.name(record.keyed), Box::new(number))
                    .partition(record.partition)
                    .payload(record.value.as_bytes());
            let text = number.to_string();
            let header = Header {
                key: NUMBER,
                value: Some(&text),
            };
            message = message.headers(OwnedHeaders::new().insert(header));
            if let Some(key) = &record.key {
                message = message.key(key.as_bytes());
            }
            match self.producer.send(message) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err((error, _)) => panic!("producing: {error}"),
            }
        }
    }

    pub(crate) fn acknowledged(&self) -> Acknowledged {
        Acknowledged(Arc::clone(&self.landed))
    }

    /// Waits until every record is acknowledged; where each of them is, and what is in it.
    ///
    /// # Errors
    /// When one was not, or is not where it should be: then nothing can be said about the bridge.
    pub(crate) async fn places(self, wire: &Wire) -> Result<Vec<(Place, Vec<Unit>)>, String> {
        let acknowledged = tokio::task::spawn_blocking(|| self.acknowledge());
        let (topics, units) = acknowledged.await.map_err(|e| e.to_string())??;
        in_the_log(wire, &topics, units).await
    }

    fn acknowledge(self) -> Result<(Topics, Vec<(bool, Vec<Unit>)>), String> {
        self.producer
            .flush(DELIVERY)
            .map_err(|e| format!("producing: {e}"))?;
        if let Some(failure) = self.landed.failure.lock().expect("no panic").take() {
            return Err(format!("a record was not acknowledged: {failure}"));
        }
        let units = std::mem::take(&mut *self.landed.units.lock().expect("no panic"));
        Ok((self.topics, units))
    }
}

/// Where the log has each of these records, by the order of producing. A broker that failed may have had one already when
/// it was written again: then it lies there twice, and is two records.
///
/// # Errors
/// When one is not there, or lies behind a later one: then nothing can be said about the bridge.
async fn in_the_log(
    wire: &Wire,
    topics: &Topics,
    units: Vec<(bool, Vec<Unit>)>,
) -> Result<Vec<(Place, Vec<Unit>)>, String> {
    let mut found: Vec<Vec<Place>> = vec![Vec::new(); units.len()];
    let mut last: BTreeMap<(bool, i32), usize> = BTreeMap::new();
    for keyed in [true, false] {
        for seen in wire.read_all(topics.name(keyed)).await {
            let place = place(&seen, keyed);
            let number = seen.header(NUMBER).and_then(|n| n.parse::<usize>().ok());
            let number = number.ok_or_else(|| format!("a stranger's record is at {place:?}"))?;
            let last = last.entry((keyed, place.partition)).or_insert(number);
            if number < *last && found[number].is_empty() {
                return Err(format!("a record is at {place:?}, behind a later one"));
            }
            *last = number.max(*last);
            found[number].push(place);
        }
    }
    if let Some(missing) = found.iter().position(Vec::is_empty) {
        return Err(format!("record {missing} is not in the log"));
    }
    let twice = found.iter().filter(|places| places.len() > 1).count();
    if twice > 0 {
        println!("{twice} records were written more than once");
    }
    let all = found.into_iter().zip(units);
    Ok(all
        .flat_map(|(places, (_, units))| places.into_iter().map(move |p| (p, units.clone())))
        .collect())
}

/// How many records the brokers have.
pub(crate) struct Acknowledged(Arc<Landed>);

impl Acknowledged {
    pub(crate) fn count(&self) -> u64 {
        self.0.acknowledged.load(Ordering::Relaxed)
    }

    /// Where they are, and what is in them.
    pub(crate) fn records(&self) -> Vec<(Place, Vec<Unit>)> {
        let units = self.0.units.lock().expect("no panic");
        let places = self.0.places.lock().expect("no panic");
        let known = units.iter().zip(places.iter());
        known
            .filter_map(|((keyed, units), place)| {
                let (partition, offset) = (*place).filter(|(_, offset)| *offset >= 0)?;
                let keyed = *keyed;
                let place = Place {
                    keyed,
                    partition,
                    offset,
                };
                Some((place, units.clone()))
            })
            .collect()
    }
}
