//! A connection that ends at every byte of a conversation, in order or by a reset.

use super::super::super::verdict::SetUpFault;
use super::*;

const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"err\":\"invalid_key\"}";
const CHUNKED: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                       7\r\n{\"err\":\r\ne\r\n\"invalid_key\"}\r\n0\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nyes";
/// Ends with the connection, as HTTP/1.0 has it: of such a body nobody can tell whether it is whole.
const UNTIL_CLOSED: &str = "HTTP/1.1 503 Busy\r\n\r\nsorry";

/// A peer that answers its nth connection with the first n bytes of `answer` and ends it.
async fn cutting(answer: &'static str, reset: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        for cut in 0..=answer.len() {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            read_request(&mut stream).await.expect("a request");
            let part = &answer.as_bytes()[..cut];
            stream.write_all(part).await.expect("written");
            if reset {
                stream.set_zero_linger().expect("set");
            }
        }
    });
    url
}

#[tokio::test]
async fn a_cut_answer_is_never_taken_for_a_whole_one() {
    let body_at = |answer: &str| answer.find("\r\n\r\n").expect("a head") + 4;
    let broken = [MomentFault::Reset, MomentFault::Unparsable].map(Verdict::Moment);
    for (answer, from, whole) in [
        (
            REFUSED,
            REFUSED.len(),
            Verdict::SetUp(SetUpFault::InvalidKey),
        ),
        (
            CHUNKED,
            CHUNKED.len(),
            Verdict::SetUp(SetUpFault::InvalidKey),
        ),
        // Of these the status decides, and the head has said it.
        (ACCEPTED, body_at(ACCEPTED), Verdict::Accepted),
        (
            UNTIL_CLOSED,
            body_at(UNTIL_CLOSED),
            Verdict::Moment(MomentFault::Server(503)),
        ),
    ] {
        for reset in [false, true] {
            let receiver = receiver(direct(&cutting(answer, reset).await));
            for cut in 0..=answer.len() {
                let verdict = receiver.push(Bytes::from_static(b"a.b.c")).await.verdict;
                let so = format!("{cut} bytes of {answer:?}, reset: {reset}: {verdict:?}");
                // A reset may overtake the bytes before it.
                let may_be_cut = cut < from || reset;
                let may_be_whole = cut >= from;
                assert!(
                    (may_be_cut && broken.contains(&verdict)) || (may_be_whole && verdict == whole),
                    "{so}"
                );
            }
        }
    }
}

/// The peer goes before it has read the request: at once, in its head, in its body. What is sent is longer than the
/// buffers, so the end comes while we still write.
#[tokio::test]
async fn a_peer_that_does_not_read_to_the_end_has_accepted_nothing() {
    let set = Bytes::from(vec![b'x'; 32 << 20]);
    for read in [0, 1, 100, 64 << 10, 1 << 20] {
        for reset in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}/", listener.local_addr().expect("an address"));
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut bytes = vec![0; read];
                stream.read_exact(&mut bytes).await.expect("read");
                if reset {
                    stream.set_zero_linger().expect("set");
                }
            });
            let answer = receiver(direct(&url)).push(set.clone()).await;
            assert_eq!(
                answer.verdict,
                Verdict::Moment(MomentFault::Reset),
                "{read} {reset}"
            );
        }
    }
}

/// An answer that comes before the request was read to its end counts: the status has been said.
#[tokio::test]
async fn an_early_answer_is_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = [0; 100];
        stream.read_exact(&mut bytes).await.expect("read");
        let refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refusal).await.expect("written");
        std::future::pending::<()>().await;
    });
    let set = Bytes::from(vec![b'x'; 32 << 20]);
    let answer = receiver(direct(&url)).push(set).await;
    assert_eq!(answer.status, Some(413), "{:?}", answer.verdict);
}
