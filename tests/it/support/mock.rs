//! librdkafka's mock cluster: a Kafka in the process, ready in milliseconds.
//!
//! What it cannot show (so those tests need Apache Kafka): TLS, SASL, ACLs, CreateTopics, deleting topics or records,
//! more than 5 MiB in one partition (older records vanish), the KIP-848 group protocol.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::wire::Wire;

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Job = Box<dyn FnOnce(&Cluster) + Send>;

/// A mock cluster of one broker. It ends when this is dropped.
pub(crate) struct Mock {
    wire: Wire,
    // `None` only while dropping. The cluster is not `Send`, so it lives in a thread of its own and jobs go to it.
    jobs: Option<mpsc::Sender<Job>>,
    owner: Option<JoinHandle<()>>,
}

impl Mock {
    /// Starts a cluster of one broker.
    pub(crate) fn start() -> Mock {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let owner = thread::Builder::new()
            .name("mock cluster".to_owned())
            .spawn(move || {
                let cluster = MockCluster::new(1).expect("a mock cluster");
                ready
                    .send(cluster.bootstrap_servers())
                    .expect("the starter waits");
                for job in inbox {
                    job(&cluster);
                }
            })
            .expect("a thread for the mock cluster");
        let bootstrap = started.recv().expect("the mock cluster starts");
        Mock {
            wire: Wire::to(&bootstrap),
            jobs: Some(jobs),
            owner: Some(owner),
        }
    }

    /// The cluster as a client sees it.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Runs `ask` on the cluster and returns its answer: request errors, round-trip times, brokers down and up.
    pub(crate) fn with<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = mpsc::channel();
        self.jobs
            .as_ref()
            .expect("the mock cluster is not being dropped")
            .send(Box::new(move |cluster| {
                // The asker waits for exactly this answer.
                let _ = answer.send(ask(cluster));
            }))
            .expect("the mock cluster lives");
        answered.recv().expect("the mock cluster answers")
    }

    /// Creates a topic.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        let topic = topic.to_owned();
        self.with(move |cluster| cluster.create_topic(&topic, partitions, 1))
            .expect("a topic on the mock cluster");
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(owner) = self.owner.take() {
            // A panic in a job was already reported to the test that asked.
            let _ = owner.join();
        }
    }
}
