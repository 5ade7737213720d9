//! `setbridge demo`: the production pipeline between an embedded Kafka and an embedded receiver.
//!
//! Kafka is librdkafka's mock cluster, the receiver is [`crate::okta::simulator`]; either can be replaced by a real one.
//! The bridge in the middle is the one that `setbridge run` starts, with a configuration of its own.

mod feed;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::bridge::{Addresses, Bridge, BridgeEnd, StartError};
use crate::config::{Environment, Files, Mistake, Override, Sources, load_text};
use crate::kafka::client::KafkaClient;
use crate::kafka::topics::{self, TopicError, Wanted};
use crate::metrics::{Metrics, StreamMetrics};
use crate::okta::simulator::{
    JwksSource, Received, Simulator, SimulatorError, SimulatorSettings, jwks_at,
};
use crate::pipeline::label_values;
use crate::shutdown::{Shutdown, Signals};
use crate::signing::key::{KeyBits, generate_pem};

pub use feed::{Expected, Feed};
pub use report::Report;

const STREAM: &str = "demo";
const PARTITIONS: i32 = 6;

/// What the demo is asked to do.
#[derive(Debug, Clone)]
pub struct DemoSettings {
    /// Records to produce.
    pub count: u64,
    /// A broker of the user's choice instead of the mock cluster.
    pub bootstrap: Option<String>,
    /// A receiver of the user's choice instead of the simulator.
    pub receiver: Option<String>,
    /// A signing key of the user's choice, for a receiver that knows it.
    pub key: Option<PathBuf>,
    /// `iss`, for a receiver of the user's choice.
    pub issuer: Option<String>,
    /// Of every so many requests the simulator answers one with 429 or 503; 0: none.
    pub fault_every: u64,
    /// Where the bridge's ports are bound.
    pub public: std::net::SocketAddr,
    /// Likewise.
    pub admin: std::net::SocketAddr,
}

/// Why there is no demo.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The embedded Kafka, or the producer.
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The embedded receiver.
    #[error("the embedded receiver: {0}")]
    Receiver(#[from] SimulatorError),
    /// The key.
    #[error("the demo's signing key could not be made")]
    Key(#[source] std::io::Error),
    /// The demo's configuration, with the user's flags in it.
    #[error("the configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Configuration(Vec<Mistake>),
    /// The bridge.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Metrics of the demo's own view.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The topic on the user's broker.
    #[error("the topic of the demo: {0}")]
    Topic(#[from] TopicError),
    /// A URL made of the user's input.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
}

/// Embedded peers and a running bridge.
pub struct Demo {
    settings: DemoSettings,
    /// Kept for as long as the demo runs.
    _kafka: Option<MockCluster<'static, DefaultProducerContext>>,
    bootstrap: String,
    topic: String,
    simulator: Option<Arc<Simulator>>,
    addresses: Addresses,
    metrics: Metrics,
    shutdown: Shutdown,
    bridge: JoinSet<BridgeEnd>,
    _folder: Folder,
}

/// The demo's folder, removed when the demo ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies in the system's temporary folder, which is cleaned anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Demo {
    /// Starts the peers and the bridge.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub async fn start(
        settings: DemoSettings,
        signals: Option<Signals>,
    ) -> Result<Self, DemoError> {
        let (kafka, bootstrap, topic) = broker(settings.bootstrap.as_deref()).await?;
        let folder =
            Folder(std::env::temp_dir().join(format!("setbridge-demo-{}", std::process::id())));
        let key = match &settings.key {
            Some(key) => key.clone(),
            None => write_key(&folder.0).map_err(DemoError::Key)?,
        };
        let simulator = match &settings.receiver {
            Some(_) => None,
            None => {
                // Which JWKS it reads is told below, when the bridge has its port.
                let settings = SimulatorSettings::new(
                    "",
                    "",
                    JwksSource::Given(Box::new(JwkSet { keys: Vec::new() })),
                );
                Some(Arc::new(Simulator::start(settings).await?))
            }
        };
        let shutdown = Shutdown::default();
        let bridge = start_bridge(
            &settings,
            (&bootstrap, &topic),
            &key,
            simulator.as_deref(),
            shutdown.clone(),
        )
        .await?;
        let addresses = bridge.addresses().clone();
        if let Some(simulator) = &simulator {
            let origin = addresses
                .public
                .map(|address| format!("http://{address}"))
                .unwrap_or_default();
            let jwks = jwks_at(&format!("{origin}/jwks.json"))?;
            let issuer = settings
                .issuer
                .clone()
                .unwrap_or_else(|| format!("http://{}", settings.public));
            simulator.register(&issuer, &format!("http://{}", simulator.address()), jwks);
            feed::make_trouble(simulator, settings.fault_every);
        }
        let metrics = bridge.metrics().clone();
        let mut running = JoinSet::new();
        running.spawn(bridge.run(signals));
        Ok(Self {
            settings,
            _kafka: kafka,
            bootstrap,
            topic,
            simulator,
            addresses,
            metrics,
            shutdown,
            bridge: running,
            _folder: folder,
        })
    }

    /// Where the bridge can be reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The embedded receiver, unless a real one was given.
    #[must_use]
    pub fn simulator(&self) -> Option<&Simulator> {
        self.simulator.as_deref()
    }

    /// Produces the detections, first as a backlog, then one by one, and waits until each part has its outcomes.
    /// `watch` is called several times a second.
    ///
    /// # Errors
    /// When the records cannot be produced.
    pub async fn play(
        &mut self,
        mut watch: impl FnMut(u64, &StreamMetrics),
    ) -> Result<Report, DemoError> {
        let metrics = self.metrics.stream(STREAM, &label_values());
        let feed = Feed::new(&self.bootstrap, &self.topic, self.settings.count);
        let backlog = feed.backlog();
        let first = self
            .play_part(&feed, 0..backlog, false, &metrics, &mut watch)
            .await?;
        let (time, delivered) = (first.elapsed(), report::settled(&metrics));
        let before_live = report::Buckets::of(&metrics);
        self.play_part(
            &feed,
            backlog..self.settings.count,
            true,
            &metrics,
            &mut watch,
        )
        .await?;
        Ok(Report::new(&report::Played {
            metrics: &metrics,
            expected: feed.expected(self.settings.count),
            backlog: time,
            backlog_delivered: delivered,
            before_live,
            simulator: self.simulator(),
        }))
    }

    async fn play_part(
        &mut self,
        feed: &Feed,
        records: std::ops::Range<u64>,
        live: bool,
        metrics: &StreamMetrics,
        watch: &mut impl FnMut(u64, &StreamMetrics),
    ) -> Result<Instant, DemoError> {
        let expected = feed.expected(records.end);
        let outcomes = expected.delivered + expected.duplicates + expected.bad;
        let feed = feed.clone();
        let mut producing =
            tokio::task::spawn_blocking(move || feed.produce(records.start, records.end, live));
        let mut produced = false;
        // Joining the group takes seconds and says nothing about the bridge.
        let mut first = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        // The gauge follows the outcomes by one tick of the desk.
        while !produced || report::settled(metrics) < outcomes || metrics.unsettled.get() > 0 {
            if metrics.records.get() == 0 {
                first = Instant::now();
            }
            tokio::select! {
                _ = tick.tick() => watch(self.settings.count, metrics),
                done = &mut producing, if !produced => {
                    done.unwrap_or(Err(rdkafka::error::KafkaError::Canceled))?;
                    produced = true;
                }
                ended = self.bridge.join_next() => {
                    tracing::error!(?ended, "the bridge ended before the demo was over");
                    return Ok(first);
                }
            }
        }
        watch(self.settings.count, metrics);
        Ok(first)
    }

    /// The record that a received SET was made of, as it stands in Kafka.
    #[must_use]
    pub fn record_of(&self, received: &Received) -> Option<String> {
        feed::record_of(received)
    }

    /// Waits until the operating system, or [`Demo::end`], ends the bridge.
    pub async fn wait(&mut self) {
        self.bridge.join_next().await;
    }

    /// Ends the bridge in an orderly way.
    pub async fn end(mut self) {
        self.shutdown.soft.cancel();
        while self.bridge.join_next().await.is_some() {}
    }
}

