//! From the configuration's types to the parts of a running stream: the one place that knows both sides.

mod dead_letter_topics;
pub(super) mod receiver;
mod rules;
pub(crate) mod signing;
mod state;

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use axum::Router;
use tokio::sync::mpsc::unbounded_channel;

use crate::admin::{RingView, StreamView};
use crate::config::{
    Config, GroupProtocol, KeysConfig, Mode, RingName, StartAt, StreamConfig, TopicSelection,
};
use crate::delivery::Receiver;
use crate::delivery::pacer::Pacers;
use crate::delivery::pacing::PacingSettings;
use crate::kafka::client::KafkaClient;
use crate::kafka::membership::Membership;
use crate::kafka::producer::AckedProducer;
use crate::kafka::room::Room;
use crate::kafka::{ConsumerSettings, Lines, Poller, SideNames, SideSettings};
use crate::metrics::Metrics;
use crate::pipeline::{DeskInputs, Source, Stream, StreamParts, StreamStatus, Valve, label_values};
use crate::shutdown::Shutdown;
use crate::state::{StateStore, system_clock};
use crate::transmitter::{self, Identity, Outside, Publication, ServedRing};

use super::StartError;
use super::awaited::Awaited;
use super::remote_keys::RemoteKeys;
use dead_letter_topics::DeadLetterTopics;
use rules::{limits, mapping_guard, passage_of, room_limits};
pub(super) use signing::OpenRing;
pub(crate) use state::{state_name, state_settings};

/// What all streams share.
pub(super) struct Common {
    /// The keys of each stream are among them.
    pub(super) rings: Vec<OpenRing>,
    pub(super) state: StateStore,
    metrics: Metrics,
    client: KafkaClient,
    producer: Arc<AckedProducer>,
    pacers: Pacers,
}

/// One stream, ready to run.
pub(super) struct Built {
    pub(super) stream: Arc<Stream>,
    pub(super) poller: Poller,
    pub(super) inputs: DeskInputs,
    pub(super) view: StreamView,
}

pub(super) fn common(config: &Config, metrics: Metrics) -> Result<Common, StartError> {
    let rings = signing::open(config, &metrics)?;
    let state = StateStore::open(&state_settings(&config.state), system_clock())
        .map_err(StartError::State)?;
    let client = client(config);
    let producer = Arc::new(AckedProducer::new(client.clone()));
    Ok(Common {
        rings,
        state,
        metrics,
        client,
        producer,
        pacers: Pacers::default(),
    })
}

/// How to reach Kafka.
pub(crate) fn client(config: &Config) -> KafkaClient {
    let kafka = &config.kafka;
    let properties = kafka
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    KafkaClient::new(&kafka.bootstrap_servers, &kafka.client_id, properties)
        .with_token_file(kafka.oauthbearer_token_file.clone())
}

/// Who we are on the public port, when it speaks TLS. Blocking.
pub(super) fn identity(config: &Config) -> Result<Option<Identity>, StartError> {
    let tls = config.transmitter.tls.as_ref();
    tls.map(|tls| Identity::open(&tls.certificate_file, &tls.key_file))
        .transpose()
        .map_err(StartError::Tls)
}

/// Who asks for the keys again and again, where they are elsewhere.
pub(super) fn remote_keys(config: &Config, open: &OpenRing) -> Option<RemoteKeys> {
    let ring = config.ring(&open.name)?;
    let KeysConfig::Vault(settings) = &ring.keys else {
        return None;
    };
    let vault = Arc::clone(open.vault.as_ref()?);
    let name = ring.name.to_string();
    let (refresh, before_use) = (settings.refresh, ring.publish_before_use);
    Some(RemoteKeys::of(name, vault, refresh, before_use))
}

/// The address at which a key of the ring must be seen before it signs, where that is asked for.
pub(super) fn awaited(config: &Config, open: &OpenRing) -> Result<Option<Awaited>, StartError> {
    let is_asked = |ring: &RingName| config.ring(ring).is_some_and(|ring| ring.check_published);
    // Every issuer of a ring is served the same JWKS.
    let mut issuers = config.transmitter.issuers.iter();
    let issuer = issuers.find(|issuer| issuer.ring == open.name);
    let Some(issuer) = issuer.filter(|issuer| is_asked(&issuer.ring)) else {
        return Ok(None);
    };
    let outside = Outside::new().map_err(|error| StartError::System(error.to_string()))?;
    let name = open.name.to_string();
    Ok(Some(Awaited::at(name, issuer.jwks_uri.clone(), outside)))
}

