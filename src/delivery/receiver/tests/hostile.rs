//! Answers that are meant to hurt: without an end, slow, too many headers, bodies that are not what they say. The
//! time-out holds, what is read of an answer is bounded, and the verdict is DESIGN §5's.

use super::super::super::verdict::{Refusal, SetUpFault};
use super::*;

/// Both sockets' buffers, by Linux's defaults (`tcp_wmem` 4 MiB, `tcp_rmem` 6 MiB), and what we read ourselves.
const BUFFERS: usize = 12 << 20;
/// What a busy machine may add to a time-out.
const SLACK: Duration = Duration::from_secs(4);

const UNPARSABLE: Verdict = Verdict::Moment(MomentFault::Unparsable);
const TIMEOUT: Verdict = Verdict::Moment(MomentFault::Timeout);
const UNREADABLE: Verdict = Verdict::Refused(Refusal::Unreadable400);
const INVALID_KEY: Verdict = Verdict::SetUp(SetUpFault::InvalidKey);

fn bad_request(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 400 Bad Request\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

async fn verdict_of(act: Act) -> Verdict {
    Peer::start(vec![act]).await.push().await.verdict
}

/// Status lines and headers that never end; hyper reads 400 KiB and 100 headers of an answer's head.
#[tokio::test]
async fn heads_without_an_end_are_read_up_to_a_bound() {
    let rows: [(&str, &str, String); 5] = [
        ("a reason phrase", "HTTP/1.1 202 ", "x".repeat(8192)),
        (
            "a header's value",
            "HTTP/1.1 202 OK\r\nX: ",
            "x".repeat(8192),
        ),
        ("a header's name", "HTTP/1.1 202 OK\r\n", "x".repeat(8192)),
        (
            "cookies",
            "HTTP/1.1 202 OK\r\n",
            "Set-Cookie: a=b\r\n".repeat(512),
        ),
        ("bytes that are no HTTP", "", "\0".repeat(8192)),
    ];
    for (what, first, again) in rows {
        let peer = Peer::start(vec![Act::WriteForEver(first.into(), again.into())]).await;
        assert_eq!(peer.push().await.verdict, UNPARSABLE, "{what}");
        assert!(peer.endless() < BUFFERS, "{what}: {} bytes", peer.endless());
    }
    for (what, header, verdict) in [
        (
            "300 KiB in one header",
            format!("X: {}\r\n", "x".repeat(300 << 10)),
            Verdict::Accepted,
        ),
        (
            "500 KiB in one header",
            format!("X: {}\r\n", "x".repeat(500 << 10)),
            UNPARSABLE,
        ),
        ("99 headers", "X: y\r\n".repeat(99), Verdict::Accepted),
        ("101 headers", "X: y\r\n".repeat(101), UNPARSABLE),
    ] {
        let answer = format!("HTTP/1.1 202 OK\r\n{header}Content-Length: 0\r\n\r\n");
        assert_eq!(
            verdict_of(Act::Write(answer.into())).await,
            verdict,
            "{what}"
        );
    }
}

/// A byte now and then keeps a connection busy, but no attempt alive: the time-out is that of the whole attempt.
#[tokio::test]
async fn a_slow_answer_ends_with_the_time_out() {
    let json =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n";
    let rows = [
        ("nothing but a reason phrase", "HTTP/1.1 202 ", "x", TIMEOUT),
        ("a header for ever", "HTTP/1.1 202 OK\r\nX: ", "x", TIMEOUT),
        (
            "headers for ever",
            "HTTP/1.1 202 OK\r\n",
            "A: b\r\n",
            TIMEOUT,
        ),
        (
            "early hints for ever",
            "",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
            TIMEOUT,
        ),
        ("the body of a 400", json, " ", TIMEOUT),
        // The status has been said: what follows means nothing.
        (
            "the body of a 202",
            "HTTP/1.1 202 OK\r\n\r\n",
            "x",
            Verdict::Accepted,
        ),
        (
            "the body of a 503",
            "HTTP/1.1 503 Busy\r\n\r\n",
            "x",
            Verdict::Moment(MomentFault::Server(503)),
        ),
    ];
    for (what, first, again, verdict) in rows {
        let limit = Duration::from_millis(400);
        let peer = Peer::start(vec![Act::Drip(first.into(), again.into(), limit / 40)]).await;
        let settings = ReceiverSettings {
            total_timeout: limit,
            ..peer.settings()
        };
        let answer = receiver(settings).push(Bytes::from_static(b"x")).await;
        assert_eq!(answer.verdict, verdict, "{what}");
        assert!(
            answer.elapsed < limit + SLACK,
            "{what}: {:?}",
            answer.elapsed
        );
        if verdict == TIMEOUT {
            assert!(answer.elapsed >= limit, "{what}: {:?}", answer.elapsed);
        }
        assert_eq!(peer.requests().len(), 1, "{what}");
    }
}

/// As fast as they can come: they are read and forgotten, and others get their turn meanwhile.
#[tokio::test]
async fn a_flood_of_interim_answers_ends_with_the_time_out() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ] {
        let flood = Act::WriteForEver(Vec::new(), interim.repeat(300).into());
        let peer = Peer::start(vec![flood]).await;
        let settings = ReceiverSettings {
            total_timeout: Duration::from_millis(400),
            ..peer.settings()
        };
        let flooded = receiver(settings);
        let neighbour = Peer::once("HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n").await;
        // One thread for all of them, as `tokio::test` has it.
        let (answer, other) =
            tokio::join!(flooded.push(Bytes::from_static(b"x")), neighbour.push());
        assert_eq!(answer.verdict, TIMEOUT, "{interim}");
        assert!(answer.elapsed < Duration::from_millis(400) + SLACK);
        assert_eq!(other.verdict, Verdict::Accepted);
        assert!(other.elapsed < answer.elapsed);
    }
    // A few are what HTTP allows.
    let few = format!(
        "{}HTTP/1.1 202 OK\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20)
    );
    assert_eq!(
        verdict_of(Act::WriteAndClose(few.into())).await,
        Verdict::Accepted
    );
}

