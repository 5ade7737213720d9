//! All backends against one naive model: any steps, the same answers.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What a test does with the state.
#[derive(Clone, Debug)]
enum Step {
    LookUp {
        jti: u8,
        subject: u8,
        event: EventType,
        partition: i32,
    },
    Remember {
        jti: u8,
        subject: u8,
        event: EventType,
        partition: i32,
        offset: i64,
        how: How,
    },
    Progress {
        partition: i32,
        next: i64,
    },
    Assigned {
        partition: i32,
        committed: Option<i64>,
        log_end: i64,
    },
    Advance(i64),
}

#[derive(Clone, Debug)]
enum How {
    Accepted(Option<Level>),
    Final,
    Renamed(u8),
    /// At this event time.
    Replayed(Option<Level>, i64),
    RenamedByReplay(u8, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = prop_oneof![
        Just(EventType::UserRiskChange),
        Just(EventType::IdentifierChanged)
    ];
    let level = prop::option::of(prop_oneof![Just(Level::Low), Just(Level::High)]);
    let how = prop_oneof![
        3 => level.clone().prop_map(How::Accepted),
        1 => Just(How::Final),
        1 => (0..4u8).prop_map(How::Renamed),
        1 => (level, 0..20i64).prop_map(|(level, time)| How::Replayed(level, time)),
        1 => (0..4u8, 0..20i64).prop_map(|(other, time)| How::RenamedByReplay(other, time)),
    ];
    let set = (0..12u8, 0..4u8, event, 0..3i32);
    let step = prop_oneof![
        6 => set.clone().prop_map(|(jti, subject, event, partition)| {
            Step::LookUp { jti, subject, event, partition }
        }),
        6 => (set, 0..20i64, how).prop_map(|((jti, subject, event, partition), offset, how)| {
            Step::Remember { jti, subject, event, partition, offset, how }
        }),
        1 => (0..3i32, 0..20i64).prop_map(|(partition, next)| Step::Progress { partition, next }),
        1 => (0..3i32, prop::option::of(0..20i64), 0..25i64).prop_map(|(partition, committed, log_end)| {
            Step::Assigned { partition, committed, log_end }
        }),
        1 => (0..60_000i64).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..120)
}

/// Level, event time, partition and offset.
type Last = (Option<Level>, i64, i32, i64);

/// The obvious state: lists that are searched, and facts that are dropped one by one.
#[derive(Default)]
struct Model {
    now: i64,
    jtis: Vec<(u8, i64)>,
    marks: HashMap<(u8, i32), i64>,
    levels: HashMap<(u8, EventType), Last>,
    progress: HashMap<i32, Option<i64>>,
    newest_mark: HashMap<i32, i64>,
    /// A jti is gone when the window is over, not when its bucket is; and progress never goes back, but to what is committed
    /// by an assignment that drops the marks.
    is_shared: bool,
}

impl Model {
    /// The half-day in which a time lies, for how the window expires.
    fn half(seconds: i64) -> i64 {
        (1_750_000_000 + seconds).div_euclid(43_200)
    }

    fn look_up(&self, jti: u8, subject: u8, event: EventType, partition: i32) -> Facts {
        let live = |then: i64| match self.is_shared {
            true => self.now - then < 86_400,
            false => Self::half(then) >= Self::half(self.now) - 2,
        };
        let mark = self.marks.get(&(subject, partition));
        let level = self.levels.get(&(subject, event));
        Facts {
            delivered_late: false,
            delivered: self.jtis.iter().any(|(j, then)| *j == jti && live(*then)),
            mark: mark.copied().map(at),
            level: level.and_then(|l| l.0),
            level_event_time: level.map(|l| Timestamp::from_secs(l.1)),
            accepted_at: level.filter(|l| l.2 == partition).map(|l| at(l.3)),
            other_partition: self
                .marks
                .keys()
                .any(|(s, p)| *s == subject && *p != partition),
            bypassed: false,
        }
    }

