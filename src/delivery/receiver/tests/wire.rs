use super::super::super::advice::AdviceSource;
use super::super::super::verdict::{Refusal, SetUpFault};
use super::*;
use crate::okta::simulator::{JwksSource, Reply, Simulator, SimulatorSettings};

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

fn answer(status_line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status_line}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_push_is_what_rfc_8935_says() {
    let peer = Peer::once(ACCEPTED).await;
    let answer = peer.push().await;
    assert_eq!(
        (answer.verdict, answer.status),
        (Verdict::Accepted, Some(202))
    );
    let request = peer.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, "a.b.c", "the bare token");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /events http/1.1\r\n"));
    for line in [
        "content-type: application/secevent+jwt",
        "accept: application/json",
        concat!("user-agent: setbridge/", env!("CARGO_PKG_VERSION")),
        "content-length: 5",
    ] {
        assert!(head.lines().any(|l| l == line), "{line} in {head}");
    }
    for absent in ["accept-encoding", "authorization", "referer", "cookie"] {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
}

#[tokio::test]
async fn statuses_on_the_wire_have_their_verdicts() {
    let rows = [
        (200, Verdict::Accepted),
        (204, Verdict::Accepted),
        (299, Verdict::Accepted),
        (304, Verdict::SetUp(SetUpFault::Redirect)),
        (401, Verdict::SetUp(SetUpFault::Unauthorized)),
        (403, Verdict::SetUp(SetUpFault::Forbidden)),
        (404, Verdict::SetUp(SetUpFault::NotFound)),
        (413, Verdict::Refused(Refusal::TooLarge413)),
        (422, Verdict::Refused(Refusal::OtherClientError(422))),
        (408, Verdict::Moment(MomentFault::RequestTimeout)),
        (425, Verdict::Moment(MomentFault::TooEarly)),
        (429, Verdict::Moment(MomentFault::TooManyRequests)),
        (500, Verdict::Moment(MomentFault::Server(500))),
        (599, Verdict::Moment(MomentFault::Server(599))),
        (600, Verdict::Moment(MomentFault::Unparsable)),
        (101, Verdict::Moment(MomentFault::Unparsable)),
    ];
    for (status, verdict) in rows {
        let peer = Peer::start(vec![Act::WriteAndClose(
            format!("HTTP/1.1 {status} X\r\n\r\n").into(),
        )])
        .await;
        assert_eq!(peer.push().await.verdict, verdict, "{status}");
    }
}

#[tokio::test]
async fn a_400_is_judged_by_its_err() {
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"err":"invalid_key","description":"No matching key was found"}"#;
    let judged = Peer::once(&answer("400 Bad Request", json, body))
        .await
        .push()
        .await;
    assert_eq!(judged.verdict, Verdict::SetUp(SetUpFault::InvalidKey));
    assert_eq!(judged.err, Some(ErrCode::InvalidKey));
    let empty = Peer::once(&answer("400 Bad Request", "", ""))
        .await
        .push()
        .await;
    assert_eq!(empty.verdict, Verdict::Refused(Refusal::Unreadable400));
    let html = "Content-Type: text/html\r\n";
    let page = Peer::once(&answer("400 Bad Request", html, body))
        .await
        .push()
        .await;
    assert_eq!(page.verdict, Verdict::Refused(Refusal::Unreadable400));
    // Compression was not offered, so it is not undone.
    let gzip = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let packed = Peer::once(&answer("400 Bad Request", gzip, "\x1f\x08"))
        .await
        .push()
        .await;
    assert_eq!(packed.verdict, Verdict::Refused(Refusal::Unreadable400));
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let elsewhere = Peer::once(ACCEPTED).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let location = format!("Location: {}\r\n", elsewhere.url);
        let peer = Peer::once(&answer(status, &location, "")).await;
        assert_eq!(
            peer.push().await.verdict,
            Verdict::SetUp(SetUpFault::Redirect),
            "{status}"
        );
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn advice_and_rate_headers_are_read() {
    let headers = "Retry-After: 7\r\nX-Rate-Limit-Limit: 600\r\nX-Rate-Limit-Remaining: 0\r\n\
                   X-Rate-Limit-Reset: 784111787\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let told = Peer::once(&answer("429 Too Many Requests", headers, ""))
        .await
        .push()
        .await;
    assert!(told.is_throttled());
    let advice = told.advice.expect("advice");
    assert_eq!(
        (advice.wait, advice.source),
        (Duration::from_secs(7), AdviceSource::RetryAfter)
    );
    let ten = Some(Duration::from_secs(10));
    assert_eq!(
        told.rate,
        RateHeaders {
            limit: Some(600),
            remaining: Some(0),
            reset: ten
        }
    );
    let hostile = "Retry-After: 99999999999999999999\r\n";
    let capped = Peer::once(&answer("503 Busy", hostile, ""))
        .await
        .push()
        .await;
    assert_eq!(
        capped.advice.map(|a| a.wait),
        Some(Duration::from_secs(300))
    );
    let fine = Peer::once(&answer("202 Accepted", headers, ""))
        .await
        .push()
        .await;
    assert_eq!((fine.advice, fine.rate.remaining), (None, Some(0)));
}