#[tokio::test]
async fn a_body_without_an_end_is_read_up_to_a_bound() {
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(8192));
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let rows = [
        ("400 Bad Request", UNREADABLE),
        ("202 Accepted", Verdict::Accepted),
        ("503 Busy", Verdict::Moment(MomentFault::Server(503))),
        (
            "307 Temporary Redirect",
            Verdict::SetUp(SetUpFault::Redirect),
        ),
    ];
    for (status, verdict) in rows {
        for (first, again) in [
            (format!("HTTP/1.1 {status}\r\n\r\n"), "x".repeat(8192)),
            (format!("HTTP/1.1 {status}\r\n{chunked}"), chunk.clone()),
            (
                format!("HTTP/1.1 {status}\r\n{chunked}"),
                "1\r\nx\r\n".repeat(1000),
            ),
            (
                format!("HTTP/1.1 {status}\r\nContent-Length: 9223372036854775807\r\n\r\n"),
                "x".repeat(8192),
            ),
        ] {
            let peer =
                Peer::start(vec![Act::WriteForEver(first.clone().into(), again.into())]).await;
            assert_eq!(peer.push().await.verdict, verdict, "{first}");
            assert!(
                peer.endless() < BUFFERS,
                "{first}: {} bytes",
                peer.endless()
            );
        }
    }
}

