//! One stream's task: takes its commands in turns.
//!
//! A turn takes what waits, up to [`MAX_COMMANDS`], in a pipeline or several
//! (`steps::in_one_pipeline`); one turn is under way at a time, so commands take effect in the
//! order in which they were sent, and what comes meanwhile shares the next round trip. A turn that
//! fails drops the connection. Its writes are kept in order, and the first turn on the next
//! connection is theirs, so what was remembered is in order for ever and a caller need not repeat
//! it. Until then questions are refused at once, for they would miss those writes. Every write may
//! be sent twice: see `scripts`.
//!
//! With [`OnUnavailable::Continue`] callers are not refused meanwhile, but told that nothing is
//! known and all is well: the bypass. Then what is kept is bounded, and the oldest goes.
//!
//! It must never answer a flush before the server has, unless it is told to go on without, or
//! write in another order than it was told.

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::Cmd;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Command,
    health::Health,
    kept::Kept,
    link::{Found, Link, Server},
    places::{Place, Places},
    scripts::Script,
    settings::{OnUnavailable, RedisSettings},
    steps::{self, MAX_COMMANDS, OPERATOR_HOLD, Step},
    text::{self, Keys},
    trouble,
};
use crate::state::{StateError, StateStats, reply::Answer, tenure::Tenure};

/// After a failure the server is left alone for so long, twice as long after the next one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A tenure that changes under our hands is read again so often. Two members that are assigned the
/// same partition at once is all that does it.
const MAX_CHANGES: usize = 10;

/// What all streams share.
pub(super) struct Common {
    pub(super) settings: RedisSettings,
    pub(super) at: Arc<str>,
    pub(super) stats: Arc<Mutex<StateStats>>,
    pub(super) closing: CancellationToken,
}

/// See the module.
pub(super) struct Writer {
    stream: Arc<str>,
    common: Arc<Common>,
    health: Arc<Health>,
    keys: Keys,
    link: Option<Link>,
    /// A connection on which nothing was asked yet.
    fresh: Option<Link>,
    /// The server that the last connection led to.
    server: Option<Server>,
    places: Places,
    kept: Kept,
    /// What an operator said last: in a bypass that is in force. [`None`]: nobody has told us yet.
    operator_hold: Option<Option<String>>,
    /// The server was asked what it has lost, and its answer did not come yet.
    resuming: bool,
    /// The server has lost something, and an operator's hold perhaps with it.
    may_lack_hold: bool,
    /// Who waits for this turn's writes.
    waiting: Vec<Answer<()>>,
    sick: Option<Sick>,
}

/// The last turn failed.
struct Sick {
    error: StateError,
    until: Instant,
    pause: Duration,
}

impl Writer {
    pub(super) fn new(stream: Arc<str>, common: Arc<Common>, health: Arc<Health>) -> Self {
        Self {
            keys: Keys::new(&common.settings.key_prefix, &stream),
            stream,
            common,
            health,
            link: None,
            fresh: None,
            server: None,
            places: Places::default(),
            kept: Kept::default(),
            operator_hold: None,
            resuming: false,
            may_lack_hold: false,
            waiting: Vec::new(),
            sick: None,
        }
    }

    /// Works until the state is closed or nobody is left who could ask.
    ///
    /// # Errors
    /// Something that was remembered could not be written.
    pub(super) async fn run(
        mut self,
        mut commands: UnboundedReceiver<Command>,
    ) -> Result<(), StateError> {
        let closing = self.common.closing.clone();
        let mut batch = Vec::new();
        let mut opening: Option<Opening> = None;
        loop {
            if opening.is_none()
                && let Some(sick) = &self.sick
            {
                opening = Some(Box::pin(open(sick.until, Arc::clone(&self.common))));
            }
            tokio::select! {
                taken = commands.recv_many(&mut batch, MAX_COMMANDS) => {
                    if taken == 0 {
                        break;
                    }
                    self.turn(batch.drain(..)).await;
                }
                opened = opened(&mut opening) => {
                    opening = None;
                    self.opened(opened).await;
                }
                () = closing.cancelled() => break,
            }
        }
        commands.close();
        while commands.recv_many(&mut batch, MAX_COMMANDS).await > 0 {
            self.turn(batch.drain(..)).await;
        }
        self.finish().await
    }

    /// What was remembered is tried once more.
    async fn finish(&mut self) -> Result<(), StateError> {
        if self.kept.is_empty() {
            return Ok(());
        }
        self.write_kept().await;
        self.sick.take().map_or(Ok(()), |sick| Err(sick.error))
    }

    /// After a failure there is a connection again, or there is none still.
    async fn opened(&mut self, opened: Result<Link, StateError>) {
        match opened {
            Ok(link) => {
                self.fresh = Some(link);
                self.write_kept().await;
            }
            Err(error) => self.fail(&error, VecDeque::new()),
        }
    }

    async fn write_kept(&mut self) {
        let steps = self.kept.take().into_iter().map(Step::Write).collect();
        self.carry_out(steps).await;
    }

