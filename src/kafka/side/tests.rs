use super::*;
use crate::kafka::client::KafkaClient;
use crate::kafka::consumer::Place;
use crate::kafka::room::{Room, RoomLimits};
use crate::kafka::start::StartAt;

/// Settings of a consumer with a side topic, for a cluster that nobody asks.
pub(super) fn settings() -> ConsumerSettings {
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
            names: Arc::new(|_| None),
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
    }
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