/// The mock cluster, or a topic of this demo's own on the user's broker.
async fn broker(
    bootstrap: Option<&str>,
) -> Result<
    (
        Option<MockCluster<'static, DefaultProducerContext>>,
        String,
        String,
    ),
    DemoError,
> {
    if let Some(bootstrap) = bootstrap {
        let topic = format!("setbridge-demo-{}", std::process::id());
        let wanted = Wanted {
            name: topic.clone(),
            create: true,
            partitions: Some(PARTITIONS),
            like: String::new(),
            replication: None,
            kept_like: None,
        };
        topics::ensure(KafkaClient::new(bootstrap, "setbridge-demo", []), wanted).await?;
        return Ok((None, bootstrap.to_owned(), topic));
    }
    let (cluster, topic) = (MockCluster::new(1)?, "detections");
    cluster.create_topic(topic, PARTITIONS, 1)?;
    // It answers no CreateTopics, by which the bridge would make this one.
    cluster.create_topic(&format!("{topic}.{STREAM}.dlq"), PARTITIONS, 1)?;
    let bootstrap = cluster.bootstrap_servers();
    Ok((Some(cluster), bootstrap, topic.to_owned()))
}

fn write_key(folder: &std::path::Path) -> Result<PathBuf, std::io::Error> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let (pem, _) = generate_pem(KeyBits::Rsa2048).map_err(std::io::Error::other)?;
    let path = folder.join("demo-signing.pem");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(pem.as_bytes())?;
    Ok(path)
}

async fn start_bridge(
    settings: &DemoSettings,
    (bootstrap, topic): (&str, &str),
    key: &std::path::Path,
    simulator: Option<&Simulator>,
    shutdown: Shutdown,
) -> Result<Bridge, DemoError> {
    let set = |key: &str, value: &str| Override::new("demo", key, value);
    let receiver = settings
        .receiver
        .clone()
        .or_else(|| simulator.map(Simulator::url))
        .unwrap_or_default();
    let issuer = settings
        .issuer
        .clone()
        .unwrap_or_else(|| format!("http://{}", settings.public));
    let overrides = [
        set("kafka.bootstrap_servers", bootstrap),
        set("signing.keys.0.file", &key.display().to_string()),
        set("transmitter.issuer", &issuer),
        set("transmitter.listen", &settings.public.to_string()),
        set("admin.listen", &settings.admin.to_string()),
        set("streams.0.receiver.url", &receiver),
        set("streams.0.topics", topic),
        // A fresh group for each demo, so that a broker of the user's choice is read from the start.
        set(
            "group_id",
            &format!("setbridge-demo-{}", std::process::id()),
        ),
    ];
    let mut overrides = Vec::from(overrides);
    if settings.bootstrap.is_none() {
        // The mock cluster answers a fetch only when its wait is over; a real broker as soon as a record comes.
        overrides.push(set("kafka.properties.fetch.wait.max.ms", "5"));
    }
    let environment = Environment::current();
    let sources = Sources {
        environment: &environment,
        overrides: &overrides,
        files: Files::Read,
    };
    let config =
        load_text(crate::config::DEMO, "demo.yaml", &sources).map_err(DemoError::Configuration)?;
    Ok(Bridge::start(&config, shutdown).await?)
}
