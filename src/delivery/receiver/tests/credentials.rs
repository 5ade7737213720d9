use super::super::super::auth::{ClientCredential, OAuthSettings, SecretStyle};
use super::super::super::verdict::SetUpFault;
use super::*;

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

fn token(number: u32) -> Act {
    let body =
        format!(r#"{{"token_type":"Bearer","access_token":"tok-{number}","expires_in":3600}}"#);
    Act::Write(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into(),
    )
}

fn authorization(request: &str) -> Option<&str> {
    request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: "))
}

async fn with_oauth(receiver_acts: Vec<Act>, token_acts: Vec<Act>) -> (Receiver, Peer, Peer) {
    let (peer, tokens) = (
        Peer::start(receiver_acts).await,
        Peer::start(token_acts).await,
    );
    let auth = AuthSettings::OAuth(Box::new(OAuthSettings {
        token_url: TargetUrl::parse(&tokens.url, false).expect("loopback"),
        client_id: "me".to_owned(),
        credential: ClientCredential::Secret {
            secret: Secret::literal("hunter2".to_owned()),
            style: SecretStyle::Basic,
        },
        scopes: Vec::new(),
        assertion_audience: None,
    }));
    let settings = ReceiverSettings {
        auth,
        ..peer.settings()
    };
    // A machine without certificate authorities can run this, too.
    (
        receiver(ReceiverSettings {
            system_roots: false,
            ..settings
        }),
        peer,
        tokens,
    )
}

#[tokio::test]
async fn a_token_is_fetched_once_and_sent() {
    let (receiver, peer, tokens) =
        with_oauth(vec![Act::Write(ACCEPTED.into())], vec![token(1)]).await;
    for _ in 0..3 {
        assert_eq!(
            receiver.push(Bytes::from_static(b"x")).await.verdict,
            Verdict::Accepted
        );
    }
    assert_eq!(tokens.requests().len(), 1);
    assert!(
        peer.requests()
            .iter()
            .all(|request| authorization(request) == Some("Bearer tok-1"))
    );
    assert!(!format!("{receiver:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_401_fetches_a_fresh_token_once_then_holds() {
    let acts = vec![Act::Write(UNAUTHORIZED.into()), Act::Write(ACCEPTED.into())];
    let (receiver, peer, tokens) = with_oauth(acts, vec![token(1), token(2)]).await;
    assert_eq!(
        receiver.push(Bytes::from_static(b"x")).await.verdict,
        Verdict::Accepted
    );
    let sent: Vec<_> = peer
        .requests()
        .iter()
        .filter_map(|r| authorization(r).map(str::to_owned))
        .collect();
    assert_eq!(sent, ["Bearer tok-1", "Bearer tok-2"]);
    assert_eq!(tokens.requests().len(), 2);

    let (receiver, peer, _tokens) =
        with_oauth(vec![Act::Write(UNAUTHORIZED.into())], vec![token(1)]).await;
    let answer = receiver.push(Bytes::from_static(b"x")).await;
    assert_eq!(answer.verdict, Verdict::SetUp(SetUpFault::Unauthorized));
    assert_eq!(peer.requests().len(), 2, "once more, no loop");
}

/// A token takes its time, and what asked for it may have been held meanwhile.
#[tokio::test]
async fn what_may_no_longer_leave_is_not_sent_with_the_token_that_it_fetched() {
    let acts = vec![Act::Write(UNAUTHORIZED.into()), Act::Write(ACCEPTED.into())];
    let (receiver, peer, tokens) = with_oauth(acts, vec![token(1), token(2)]).await;
    let set = || Bytes::from_static(b"x");
    let asked = std::cell::Cell::new(0);
    let until = |last: u32| {
        asked.set(0);
        let asked = &asked;
        move || {
            asked.set(asked.get() + 1);
            asked.get() <= last
        }
    };
    assert_eq!(receiver.push_if(set(), until(0)).await, None);
    assert_eq!((tokens.requests().len(), peer.requests().len()), (1, 0));
    // The first request leaves and is refused; the one with a fresh token does not.
    assert_eq!(receiver.push_if(set(), until(1)).await, None);
    assert_eq!((tokens.requests().len(), peer.requests().len()), (2, 1));
    let answer = receiver.push_if(set(), until(1)).await.expect("an answer");
    assert_eq!(answer.verdict, Verdict::Accepted);
    let sent = peer.requests();
    assert_eq!(authorization(&sent[1]), Some("Bearer tok-2"));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let refuse = Act::Write(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n".to_vec());
    let (receiver, peer, _tokens) =
        with_oauth(vec![Act::Write(ACCEPTED.into())], vec![refuse]).await;
    let answer = receiver.push(Bytes::from_static(b"x")).await;
    assert_eq!(answer.verdict, Verdict::SetUp(SetUpFault::TokenRefused));
    let busy =
        Act::Write(b"HTTP/1.1 503 X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n".to_vec());
    let (receiver, also, _tokens) = with_oauth(vec![Act::Write(ACCEPTED.into())], vec![busy]).await;
    let answer = receiver.push(Bytes::from_static(b"x")).await;
    assert_eq!(answer.verdict, Verdict::Moment(MomentFault::TokenEndpoint));
    assert_eq!(
        answer.advice.map(|advice| advice.wait),
        Some(Duration::from_secs(9))
    );
    assert!(peer.requests().is_empty() && also.requests().is_empty());
}

#[tokio::test]
async fn a_header_file_that_changed_is_tried_after_a_401() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("authorization");
    std::fs::write(&path, "Bearer old\n").expect("written");
    let acts = vec![
        Act::Write(UNAUTHORIZED.into()),
        Act::Write(UNAUTHORIZED.into()),
        Act::Write(ACCEPTED.into()),
    ];
    let peer = Peer::start(acts).await;
    let auth = AuthSettings::Header {
        name: reqwest::header::AUTHORIZATION,
        value: Secret::from_file(&path).expect("readable"),
    };
    let receiver = receiver(ReceiverSettings {
        auth,
        ..peer.settings()
    });
    let first = receiver.push(Bytes::from_static(b"x")).await;
    assert_eq!(first.verdict, Verdict::SetUp(SetUpFault::Unauthorized));
    assert_eq!(peer.requests().len(), 1, "the same text is not tried again");
    std::fs::write(&path, "Bearer new\n").expect("written");
    assert_eq!(
        receiver.push(Bytes::from_static(b"x")).await.verdict,
        Verdict::Accepted
    );
    let sent: Vec<_> = peer
        .requests()
        .iter()
        .filter_map(|r| authorization(r).map(str::to_owned))
        .collect();
    assert_eq!(sent, ["Bearer old", "Bearer old", "Bearer new"]);
}

/// The authorization server is somebody else's, too: what it answers is bounded, and the receiver is never asked
/// with half a token.
#[tokio::test]
async fn a_hostile_token_endpoint_costs_time_and_memory_within_bounds() {
    let moment = Verdict::Moment(MomentFault::TokenEndpoint);
    let refused = Verdict::SetUp(SetUpFault::TokenRefused);
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let endless = format!("{json}\r\n{{\"token_type\":\"Bearer\",\"access_token\":\"");
    let promised = format!("{json}Content-Length: 99\r\n\r\n{{\"access_token\":\"tok\"");
    let deep = format!("{json}Content-Length: 30000\r\n\r\n{}", "[".repeat(30_000));
    let drip = Act::Drip(
        endless.clone().into(),
        b"x".to_vec(),
        Duration::from_millis(100),
    );
    let rows = [
        (Act::WriteForEver(endless.into(), vec![b'x'; 8192]), moment),
        (
            Act::WriteForEver(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 8192]),
            moment,
        ),
        (Act::WriteAndClose(promised.into()), moment),
        (drip, moment),
        (Act::Write(deep.into()), refused),
        (
            Act::Write(
                b"HTTP/1.1 307 X\r\nLocation: /events\r\nContent-Length: 0\r\n\r\n".to_vec(),
            ),
            refused,
        ),
    ];
    for (number, (act, verdict)) in rows.into_iter().enumerate() {
        let (receiver, peer, tokens) =
            with_oauth(vec![Act::Write(ACCEPTED.into())], vec![act]).await;
        let answer = receiver.push(Bytes::from_static(b"x")).await;
        assert_eq!(answer.verdict, verdict, "row {number}");
        assert!(
            answer.elapsed < Duration::from_secs(9),
            "row {number}: {:?}",
            answer.elapsed
        );
        assert!(
            tokens.endless() < 12 << 20,
            "row {number}: {} bytes",
            tokens.endless()
        );
        assert_eq!(
            (tokens.requests().len(), peer.requests().len()),
            (1, 0),
            "row {number}"
        );
    }
}