/// The ring as operators see it.
pub(super) fn ring_view(open: &OpenRing) -> RingView {
    RingView {
        name: open.name.to_string(),
        keys: Arc::clone(&open.keys),
        signer: Arc::clone(&open.signer),
    }
}

/// The routes of the public port: the keys of each ring apart, at the address of each of its streams.
pub(super) fn public_router(config: &Config, rings: &[OpenRing]) -> Result<Router, StartError> {
    let mut served: Vec<ServedRing> = Vec::new();
    for ring in rings {
        let paths = match &ring.name {
            RingName::Default => vec![ring.name.jwks_path()],
            RingName::Stream(_) => {
                let streams = config.streams_of(&ring.name);
                let path =
                    |stream: &StreamConfig| transmitter::stream_jwks_path(stream.id.as_str());
                streams.map(path).collect()
            }
        };
        served.extend(paths.into_iter().map(|path| (path, Arc::clone(&ring.keys))));
    }
    let publications: Vec<Publication> = config
        .transmitter
        .issuers
        .iter()
        .map(|issuer| Publication {
            issuer: issuer.issuer.as_str().to_owned(),
            jwks_uri: Some(issuer.jwks_uri.to_string()),
        })
        .collect();
    transmitter::router(served, &publications, config.transmitter.max_age)
        .map_err(|error| StartError::System(error.to_string()))
}

pub(super) async fn stream(
    stream: &StreamConfig,
    config: &Config,
    common: &Common,
    shutdown: &Shutdown,
) -> Result<Built, StartError> {
    let wrong = |message: String| StartError::Stream {
        stream: stream.id.to_string(),
        message,
    };
    let metrics = common.metrics.stream(stream.id.as_str(), &label_values());
    let state = common.state.stream(&state_name(stream));
    let receiver = receiver::settings(&stream.receiver, &stream.retry).map_err(wrong)?;
    let receiver =
        Receiver::new(receiver).map_err(|error| wrong(crate::telemetry::chain(&error)))?;
    let pacing = PacingSettings {
        rate: stream.receiver.rate.map(crate::config::Rate::per_second),
        burst: 1,
    };
    let pacer = common.pacers.for_origin(receiver.url().origin(), pacing);
    let room = Arc::new(Room::new(room_limits(stream)));
    limits(&metrics, stream);
    let membership = Arc::new(Membership::new(
        config.kafka.session_timeout.unwrap_or(KIP848_SESSION),
    ));
    let passage = passage_of(stream, &metrics).map_err(wrong)?;
    let template = stream.dead_letter.topic.clone();
    let mut rings = common.rings.iter();
    let Some(ring) = rings.find(|ring| ring.name == stream.ring) else {
        return Err(wrong(format!("there is no ring {}", stream.ring)));
    };
    let parts = StreamParts {
        id: stream.id.shared(),
        mode: stream.mode,
        envelope: stream.envelope(),
        mapping: Arc::clone(&stream.mapping),
        decode_limits: stream.decode_limits(),
        state,
        keys: Arc::clone(&ring.keys),
        algorithm: stream.algorithm,
        signer: Arc::clone(&ring.signer),
        receiver,
        pacer,
        max_requests_in_flight: stream.limits.max_requests_in_flight.get(),
        producer: Arc::clone(&common.producer),
        dead_letter_topic: Box::new(move |source| {
            template
                .name_for(source)
                .map_or_else(|_| format!("{source}.dlq"), |name| name.as_str().to_owned())
        }),
        outcome_topic: outcome_topic(stream),
        membership: Arc::clone(&membership),
        metrics,
        fingerprint: stream.fingerprint.0,
        room: Arc::clone(&room),
    };
    let built = Arc::new(Stream::new(parts, passage));
    Ok(wire(
        stream, config, common, shutdown, built, room, membership,
    ))
}

