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

mod joining;
mod tenures;

use std::{
    collections::VecDeque,
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
    hold::Word,
    kept::Kept,
    link::{Link, Server},
    places::Places,
    settings::{OnUnavailable, RedisSettings},
    steps::{self, Flushing, MAX_COMMANDS, Refused, Step},
    text::Keys,
};
use crate::state::{StateError, StateStats, reply::Answer};

/// After a failure the server is left alone for so long, twice as long after the next one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    operator: Option<Word>,
    /// The highest version of such a word that was given out or heard of.
    operator_version: i64,
    /// The server has lost it.
    tell_hold: bool,
    /// Who waits for all that was noted before.
    flushing: Vec<Flushing>,
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
            operator: None,
            operator_version: 0,
            tell_hold: false,
            flushing: Vec::new(),
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
        let kept = self.kept.take().into_iter();
        let steps = kept.map(|write| Step::Write(write, None)).collect();
        self.carry_out(steps).await;
    }

    async fn turn(&mut self, commands: impl Iterator<Item = Command>) {
        let mut steps = VecDeque::new();
        for command in commands {
            steps.extend(Step::of(
                command,
                &mut self.flushing,
                &mut self.operator_version,
            ));
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
        for (of, answer) in mem::take(&mut self.flushing) {
            let fenced = of.filter(|place| self.places.is_fenced(place));
            reply(answer, fenced.map_or(Ok(()), |place| steps::fenced(&place)));
        }
    }

    /// Carries out the steps in order; those that are left when it fails were not, or nobody knows.
    async fn work_off(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StateError> {
        let began = Instant::now();
        let mut wrote = false;
        self.connect().await?;
        let had_gap = self.kept.has_gap;
        if had_gap {
            self.drop_levels(steps).await?;
        }
        while let Some(first) = steps.front() {
            if first.assignment().is_some() {
                self.assigned(steps).await?;
            } else {
                wrote |= self.pipeline(steps).await?;
            }
        }
        if had_gap {
            self.kept.has_gap = false;
        }
        if mem::take(&mut self.tell_hold) {
            self.tell_hold().await?;
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
        let mut again = Vec::new();
        for (mut step, answer) in steps.drain(..count).zip(answers) {
            wrote |= matches!(step, Step::Write(..));
            if let Some(there) = step.operator_word(&answer) {
                match step.say_again(&there) {
                    Ok(newer) => {
                        again.push(newer);
                        continue;
                    }
                    Err(other) => step = other,
                }
                self.heard(there);
            }
            if let Some(refused) = step.refused(&answer) {
                self.refused(&refused);
            }
            let operator = self.operator.as_ref();
            step.done(&answer, &mut self.places, operator, &self.common.at);
        }
        steps.extend(again);
        Ok(wrote)
    }

    /// The server knows this word of an operator. If it knew a newer one before, it has lost that, and hears it again.
    fn heard(&mut self, there: Word) {
        self.operator_version = self.operator_version.max(there.version);
        match &self.operator {
            Some(ours) if ours.version > there.version => self.tell_hold = true,
            _ => self.operator = Some(there),
        }
    }

    /// A write was not taken: said once for each assignment.
    fn refused(&mut self, refused: &Refused) {
        let Refused { place, is_lost } = refused;
        if !self.places.fence(place) {
            return;
        }
        let (stream, at) = (&self.stream, &self.common.at);
        if *is_lost {
            self.health.lost(1);
            tracing::error!(%stream, %place, %at, "the Redis has lost what it knew about the partition: levels, marks and delivered jtis. If the partition is still ours it is taken over again; SETs may be repeated");
        } else {
            tracing::warn!(%stream, %place, %at, "in the Redis the partition has another owner by now: nothing more is written about it");
        }
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
        let continues = self.continues();
        for step in steps {
            if continues {
                if let Some(assignment) = step.assignment() {
                    self.places.untold(assignment);
                }
                if let Some(write) = step.bypass(&mut self.operator, error) {
                    self.kept.push_bounded(write);
                }
            } else if let Some(write) = step.refuse(error) {
                self.kept.push(write);
            }
        }
        for (_, answer) in mem::take(&mut self.flushing) {
            let bypassed = continues.then_some(());
            reply(answer, bypassed.ok_or_else(|| error.clone()));
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
