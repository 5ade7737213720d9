//! librdkafka's callbacks, turned into values. They run on the poller's thread, inside its poll.
//!
//! A rebalance is only noted here; the poller carries it out after its poll has returned, because a revoke waits for
//! requests on the wire and polling must go on meanwhile.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Trouble};
use super::token;

/// Metadata of a commit that asks the group for this time; kept with the offset, where nobody minds it.
pub(super) fn asking(time: u64) -> String {
    format!("{ASKED}{time}")
}

const ASKED: &str = "still a member? ";

/// For which time a commit with this metadata asked the group.
fn asked(metadata: &str) -> Option<u64> {
    metadata.strip_prefix(ASKED)?.parse().ok()
}

/// Something that librdkafka said, in order.
#[derive(Debug)]
pub(super) enum Said {
    Assign(Vec<(String, i32)>),
    Revoke(Vec<(String, i32)>),
    Committed {
        list: Vec<(String, i32, i64)>,
        /// This commit asked the group whether we are still a member, for this time.
        asked: Option<u64>,
    },
    CommitFailed(KafkaError),
    HighWatermark(String, i32, i64),
    Global(Trouble, String),
    Fatal(String),
}

/// Collects what librdkafka says.
pub(super) struct Context {
    said: Mutex<VecDeque<Said>>,
    closing: AtomicBool,
    token_file: Option<PathBuf>,
}

impl Context {
    pub(super) fn new(token_file: Option<PathBuf>) -> Self {
        Self {
            said: Mutex::default(),
            closing: AtomicBool::new(false),
            token_file,
        }
    }

    /// From now on a revoke is carried out inside the callback: nobody is left to do it later.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn next(&self) -> Option<Said> {
        self.said.lock().ok()?.pop_front()
    }

    fn say(&self, said: Said) {
        if let Ok(mut queue) = self.said.lock() {
            queue.push_back(said);
        }
    }

    fn give_back(consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            _ => consumer.unassign(),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "partitions could not be given back while closing");
        }
    }
}

impl ClientContext for Context {
    // librdkafka asks for a token only when sasl.mechanism is OAUTHBEARER.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        for (name, topic) in statistics.topics {
            for (number, partition) in topic.partitions {
                // -1 is librdkafka's internal "unassigned" partition.
                if number >= 0 && partition.desired && partition.hi_offset >= 0 {
                    self.say(Said::HighWatermark(
                        name.clone(),
                        number,
                        partition.hi_offset,
                    ));
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = client::code_of(&error) else {
            return;
        };
        if code == rdkafka::types::RDKafkaErrorCode::Fatal {
            self.say(Said::Fatal(reason.to_owned()));
        } else {
            self.say(Said::Global(Trouble::of(code), reason.to_owned()));
        }
    }

    fn generate_oauth_token(
        &self,
        _configuration: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(token::read(self.token_file.as_deref())?)
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let list = names(partitions);
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
                if !self.closing.load(Ordering::SeqCst) =>
            {
                self.say(Said::Assign(list));
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
                if !self.closing.load(Ordering::SeqCst) =>
            {
                self.say(Said::Revoke(list));
            }
            _ => Self::give_back(consumer, partitions),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match result {
            Ok(()) => {
                let elements = offsets.elements();
                let asked = elements
                    .iter()
                    .find_map(|element| asked(element.metadata()));
                let list = elements
                    .iter()
                    .filter_map(|element| match element.offset() {
                        Offset::Offset(next) if element.error().is_ok() => {
                            Some((element.topic().to_owned(), element.partition(), next))
                        }
                        _ => None,
                    })
                    .collect();
                self.say(Said::Committed { list, asked });
            }
            // Nothing was stored since the last commit: no news.
            Err(error)
                if client::code_of(&error) == Some(rdkafka::types::RDKafkaErrorCode::NoOffset) => {}
            Err(error) => self.say(Said::CommitFailed(error)),
        }
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(std::time::Duration::from_millis(100))
    }
}

fn names(partitions: &TopicPartitionList) -> Vec<(String, i32)> {
    partitions
        .elements()
        .iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect()
}
