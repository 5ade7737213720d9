//! What the schedule does to the members, to the brokers, to the receiver, to Redis and to the ways between them.

use std::sync::atomic::Ordering;

use super::cluster::Node;
use super::leaders::{move_coordinator, move_third};
use super::link::Link;
use super::plan::{Act, Flow};
use super::receiver::now_ms;
use super::store::Store;
use super::told::Part;
use super::world::World;

/// A member that nothing of Kafka's came to for so long may have lost its session.
const SESSION_MS: u64 = 4_000;

impl World {
    /// Does one thing; returns when it is done.
    pub(crate) async fn act(&self, act: Act) {
        match act {
            Act::Kill(member) => self.kill(member).await,
            Act::Term(member) => self.term(member).await,
            Act::Pause(member) => self.pause(member).await,
            Act::Resume(member) => self.resume(member).await,
            Act::Start(member) => self.start(member).await,
            Act::BrokerKill(broker) => self.broker(broker, Node::kill),
            Act::BrokerStop(broker) => self.broker(broker, Node::stop),
            Act::BrokerStart(broker) => {
                let started = self.nodes[broker].lock().expect("no panic").start();
                started.expect("a broker starts again");
                self.told.outage_ends(Part::Broker(broker));
            }
            Act::Trouble(trouble) => self.book.trouble(Some(trouble)),
            Act::Well => self.book.trouble(None),
            Act::RedisKill => {
                self.told.outage_begins(Part::Redis);
                self.with_store(Store::kill);
            }
            Act::RedisPause => {
                self.told.outage_begins(Part::Redis);
                self.with_store(Store::pause);
            }
            Act::RedisStart => {
                self.with_store(Store::go_on);
                self.told.outage_ends(Part::Redis);
            }
            Act::Rotate => self.rotate().await,
            Act::Apart(broker, flow) => {
                let ways = self.ways.iter().map(|ways| &ways[broker]);
                self.shut(ways, Part::Way(broker), flow);
            }
            Act::Cut(member, flow) => {
                if let Some(from) = self.shut(&self.ways[member], Part::Member(member), flow) {
                    self.was_cut(member, from).await;
                }
            }
            Act::RedisCut(member, flow) => {
                let ways = self.store_ways.get(member).map(|(_, way)| way);
                self.shut(ways, Part::Redis, flow);
            }
            Act::Leaders(third) => {
                let topics = [&*self.topics.keyed, &self.topics.loose];
                self.leaders(|| move_third(&self.wire, topics, third));
            }
            Act::Coordinator => self.leaders(|| move_coordinator(&self.wire, &self.group)),
            // An operator's desk is somewhere else.
            Act::Operator(_) => {}
        }
    }

    /// Since when it was shut, when it is open again.
    fn shut<'a>(
        &self,
        ways: impl IntoIterator<Item = &'a Link>,
        part: Part,
        flow: Flow,
    ) -> Option<u64> {
        ways.into_iter().for_each(|way| way.set(flow));
        if flow == Flow::Open {
            return self.told.outage_ends(part);
        }
        self.told.network_faults.fetch_add(1, Ordering::Relaxed);
        self.told.outage_begins(part);
        None
    }

    /// Its partitions may have gone to somebody else.
    async fn was_cut(&self, member: usize, from: u64) {
        let now = now_ms();
        if now < from + SESSION_MS {
            return;
        }
        if let Some(running) = &self.members[member].lock().await.running {
            self.told.force(running.process, from, now + 2000);
        }
    }

    /// Brokers that are away may make it impossible; that is no fault of the bridge.
    fn leaders(&self, act: impl FnOnce() -> Result<(), String>) {
        self.told.outage_begins(Part::Leaders);
        match act() {
            Ok(()) => {
                self.told.leader_moves.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => println!("leaders do not move: {error}"),
        }
        self.told.outage_ends(Part::Leaders);
    }

    fn broker(&self, broker: usize, fault: fn(&mut Node)) {
        self.told.broker_faults.fetch_add(1, Ordering::Relaxed);
        self.told.outage_begins(Part::Broker(broker));
        fault(&mut self.nodes[broker].lock().expect("no panic"));
    }

    fn with_store(&self, act: fn(&mut Store)) {
        if let Some(store) = &self.store {
            act(&mut store.lock().expect("no panic"));
        }
    }
}
