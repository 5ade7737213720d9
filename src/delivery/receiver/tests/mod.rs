//! Over real TCP: raw scripts for what HTTP servers never do, the simulator for what Okta does.

mod credentials;
mod cut_off;
mod hostile;
mod tls;
mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a scripted peer does with one connection after having read one whole request.
#[derive(Clone)]
enum Act {
    /// Writes these bytes, then reads the next request.
    Write(Vec<u8>),
    /// Writes these bytes, then ends the connection.
    WriteAndClose(Vec<u8>),
    /// Writes these bytes, then resets the connection.
    WriteAndReset(Vec<u8>),
    /// Writes the first bytes, then the second again and again.
    WriteForEver(Vec<u8>, Vec<u8>),
    /// Writes the first bytes, then the second again and again, with a pause before each.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Says nothing.
    Silence,
}

/// A peer that follows a script, one act per request, the last one for ever.
struct Peer {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    /// Bytes that it could write for ever until nobody took them any more.
    endless: Arc<AtomicUsize>,
}

impl Peer {
    async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "http://{}/events",
            listener.local_addr().expect("an address")
        );
        let requests = Arc::new(Mutex::new(Vec::new()));
        let endless = Arc::new(AtomicUsize::new(0));
        let (seen, wrote) = (Arc::clone(&requests), Arc::clone(&endless));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (seen, wrote) = (Arc::clone(&seen), Arc::clone(&wrote));
                tokio::spawn(converse(stream, acts.clone(), seen, wrote));
            }
        });
        Self {
            url,
            requests,
            endless,
        }
    }

    async fn once(bytes: &str) -> Self {
        Self::start(vec![Act::Write(bytes.as_bytes().to_vec())]).await
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("a lock").clone()
    }

    /// So many bytes of an endless answer left the peer, those in the buffers of both sockets included.
    fn endless(&self) -> usize {
        self.endless.load(Ordering::Relaxed)
    }

    fn settings(&self) -> ReceiverSettings {
        direct(&self.url)
    }

    async fn push(&self) -> Answer {
        receiver(self.settings())
            .push(Bytes::from_static(b"a.b.c"))
            .await
    }
}

async fn converse(
    mut stream: TcpStream,
    acts: Vec<Act>,
    requests: Arc<Mutex<Vec<String>>>,
    endless: Arc<AtomicUsize>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut all = requests.lock().expect("a lock");
            all.push(request);
            all.len()
        };
        match &acts[(number - 1).min(acts.len() - 1)] {
            Act::Write(bytes) => stream.write_all(bytes).await.expect("written"),
            Act::WriteAndClose(bytes) => {
                stream.write_all(bytes).await.expect("written");
                return;
            }
            Act::WriteAndReset(bytes) => {
                stream.write_all(bytes).await.expect("written");
                stream.flush().await.expect("flushed");
                stream.set_zero_linger().expect("set");
                return;
            }
            Act::WriteForEver(first, again) => {
                stream.write_all(first).await.expect("written");
                while stream.write_all(again).await.is_ok() {
                    endless.fetch_add(again.len(), Ordering::Relaxed);
                }
                return;
            }
            Act::Drip(first, again, pause) => {
                stream.write_all(first).await.expect("written");
                while stream.write_all(again).await.is_ok() {
                    tokio::time::sleep(*pause).await;
                }
                return;
            }
            Act::Silence => std::future::pending().await,
        }
    }
}

/// One request with a `Content-Length` (or none), as text.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:")
                    .and_then(|value| value.trim().parse().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn direct(url: &str) -> ReceiverSettings {
    let url = TargetUrl::parse(url, false).expect("loopback");
    ReceiverSettings {
        proxy: ProxySettings::Direct,
        total_timeout: Duration::from_secs(5),
        ..ReceiverSettings::new(url)
    }
}

fn receiver(settings: ReceiverSettings) -> Receiver {
    Receiver::new(settings).expect("a receiver")
}
