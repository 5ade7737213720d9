//! Builds the streams, owns their tasks, drains them. Decides nothing about data.
//!
//! Every task has an owner here and an end: a desk that ends although nobody asked ends the process, with a non-zero code.

pub(crate) mod assembly;
mod awaited;
pub mod files;
mod reload;
mod remote_keys;
mod ring;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::admin::{self, AdminView, Token};
use crate::config::{Config, StateConfig};
use crate::kafka::Poller;
use crate::metrics::Metrics;
use crate::pipeline::{Desk, DeskEnd};
use crate::shutdown::{Asked, Shutdown, Signals};
use crate::signing::KeyError;
use crate::signing::vault::VaultSetUpError;
use crate::state::{StateError, StateStore};
use crate::transmitter::{self, TlsError};
use assembly::OpenRing;
use reload::Reload;
use ring::Ring;
use watch::Watch;

/// Why the bridge could not start. Kafka or a receiver that is down is none of these.
#[derive(Debug, Error)]
pub enum StartError {
    /// Key files; all faults together.
    #[error("the signing keys cannot be used")]
    Keys(Vec<KeyError>),
    /// Certificate and key of the public port.
    #[error("the public port's certificate cannot be used")]
    Tls(#[source] TlsError),
    /// `signing.multi_buffer: required`, and it is not to be had.
    #[error("signing.multi_buffer is required, but: {0}")]
    MultiBuffer(String),
    /// The client of Vault; not that it is down.
    #[error("the key in Vault cannot be used")]
    Vault(#[source] VaultSetUpError),
    /// The state.
    #[error("the state cannot be opened")]
    State(#[source] StateError),
    /// A part of a stream's configuration that only its use shows: a certificate file, a mapping.
    #[error("stream {stream}: {message}")]
    Stream {
        /// Id of the stream.
        stream: String,
        /// What is wrong, and the mend.
        message: String,
    },
    /// A port.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Threads, signals, metrics.
    #[error("cannot start: {0}")]
    System(String),
}

/// How the bridge ended.
#[derive(Debug, PartialEq, Eq)]
pub enum BridgeEnd {
    /// As asked.
    Drained,
    /// As asked, but not everything on the wire was answered before the deadline: it is sent again after the restart.
    Aborted,
    /// We are broken: the reason, by stream.
    Broken(BTreeMap<String, String>),
}

/// Where a running bridge can be reached.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// JWKS and SSF metadata, unless they are hosted elsewhere.
    pub public: Option<SocketAddr>,
    /// Metrics, probes, status.
    pub admin: SocketAddr,
}

struct Running {
    desk: Desk,
    poller: JoinHandle<()>,
    dead: Arc<AtomicBool>,
}

/// A bridge whose parts are built and whose listeners are bound.
pub struct Bridge {
    addresses: Addresses,
    metrics: Metrics,
    /// Until it runs.
    reload: Option<Reload>,
    running: Vec<(String, Running)>,
    servers: JoinSet<()>,
    servers_end: tokio_util::sync::CancellationToken,
    state: StateStore,
    shutdown: Shutdown,
    drain_deadline: Duration,
}

impl Bridge {
    /// Reads keys, opens the state, binds the listeners, starts the pollers. Does not wait for Kafka.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config, shutdown: Shutdown) -> Result<Self, StartError> {
        let metrics = Metrics::new().map_err(|error| StartError::System(error.to_string()))?;
        metrics.set_config_hash(config.hash.as_metric());
        let watch = reload::watch(config);
        // Before the keys are read, so that no change between is missed.
        let key_files = config.rings.iter().map(assembly::signing::ring_source);
        let key_files: Vec<Watch> = key_files
            .map(|source| Watch::of(Vec::new(), source.files()))
            .collect();
        let common = assembly::common(config, metrics.clone())?;
        let mut rings = Vec::new();
        for (ring, files) in common.rings.iter().zip(key_files) {
            rings.push(follow(config, ring, files, &metrics)?);
        }
        join_all(rings.iter_mut().map(Ring::first)).await;
        let (mut streams, mut running, mut views) = (Vec::new(), Vec::new(), Vec::new());
        let mut built = Vec::new();
        for stream in &config.streams {
            built.push(assembly::stream(stream, config, &common, &shutdown).await?);
        }
        let identity = assembly::identity(config)?.map(Arc::new);
        let public = match config.transmitter.listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let admin_listener = listen(config.admin.listen).await?;
        let local = |listener: &TcpListener| listener.local_addr().ok();
        let addresses = Addresses {
            public: public.as_ref().and_then(local),
            admin: local(&admin_listener).unwrap_or(config.admin.listen),
        };
        for parts in built {
            let id = parts.stream.id().to_owned();
            let poller = poll(&id, parts.poller)?;
            let dead = Arc::clone(&parts.view.dead);
            let desk = Desk::new(Arc::clone(&parts.stream), parts.inputs);
            streams.push(parts.stream);
            views.push(parts.view);
            running.push((id, Running { desk, poller, dead }));
        }
        let token = Arc::new(Token::new(config.admin.token.clone()));
        let view = AdminView {
            metrics: metrics.clone(),
            streams: views,
            rings: common.rings.iter().map(assembly::ring_view).collect(),
            liveness_threshold: config.admin.liveness_threshold,
            config_hash: config.hash.to_string(),
            token: Arc::clone(&token),
            shared_state: matches!(config.state, StateConfig::Redis(_)),
            acts: admin::Acts::default(),
        };
        let mut served = vec![(admin_listener, None, admin::router(Arc::new(view)))];
        if let Some(listener) = public {
            let router = assembly::public_router(config, &common.rings)?;
            served.push((listener, identity.clone(), router));
        }
        let (servers, servers_end) = serve(served);
        for (ring, open) in rings.iter_mut().zip(&common.rings) {
            let each = config.streams.iter().zip(&streams);
            let its = each.filter(|(stream, _)| stream.ring == open.name);
            ring.streams = its.map(|(_, stream)| Arc::clone(stream)).collect();
            ring.show();
        }
        let reload = Reload {
            rings,
            watch,
            identity,
            token,
            streams,
            metrics: metrics.clone(),
        };
        Ok(Self {
            addresses,
            metrics,
            reload: Some(reload),
            running,
            servers,
            servers_end,
            state: common.state,
            shutdown,
            drain_deadline: config.shutdown.drain_deadline,
        })
    }

    /// Where it can be reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// All metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Works until the shutdown's soft token is cancelled, then drains. `signals`: also obeys the operating system.
    pub async fn run(mut self, mut signals: Option<Signals>) -> BridgeEnd {
        let mut desks = JoinSet::new();
        let mut pollers = Vec::new();
        for (id, running) in std::mem::take(&mut self.running) {
            pollers.push((id.clone(), running.poller));
            desks.spawn(async move { (id, running.dead, running.desk.run().await) });
        }
        let mut broken = BTreeMap::new();
        let mut deadline = std::pin::pin!(None);
        let hung_up = Notify::new();
        let reload = self.reload.take();
        let mut reloading = Box::pin(async {
            match reload {
                Some(reload) => reload.keep_up(&hung_up).await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                ended = desks.join_next() => match ended {
                    None => break,
                    Some(Ok((_, _, DeskEnd::Drained))) => {}
                    Some(Ok((id, dead, DeskEnd::Broken(reason)))) => {
                        tracing::error!(stream = id, reason, "stream broken; the process ends and stores nothing for it");
                        dead.store(true, Ordering::SeqCst);
                        broken.insert(id, reason);
                        self.shutdown.soft.cancel();
                    }
                    Some(Err(error)) => {
                        broken.insert("?".to_owned(), error.to_string());
                        self.shutdown.soft.cancel();
                    }
                },
                asked = next(&mut signals) => match asked {
                    Asked::Reload => hung_up.notify_one(),
                    Asked::End if self.shutdown.soft.is_cancelled() => {
                        tracing::warn!("second signal: aborting");
                        self.shutdown.hard.cancel();
                    }
                    Asked::End => {
                        tracing::info!(deadline = ?self.drain_deadline, "draining; a second signal aborts");
                        self.shutdown.soft.cancel();
                    }
                },
                never = &mut reloading => match never {},
                () = self.shutdown.soft.cancelled(), if deadline.is_none() => {
                    deadline.set(Some(tokio::time::sleep(self.drain_deadline)));
                }
                () = async { if let Some(sleep) = deadline.as_mut().as_pin_mut() { sleep.await } }, if deadline.is_some() && !self.shutdown.hard.is_cancelled() => {
                    tracing::warn!("drain deadline over: aborting what is still on the wire");
                    self.shutdown.hard.cancel();
                }
            }
        }
        let aborted = self.shutdown.hard.is_cancelled();
        // And with it the streams, which hold the state.
        drop(reloading);
        self.end(pollers).await;
        if !broken.is_empty() {
            BridgeEnd::Broken(broken)
        } else if aborted {
            BridgeEnd::Aborted
        } else {
            BridgeEnd::Drained
        }
    }

    /// Pollers leave their groups (which commits what was stored), the state is closed, the listeners end last.
    async fn end(mut self, pollers: Vec<(String, JoinHandle<()>)>) {
        const LEAVE: Duration = Duration::from_secs(5);
        let joined = tokio::task::spawn_blocking(move || {
            for (stream, poller) in pollers {
                if poller.join().is_err() {
                    tracing::error!(stream, "the poller's thread panicked");
                }
            }
        });
        if tokio::time::timeout(LEAVE, joined).await.is_err() {
            tracing::warn!(
                "Kafka did not answer while leaving the groups; their sessions will time out"
            );
        }
        if let Err(error) = self.state.close().await {
            tracing::warn!(%error, "the state was not closed in an orderly way");
        }
        self.servers_end.cancel();
        while self.servers.join_next().await.is_some() {}
    }
}

/// The ring with what it follows, as long as no stream has it.
fn follow(
    config: &Config,
    open: &OpenRing,
    mut files: Watch,
    metrics: &Metrics,
) -> Result<Ring, StartError> {
    files.follow(&open.keys.files());
    let name = open.name.to_string();
    Ok(Ring {
        keys: Arc::clone(&open.keys),
        streams: Vec::new(),
        metrics: metrics.ring(&name),
        name,
        watch: Arc::new(Mutex::new(files)),
        remote: assembly::remote_keys(config, open),
        awaited: assembly::awaited(config, open)?,
    })
}

async fn next(signals: &mut Option<Signals>) -> Asked {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Starts the poller's thread.
fn poll(id: &str, poller: Poller) -> Result<std::thread::JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(format!("setbridge-poll-{id}"))
        .spawn(move || Poller::run(poller))
        .map_err(|error| StartError::System(error.to_string()))
}

/// Serves each of these ports until what is returned with them is cancelled.
fn serve(
    ports: Vec<(
        TcpListener,
        Option<Arc<transmitter::Identity>>,
        axum::Router,
    )>,
) -> (JoinSet<()>, tokio_util::sync::CancellationToken) {
    let end = tokio_util::sync::CancellationToken::new();
    let mut servers = JoinSet::new();
    for (listener, tls, router) in ports {
        let end = end.clone();
        servers.spawn(async move {
            transmitter::serve(listener, tls, router, end.cancelled_owned()).await;
        });
    }
    (servers, end)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}
