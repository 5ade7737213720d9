//! Serves a router over HTTP/1.1, with TLS or without, on a port that strangers can reach.
//!
//! `axum::serve` (0.8) has no time-out for a client that sends its request header slowly or never, no
//! bound on connections and no end to a drain; so this is hyper's own server loop, with all three.
//! Every connection is a task in one set, and the set ends before [`serve`] returns.
//!
//! A receiver must get the JWKS whatever strangers do: when all connections are taken, one of the client with the most of
//! them ends, the one that has been open for longest. Whoever fetches a document needs milliseconds, whoever only sits
//! there is the oldest soon; and who opens them faster than a receiver far away can ask ends his own. Behind a proxy all
//! clients are one.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::tls::Identity;

/// What one server allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; a further one ends the oldest of the client with the most.
    pub connections: usize,
    /// From an idle connection to a whole request header; closes idle connections, too. As long may a TLS handshake take.
    pub header: Duration,
    /// The life of one connection, whatever it does: ends clients that never read their answer.
    pub connection: Duration,
    /// What requests in progress get when the server shuts down.
    pub drain: Duration,
}

impl Default for Limits {
    /// 1,024 connections cost about 30 MB at the worst (hyper's buffers). All documents served here are a few
    /// kilobytes, so ten seconds are ample for a header, and five minutes for a connection.
    fn default() -> Self {
        Self {
            connections: 1024,
            header: Duration::from_secs(10),
            connection: Duration::from_secs(300),
            drain: Duration::from_secs(5),
        }
    }
}

/// Longest request header, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// How long to wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `router` on `listener` until `shutdown` resolves, then lets requests in progress finish
/// within [`Limits::drain`]. With [`Limits::default`]; over TLS when there is an identity.
pub async fn serve(
    listener: TcpListener,
    identity: Option<Arc<Identity>>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    serve_within(Limits::default(), listener, identity, router, shutdown).await;
}

/// [`serve`] with other limits.
pub async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    identity: Option<Arc<Identity>>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let stop = CancellationToken::new();
    let tls = identity.map(|identity| identity.acceptor());
    let mut crowd = Crowd::of(limits.connections.max(1));
    let accepting = async {
        loop {
            let Some((stream, client)) = accept(&listener).await else {
                continue;
            };
            let (router, stop, tls) = (router.clone(), stop.clone(), tls.clone());
            crowd.admit(client.ip(), async move {
                match tls {
                    None => connection(limits, (stream, client), router, stop).await,
                    Some(tls) => {
                        let Some(stream) = handshake(limits, &tls, stream, &stop).await else {
                            return;
                        };
                        connection(limits, (stream, client), router, stop).await;
                    }
                }
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop(listener);
    stop.cancel();
    crowd.leave().await;
}

/// The connections, bounded in number.
struct Crowd {
    most: usize,
    tasks: JoinSet<()>,
    /// Those that may still be at work, the oldest first.
    open: VecDeque<Open>,
}

struct Open {
    from: IpAddr,
    task: AbortHandle,
}

/// Who counts as one client: an IPv4 address, or the 64 bits of an IPv6 network, of which a client has all.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Crowd {
    fn of(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            open: VecDeque::new(),
        }
    }

    /// One more; when there are too many, the oldest of the client with the most ends at its next wait.
    fn admit(&mut self, client: IpAddr, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        if self.open.len() >= self.most {
            self.open.retain(|open| !open.task.is_finished());
        }
        if self.open.len() >= self.most {
            debug!("too many connections: the oldest of the client with the most ends");
            self.end_one();
        }
        let task = self.tasks.spawn(connection);
        let from = network(client);
        self.open.push_back(Open { from, task });
    }

    fn end_one(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for open in &self.open {
            *counts.entry(open.from).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let mut open = self.open.iter();
        let oldest = open.position(|open| counts.get(&open.from).copied() == most);
        if let Some(oldest) = oldest.and_then(|at| self.open.remove(at)) {
            oldest.task.abort();
        }
    }

    /// Waits until all have ended.
    async fn leave(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The same connection, confidential; `None` when the client does not get that far in time.
async fn handshake(
    limits: Limits,
    tls: &TlsAcceptor,
    stream: TcpStream,
    stop: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let handshake = timeout(limits.header, tls.accept(stream));
    match stop.run_until_cancelled(handshake).await? {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// The next connection, or `None` after a fault: a client that went away again, or a lack of file
/// descriptors, which passes as connections end.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            let client = matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            );
            if !client {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

/// One connection, from its first byte to its end. Its requests know who makes them: [`ConnectInfo`].
async fn connection<S>(
    limits: Limits,
    (stream, client): (S, SocketAddr),
    router: Router,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(client));
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = sleep(limits.connection) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            timeout(limits.drain, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
