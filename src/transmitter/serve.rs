//! Serves a router over HTTP/1.1 on a port that strangers can reach.
//!
//! `axum::serve` (0.8) has no time-out for a client that sends its request header slowly or never, no
//! bound on connections and no end to a drain; so this is hyper's own server loop, with all three.
//! Every connection is a task in one set, and the set ends before [`serve`] returns.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// What one server allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; further ones wait in the listener's backlog.
    pub connections: usize,
    /// From an idle connection to a whole request header; closes idle connections, too.
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
/// within [`Limits::drain`]. With [`Limits::default`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    serve_within(Limits::default(), listener, router, shutdown).await;
}

/// [`serve`] with other limits.
pub async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let stop = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(limits.connections.max(1)));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let Some((stream, client)) = accept(&listener).await else {
                continue;
            };
            while connections.try_join_next().is_some() {}
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                connection(limits, (stream, client), router, stop).await;
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop(listener);
    stop.cancel();
    while connections.join_next().await.is_some() {}
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
async fn connection(
    limits: Limits,
    (stream, client): (TcpStream, SocketAddr),
    router: Router,
    stop: CancellationToken,
) {
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
