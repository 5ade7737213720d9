//! ACLs on the test broker. librdkafka can set them, but its Rust binding offers no safe call for it, so the one request
//! is written here byte by byte: CreateAcls version 1 (Kafka protocol guide, API key 30), sent to the plain listener,
//! where everybody is a super user.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::{ANSWER, Wire};

const CREATE_ACLS: i16 = 30;
const VERSION: i16 = 1;
const LITERAL: u8 = 3;
const DENY: u8 = 2;
const ALLOW: u8 = 3;
const ALL: u8 = 2;

/// What is denied.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
}

/// What may not be done with it. The numbers are those of Kafka's `AclOperation`.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Read = 3,
    Write = 4,
    Describe = 8,
}

/// Denies `operation` on `resource` to `user` from now on, and nothing else to anybody: a resource with any ACL is closed
/// to all whom none allows, so everything is allowed to everybody first; a denial is the stronger one.
///
/// # Panics
/// When the broker refuses the request.
pub(crate) async fn deny(wire: &Wire, user: &str, operation: Operation, resource: Resource<'_>) {
    let answer = timeout(
        ANSWER,
        exchange(wire.bootstrap(), &request(user, operation, resource)),
    )
    .await
    .expect("an answer to CreateAcls")
    .expect("the plain listener answers");
    // Correlation id (4), throttle time (4), count of results (4); each result is an error code (2) and a text, whose
    // length (2) is 0 or -1 when there is no error.
    for result in 0..2 {
        let at = 12 + result * 4;
        let said = String::from_utf8_lossy(&answer);
        assert_eq!(answer[at..at + 2], [0, 0], "CreateAcls: {said}");
    }
}

async fn exchange(bootstrap: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(bootstrap).await?;
    connection.write_all(request).await?;
    let length = connection.read_u32().await?;
    let mut answer = vec![0; length as usize];
    connection.read_exact(&mut answer).await?;
    Ok(answer)
}

fn request(user: &str, operation: Operation, resource: Resource<'_>) -> Vec<u8> {
    let (kind, name) = match resource {
        Resource::Topic(name) => (2_u8, name),
        Resource::Group(name) => (3, name),
    };
    let mut body = Vec::new();
    body.extend(CREATE_ACLS.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(7_i32.to_be_bytes()); // correlation id
    string(&mut body, "setbridge-tests"); // client id
    body.extend(2_i32.to_be_bytes()); // two ACLs
    for (who, what, permission) in [("*", ALL, ALLOW), (user, operation as u8, DENY)] {
        body.push(kind);
        string(&mut body, name);
        body.push(LITERAL);
        string(&mut body, &format!("User:{who}"));
        string(&mut body, "*"); // from every host
        body.push(what);
        body.push(permission);
    }
    let length = u32::try_from(body.len()).expect("a short request");
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(body);
    framed
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(
        i16::try_from(text.len())
            .expect("a short text")
            .to_be_bytes(),
    );
    to.extend(text.as_bytes());
}
