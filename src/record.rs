//! A record as it left Kafka, before anybody looked inside.
//!
//! Pure types: nothing here knows about librdkafka, so that the core can be tested without a
//! broker. It must never interpret the value.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Where a record came from. It is logged and put into dead letters, it never names a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

/// One Kafka record. Cheap to clone: key, value and header values are shared.
#[derive(Clone)]
pub struct Record {
    /// Topic, partition and offset.
    pub origin: Origin,
    /// The key; `None` when the producer sent none.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in the order of the record; a name may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Kafka's own time stamp, milliseconds since 1970 (create time or log-append time).
    pub timestamp_ms: Option<i64>,
}

impl fmt::Debug for Record {
    /// Shows where it came from and its size, never what it says (DESIGN P8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value.as_ref().map_or(0, Bytes::len);
        write!(f, "Record({}, {bytes} bytes)", self.origin)
    }
}

impl Record {
    /// The value of the last header with that name. Kafka allows repeats; by convention the
    /// last one counts (`Headers.lastHeader` in Kafka's own clients).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        let (_, value) = self.headers.iter().rev().find(|(n, _)| n == name)?;
        value.as_ref()
    }

    /// Bytes of key, value and headers: what the record costs to keep.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len));
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_reads_as_topic_partition_offset() {
        let origin = Origin {
            topic: "detections".into(),
            partition: 3,
            offset: 42,
        };
        assert_eq!(origin.to_string(), "detections:3:42");
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let record = Record {
            origin: Origin {
                topic: "t".into(),
                partition: 0,
                offset: 0,
            },
            key: None,
            value: None,
            headers: vec![
                ("tenant".into(), Some(Bytes::from_static(b"a"))),
                ("tenant".into(), Some(Bytes::from_static(b"b"))),
            ],
            timestamp_ms: None,
        };
        assert_eq!(record.header("tenant"), Some(&Bytes::from_static(b"b")));
        assert_eq!(record.header("other"), None);
    }
}
