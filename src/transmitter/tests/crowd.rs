//! Many clients at once, slow ones, and ones that never leave.

use tokio::net::TcpSocket;

use super::*;

#[tokio::test]
async fn slow_clients_are_dropped_and_do_not_hold_up_others() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        connections: 2,
        header: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&server.address)
            .await
            .expect("connection");
        stream
            .write_all(b"GET /jwks.json HTTP/1.1\r\nHo")
            .await
            .expect("half a header");
        slow.push(stream);
    }
    // All slots are taken by clients that never finish; a third one is served once they are dropped.
    assert_eq!(server.get("/jwks.json").await.0, 200);
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_has_an_end() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        connection: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let mut idle = TcpStream::connect(&server.address)
        .await
        .expect("connection");
    idle.write_all(b"GET /jwks.json HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("request");
    let mut all = Vec::new();
    idle.read_to_end(&mut all)
        .await
        .expect("answer, then the end of the connection");
    assert!(all.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

/// A client that begins a request and never ends it.
async fn half_a_request(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address)
        .await
        .expect("connection");
    stream
        .write_all(b"GET /jwks.json HTTP/1.1\r\nHo")
        .await
        .expect("half a header");
    stream
}

#[tokio::test]
async fn when_all_connections_are_taken_the_oldest_ends() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        connections: 3,
        // Nothing else ends them while this test runs.
        header: Duration::from_secs(3600),
        connection: Duration::from_secs(3600),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let mut first = half_a_request(&server).await;
    let mut others = vec![half_a_request(&server).await, half_a_request(&server).await];
    // The document comes although nobody left by himself.
    assert_eq!(server.get("/jwks.json").await.0, 200);
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    // That one has left by itself, so the others may stay and end what they began.
    for stream in &mut others {
        let rest = b"st: h\r\nConnection: close\r\n\r\n";
        stream.write_all(rest).await.expect("the other half");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    server.stop().await;
}

/// Somebody opens connections faster than a receiver far away can ask for the document.
#[tokio::test]
async fn one_client_with_many_connections_ends_its_own() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let limits = Limits {
        connections: 8,
        header: Duration::from_secs(3600),
        connection: Duration::from_secs(3600),
        ..Limits::default()
    };
    let server = Server::start(limits, &[publication("https://h.example", &keys)]).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    let elsewhere = "127.0.0.2:0".parse().expect("an address");
    socket.bind(elsewhere).expect("another loopback address");
    let address = server.address.parse().expect("an address");
    let mut receiver = socket.connect(address).await.expect("connection");
    let begun = b"GET /jwks.json HTTP/1.1\r\nHo";
    receiver.write_all(begun).await.expect("half a header");
    let mut flood = Vec::new();
    for _ in 0..32 {
        flood.push(half_a_request(&server).await);
    }
    let mut rest = Vec::new();
    // As many as there are too many end, the oldest first.
    for ended in &mut flood[..24] {
        let _ = ended.read_to_end(&mut rest).await;
    }
    assert!(rest.is_empty());
    let end = b"st: h\r\nConnection: close\r\n\r\n";
    receiver.write_all(end).await.expect("the other half");
    receiver.read_to_end(&mut rest).await.expect("an answer");
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

/// A thousand at once, half of which never finish their request: each of the others is answered.
#[tokio::test]
async fn a_thousand_connections_at_once() {
    let keys = ring(&["rsa-2048.pkcs8.pem"]);
    let server = Server::start(
        Limits::default(),
        &[publication("https://h.example", &keys)],
    )
    .await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        slow.push(half_a_request(&server).await);
    }
    let server = Arc::new(server);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let server = Arc::clone(&server);
        asked.spawn(async move { server.get("/jwks.json").await.0 });
    }
    assert_eq!(asked.join_all().await, vec![200; 500]);
    drop(slow);
    Arc::into_inner(server)
        .expect("all have asked")
        .stop()
        .await;
}
