//! Order per subject: of the items that share a subject only one is in turn at a time, and they
//! come in turn in the order in which they were enqueued (DESIGN P2, §2 "Lanes").
//!
//! A lane is a subject with something in turn or waiting. Most items occupy one lane; an
//! identifier-changed SET occupies two, that of the old and that of the new identifier, and is in
//! turn when it heads both. Items enter all their lanes in one call, so whichever unfinished item
//! was enqueued first heads all of its lanes: two-lane items cannot block each other for ever.
//!
//! Pure: no clock, no I/O. It must never hand out two items that share a subject, and never keep a
//! lane that nothing occupies. It does not bound itself; the caller's `max_unsettled` does.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::set::SubjectKey;

/// The right to work on one item; [`Lanes::complete`] takes it back. It can be neither copied nor
/// made up, so nothing is completed twice.
#[derive(Debug)]
#[must_use = "lanes stay occupied until the ticket is completed"]
pub struct Ticket {
    id: u64,
    keys: Keys,
}

/// The lanes of one stream, over items of type `T`.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<SubjectKey, Lane>,
    /// Items that are not in turn, by arrival.
    waiting: BTreeMap<u64, Waiting<T>>,
    in_turn: usize,
    next_id: u64,
}

/// One subject's queue, by item id. The head is in turn, or waits for its other lane.
#[derive(Debug)]
struct Lane {
    head: u64,
    behind: VecDeque<u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    keys: Keys,
    /// In how many of its lanes something is ahead of it; never 0 here.
    blocked_in: u8,
}

/// One subject, or two that differ.
#[derive(Debug, Clone, Copy)]
struct Keys {
    first: SubjectKey,
    second: Option<SubjectKey>,
}

impl Keys {
    fn new(first: SubjectKey, second: Option<SubjectKey>) -> Self {
        let second = second.filter(|key| *key != first);
        Self { first, second }
    }