    async fn turn(&mut self, commands: impl Iterator<Item = Command>) {
        let mut steps = VecDeque::new();
        for command in commands {
            steps.extend(Step::of(command, &mut self.waiting));
        }
        if let Some(sick) = &self.sick {
            let error = sick.error.clone();
            self.put_off(&error, steps);
        } else {
            self.carry_out(steps).await;
        }
    }

    async fn carry_out(&mut self, mut steps: VecDeque<Step>) {
        if let Err(error) = self.work_off(&mut steps).await {
            self.fail(&error, steps);
            return;
        }
        if self.sick.take().is_some() {
            self.health.bypass(false);
            tracing::info!(stream = %self.stream, at = %self.common.at, "the state in Redis works again");
        }
        for answer in mem::take(&mut self.waiting) {
            reply(answer, Ok(()));
        }
    }

    /// Carries out the steps in order; those that are left when it fails were not, or nobody knows.
    async fn work_off(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StateError> {
        let began = Instant::now();
        let mut wrote = false;
        self.connect().await?;
        if self.kept.has_gap {
            self.drop_levels(steps).await?;
        }
        while let Some(first) = steps.front() {
            if first.assignment().is_some() {
                self.assigned(steps).await?;
            } else {
                wrote |= self.pipeline(steps).await?;
            }
        }
        if wrote {
            let stats = &self.common.stats;
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.flushes += 1;
            stats.last_flush = began.elapsed();
        }
        Ok(())
    }

    /// Sends the steps up to the next assignment as one pipeline; says whether any was a write.
    async fn pipeline(&mut self, steps: &mut VecDeque<Step>) -> Result<bool, StateError> {
        let count = steps::in_one_pipeline(steps);
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        let window = self.common.settings.window;
        let command = |step: &Step| step.command(link, &self.keys, &self.places, window);
        let commands: Vec<Cmd> = steps.iter().take(count).map(command).collect();
        let answers = link.send(&commands).await?;
        let mut wrote = false;
        for (step, answer) in steps.drain(..count).zip(answers) {
            wrote |= matches!(step, Step::Write(_));
            if let Some(said) = step.operator_hold(&answer) {
                self.operator_hold = Some(said);
            }
            step.done(&answer, &mut self.places, &self.common.at, &self.stream);
        }
        Ok(wrote)
    }

    /// The partition is ours (again): the tenure that all members share says what that means.
    async fn assigned(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StateError> {
        let Some(assignment) = steps.front().and_then(Step::assignment).cloned() else {
            return Ok(());
        };
        let (committed, log_end) = (assignment.committed, assignment.log_end);
        let meaning = |found: &str| Places::assigned(found, committed, log_end);
        let handover = self.change(&assignment.place, meaning).await?;
        if let Some(Step::Assigned { answer, .. }) = steps.pop_front() {
            reply(answer, Ok(handover));
        }
        Ok(())
    }

    /// Changes a tenure, whatever others do to it meanwhile, and goes on in its epochs.
    async fn change<T>(
        &mut self,
        place: &Place,
        change: impl Fn(&str) -> (T, Tenure),
    ) -> Result<T, StateError> {
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        let tenures = self.keys.tenures();
        for _ in 0..MAX_CHANGES {
            let mut read = redis::cmd("HGET");
            read.arg(&tenures).arg(&**place);
            let found = link.send(&[read]).await?;
            let found = Step::text(found.first()).unwrap_or_default();
            let (meaning, tenure) = change(&found);
            let mut swap = link.call(Script::TakeOver, &[&tenures]);
            swap.arg(&**place).arg(found).arg(text::tenure(&tenure));
            let swapped = link.send(&[swap]).await?;
            if Step::is_one(swapped.first()) {
                self.places.begin(place, &tenure);
                return Ok(meaning);
            }
        }
        Err(trouble::strange(&self.common.at))
    }

    /// Makes sure that there is a connection, and that what was acknowledged on the last one is
    /// still there if this one leads to another server, or to one that was restarted.
    async fn connect(&mut self) -> Result<(), StateError> {
        if self.link.is_none() {
            let mut link = match self.fresh.take() {
                Some(link) => link,
                None => Link::open(&self.common.settings, &self.common.at).await?,
            };
            let Found { server, is_new } = link.open_stream(&self.keys.stream()).await?;
            self.may_lack_hold |= is_new;
            match &self.server {
                None => server.warn(&self.common.at),
                Some(before) if before.is_same_run(&server) => {}
                Some(_) => self.resume(&mut link).await?,
            }
            self.hold_again(&mut link).await?;
            self.server = Some(server);
            self.link = Some(link);
        }
        Ok(())
    }

    async fn resume(&mut self, link: &mut Link) -> Result<(), StateError> {
        let held = self.places.held();
        let again = mem::replace(&mut self.resuming, true);
        for some in held.chunks(MAX_COMMANDS) {
            let commands: Vec<Cmd> = some
                .iter()
                .map(|(place, held)| {
                    let mut call = link.call(Script::Resume, &[&self.keys.tenures()]);
                    call.arg(&**place);
                    call.arg(held.marks_epoch).arg(held.levels_epoch);
                    call.arg(held.settled.map_or_else(|| "-".to_owned(), text::offset));
                    call.arg(i64::from(again));
                    call
                })
                .collect();
            let answers = link.send(&commands).await?;
            for ((place, _), answer) in some.iter().zip(&answers) {
                if Step::is_one(Some(answer)) {
                    self.places.lost_writes(place);
                    self.may_lack_hold = true;
                    self.health.lost(1);
                    tracing::error!(stream = %self.stream, %place, at = %self.common.at, "the Redis has lost what it had acknowledged: it was restarted without its latest writes, or a replica took over that did not have them. Levels and marks of the partition are dropped; SETs may be repeated");
                }
            }
        }
        self.resuming = false;
        Ok(())
    }

    /// A server that has lost something must not end an operator's hold by that. A hold that an operator ended
    /// meanwhile may come back so; that is the safe side.
    async fn hold_again(&mut self, link: &mut Link) -> Result<(), StateError> {
        if !self.may_lack_hold {
            return Ok(());
        }
        if let Some(Some(reason)) = &self.operator_hold {
            let mut read = redis::cmd("HGET");
            read.arg(self.keys.stream()).arg(OPERATOR_HOLD);
            let found = link.send(&[read]).await?;
            if Step::text(found.first()).is_none() {
                let mut set = redis::cmd("HSET");
                set.arg(self.keys.stream()).arg(OPERATOR_HOLD).arg(reason);
                link.send(&[set]).await?;
                tracing::warn!(stream = %self.stream, at = %self.common.at, "the Redis has lost the operator's hold with its data: it is written again");
            }
        }
        self.may_lack_hold = false;
        Ok(())
    }

    /// What was forgotten in a bypass may have been levels: those that are there may be too old.
    async fn drop_levels(&mut self, steps: &VecDeque<Step>) -> Result<(), StateError> {
        let held = self.places.held().into_iter().map(|(place, _)| place);
        let moves = steps::that_move(steps);
        let taken = moves.keys().map(|place| Arc::clone(place));
        // What we gave up has another owner, whose epochs we must not end.
        let is_ours = |place: &Place| moves.get(place).is_none_or(|ours| *ours);
        let ours: BTreeSet<Place> = held.chain(taken).filter(is_ours).collect();
        for place in &ours {
            self.change(place, Places::without_levels).await?;
        }
        self.kept.has_gap = false;
        self.health.lost(ours.len());
        tracing::warn!(stream = %self.stream, at = %self.common.at, partitions = ours.len(), "not everything that was decided without the Redis could be kept for it: levels of our partitions are dropped");
        Ok(())
    }

    /// Leaves the server alone for a while.
    fn fail(&mut self, error: &StateError, steps: VecDeque<Step>) {
        self.link = None;
        if self.sick.is_none() && self.continues() {
            self.health.bypass(true);
            let error = crate::telemetry::chain(error);
            tracing::error!(stream = %self.stream, error, "the stream goes on without its state: SETs may be repeated, levels before are unknown (state.redis.on_unavailable: continue)");
        }
        let before = self.sick.as_ref().map(|sick| sick.pause * 2);
        let pause = before.unwrap_or(FIRST_PAUSE).min(LONGEST_PAUSE);
        self.sick = Some(Sick {
            error: error.clone(),
            until: Instant::now() + pause,
            pause,
        });
        let stats = &self.common.stats;
        stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failed_flushes += 1;
        self.put_off(error, steps);
    }

    fn continues(&self) -> bool {
        self.common.settings.on_unavailable == OnUnavailable::Continue
    }

    /// Keeps the writes, and refuses the questions, or answers them as somebody who knows nothing.
    fn put_off(&mut self, error: &StateError, steps: VecDeque<Step>) {
        if self.continues() {
            for step in steps {
                if let Some(write) = step.bypass(&mut self.operator_hold, error) {
                    self.kept.push_bounded(write);
                }
            }
            for answer in mem::take(&mut self.waiting) {
                reply(answer, Ok(()));
            }
            return;
        }
        for write in steps.into_iter().filter_map(|step| step.refuse(error)) {
            self.kept.push(write);
        }
        for answer in mem::take(&mut self.waiting) {
            reply(answer, Err(error.clone()));
        }
    }
}

/// A connection under way.
type Opening = Pin<Box<dyn Future<Output = Result<Link, StateError>> + Send>>;

async fn open(moment: Instant, common: Arc<Common>) -> Result<Link, StateError> {
    sleep_until(moment).await;
    Link::open(&common.settings, &common.at).await
}

/// Never, when none is under way.
async fn opened(opening: &mut Option<Opening>) -> Result<Link, StateError> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Nobody is there to hear it when the caller dropped its reply.
pub(super) fn reply<T>(answer: Answer<T>, result: Result<T, StateError>) {
    drop(answer.send(result));
}
