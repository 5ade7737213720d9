use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::kafka::consumer::Lines;
use crate::kafka::events::Notice;
use crate::kafka::membership::Membership;
use crate::kafka::room::{Room, RoomLimits};
use crate::kafka::side::tests::{reads, settings};

/// A poller without a broker, partition 0 of `detections` is its own under seat 4. Nobody polls: what it asks the group
/// gets no answer but those of a test.
struct Alone {
    poller: Poller,
    /// Its end would wait for the answers to its commits.
    consumer: ManuallyDrop<BaseConsumer<Context>>,
    membership: Arc<Membership>,
    notices: UnboundedReceiver<Notice>,
}

const OURS: Seat = Seat(4);
const SIDE: Seat = Seat(5);
/// No test takes half as long, also on a busy machine.
const SESSION: Duration = Duration::from_secs(60);

impl Alone {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test sends a few notices and no record"
    )]
    fn new() -> Self {
        let settings = settings();
        let context = Context::new(None);
        let consumer = settings.config().create_with_context(context);
        let membership = Arc::new(Membership::as_old_as(SESSION));
        membership.looped();
        let (notices, told) = unbounded_channel();
        let (records, _) = unbounded_channel();
        let (_, orders) = channel();
        let lines = Lines {
            notices,
            records,
            orders,
        };
        let room = Room::new(RoomLimits {
            max_unsettled: 100,
            max_unsettled_bytes: 1 << 20,
            max_uncommitted: 100,
        });
        let mut poller = Poller::new(settings, Arc::new(room), Arc::clone(&membership), lines);
        let place = Place {
            seat: OURS,
            topic: "detections".into(),
            leaving: Leaving::No,
            next: 10,
            stored: 7,
        };
        let places = BTreeMap::from([(0, place)]);
        poller.places.insert("detections".to_owned(), places);
        let mut alone = Self {
            poller,
            consumer: ManuallyDrop::new(consumer.expect("a consumer")),
            membership,
            notices: told,
        };
        alone.tick();
        assert!(alone.membership.is_sure());
        alone
    }

    fn tick(&mut self) {
        self.poller.tick(&self.consumer);
    }

    /// As if the process had been stopped.
    fn sleep(&mut self) {
        self.membership.sleep();
        assert!(!self.membership.is_sure());
    }

    /// The group has this answer for the question of that number; then the poller goes on.
    fn answered(&mut self, number: u64) -> bool {
        self.poller.told_by_the_group(Some(number));
        self.tick();
        self.membership.is_sure()
    }

    /// The seats that were told to be lost, and those that shall leave, since the last call.
    fn told(&mut self) -> (Vec<Seat>, Vec<Seat>) {
        let (mut lost, mut leaving) = (Vec::new(), Vec::new());
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Lost(seats) => lost.extend(seats),
                Notice::Revoking(seats) => leaving.extend(seats),
                _ => {}
            }
        }
        (lost, leaving)
    }

    fn group_wants_it_back(&mut self) {
        let partition = ("detections".to_owned(), 0);
        self.poller.revoke(&self.consumer, &[partition]);
    }
}

#[test]
fn seats_that_are_new_are_asked_about() {
    let mut alone = Alone::new();
    alone.sleep();
    alone.tick();
    let old = alone.poller.times_asked;
    assert_eq!(old, 1, "the poller was silent");
    // An assignment comes, that brings nothing more, while there is no answer.
    alone.poller.unprepared = Some(Vec::new());
    alone.poller.prepare_again(&alone.consumer);
    assert!(
        alone.poller.asked_group.is_some(),
        "the question was thrown away"
    );
    assert!(
        !alone.answered(old),
        "that answer is about the seats before"
    );
    assert!(alone.answered(old + 1));
}

#[test]
fn a_silence_between_an_assignment_and_its_seats_is_asked_about() {
    let mut alone = Alone::new();
    alone.poller.places.clear();
    alone.poller.unprepared = Some(Vec::new());
    alone.poller.prepare_at = Instant::now() + Duration::from_secs(60);
    alone.sleep();
    alone.tick();
    assert_eq!(alone.poller.times_asked, 0, "there is no seat to ask about");
    assert!(!alone.membership.is_sure(), "but nothing is sure either");
    alone.poller.seat_partitions(
        &alone.consumer,
        &[("detections".to_owned(), 0)],
        &[start::decide(Some(7), 0, 10)],
    );
    alone.poller.prepare_at = Instant::now();
    alone.poller.prepare_again(&alone.consumer);
    assert_eq!(alone.poller.times_asked, 1);
    alone.tick();
    assert!(!alone.membership.is_sure());
    assert!(alone.answered(1));
}

/// The answer to a question from before a silence says nothing about the time after it.
#[test]
fn a_silence_while_the_group_is_asked_needs_an_answer_of_its_own() {
    let mut alone = Alone::new();
    alone.sleep();
    alone.tick();
    alone.sleep();
    alone.tick();
    assert!(
        !alone.answered(1),
        "the answer to the first question counted"
    );
    assert!(alone.answered(2));
}

/// The desk lets a side partition go that came when its source partition was in doubt already. The poller must not
/// go on with it: nobody would ever release it, and the group would wait for its source partition for ever.
#[test]
fn a_side_partition_that_is_let_go_behind_its_source_keeps_nothing() {
    for wanted_back_before in [false, true] {
        let mut alone = Alone::new();
        alone.poller.doubt(&alone.consumer, &[OURS]);
        alone.poller.side = Some(reads(&settings(), SIDE));
        if wanted_back_before {
            alone.group_wants_it_back();
            // The desk knows of neither any more.
            assert_eq!(alone.told().1, [SIDE]);
        }
        alone.poller.doubt(&alone.consumer, &[SIDE]);
        if !wanted_back_before {
            assert_eq!(alone.told().0, [SIDE]);
            alone.group_wants_it_back();
            assert!(alone.told().1.is_empty(), "it is not read any more");
        }
        alone.poller.release_again(&alone.consumer);
        assert!(!alone.poller.rebalances(), "given back at once");
    }
}

/// Nobody answers here. What did not the last time is asked behind the others, so that it keeps none of them waiting.
#[test]
fn who_does_not_tell_its_end_keeps_no_other_waiting() {
    let mut alone = Alone::new();
    let second = Place {
        seat: Seat(6),
        topic: "detections".into(),
        leaving: Leaving::No,
        next: 0,
        stored: 0,
    };
    let of = alone.poller.places.get_mut("detections");
    of.expect("the topic").insert(1, second);
    alone.poller.doubt(&alone.consumer, &[OURS]);
    alone.poller.doubt(&alone.consumer, &[Seat(6)]);
    let asked = |alone: &mut Alone| {
        alone.poller.silent.until = None;
        alone.poller.take_confirmed(&alone.consumer);
        [OURS, Seat(6)].map(|seat| alone.poller.silent.place_of(seat))
    };
    assert_eq!(asked(&mut alone), [0, 0], "the group has not answered yet");
    alone.answered(2);
    assert_eq!(asked(&mut alone), [1, 0]);
    assert_eq!(asked(&mut alone), [1, 1]);
    assert!(alone.poller.silent.waits(Instant::now()));
}