    fn iter(self) -> impl Iterator<Item = SubjectKey> {
        std::iter::once(self.first).chain(self.second)
    }
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Lanes<T> {
    /// No lanes.
    pub fn new() -> Self {
        Self {
            lanes: HashMap::new(),
            waiting: BTreeMap::new(),
            in_turn: 0,
            next_id: 0,
        }
    }

    /// Puts an item into the lane of `key`, and into that of `other` too when there is one
    /// (identifier-changed; `other` may equal `key`). Gives it back with its ticket when nothing
    /// is ahead of it; else it waits, and a later [`Lanes::complete`] hands it out.
    pub fn enqueue(
        &mut self,
        key: SubjectKey,
        other: Option<SubjectKey>,
        item: T,
    ) -> Option<(Ticket, T)> {
        let id = self.next_id;
        self.next_id += 1;
        let keys = Keys::new(key, other);
        let mut blocked_in = 0;
        for key in keys.iter() {
            self.lanes
                .entry(key)
                .and_modify(|lane| {
                    lane.behind.push_back(id);
                    blocked_in += 1;
                })
                .or_insert_with(|| Lane {
                    head: id,
                    behind: VecDeque::new(),
                });
        }
        if blocked_in == 0 {
            self.in_turn += 1;
            return Some((Ticket { id, keys }, item));
        }
        let waiting = Waiting {
            item,
            keys,
            blocked_in,
        };
        self.waiting.insert(id, waiting);
        None
    }

    /// Ends an item's turn. Returns the items (two at most) that are in turn now because of it,
    /// in the order in which they were enqueued.
    ///
    /// # Panics
    /// When the ticket was given out by other `Lanes`: that is a bug, and to go on would break
    /// the order.
    pub fn complete(&mut self, ticket: Ticket) -> Vec<(Ticket, T)> {
        for key in ticket.keys.iter() {
            let head = self.lanes.get(&key).map(|lane| lane.head);
            assert_eq!(head, Some(ticket.id), "a ticket of other lanes");
        }
        self.in_turn -= 1;
        let mut heads = BTreeSet::new();
        for key in ticket.keys.iter() {
            heads.extend(self.advance(key));
        }
        self.take_ready(&heads)
    }

    /// Drops the waiting items for which `keep` says no (those of revoked partitions), and returns
    /// the items that are in turn now because of it, in the order in which they were enqueued.
    /// `keep` sees each waiting item once, in that order. Items in turn are not touched: their
    /// owner completes them.
    pub fn retain_waiting(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<(Ticket, T)> {
        let mut gone = BTreeSet::new();
        let mut touched = BTreeSet::new();
        self.waiting.retain(|id, waiting| {
            let kept = keep(&waiting.item);
            if !kept {
                gone.insert(*id);
                touched.extend(waiting.keys.iter());
            }
            kept
        });
        let mut heads = BTreeSet::new();
        for key in touched {
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            lane.behind.retain(|id| !gone.contains(id));
            if gone.contains(&lane.head) {
                heads.extend(self.advance(key));
            }
        }
        self.take_ready(&heads)
    }

    /// The items that wait for their turn, in the order in which they were enqueued.
    pub fn iter_waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().map(|waiting| &waiting.item)
    }

    /// How many items wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many items are in turn: handed out and not completed.
    pub fn in_turn(&self) -> usize {
        self.in_turn
    }

    /// How many subjects have something in turn or waiting.
    pub fn occupied(&self) -> usize {
        self.lanes.len()
    }

    /// Takes the head off a lane and returns the item that heads it now; a lane that is left empty
    /// is removed.
    fn advance(&mut self, key: SubjectKey) -> Option<u64> {
        let lane = self.lanes.get_mut(&key)?;
        let Some(next) = lane.behind.pop_front() else {
            self.lanes.remove(&key);
            return None;
        };
        lane.head = next;
        if let Some(waiting) = self.waiting.get_mut(&next) {
            waiting.blocked_in -= 1;
        }
        Some(next)
    }

    /// Hands out those of the new heads that nothing blocks any more.
    fn take_ready(&mut self, heads: &BTreeSet<u64>) -> Vec<(Ticket, T)> {
        let mut ready = Vec::new();
        for &id in heads {
            if self.waiting.get(&id).is_none_or(|w| w.blocked_in > 0) {
                continue;
            }
            if let Some(Waiting { item, keys, .. }) = self.waiting.remove(&id) {
                self.in_turn += 1;
                ready.push((Ticket { id, keys }, item));
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> SubjectKey {
        SubjectKey::from_bytes([n; 16])
    }

    fn items<T>(ready: &[(Ticket, T)]) -> Vec<&T> {
        ready.iter().map(|(_, item)| item).collect()
    }

    #[test]
    fn one_subject_goes_in_order_and_others_go_beside_it() {
        let mut lanes = Lanes::new();
        let (first, _) = lanes.enqueue(key(1), None, "a").expect("idle lane");
        assert!(lanes.enqueue(key(1), None, "b").is_none());
        assert!(lanes.enqueue(key(2), None, "c").is_some());
        assert_eq!((lanes.in_turn(), lanes.waiting()), (2, 1));
        assert_eq!(items(&lanes.complete(first)), [&"b"]);
    }

    #[test]
    fn a_two_lane_item_waits_for_both_and_holds_both() {
        let mut lanes = Lanes::new();
        let (one, _) = lanes.enqueue(key(1), None, "one").expect("idle");
        let (two, _) = lanes.enqueue(key(2), None, "two").expect("idle");
        assert!(lanes.enqueue(key(1), Some(key(2)), "both").is_none());
        assert!(lanes.enqueue(key(2), None, "behind both").is_none());
        assert!(lanes.complete(one).is_empty());
        let mut ready = lanes.complete(two);
        assert_eq!(items(&ready), [&"both"]);
        let (both, _) = ready.remove(0);
        assert_eq!(items(&lanes.complete(both)), [&"behind both"]);
    }

    #[test]
    fn equal_keys_are_one_lane() {
        let mut lanes = Lanes::new();
        let (ticket, _) = lanes.enqueue(key(1), Some(key(1)), ()).expect("idle");
        assert!(lanes.complete(ticket).is_empty());
        assert_eq!(lanes.occupied(), 0);
    }

    #[test]
    fn dropping_a_two_lane_item_frees_what_only_it_blocked() {
        let mut lanes = Lanes::new();
        let (one, _) = lanes.enqueue(key(1), None, "one").expect("idle");
        assert!(lanes.enqueue(key(1), Some(key(2)), "both").is_none());
        assert!(lanes.enqueue(key(2), None, "two").is_none());
        let ready = lanes.retain_waiting(|item| *item != "both");
        assert_eq!(items(&ready), [&"two"]);
        assert!(lanes.complete(one).is_empty());
        assert_eq!((lanes.occupied(), lanes.waiting()), (1, 0));
    }

    #[test]
    #[should_panic(expected = "a ticket of other lanes")]
    fn a_ticket_of_other_lanes_is_a_bug() {
        let mut others = Lanes::new();
        let (foreign, ()) = others.enqueue(key(1), None, ()).expect("idle");
        Lanes::<()>::new().complete(foreign);
    }

    /// What the tests enqueue: its number and its lanes.
    type Item = (usize, Vec<u8>);

    /// The obvious way: of all unfinished items, in order, one is in turn when no earlier one
    /// shares a key with it.
    #[derive(Default)]
    struct Naive(Vec<Item>);

    impl Naive {
        fn in_turn(&self) -> Vec<usize> {
            let free = |(place, (_, keys)): &(usize, &Item)| {
                let mut ahead = self.0[..*place].iter();
                !ahead.any(|(_, theirs)| theirs.iter().any(|k| keys.contains(k)))
            };
            let ready = self.0.iter().enumerate().filter(free);
            ready.map(|(_, (number, _))| *number).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enqueue(u8, Option<u8>),
        Complete(prop::sample::Index),
        Drop(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0..6u8, prop::option::weighted(0.3, 0..6u8)).prop_map(|(a, b)| Step::Enqueue(a, b)),
            4 => any::<prop::sample::Index>().prop_map(Step::Complete),
            1 => (1..5u8).prop_map(Step::Drop),
        ];
        prop::collection::vec(step, 1..200)
    }

    /// Lanes and the naive model side by side.
    #[derive(Default)]
    struct Pair {
        lanes: Lanes<Item>,
        naive: Naive,
        tickets: BTreeMap<usize, Ticket>,
    }

    impl Pair {
        fn take(&mut self, ready: Vec<(Ticket, Item)>) {
            let numbers: Vec<_> = ready.iter().map(|(_, (number, _))| *number).collect();
            assert!(numbers.is_sorted(), "handed out in order of arrival");
            for (ticket, (number, _)) in ready {
                assert!(self.tickets.insert(number, ticket).is_none(), "twice");
            }
        }

        fn complete(&mut self, number: usize) {
            let ticket = self.tickets.remove(&number).expect("in turn");
            self.naive.0.retain(|(n, _)| *n != number);
            let ready = self.lanes.complete(ticket);
            self.take(ready);
        }

        fn step(&mut self, number: usize, step: &Step) {
            match step {
                Step::Enqueue(a, b) => {
                    let item = (number, std::iter::once(*a).chain(*b).collect::<Vec<_>>());
                    self.naive.0.push(item.clone());
                    let ready = self.lanes.enqueue(key(*a), b.map(key), item);
                    self.take(ready.into_iter().collect());
                }
                Step::Complete(which) if !self.tickets.is_empty() => {
                    let number = *self
                        .tickets
                        .keys()
                        .nth(which.index(self.tickets.len()))
                        .expect("in range");
                    self.complete(number);
                }
                Step::Complete(_) => {}
                Step::Drop(nth) => {
                    let dropped = |number: &usize| number % 5 == usize::from(*nth);
                    let tickets = &self.tickets;
                    self.naive
                        .0
                        .retain(|(n, _)| tickets.contains_key(n) || !dropped(n));
                    let ready = self.lanes.retain_waiting(|(n, _)| !dropped(n));
                    self.take(ready);
                }
            }
        }

        fn check(&self) {
            let in_turn: Vec<_> = self.tickets.keys().copied().collect();
            assert_eq!(in_turn, self.naive.in_turn());
            assert_eq!(self.lanes.in_turn(), in_turn.len());
            assert_eq!(self.lanes.waiting(), self.naive.0.len() - in_turn.len());
            let keys: BTreeSet<_> = self.naive.0.iter().flat_map(|(_, keys)| keys).collect();
            assert_eq!(self.lanes.occupied(), keys.len(), "a lane leaks");
        }
    }

    proptest! {
        /// In turn are exactly the items that the naive model has in turn (so: one per key, FIFO),
        /// after every step; and everything comes out exactly once, without a deadlock.
        #[test]
        fn same_as_the_naive_model(steps in steps()) {
            let mut pair = Pair::default();
            for (number, step) in steps.iter().enumerate() {
                pair.step(number, step);
                pair.check();
            }
            while let Some(number) = pair.tickets.keys().next().copied() {
                pair.complete(number);
                pair.check();
            }
            prop_assert_eq!(pair.naive.0.len(), 0, "deadlock");
        }
    }
}