    fn mark(&mut self, subject: u8, partition: i32, offset: i64) -> bool {
        let mark = self.marks.entry((subject, partition)).or_insert(-1);
        let moved = *mark < offset;
        *mark = offset.max(*mark);
        let newest = self.newest_mark.entry(partition).or_insert(offset);
        *newest = offset.max(*newest);
        moved
    }

    fn remember(&mut self, jti: u8, of: (u8, EventType, i32, i64), how: &How) {
        let (subject, event, partition, offset) = of;
        self.progress.entry(partition).or_insert(None);
        let known = self.levels.get(&(subject, event)).copied();
        let replayed = match how {
            How::Replayed(_, time) | How::RenamedByReplay(_, time) => Some(*time),
            _ => None,
        };
        let is_last = match replayed {
            None => self.mark(subject, partition, offset),
            Some(time) => known.is_none_or(|(_, then, of, at)| {
                let behind = of == partition && at > offset;
                then < time || (then == time && !behind)
            }),
        };
        if let How::Renamed(other) = how {
            self.mark(*other, partition, offset);
        }
        if !matches!(how, How::Final) {
            self.jtis.push((jti, self.now));
        }
        let level = match how {
            How::Final => return,
            _ if !is_last => return,
            How::Accepted(level) | How::Replayed(level, _) => *level,
            How::Renamed(other) | How::RenamedByReplay(other, _) if *other == subject => None,
            How::Renamed(other) | How::RenamedByReplay(other, _) => {
                let theirs: Vec<_> = self.levels.extract_if(|(s, _), _| *s == subject).collect();
                for ((_, event), level) in theirs {
                    let there = self.levels.get(&(*other, event));
                    if replayed.is_none() || there.is_none_or(|there| there.1 <= level.1) {
                        self.levels.insert((*other, event), level);
                    }
                }
                None
            }
        };
        let time = replayed.unwrap_or(offset);
        self.levels
            .insert((subject, event), (level, time, partition, offset));
    }

