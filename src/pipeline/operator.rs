//! An operator's hold of a stream: kept in the state, so that it survives a restart and reaches every process that
//! shares the state.
//!
//! The state is asked again and again, because another process may have been told. The calls of one process take effect
//! in order, so an answer that was asked for before an act of our own is thrown away with the question.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::passage::Passage;
use crate::delivery::hold::HoldReason;
use crate::state::{Flushed, Reply, StateError, StreamState};

/// Time between two looks. Other replicas follow within this, one tick of the desk and one answer of the state.
const LOOK: Duration = Duration::from_millis(500);

/// What operators said about one stream.
pub(super) struct OperatorHold {
    state: StreamState,
    /// The state has answered once. Before that nothing may leave.
    known: AtomicBool,
    word: Mutex<Word>,
}

struct Word {
    /// Why the stream is held, in the operator's words; [`None`]: it is not.
    reason: Option<String>,
    asking: Option<Reply<Option<String>>>,
    look_at: Instant,
    /// The first look failed, and the stream is held for that.
    failed: bool,
}

impl OperatorHold {
    pub(super) fn new(state: StreamState) -> Self {
        Self {
            state,
            known: AtomicBool::new(false),
            word: Mutex::new(Word {
                reason: None,
                asking: None,
                look_at: Instant::now(),
                failed: false,
            }),
        }
    }

    /// Whether it is known if an operator holds the stream.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Why an operator holds the stream, if one does.
    pub(super) fn reason(&self) -> Option<String> {
        let word = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        word.reason.clone()
    }

    /// Holds the stream, or ends that hold: here at once; durable, and so in other processes, when what is returned
    /// says so.
    pub(super) fn say(&self, passage: &Passage, reason: Option<&str>) -> Flushed {
        let mut word = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        word.asking = None;
        word.look_at = Instant::now() + LOOK;
        let flushed = self.state.set_operator_hold(reason);
        self.obey(&mut word, passage, reason.map(str::to_owned));
        flushed
    }

    /// Looks what the state says. [`Err`]: the first look failed, and so is the stream held until one does not.
    pub(super) fn tick(&self, passage: &Passage) -> Result<(), StateError> {
        let mut word = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        if word.asking.is_none() && word.look_at <= Instant::now() {
            word.look_at = Instant::now() + LOOK;
            word.asking = Some(self.state.operator_hold());
        }
        // Asked again at the next tick, so nobody needs to be woken.
        let Some(answer) = word
            .asking
            .as_mut()
            .and_then(|asking| asking.now_or_never())
        else {
            return Ok(());
        };
        word.asking = None;
        match answer {
            Ok(reason) => self.obey(&mut word, passage, reason),
            // What was said last is in force; whoever needs the state holds the stream by itself.
            Err(_) if self.is_known() || word.failed => {}
            Err(error) => {
                word.failed = true;
                passage.one_more_holds(HoldReason::StateStore);
                return Err(error);
            }
        }
        Ok(())
    }

    fn obey(&self, word: &mut Word, passage: &Passage, reason: Option<String>) {
        if reason.is_some() && word.reason.is_none() {
            passage.hold(HoldReason::Operator);
        } else if reason.is_none() && word.reason.is_some() {
            passage.lift(HoldReason::Operator);
        }
        word.reason = reason;
        // After the hold, or something would leave between the two.
        self.known.store(true, Ordering::Release);
        if std::mem::take(&mut word.failed) {
            passage.one_less_holds(HoldReason::StateStore);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::outage::tests::passage;
    use crate::state::{StateSettings, StateStore, system_clock};

    fn is_held(passage: &Passage) -> bool {
        let holds = passage.holds();
        holds
            .iter()
            .any(|(reason, _)| *reason == HoldReason::Operator)
    }

    /// Ticks until the passage is held, or no longer; fails after a second and a half.
    fn follows(operator: &OperatorHold, passage: &Passage, held: bool) {
        let end = Instant::now() + Duration::from_millis(1_500);
        while is_held(passage) != held || !operator.is_known() {
            operator.tick(passage).expect("the state answers");
            assert!(Instant::now() < end, "held: {held}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn who_shares_the_state_follows_within_about_a_second() {
        let settings = StateSettings::Memory {
            max_entries: 10,
            window: Duration::from_secs(60),
        };
        let store = StateStore::open(&settings, system_clock()).expect("opens");
        let (told, follower) = (store.stream("s"), store.stream("s"));
        let (told, follower) = (OperatorHold::new(told), OperatorHold::new(follower));
        let (here, there) = (passage(), passage());
        assert!(!follower.is_known(), "nothing may leave yet");
        follows(&follower, &there, false);
        drop(told.say(&here, Some("why")));
        assert!(is_held(&here), "at once");
        follows(&follower, &there, true);
        assert_eq!(follower.reason().as_deref(), Some("why"));
        drop(follower.say(&there, None));
        assert!(!is_held(&there));
        follows(&told, &here, false);
        assert_eq!(told.reason(), None);
    }

    #[test]
    fn an_answer_from_before_an_act_counts_for_nothing() {
        let directory = tempfile::tempdir().expect("tempdir");
        let settings = StateSettings::Sqlite {
            path: directory.path().join("state.db"),
            window: Duration::from_secs(60),
        };
        let store = StateStore::open(&settings, system_clock()).expect("opens");
        let (operator, passage) = (OperatorHold::new(store.stream("s")), passage());
        follows(&operator, &passage, false);
        std::thread::sleep(LOOK);
        // Asks; the answer "nobody holds it" is on its way.
        operator.tick(&passage).expect("asked");
        drop(operator.say(&passage, Some("why")));
        let end = Instant::now() + 3 * LOOK;
        while Instant::now() < end {
            operator.tick(&passage).expect("the state answers");
            assert!(is_held(&passage), "the old answer was taken");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[tokio::test]
    async fn nothing_leaves_while_the_state_does_not_say() {
        let directory = tempfile::tempdir().expect("tempdir");
        let settings = StateSettings::Sqlite {
            path: directory.path().join("state.db"),
            window: Duration::from_secs(60),
        };
        let store = StateStore::open(&settings, system_clock()).expect("opens");
        let (operator, passage) = (OperatorHold::new(store.stream("s")), passage());
        store.close().await.expect("closes");
        let mut failures = 0;
        let end = Instant::now() + 2 * LOOK;
        while Instant::now() < end {
            failures += u32::from(operator.tick(&passage).is_err());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(failures, 1, "told once");
        assert!(!operator.is_known());
        let holds = passage.holds();
        assert!(matches!(holds.as_slice(), [(HoldReason::StateStore, _)]));
    }
}
