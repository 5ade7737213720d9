//! Leaders that move though no broker stops: the replicas of a partition get another order, and the controller, which
//! lets the first one lead, moves the leader within seconds (`auto.leader.rebalance.enable`).
//!
//! librdkafka has no call for it, and a Java tool takes seconds of a core. So this is the request itself:
//! AlterPartitionReassignments v0 (KIP-455, key 45).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::load::{KEYED, LOOSE};
use super::support::wire::Wire;

const KEY: i16 = 45;
const ANSWER: Duration = Duration::from_secs(10);
/// As tests/chaos/cluster.rs configures.
const COORDINATORS: i32 = 3;
const OFFSETS: &str = "__consumer_offsets";

/// A partition, and its replicas in their new order.
struct Move {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
}

/// Each third partition of these topics gets another leader.
///
/// # Errors
/// In words, when no broker does it.
pub(crate) fn move_third(wire: &Wire, topics: [&str; 2], third: usize) -> Result<(), String> {
    let mut moves = Vec::new();
    for (topic, partitions) in topics.into_iter().zip([KEYED, LOOSE]) {
        let third = i32::try_from(third % 3).expect("of three");
        let theirs: Vec<i32> = (0..partitions).filter(|p| p % 3 == third).collect();
        moves.extend(others(wire, topic, &theirs)?);
    }
    reassign(wire, &moves)
}

/// The group gets another coordinator: its partition of the offsets topic another leader.
///
/// # Errors
/// In words, when no broker does it.
pub(crate) fn move_coordinator(wire: &Wire, group: &str) -> Result<(), String> {
    let moves = others(wire, OFFSETS, &[coordinator_of(group)])?;
    reassign(wire, &moves)
}

/// By the hash of a Java string.
fn coordinator_of(group: &str) -> i32 {
    let hash = group.bytes().fold(0i32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte))
    });
    hash.checked_abs().unwrap_or(0) % COORDINATORS
}

/// For each partition an order of its replicas that begins with another one than its leader.
fn others(wire: &Wire, topic: &str, partitions: &[i32]) -> Result<Vec<Move>, String> {
    let asking: BaseConsumer = wire.client().create().map_err(|e| e.to_string())?;
    let metadata = asking.fetch_metadata(Some(topic), ANSWER);
    let metadata = metadata.map_err(|e| format!("metadata of {topic}: {e}"))?;
    let known = metadata.topics().first().map(|t| t.partitions());
    let theirs = known.unwrap_or_default().iter();
    let theirs: Vec<_> = theirs
        .filter(|known| partitions.contains(&known.id()))
        .collect();
    // What was moved before is where it was meant to be, unless its broker has been away.
    let there = theirs
        .iter()
        .filter(|known| known.replicas().first() == Some(&known.leader()));
    println!(
        "leaders of {topic}: {} of {} are first",
        there.count(),
        theirs.len()
    );
    let moves = theirs.iter().filter_map(|known| {
        let mut replicas = known.replicas().to_vec();
        let other = replicas.iter().position(|id| *id != known.leader())?;
        replicas.rotate_left(other);
        Some(Move {
            topic: topic.to_owned(),
            partition: known.id(),
            replicas,
        })
    });
    Ok(moves.collect())
}

fn reassign(wire: &Wire, moves: &[Move]) -> Result<(), String> {
    let request = request(moves);
    let mut last = "no broker".to_owned();
    for broker in wire.bootstrap().split(',') {
        match ask(broker, &request) {
            Ok(0) => return Ok(()),
            Ok(code) => last = format!("{broker}: error {code}"),
            Err(error) => last = format!("{broker}: {error}"),
        }
    }
    Err(last)
}

/// The error code of the answer as a whole.
fn ask(broker: &str, request: &[u8]) -> std::io::Result<i16> {
    let address = broker.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    // Correlation id, no tagged fields, throttle time, error code.
    let code = answer.get(9..11).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(i16::from_be_bytes([code[0], code[1]]))
}

/// With its header (v2), in the compact forms of KIP-482. All lists here are shorter than 127.
fn request(moves: &[Move]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(KEY.to_be_bytes());
    body.extend(0i16.to_be_bytes());
    body.extend(7i32.to_be_bytes());
    let client = b"chaos";
    body.extend(5i16.to_be_bytes());
    body.extend(client);
    body.push(0);
    body.extend(5000i32.to_be_bytes());
    let length = |length: usize| u8::try_from(length + 1).expect("a short list");
    body.push(length(moves.len()));
    for one in moves {
        body.push(length(one.topic.len()));
        body.extend(one.topic.as_bytes());
        body.push(length(1));
        body.extend(one.partition.to_be_bytes());
        body.push(length(one.replicas.len()));
        for replica in &one.replicas {
            body.extend(replica.to_be_bytes());
        }
        // No tagged fields of the partition, nor of the topic.
        body.extend([0, 0]);
    }
    body.push(0);
    let length = u32::try_from(body.len()).expect("short");
    [&length.to_be_bytes()[..], &body].concat()
}
