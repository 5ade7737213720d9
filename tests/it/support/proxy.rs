//! A forward proxy: CONNECT and nothing else (RFC 9110 §9.3.6). It notes who was asked for, and with which credentials.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    /// `host:port`
    pub(crate) to: String,
    /// `Proxy-Authorization`
    pub(crate) credentials: Option<String>,
}

/// A running proxy. Dropping it closes the port.
pub(crate) struct Proxy {
    address: SocketAddr,
    connected: Arc<Mutex<Vec<Connected>>>,
    server: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connected = Arc::default();
        let book = Arc::clone(&connected);
        Proxy {
            address,
            connected,
            server: tokio::spawn(serve(listener, book)),
        }
    }

    /// `host:port`
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every CONNECT so far.
    pub(crate) fn connected(&self) -> Vec<Connected> {
        self.connected.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, book: Arc<Mutex<Vec<Connected>>>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        // Either side may go at any time.
        tokio::spawn(connect(client, Arc::clone(&book)));
    }
}

async fn connect(client: TcpStream, book: Arc<Mutex<Vec<Connected>>>) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if (&mut client)
            .take(8192)
            .read_until(b'\n', &mut head)
            .await?
            == 0
        {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let ["CONNECT", to, "HTTP/1.1"] = request[..] else {
        let refusal = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal).await;
    };
    let credentials = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then(|| value.to_owned())
    });
    let to = to.to_owned();
    book.lock().unwrap().push(Connected {
        to: to.clone(),
        credentials,
    });
    let Ok(mut receiver) = TcpStream::connect(&to).await else {
        let refusal = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal).await;
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    // The client speaks first only after our answer, so nothing is left in the buffer.
    tokio::io::copy_bidirectional(&mut client, &mut receiver).await?;
    Ok(())
}