#[tokio::test]
async fn endless_bodies_end() {
    let json = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n{\"err\":\"invalid_key\",\"x\":\"".to_vec();
    let peer = Peer::start(vec![Act::WriteForEver(json, vec![b'x'; 8192])]).await;
    assert_eq!(
        peer.push().await.verdict,
        Verdict::Refused(Refusal::Unreadable400)
    );
    for (status, verdict) in [
        ("202 OK", Verdict::Accepted),
        ("503 Busy", Verdict::Moment(MomentFault::Server(503))),
    ] {
        let head = format!("HTTP/1.1 {status}\r\n\r\n").into_bytes();
        let peer = Peer::start(vec![Act::WriteForEver(head.clone(), vec![b'x'; 8192])]).await;
        assert_eq!(peer.push().await.verdict, verdict);
        // A body that is promised and never comes: the status stands, and soon.
        let slow = format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\n").into_bytes();
        let started = Instant::now();
        assert_eq!(
            Peer::start(vec![Act::Write(slow)])
                .await
                .push()
                .await
                .verdict,
            verdict
        );
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn broken_answers_are_the_moments() {
    let half_400 = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"err\"".to_vec();
    let many_headers: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
    let rows = [
        (Act::WriteAndClose(Vec::new()), MomentFault::Reset),
        (Act::WriteAndReset(Vec::new()), MomentFault::Reset),
        (
            Act::WriteAndClose(b"HTTP/1.1 20".to_vec()),
            MomentFault::Reset,
        ),
        (Act::WriteAndReset(half_400.clone()), MomentFault::Reset),
        (Act::WriteAndClose(half_400), MomentFault::Reset),
        (
            Act::Write(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            MomentFault::Unparsable,
        ),
        (
            Act::Write(format!("HTTP/1.1 202 OK\r\n{many_headers}\r\n").into()),
            MomentFault::Unparsable,
        ),
    ];
    for (index, (act, fault)) in rows.into_iter().enumerate() {
        let answer = Peer::start(vec![act]).await.push().await;
        assert_eq!(answer.verdict, Verdict::Moment(fault), "row {index}");
        assert_eq!(answer.status, None);
    }
}

#[tokio::test]
async fn no_answer_and_no_connection() {
    let peer = Peer::start(vec![Act::Silence]).await;
    let settings = ReceiverSettings {
        total_timeout: Duration::from_millis(100),
        ..peer.settings()
    };
    let answer = receiver(settings).push(Bytes::from_static(b"x")).await;
    assert_eq!(answer.verdict, Verdict::Moment(MomentFault::Timeout));
    assert!(answer.elapsed >= Duration::from_millis(100));
    assert_eq!(peer.requests().len(), 1, "one attempt is one attempt");

    // A port that nobody listens on.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("an address");
    let refused = receiver(direct(&format!("http://{free}/")))
        .push(Bytes::from_static(b"x"))
        .await;
    assert_eq!(refused.verdict, Verdict::Moment(MomentFault::Connect));
    let nowhere = receiver(direct("http://no-such-host.localhost:1/"))
        .push(Bytes::from_static(b"x"))
        .await;
    assert_eq!(nowhere.verdict, Verdict::Moment(MomentFault::Connect));
}

#[tokio::test]
async fn connections_are_used_again() {
    let body = "ignored";
    let peer = Peer::once(&answer("202 Accepted", "", body)).await;
    let receiver = receiver(peer.settings());
    let set = Bytes::from_static(b"a.b.c");
    for _ in 0..5 {
        assert_eq!(receiver.push(set.clone()).await.verdict, Verdict::Accepted);
    }
    assert_eq!(peer.requests().len(), 5);
}

#[tokio::test]
async fn the_simulator_is_told_apart_in_its_moods() {
    let keys = serde_json::from_str(r#"{"keys":[]}"#).expect("a JWKS");
    let settings = SimulatorSettings::new(
        "https://i.example",
        "https://a.example",
        JwksSource::Given(Box::new(keys)),
    );
    let simulator = Simulator::start(settings).await.expect("started");
    let receiver = receiver(direct(&simulator.url()));
    let rows = [
        (Reply::Judge, Verdict::Refused(Refusal::InvalidRequest)),
        (
            Reply::status(503),
            Verdict::Moment(MomentFault::Server(503)),
        ),
        (
            Reply::too_many_requests(3),
            Verdict::Moment(MomentFault::TooManyRequests),
        ),
        (
            Reply::refusal("invalid_key", "x"),
            Verdict::SetUp(SetUpFault::InvalidKey),
        ),
        (Reply::ResetUnread, Verdict::Moment(MomentFault::Reset)),
        (Reply::ResetRead, Verdict::Moment(MomentFault::Reset)),
        (
            Reply::status(202).after(Duration::from_millis(20)),
            Verdict::Accepted,
        ),
    ];
    for (reply, verdict) in rows {
        simulator.answer_next(1, reply.clone());
        assert_eq!(
            receiver.push(Bytes::from_static(b"a.b.c")).await.verdict,
            verdict,
            "{reply:?}"
        );
    }
    let same = simulator.log(|log| {
        log.received
            .iter()
            .skip(1)
            .all(|r| r.raw.is_empty() || r.raw == "a.b.c")
    });
    assert!(same);
}