/// Of a 400 the body decides, so a broken one is no answer; any other status stands whatever follows it.
#[tokio::test]
async fn broken_chunks_are_the_moments() {
    let bodies = [
        ("no size", "x\r\n{}\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "fffffffffffffffff\r\n{}"),
        ("a negative size", "-2\r\n{}\r\n0\r\n\r\n"),
        ("more than the size says", "2\r\n{}{}{}\r\n0\r\n\r\n"),
        (
            "an extension without an end",
            &format!("2;{}", "x".repeat(64 << 10)),
        ),
        (
            "trailers without an end",
            &format!("2\r\n{{}}\r\n0\r\n{}", "X: y\r\n".repeat(64 << 10)),
        ),
    ];
    for (what, body) in bodies {
        let answer = |status: &str| {
            let json = "Content-Type: application/json\r\nTransfer-Encoding: chunked";
            Act::Write(format!("HTTP/1.1 {status}\r\n{json}\r\n\r\n{body}").into())
        };
        assert_eq!(
            verdict_of(answer("400 Bad Request")).await,
            UNPARSABLE,
            "{what}"
        );
        assert_eq!(
            verdict_of(answer("202 Accepted")).await,
            Verdict::Accepted,
            "{what}"
        );
    }
    for lengths in [
        "-1",
        "1, 2",
        "1\r\nContent-Length: 2",
        "18446744073709551615",
        "99999999999999999999",
        "a",
    ] {
        let answer = format!("HTTP/1.1 202 OK\r\nContent-Length: {lengths}\r\n\r\nxx");
        assert_eq!(
            verdict_of(Act::Write(answer.into())).await,
            UNPARSABLE,
            "{lengths}"
        );
    }
}

#[tokio::test]
async fn the_media_type_says_whether_a_body_is_read() {
    let body = br#"{"err": "invalid_key"}"#;
    let rows = [
        ("", INVALID_KEY),
        ("Content-Type: \r\n", INVALID_KEY),
        ("Content-Type: application/json\r\n", INVALID_KEY),
        (
            "Content-Type: Application/JSON ; charset=utf-8\r\n",
            INVALID_KEY,
        ),
        ("Content-Type: application/problem+json\r\n", INVALID_KEY),
        ("Content-Type: text/html\r\n", UNREADABLE),
        ("Content-Type: application/secevent+jwt\r\n", UNREADABLE),
        ("Content-Type: application/json-seq\r\n", UNREADABLE),
        ("Content-Type: ;application/json\r\n", INVALID_KEY),
        (
            "Content-Type: text/html\r\nContent-Type: application/json\r\n",
            UNREADABLE,
        ),
    ];
    for (header, verdict) in rows {
        assert_eq!(
            verdict_of(Act::Write(bad_request(header, body))).await,
            verdict,
            "{header}"
        );
    }
    let no_text = [
        b"HTTP/1.1 400 X\r\nContent-Type: \xff\xfe\r\nContent-Length: 22\r\n\r\n",
        &body[..],
    ]
    .concat();
    assert_eq!(verdict_of(Act::Write(no_text)).await, UNREADABLE);
}

/// Whatever stands in a body: no panic, no deep stack, and of an unknown code at most 64 harmless characters are kept.
#[tokio::test]
async fn error_bodies_are_read_with_care() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let unknown = Verdict::Refused(Refusal::UnknownErr);
    let longest = "x".repeat(64);
    let rows: Vec<(&str, Vec<u8>, Verdict, Option<&str>)> = vec![
        (
            "not UTF-8",
            b"{\"err\": \"\xff\xfe\"}".to_vec(),
            UNREADABLE,
            None,
        ),
        (
            "not UTF-8 where nobody looks",
            b"{\"err\": \"invalid_key\", \"x\": \"\xff\"}".to_vec(),
            INVALID_KEY,
            Some("invalid_key"),
        ),
        (
            "half a surrogate",
            br#"{"err": "\ud800"}"#.to_vec(),
            UNREADABLE,
            None,
        ),
        (
            "an escaped code",
            br#"{"err": "invalid\u005fkey"}"#.to_vec(),
            INVALID_KEY,
            Some("invalid_key"),
        ),
        (
            "control signs",
            br#"{"err": "a\u0000\r\nb"}"#.to_vec(),
            unknown,
            Some("unknown"),
        ),
        (
            "a person's name",
            br#"{"err": "no user user-17@example.com"}"#.to_vec(),
            unknown,
            Some("unknown"),
        ),
        (
            "a long code",
            format!("{{\"err\": \"{}\"}}", "x".repeat(60_000)).into(),
            unknown,
            Some("unknown"),
        ),
        (
            "64 characters",
            format!("{{\"err\": \"{longest}\"}}").into(),
            unknown,
            Some(&longest),
        ),
        ("a number", br#"{"err": 1}"#.to_vec(), UNREADABLE, None),
        ("null", br#"{"err": null}"#.to_vec(), UNREADABLE, None),
        (
            "no object",
            br#"["invalid_key"]"#.to_vec(),
            UNREADABLE,
            None,
        ),
        (
            "twice",
            br#"{"err": "invalid_key", "err": "invalid_key"}"#.to_vec(),
            UNREADABLE,
            None,
        ),
        (
            "deep beside it",
            format!("{{\"x\": {}, \"err\": \"invalid_key\"}}", deep("[", "]")).into(),
            INVALID_KEY,
            Some("invalid_key"),
        ),
        (
            "deep objects",
            format!(
                "{{\"x\": {}, \"err\": \"invalid_key\"}}",
                deep("{\"a\":", "}").replace(":}", ":1}")
            )
            .into(),
            INVALID_KEY,
            Some("invalid_key"),
        ),
        (
            "deep in it",
            format!("{{\"err\": {}}}", deep("[", "]")).into(),
            UNREADABLE,
            None,
        ),
        (
            "deep and open",
            format!("{{\"x\": {}", "[".repeat(60_000)).into(),
            UNREADABLE,
            None,
        ),
    ];
    for (what, body, verdict, err) in rows {
        let json = "Content-Type: application/json\r\n";
        let peer = Peer::start(vec![Act::Write(bad_request(json, &body))]).await;
        let answer = peer.push().await;
        assert_eq!(answer.verdict, verdict, "{what}");
        assert_eq!(answer.err.as_ref().map(ErrCode::as_str), err, "{what}");
    }
}

#[tokio::test]
async fn a_redirect_to_itself_is_one_request() {
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nLocation: /events\r\nContent-Length: 0\r\n\r\n");
        let peer = Peer::once(&answer).await;
        assert_eq!(
            peer.push().await.verdict,
            Verdict::SetUp(SetUpFault::Redirect)
        );
        assert_eq!(peer.requests().len(), 1, "{status}");
    }
}

/// Bytes behind an answer belong to nobody: they must not be taken for the answer about the next SET.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_answers_nothing() {
    const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    for extra in [
        ACCEPTED.to_owned(),
        ACCEPTED.repeat(50),
        format!("\r\n{ACCEPTED}"),
    ] {
        let peer = Peer::start(vec![Act::Write(format!("{BUSY}{extra}").into())]).await;
        let receiver = receiver(peer.settings());
        for _ in 0..50 {
            let answer = receiver.push(Bytes::from_static(b"a.b.c")).await;
            assert_ne!(answer.verdict, Verdict::Accepted, "{extra:?}");
        }
    }
}
