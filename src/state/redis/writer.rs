//! One stream's task: takes its commands in turns, one pipeline a turn.
//!
//! A turn takes what waits, up to [`MAX_COMMANDS`]; one turn is under way at a time, so commands
//! take effect in the order in which they were sent, and what comes meanwhile shares the next
//! round trip. A turn that fails drops the connection. Its writes are kept in order, and the next
//! turn begins with them, so what was remembered is in order for ever and a caller need not repeat
//! it; questions are refused until then, for they would miss those writes. Every write may be sent
//! twice: see `scripts`.
//!
//! It must never answer a flush before the server has, or write in another order than it was told.

use std::{
    collections::VecDeque,
    mem,
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
    link::{Link, Server},
    places::{Place, Places},
    scripts::Script,
    settings::RedisSettings,
    steps::{Step, Write},
    text::{self, Keys},
};
use crate::state::{Handover, StateError, StateStats, reply::Answer};

/// A turn takes so many commands, and a pipeline has at most so many.
const MAX_COMMANDS: usize = 256;
/// After a failure the server is left alone for so long, twice as long after the next one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A tenure that changes under our hands is read again so often. Two members that are assigned the
/// same partition at once is all that does it.
const MAX_TAKE_OVERS: usize = 10;

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
    pub(super) keys: Keys,
    link: Option<Link>,
    /// The server that the last connection led to.
    server: Option<Server>,
    places: Places,
    /// Not acknowledged, in order. Between turns it is empty, unless the last turn failed.
    unwritten: VecDeque<Write>,
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
    pub(super) fn new(stream: Arc<str>, common: Arc<Common>) -> Self {
        Self {
            keys: Keys::new(&common.settings.key_prefix, &stream),
            stream,
            common,
            link: None,
            server: None,
            places: Places::default(),
            unwritten: VecDeque::new(),
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
        loop {
            tokio::select! {
                taken = commands.recv_many(&mut batch, MAX_COMMANDS) => {
                    if taken == 0 {
                        break;
                    }
                    self.turn(batch.drain(..)).await;
                }
                // What is kept is written although nobody asks.
                () = until(self.retry_at()) => self.turn([].into_iter()).await,
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
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.sick = None;
        self.turn([].into_iter()).await;
        self.sick.take().map_or(Ok(()), |sick| Err(sick.error))
    }

    fn retry_at(&self) -> Option<Instant> {
        let sick = self.sick.as_ref()?;
        (!self.unwritten.is_empty()).then_some(sick.until)
    }

    async fn turn(&mut self, commands: impl Iterator<Item = Command>) {
        let mut steps: VecDeque<Step> = self.unwritten.drain(..).map(Step::Write).collect();
        for command in commands {
            if let Some(step) = Step::of(command, &mut self.waiting) {
                steps.push_back(step);
            }
        }
        let refused = self
            .sick
            .as_ref()
            .filter(|sick| Instant::now() < sick.until);
        let done = match refused {
            Some(sick) => Err((sick.error.clone(), false)),
            None => self.work_off(&mut steps).await.map_err(|e| (e, true)),
        };
        match done {
            Ok(()) => {
                self.sick = None;
                for answer in mem::take(&mut self.waiting) {
                    reply(answer, Ok(()));
                }
            }
            Err((error, is_new)) => self.fail(&error, steps, is_new),
        }
    }

    /// Carries out the steps in order; those that are left when it fails were not, or nobody knows.
    async fn work_off(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StateError> {
        let began = Instant::now();
        let mut wrote = false;
        while let Some(first) = steps.front() {
            if let Step::Assigned { .. } = first {
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
        let is_assigned = |step: &Step| matches!(step, Step::Assigned { .. });
        let count = steps.iter().position(is_assigned).unwrap_or(steps.len());
        let count = count.min(MAX_COMMANDS);
        self.connect().await?;
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
            step.done(&answer, &mut self.places, &self.common.at, &self.stream);
        }
        Ok(wrote)
    }

    /// The partition is ours (again): the tenure that all members share says what that means.
    async fn assigned(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StateError> {
        let Some(Step::Assigned {
            place,
            committed,
            log_end,
            ..
        }) = steps.front()
        else {
            return Ok(());
        };
        let (place, committed, log_end) = (place.clone(), *committed, *log_end);
        let handover = self.take_over(&place, committed, log_end).await?;
        if let Some(Step::Assigned { answer, .. }) = steps.pop_front() {
            reply(answer, Ok(handover));
        }
        Ok(())
    }

    async fn take_over(
        &mut self,
        place: &Place,
        committed: Option<i64>,
        log_end: i64,
    ) -> Result<Handover, StateError> {
        self.connect().await?;
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        let tenures = self.keys.tenures();
        for _ in 0..MAX_TAKE_OVERS {
            let mut read = redis::cmd("HGET");
            read.arg(&tenures).arg(&**place);
            let found = link.send(&[read]).await?;
            let found = Step::text(found.first()).unwrap_or_default();
            let (handover, tenure) = Places::assigned(&found, committed, log_end);
            let mut swap = link.call(Script::TakeOver, &[&tenures]);
            swap.arg(&**place).arg(found).arg(text::tenure(&tenure));
            let swapped = link.send(&[swap]).await?;
            if Step::is_one(swapped.first()) {
                self.places.begin(place, &tenure);
                return Ok(handover);
            }
        }
        Err(super::trouble::strange(&self.common.at))
    }

    /// Makes sure that there is a connection, and that what was acknowledged on the last one is
    /// still there if this one leads to another server, or to one that was restarted.
    async fn connect(&mut self) -> Result<(), StateError> {
        if self.link.is_some() {
            return Ok(());
        }
        let mut link = Link::open(&self.common.settings, &self.common.at).await?;
        let server = link.open_stream(&self.keys.stream()).await?;
        match &self.server {
            None => server.warn(&self.common.at),
            Some(before) if before.is_same_run(&server) => {}
            Some(_) => self.resume(&mut link).await?,
        }
        if let Some(sick) = &self.sick {
            tracing::info!(stream = %self.stream, at = %self.common.at, unwritten = self.unwritten.len(), after = %sick.error, "the state in Redis can be reached again");
        }
        self.server = Some(server);
        self.link = Some(link);
        Ok(())
    }

    async fn resume(&mut self, link: &mut Link) -> Result<(), StateError> {
        let held = self.places.held();
        for some in held.chunks(MAX_COMMANDS) {
            let commands: Vec<Cmd> = some
                .iter()
                .map(|(place, held)| {
                    let mut call = link.call(Script::Resume, &[&self.keys.tenures()]);
                    call.arg(&**place)
                        .arg(held.marks_epoch)
                        .arg(held.levels_epoch);
                    call.arg(held.settled.map_or_else(|| "-".to_owned(), text::offset));
                    call
                })
                .collect();
            let answers = link.send(&commands).await?;
            for ((place, _), answer) in some.iter().zip(&answers) {
                if Step::is_one(Some(answer)) {
                    self.places.lost_writes(place);
                    tracing::error!(stream = %self.stream, place = %place, at = %self.common.at, "the Redis has lost what it had acknowledged: it was restarted without its latest writes, or a replica took over that did not have them. Levels and marks of the partition are dropped; SETs may be repeated");
                }
            }
        }
        Ok(())
    }

    /// Keeps the writes, refuses the questions, and drops the connection.
    fn fail(&mut self, error: &StateError, steps: VecDeque<Step>, is_new: bool) {
        for step in steps {
            if let Some(write) = step.refuse(error) {
                self.unwritten.push_back(write);
            }
        }
        for answer in mem::take(&mut self.waiting) {
            reply(answer, Err(error.clone()));
        }
        if is_new {
            self.link = None;
            let pause = self
                .sick
                .as_ref()
                .map_or(FIRST_PAUSE, |sick| sick.pause * 2);
            let pause = pause.min(LONGEST_PAUSE);
            self.sick = Some(Sick {
                error: error.clone(),
                until: Instant::now() + pause,
                pause,
            });
            let stats = &self.common.stats;
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.failed_flushes += 1;
        }
    }
}

/// Never, when there is no such moment.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Nobody is there to hear it when the caller dropped its reply.
pub(super) fn reply<T>(answer: Answer<T>, result: Result<T, StateError>) {
    drop(answer.send(result));
}