    fn assigned(&mut self, partition: i32, committed: Option<i64>, log_end: i64) -> Handover {
        let Some(next) = self.progress.insert(partition, committed) else {
            return Handover::First;
        };
        let newest = self.newest_mark.get(&partition);
        let recreated = committed.is_none()
            || newest.is_some_and(|m| *m >= log_end)
            || next.is_some_and(|n| n > log_end);
        let beyond = committed.is_some_and(|c| c > next.unwrap_or(0));
        if recreated || beyond {
            self.marks.retain(|(_, p), _| *p != partition);
            self.newest_mark.remove(&partition);
        }
        if beyond || recreated && committed.is_some_and(|c| c > 0) {
            self.levels.retain(|_, level| level.2 != partition);
        }
        match (recreated, beyond) {
            (true, _) => Handover::Recreated,
            (_, true) => Handover::TakenOver,
            _ => {
                if self.is_shared {
                    self.progress.insert(partition, next.max(committed));
                }
                Handover::Continued
            }
        }
    }
}

fn asked(j: u8, n: u8, event: EventType, partition: i32) -> Question {
    Question {
        jti: jti(&j.to_string()),
        event,
        partition,
        ..question("", n)
    }
}

/// One step on a backend and, told the same, the model. Nothing is awaited but questions, so every
/// answer must show all that was told before.
async fn step(state: &StreamState, model: &mut Model, pass: &impl Fn(i64), step: &Step) {
    match *step {
        Step::LookUp {
            jti,
            subject,
            event,
            partition,
        } => {
            let facts = state.look_up(&asked(jti, subject, event, partition)).await;
            let expected = model.look_up(jti, subject, event, partition);
            assert_eq!(facts.expect("facts"), expected);
        }
        Step::Remember {
            jti,
            subject: n,
            event,
            partition,
            offset,
            ref how,
        } => {
            let (other_subject, level) = match how {
                How::Renamed(other) | How::RenamedByReplay(other, _) => {
                    (Some(subject(*other)), None)
                }
                How::Accepted(level) | How::Replayed(level, _) => (None, *level),
                How::Final => (None, None),
            };
            let event_time = Timestamp::from_secs(offset);
            let decision = match how {
                How::Final => Decision::Final,
                How::Replayed(_, time) | How::RenamedByReplay(_, time) => Decision::Replayed {
                    level,
                    event_time: Timestamp::from_secs(*time),
                },
                _ => Decision::Accepted { level, event_time },
            };
            let question = asked(jti, n, event, partition);
            let position = at(offset);
            drop(state.remember(&Decided {
                question,
                position,
                other_subject,
                decision,
            }));
            model.remember(jti, (n, event, partition, offset), how);
        }
        Step::Progress { partition, next } => {
            drop(state.progress("t", partition, next));
            let before = model.progress.get(&partition).copied().flatten();
            let before = before.filter(|_| model.is_shared);
            model.progress.insert(partition, before.max(Some(next)));
        }
        Step::Assigned {
            partition,
            committed,
            log_end,
        } => {
            let found = state.assigned("t", partition, committed, log_end).await;
            assert_eq!(
                found.expect("known"),
                model.assigned(partition, committed, log_end)
            );
        }
        Step::Advance(seconds) => {
            // What was told before must not be stamped with the new time.
            state.flush().await.expect("durable");
            pass(seconds);
            model.now += seconds;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// All backends answer every question as the model does; SQLite and Redis also across reopens.
    #[test]
    fn all_backends_answer_as_the_model(steps in steps(), reopen in 5..60usize) {
        let memory_clock = TestClock::default();
        let sqlite_clock = TestClock::default();
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("state.db");
        let settings = StateSettings::Sqlite { path, window: DAY };
        let open = |settings: &StateSettings, clock: &TestClock| StateStore::open(settings, clock.clock()).expect("opens");
        let memory = StateSettings::Memory { max_entries: 1000, window: DAY };
        run(async {
            let memory = open(&memory, &memory_clock);
            let mut model = Model::default();
            for one in &steps {
                step(&memory.stream("s"), &mut model, &|by| memory_clock.advance(by), one).await;
            }
            let mut model = Model::default();
            let mut sqlite = open(&settings, &sqlite_clock);
            for (n, one) in steps.iter().enumerate() {
                if n % reopen == 0 {
                    sqlite.close().await.expect("closes");
                    sqlite = open(&settings, &sqlite_clock);
                }
                step(&sqlite.stream("s"), &mut model, &|by| sqlite_clock.advance(by), one).await;
            }
            let server = RedisServer::shared();
            let settings = in_redis(server);
            let pass = |seconds| age_jtis(server, &settings, seconds);
            let in_redis = StateSettings::Redis(Box::new(settings.clone()));
            let mut redis = open(&in_redis, &memory_clock);
            let view = StateStore::open_read_only(&in_redis, memory_clock.clock());
            let view = view.expect("opens").expect("can be seen");
            let mut shared = Model { is_shared: true, ..Model::default() };
            for (n, one) in steps.iter().enumerate() {
                if n % reopen == 0 {
                    redis.close().await.expect("closes");
                    redis = open(&in_redis, &memory_clock);
                    // Another process, which writes only about what was assigned to it.
                    for partition in 0..3 {
                        let committed = shared.progress.get(&partition).copied().flatten();
                        let assigned = Step::Assigned { partition, committed, log_end: 25 };
                        step(&redis.stream("s"), &mut shared, &pass, &assigned).await;
                    }
                }
                step(&redis.stream("s"), &mut shared, &pass, one).await;
                // Who only looks reads without scripts, and sees the same.
                if let Step::LookUp { jti, subject, event, partition } = *one {
                    let seen = view.look_up("s", &[asked(jti, subject, event, partition)]).await;
                    assert_eq!(seen.expect("seen"), [shared.look_up(jti, subject, event, partition)]);
                }
            }
            redis.close().await.expect("closes");
            sqlite.stream("s").flush().await.expect("durable");
            let stats = sqlite.stats();
            let counted = memory.stats();
            assert!(stats.marks >= model.marks.len() as u64, "dropped ones are counted too");
            assert_eq!((stats.marks, stats.levels), (counted.marks, counted.levels));
        });
    }
}
