use super::*;
use crate::kafka::client::KafkaClient;
use crate::kafka::consumer::Place;
use crate::kafka::room::{Room, RoomLimits};
use crate::kafka::start::StartAt;

/// Settings of a consumer with a side topic, for a cluster that nobody asks.
pub(in crate::kafka) fn settings() -> ConsumerSettings {
    ConsumerSettings {
        client: KafkaClient::new("127.0.0.1:1", "test", []),
        group: "g".to_owned(),
        topics: vec!["detections".to_owned()],
        start_at: StartAt::Earliest,
        kip848: false,
        session_timeout: None,
        max_poll_interval: Duration::from_secs(300),
        prefetch_bytes: 1 << 20,
        side: Some(SideSettings {
            group: "g.replay".to_owned(),
            rate: 1e6,
            names: Arc::new(|source| {
                (source == "detections").then(|| SideNames {
                    side: "side".to_owned(),
                    outcomes: "outcomes".to_owned(),
                })
            }),
        }),
    }
}

pub(super) fn waiting(offset: i64) -> Seated {
    Seated {
        seat: Seat(1),
        record: crate::record::Record {
            origin: crate::record::Origin {
                topic: "side".into(),
                partition: 0,
                offset,
            },
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp_ms: None,
        },
    }
}

/// Partition 0 of the side topic `side` of `detections`.
pub(super) fn place() -> SidePlace {
    SidePlace {
        seat: Seat(1),
        topic: "side".into(),
        source: Source::new("detections".into()),
        leaving: Leaving::No,
        start: 0,
        next: 40,
        handed: 0,
        settled: 0,
        ordered: false,
        committed: None,
        asked: None,
        waiting: (0, 0),
        paused: false,
    }
}

/// The side of a stream that reads partition 0 of `side` under this seat.
pub(in crate::kafka) fn reads(settings: &ConsumerSettings, seat: Seat) -> Side {
    let mut side = Side::new(settings.side.clone().expect("a side"), settings);
    let place = SidePlace { seat, ..place() };
    let places = BTreeMap::from([(0, place)]);
    side.places.insert("side".to_owned(), places);
    side
}

/// The source partition, read beyond every end.
fn read() -> HashMap<String, BTreeMap<i32, Place>> {
    let place = Place {
        seat: Seat(2),
        topic: "detections".into(),
        leaving: Leaving::No,
        next: 100,
        stored: 0,
    };
    HashMap::from([("detections".to_owned(), BTreeMap::from([(0, place)]))])
}

#[test]
fn replays_without_commits_leave_room_for_live_records() {
    let settings = settings();
    let mut side = Side::new(settings.side.clone().expect("a side"), &settings);
    side.places
        .insert("side".to_owned(), BTreeMap::from([(0, place())]));
    let room = Room::new(RoomLimits {
        max_unsettled: 100,
        max_unsettled_bytes: 1 << 20,
        max_uncommitted: 40,
    });
    side.waiting
        .extend((0..40).map(|n| Waiting::behind(waiting(n), 0)));
    assert_eq!(side.hand_over(&room, &read()).len(), 10);
    // Settled, but Kafka does not acknowledge it.
    room.leave(10, 0, 0);
    side.store(&HashMap::from([(Seat(1), 10)]));
    assert!(side.hand_over(&room, &read()).is_empty() && side.told.contains(UNCOMMITTED));
    assert!(room.has_ample_space());
    side.get_mut("side", 0).expect("a place").committed = Some(10);
    assert_eq!(side.hand_over(&room, &read()).len(), 10);
}

#[test]
fn a_partition_that_waits_takes_no_place_of_another() {
    let settings = settings();
    let mut side = Side::new(settings.side.clone().expect("a side"), &settings);
    let second = SidePlace {
        seat: Seat(2),
        ..place()
    };
    side.places.insert(
        "side".to_owned(),
        BTreeMap::from([(0, place()), (1, second)]),
    );
    let of_second = |offset| {
        let mut seated = waiting(offset);
        (seated.seat, seated.record.origin.partition) = (Seat(2), 1);
        Some(seated)
    };
    let paused = |side: &Side| -> Vec<bool> { side.all().map(|(_, _, p)| p.paused).collect() };
    for n in 0..WAITING as i64 {
        side.waits(Some(waiting(n)));
    }
    side.waits(of_second(0));
    assert_eq!(paused(&side), [true, false], "only the full one");
    let mut large = of_second(1).expect("a replay");
    large.record.value = Some(vec![0; WAITING_BYTES].into());
    side.waits(Some(large));
    assert_eq!(paused(&side), [true, true], "also by bytes");

    // The live records of the second are read, those of the first are not.
    let mut sources = read();
    let of = sources.get_mut("detections").expect("the source");
    let mut second = of.remove(&0).expect("the place");
    second.seat = Seat(3);
    of.insert(1, second);
    for one in &mut side.waiting {
        one.behind = Some(0);
    }
    let room = Room::new(RoomLimits {
        max_unsettled: 1000,
        max_unsettled_bytes: 1 << 24,
        max_uncommitted: 1000,
    });
    assert_eq!(side.hand_over(&room, &sources).len(), 2);
    side.read().expect("nothing to read");
    assert_eq!(paused(&side), [true, false], "there is room again");
    assert_eq!(side.waiting.len(), WAITING);
}
