//! A receiver that answers to hurt, in front of a simulated org: its first answers follow a script, what comes after
//! them is the org's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is answered to one request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, then nothing; the connection stays
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection
    Cut(Vec<u8>),
    /// These bytes, then the second ones again and again, as fast as they are taken
    Endless(Vec<u8>, Vec<u8>),
    /// The same with a pause before each
    Drip(Vec<u8>, Vec<u8>),
}

/// Far shorter than any time-out of a test.
const PAUSE: Duration = Duration::from_millis(50);

/// A running front. Dropping it closes the port.
pub(crate) struct Hostile {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

struct Script {
    answers: Vec<Answer>,
    times: usize,
    next: AtomicUsize,
    bodies: Arc<Mutex<Vec<String>>>,
    behind: SocketAddr,
}

impl Hostile {
    /// Goes through the answers so many times, in order, whoever asks; then everything goes to the org `behind`.
    pub(crate) async fn start(answers: Vec<Answer>, times: usize, behind: SocketAddr) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let bodies = Arc::default();
        let script = Arc::new(Script {
            answers,
            times,
            next: AtomicUsize::new(0),
            bodies: Arc::clone(&bodies),
            behind,
        });
        Hostile {
            address,
            bodies,
            server: tokio::spawn(serve(listener, script)),
        }
    }

    /// Where SETs are pushed to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/security/api/v1/security-events", self.address)
    }

    /// The tokens that an answer of the script was given to, in the order in which they came.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        // Either side may go at any time.
        tokio::spawn(converse(stream, Arc::clone(&script)));
    }
}

async fn converse(mut stream: TcpStream, script: Arc<Script>) -> std::io::Result<()> {
    while let Some((request, body)) = read_request(&mut stream).await? {
        let number = script.next.fetch_add(1, Ordering::Relaxed);
        if number >= script.answers.len() * script.times {
            let mut org = TcpStream::connect(script.behind).await?;
            org.write_all(&request).await?;
            copy_bidirectional(&mut stream, &mut org).await?;
            return Ok(());
        }
        script.bodies.lock().unwrap().push(body);
        match &script.answers[number % script.answers.len()] {
            Answer::Bytes(bytes) => stream.write_all(bytes).await?,
            Answer::Cut(bytes) => return stream.write_all(bytes).await,
            Answer::Endless(first, again) => {
                stream.write_all(first).await?;
                loop {
                    stream.write_all(again).await?;
                }
            }
            Answer::Drip(first, again) => {
                stream.write_all(first).await?;
                loop {
                    stream.write_all(again).await?;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    Ok(())
}

/// The bytes of one request, and its body. `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<(Vec<u8>, String)>> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| {
                let value = line.strip_prefix("content-length:")?;
                value.trim().parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                let body = body.to_owned();
                return Ok(Some((bytes, body)));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}
