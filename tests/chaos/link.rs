//! A way through the network that can be shut: a port in front of somebody else's. What is shut looks as it does when
//! packets get lost (nothing comes, and no connection ends) or when a machine on the way resets everything.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::plan::Flow;

/// Bytes under way in one direction at most.
const BUFFER: usize = 64 * 1024;

/// A way, for as long as it lives.
pub(crate) struct Link {
    flow: watch::Sender<Flow>,
    _server: JoinSet<()>,
}

impl Link {
    /// From this port of loopback to that one.
    pub(crate) async fn start(from: u16, to: u16) -> Link {
        let [from, to] = [from, to].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let listener = TcpListener::bind(from).await.expect("the port is ours");
        let flow = watch::Sender::new(Flow::Open);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, to, flow.subscribe()));
        Link {
            flow,
            _server: server,
        }
    }

    /// From now on.
    pub(crate) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, flow: watch::Receiver<Flow>) {
    // Dropping them closes every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, to, flow.clone())); }
                // No file is left, for the moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(client: TcpStream, to: SocketAddr, flow: watch::Receiver<Flow>) {
    // Nobody hears of it: shut means shut.
    let _ = client.set_nodelay(true);
    let mut shut = flow.clone();
    opened(&mut shut).await;
    let reset = *shut.borrow() == Flow::Reset;
    let server = if reset {
        None
    } else {
        TcpStream::connect(to).await.ok()
    };
    let Some(server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The end of one direction is the end of both.
    tokio::select! {
        _ = copy(from_client, to_server, flow.clone()) => {}
        _ = copy(from_server, to_client, flow.clone()) => {}
    }
}

/// Until the end of one side, or a reset. What is dropped with bytes unread is reset by the system.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
) -> std::io::Result<()> {
    let mut reset = flow.clone();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            () = is_reset(&mut reset) => 0,
        };
        opened(&mut flow).await;
        if read == 0 || *flow.borrow() == Flow::Reset {
            if *flow.borrow() == Flow::Reset {
                let _ = from.as_ref().set_zero_linger();
                let _ = to.as_ref().set_zero_linger();
            }
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}

async fn is_reset(flow: &mut watch::Receiver<Flow>) {
    if flow.wait_for(|now| *now == Flow::Reset).await.is_err() {
        std::future::pending().await
    }
}

/// Not stalled any more.
async fn opened(flow: &mut watch::Receiver<Flow>) {
    let _sender_lives = flow.wait_for(|now| *now != Flow::Stalled).await.is_ok();
}
