//! ACLs on the test broker. librdkafka can set them, but its Rust binding offers no safe call for it, so the requests
//! are written here byte by byte: CreateAcls and DeleteAcls version 1 (Kafka protocol guide, API keys 30 and 31), sent to the plain listener,
//! where everybody is a super user. LeaveGroup version 1 (key 13) is the same way put here: a member is put out of its group.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::{ANSWER, Wire};

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const LEAVE_GROUP: i16 = 13;
const VERSION: i16 = 1;
const LITERAL: u8 = 3;
const DENY: u8 = 2;
const ALLOW: u8 = 3;

/// What is denied.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
}

/// What may not be done with it. The numbers are those of Kafka's `AclOperation`.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
}

/// Denies `operation` on `resource` to `user` from now on, and nothing else to anybody: a resource with any ACL is closed
/// to all whom none allows, so everything is allowed to everybody first; a denial is the stronger one.
///
/// # Panics
/// When the broker refuses the request.
pub(crate) async fn deny(wire: &Wire, user: &str, operation: Operation, resource: Resource<'_>) {
    let entries = [("*", Operation::All, ALLOW), (user, operation, DENY)];
    create(wire, &entries, resource).await;
}

/// Closes `resource` to everybody but those whom [`allow`] allows.
pub(crate) async fn close(wire: &Wire, resource: Resource<'_>) {
    create(wire, &[("nobody", Operation::All, ALLOW)], resource).await;
}

/// Allows `operation` on `resource` to `user` from now on.
pub(crate) async fn allow(wire: &Wire, user: &str, operation: Operation, resource: Resource<'_>) {
    create(wire, &[(user, operation, ALLOW)], resource).await;
}

/// Takes back what [`allow`] allowed.
pub(crate) async fn withdraw(
    wire: &Wire,
    user: &str,
    operation: Operation,
    resource: Resource<'_>,
) {
    let mut body = header(DELETE_ACLS);
    body.extend(1_i32.to_be_bytes()); // one filter
    pattern(&mut body, resource);
    string(&mut body, &format!("User:{user}"));
    string(&mut body, "*");
    body.push(operation as u8);
    body.push(ALLOW);
    let answer = ask(wire, body).await;
    // Behind correlation id, throttle time and count: the error of the one filter.
    assert_eq!(answer[12..14], [0, 0], "DeleteAcls");
}

/// Puts a member out of its group (of the classic protocol), as if it had left by itself.
pub(crate) async fn put_out(wire: &Wire, group: &str, member: &str) {
    let mut body = header(LEAVE_GROUP);
    string(&mut body, group);
    string(&mut body, member);
    let answer = ask(wire, body).await;
    // Behind correlation id and throttle time: the error.
    assert_eq!(answer[8..10], [0, 0], "LeaveGroup");
}

async fn create(wire: &Wire, entries: &[(&str, Operation, u8)], resource: Resource<'_>) {
    let mut body = header(CREATE_ACLS);
    body.extend(i32::try_from(entries.len()).expect("a few").to_be_bytes());
    for (who, what, permission) in entries {
        pattern(&mut body, resource);
        string(&mut body, &format!("User:{who}"));
        string(&mut body, "*"); // from every host
        body.push(*what as u8);
        body.push(*permission);
    }
    let answer = ask(wire, body).await;
    // Correlation id (4), throttle time (4), count of results (4); each result is an error code (2) and a text, whose
    // length (2) is 0 or -1 when there is no error.
    for result in 0..entries.len() {
        let at = 12 + result * 4;
        let said = String::from_utf8_lossy(&answer);
        assert_eq!(answer[at..at + 2], [0, 0], "CreateAcls: {said}");
    }
}

async fn ask(wire: &Wire, body: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short request");
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(body);
    timeout(ANSWER, exchange(wire.bootstrap(), &framed))
        .await
        .expect("an answer")
        .expect("the plain listener answers")
}

async fn exchange(bootstrap: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(bootstrap).await?;
    connection.write_all(request).await?;
    let length = connection.read_u32().await?;
    let mut answer = vec![0; length as usize];
    connection.read_exact(&mut answer).await?;
    Ok(answer)
}

fn header(request: i16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(request.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(7_i32.to_be_bytes()); // correlation id
    string(&mut body, "setbridge-tests"); // client id
    body
}

fn pattern(to: &mut Vec<u8>, resource: Resource<'_>) {
    let (kind, name) = match resource {
        Resource::Topic(name) => (2_u8, name),
        Resource::Group(name) => (3, name),
        Resource::Cluster => (4, "kafka-cluster"),
    };
    to.push(kind);
    string(to, name);
    to.push(LITERAL);
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(
        i16::try_from(text.len())
            .expect("a short text")
            .to_be_bytes(),
    );
    to.extend(text.as_bytes());
}
