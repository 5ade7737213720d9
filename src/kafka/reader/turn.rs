//! One command at a time: of all members of a consumer group one has partition 0 of a topic, and with it the turn, when no
//! other member stays. The group is what never moves; the topic may be another one for a command that starts later.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::fault::{ReadError, failed};
use super::{AGAIN, asked};
use crate::kafka::client::{self, KafkaClient, Trouble, code_of};
use crate::kafka::token;

/// A member that is gone without a word (a kill) has the turn for so long. Brokers take no less by default.
const SESSION_MS: &str = "6000";
/// So long the group is waited for: more than a session, and more than the 3 s that brokers wait for further members.
const PATIENCE: Duration = Duration::from_secs(30);
/// So long those that did not get the turn have to leave: more than a session.
const LEAVE: Duration = Duration::from_secs(10);
/// Who did not look for so long may have been asleep: half a session.
const ASLEEP: Duration = Duration::from_secs(3);
/// After it woke, its client finds out within so long that its session is over: it looks each second.
const WAKE: Duration = Duration::from_millis(2500);

/// The turn; it ends with this value.
pub struct Turn {
    consumer: BaseConsumer<Seats>,
    group: String,
    looked_at: Cell<Instant>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turn({})", self.group)
    }
}

impl Turn {
    /// Joins `group` on `topic`, which has to be there. [`None`]: somebody else has the turn. Blocks.
    ///
    /// # Errors
    /// [`ReadError::Kafka`].
    pub fn take(kafka: &KafkaClient, group: &str, topic: &str) -> Result<Option<Self>, ReadError> {
        let doing = || format!("group {group} cannot be joined");
        let wrong = |source| failed(&doing(), None, source);
        let mut config = kafka.config();
        for name in ["group.instance.id", "group.remote.assignor"] {
            config.remove(name);
        }
        config
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_MS)
            .set("heartbeat.interval.ms", "1000")
            // Nobody polls while the command works.
            .set("max.poll.interval.ms", "86400000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("queued.min.messages", "1");
        let seats = Seats::of(kafka.token_file());
        let consumer: BaseConsumer<Seats> = config.create_with_context(seats).map_err(wrong)?;
        consumer.subscribe(&[topic]).map_err(wrong)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match consumer.poll(Duration::from_millis(100)) {
                None | Some(Ok(_)) => {}
                Some(Err(error)) => match code_of(&error) {
                    Some(code) if Trouble::of(code) == Trouble::Unreachable => {}
                    _ => return Err(wrong(error)),
                },
            }
            let seats = consumer.context();
            if seats.has_first.load(Ordering::Acquire) {
                let turn = Self {
                    consumer,
                    group: group.to_owned(),
                    looked_at: Cell::new(Instant::now()),
                };
                return Ok(turn.is_alone()?.then_some(turn));
            }
            if seats.is_told.load(Ordering::Acquire) {
                return Ok(None);
            }
        }
        // Whoever has the turn and does not answer the group keeps others from joining it.
        match consumer.fetch_group_list(Some(group), PATIENCE) {
            Ok(list) if list.groups().iter().any(|of| !of.members().is_empty()) => Ok(None),
            Ok(_) => Err(wrong(KafkaError::Global(Code::OperationTimedOut))),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Waits until nobody else is in the group; says whether that came about. Another one may have a turn of another topic.
    fn is_alone(&self) -> Result<bool, ReadError> {
        let until = Instant::now() + LEAVE;
        loop {
            let ask = |left| self.consumer.fetch_group_list(Some(&self.group), left);
            let list = asked(Instant::now() + PATIENCE, AGAIN, ask).map_err(|source| {
                let doing = format!("the members of group {} are not known", self.group);
                failed(&doing, None, source)
            })?;
            let members: usize = list.groups().iter().map(|of| of.members().len()).sum();
            // We are one of them: a broker that knows of nobody does not know yet.
            if members == 1 {
                return Ok(self.is_ours());
            }
            if !self.is_ours() || Instant::now() >= until {
                return Ok(false);
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// Whether the turn has been ours all the time, as far as the group told us. Asked before whatever only its owner may
    /// do. Blocks for a moment if it was not asked for a while: our session may have ended while we slept.
    ///
    /// Nobody polls meanwhile: so nothing is given away to a command that comes by, and what was lost stays lost.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        if self.looked_at.get().elapsed() >= ASLEEP {
            let until = Instant::now() + WAKE;
            while Instant::now() < until && !self.consumer.assignment_lost() {
                std::thread::park_timeout(Duration::from_millis(50));
            }
        }
        self.looked_at.set(Instant::now());
        !self.consumer.assignment_lost()
    }

    /// Commits these offsets: what is remembered from one turn to the next. Blocks.
    ///
    /// # Errors
    /// [`ReadError::Kafka`], also when the turn was lost meanwhile.
    pub fn remember(&self, offsets: &BTreeMap<(String, i32), i64>) -> Result<(), ReadError> {
        let doing = || format!("offsets of group {} cannot be committed", self.group);
        let wrong = |source| failed(&doing(), None, source);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(wrong)?;
        }
        #[expect(clippy::disallowed_methods, reason = "this one waits for its answer")]
        self.consumer.commit(&list, CommitMode::Sync).map_err(wrong)
    }
}

/// Hears what the group gives us; reads nothing of it.
struct Seats {
    token_file: Option<PathBuf>,
    has_first: AtomicBool,
    /// The group has said what we get, if only nothing.
    is_told: AtomicBool,
}

impl Seats {
    fn of(token_file: Option<PathBuf>) -> Self {
        Self {
            token_file,
            has_first: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }
    }
}

impl ClientContext for Seats {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn generate_oauth_token(
        &self,
        _configuration: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(token::read(self.token_file.as_deref())?)
    }
}

impl ConsumerContext for Seats {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let has_first = partitions.elements().iter().any(|p| p.partition() == 0);
        let result = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if has_first {
                    self.has_first.store(true, Ordering::Release);
                }
                self.is_told.store(true, Ordering::Release);
                let assigned = consumer.incremental_assign(partitions);
                assigned.and_then(|()| consumer.pause(partitions))
            }
            _ => {
                if has_first {
                    self.has_first.store(false, Ordering::Release);
                }
                consumer.incremental_unassign(partitions)
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the group of commands");
        }
    }
}
