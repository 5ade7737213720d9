//! The receiver: judges every SET as Okta would, answers as the moment's trouble wants, writes everything down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use setbridge::okta::simulator::Inspector;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::dice::Dice;
use super::front::Front;
use super::load::Fate;
use super::oracle::Attempt;
use super::plan::Trouble;

/// Each process says by this header which one it is.
pub(crate) const PROCESS: &str = "x-setbridge-process";
/// The path that SETs are posted to.
pub(crate) const PATH: &str = "/security/api/v1/security-events";

/// No SET of ours is larger.
const MAX_BODY: usize = 1 << 20;
/// What was answered so shortly before all connections were closed may not have left.
const UNSURE_MS: u64 = 50;

/// What to answer a SET when the receiver is well, by its number.
pub(crate) type Fates = Box<dyn Fn(u32) -> Fate + Send + Sync>;

mod book;

/// Everything that the connections share.
pub(crate) struct Book {
    inspector: Inspector,
    fates: Fates,
    trouble: watch::Sender<Option<Trouble>>,
    attempts: Mutex<Vec<Attempt>>,
    dice: Mutex<Dice>,
    /// Requests and connections that a trouble met.
    faults: AtomicU64,
    accepted: AtomicU64,
    /// What was wrong with SETs that are not valid: the first of them.
    complaints: Mutex<Vec<String>>,
    /// SETs that are taken by now although they were refused before, and since when.
    mended: Mutex<BTreeMap<u32, u64>>,
}

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) book: Arc<Book>,
    /// Ends with it.
    _server: JoinSet<()>,
}

/// How a request ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset")]
struct Reset;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    u64::try_from(since.as_millis()).expect("not yet")
}

/// The same text, the same number, in this run and the next.
pub(crate) fn fingerprint(text: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA256, text);
    let first = hash.as_ref().first_chunk().expect("32 bytes");
    u64::from_be_bytes(*first)
}

impl Receiver {
    /// Listens at `address` for as long as the receiver is not [`Trouble::Down`].
    pub(crate) fn start(
        address: SocketAddr,
        front: Front,
        inspector: Inspector,
        fates: Fates,
        seed: u64,
    ) -> Receiver {
        let book = Arc::new(Book {
            inspector,
            fates,
            trouble: watch::Sender::new(None),
            attempts: Mutex::default(),
            dice: Mutex::new(Dice::new(seed, "answers")),
            faults: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            complaints: Mutex::default(),
            mended: Mutex::default(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(address, front, Arc::clone(&book)));
        Receiver {
            book,
            _server: server,
        }
    }
}

async fn serve(address: SocketAddr, front: Front, book: Arc<Book>) {
    let mut trouble = book.trouble.subscribe();
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("the port is ours");
        let listener = socket.listen(1024).expect("the port is ours");
        // Dropping them closes every connection.
        let mut connections = JoinSet::new();
        accept(&listener, &front, &book, &mut trouble, &mut connections).await;
        drop(listener);
        drop(connections);
        let _sender_lives = trouble
            .wait_for(|now| *now != Some(Trouble::Down))
            .await
            .is_ok();
    }
}

/// Returns when the port has to be closed.
async fn accept(
    listener: &TcpListener,
    front: &Front,
    book: &Arc<Book>,
    trouble: &mut watch::Receiver<Option<Trouble>>,
    connections: &mut JoinSet<()>,
) {
    loop {
        tokio::select! {
            changed = trouble.changed() => {
                let now = *trouble.borrow_and_update();
                match now {
                    _ if changed.is_err() => return,
                    Some(Trouble::Down) => return,
                    Some(Trouble::Tls) => connections.abort_all(),
                    _ => {}
                }
            }
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Whatever we close, we reset.
                let _ = stream.set_zero_linger();
                let _ = stream.set_nodelay(true);
                let strange = *trouble.borrow() == Some(Trouble::Tls);
                let acceptor = if strange { &front.stranger } else { &front.own };
                book.faults.fetch_add(u64::from(strange), Ordering::Relaxed);
                connections.spawn(connection(stream, acceptor.clone(), Arc::clone(book)));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, acceptor: TlsAcceptor, book: Arc<Book>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(|request| answer(request, &book));
    // A reset of ours, or the bridge's end.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What a trouble makes of one request.
enum Turn {
    Well,
    Status(u16, Vec<(&'static str, String)>),
    Reset,
    TakeThenReset,
    TakeThenSilence,
    TakeThenWait(Duration),
    WaitThenTake(Duration),
}

async fn answer(request: Request<Incoming>, book: &Arc<Book>) -> Result<Response<Body>, Reset> {
    let trouble = *book.trouble.borrow();
    if let Some(Trouble::ResetUnread(of)) = trouble
        && book.meets(of)
    {
        return Err(Reset);
    }
    let process = request.headers().get(PROCESS);
    let process = process.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = to_bytes(Body::new(request.into_body()), MAX_BODY);
    let attempt = book.read(&body.await.map_err(|_| Reset)?, process).await;
    let turn = book.turn(trouble);
    let fate = attempt.said.map(|said| book.fate(said.set));
    match (turn, fate) {
        (Turn::Reset, _) => {
            book.note(attempt);
            Err(Reset)
        }
        (Turn::Status(status, headers), _) => {
            book.note(attempt);
            Ok(response(status, &headers, ""))
        }
        (_, None) => {
            book.note(attempt);
            Ok(refusal("an invalid SET"))
        }
        (_, Some(Fate::Refused)) => {
            book.note(attempt);
            Ok(refusal("refused for ever"))
        }
        (_, Some(Fate::Poison)) => {
            book.note(attempt);
            Ok(response(500, &[], ""))
        }
        (Turn::TakeThenReset, _) => {
            book.take(attempt);
            Err(Reset)
        }
        (Turn::TakeThenSilence, _) => {
            book.take(attempt);
            std::future::pending().await
        }
        (Turn::WaitThenTake(time), _) => {
            tokio::time::sleep(time).await;
            Ok(book.accepts(book.take(attempt)))
        }
        (Turn::TakeThenWait(time), _) => {
            let index = book.take(attempt);
            tokio::time::sleep(time).await;
            Ok(book.accepts(index))
        }
        (Turn::Well, _) => Ok(book.accepts(book.take(attempt))),
    }
}

fn response(status: u16, headers: &[(&'static str, String)], body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = status.try_into().expect("a status");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a header");
        response.headers_mut().insert(*name, value);
    }
    response
}

fn refusal(description: &str) -> Response<Body> {
    let body = serde_json::json!({"err": "invalid_request", "description": description});
    let headers = [("content-type", "application/json".to_owned())];
    response(400, &headers, &body.to_string())
}