/// KIP-848: the broker decides, and does not tell. Its default is 45 s, but a group may have less; to be wary sooner
/// costs one question to the group after a silence that is rare.
const KIP848_SESSION: std::time::Duration = std::time::Duration::from_secs(6);

/// The channels between poller and desk.
#[expect(
    clippy::disallowed_methods,
    reason = "the room admits what these carry, so it bounds them"
)]
fn wire(
    stream: &StreamConfig,
    config: &Config,
    common: &Common,
    shutdown: &Shutdown,
    built: Arc<Stream>,
    room: Arc<Room>,
    membership: Arc<Membership>,
) -> Built {
    let (notices, desk_notices) = unbounded_channel();
    let (records, desk_records) = unbounded_channel();
    let (orders, poller_orders) = channel();
    let lines = Lines {
        notices,
        records,
        orders: poller_orders,
    };
    let poller = Poller::new(
        consumer(stream, config, common.client.clone()),
        room,
        Arc::clone(&membership),
        lines,
    );
    let status = Arc::new(Mutex::new(StreamStatus {
        id: stream.id.to_string(),
        mode: stream.mode.as_str(),
        ..StreamStatus::default()
    }));
    let source = Source {
        client: common.client.clone(),
        group: stream.group_id.clone(),
        max_uncommitted: stream.limits.max_uncommitted.get(),
    };
    let (valve, wishes) = Valve::new(Arc::clone(&built), source);
    let inputs = DeskInputs {
        wishes,
        notices: desk_notices,
        records: desk_records,
        orders,
        mapping_guard: mapping_guard(stream),
        grace: config.shutdown.drain_deadline,
        soft: shutdown.soft.clone(),
        hard: shutdown.hard.clone(),
        status: Arc::clone(&status),
        prepare: Arc::new(dead_letter_topics(stream, common)),
    };
    let view = StreamView {
        membership,
        status,
        dead: Arc::new(AtomicBool::new(false)),
        valve,
    };
    Built {
        stream: built,
        poller,
        inputs,
        view,
    }
}

fn outcome_topic(stream: &StreamConfig) -> Option<String> {
    let topic = stream.outcome_topic.as_ref();
    topic.map(|topic| topic.as_str().to_owned())
}

fn dead_letter_topics(stream: &StreamConfig, common: &Common) -> DeadLetterTopics {
    DeadLetterTopics {
        client: common.client.clone(),
        config: stream.dead_letter.clone(),
        outcome_topic: outcome_topic(stream),
    }
}

/// What a stream consumes, and how.
pub(super) fn consumer(
    stream: &StreamConfig,
    config: &Config,
    client: KafkaClient,
) -> ConsumerSettings {
    ConsumerSettings {
        client,
        group: stream.group_id.clone(),
        topics: match &stream.topics {
            TopicSelection::Names(names) => {
                names.iter().map(|name| name.as_str().to_owned()).collect()
            }
            TopicSelection::Pattern(pattern) => vec![pattern.as_str().to_owned()],
        },
        start_at: match stream.start_at {
            StartAt::Earliest => crate::kafka::StartAt::Earliest,
            StartAt::Latest => crate::kafka::StartAt::Latest,
            StartAt::Time { epoch_ms } => crate::kafka::StartAt::Time(epoch_ms),
        },
        kip848: config.kafka.group_protocol == GroupProtocol::Consumer,
        session_timeout: config.kafka.session_timeout,
        max_poll_interval: config.kafka.max_poll_interval,
        prefetch_bytes: config.kafka.prefetch_bytes,
        side: side(stream),
    }
}

/// In shadow mode nothing is written, so nothing comes back.
fn side(stream: &StreamConfig) -> Option<SideSettings> {
    let names = stream.clone();
    (stream.mode == Mode::Live).then(|| SideSettings {
        group: stream.replay_group_id(),
        rate: stream.replay.rate.per_second(),
        names: Arc::new(move |source| {
            let topics = names.replay_topics(source)?;
            Some(SideNames {
                side: topics.side.as_str().to_owned(),
                outcomes: topics.outcomes.as_str().to_owned(),
            })
        }),
    })
}
