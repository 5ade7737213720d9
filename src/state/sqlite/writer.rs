//! The thread that owns the connection: takes commands in turns, one transaction a turn.
//!
//! A turn begins with the first command and takes what comes within [`LINGER`], so that under load
//! one commit, and one sync of the log, serves many SETs; look-ups are answered from inside the
//! transaction as soon as no other command waits, so that a burst of them wakes those who asked once.
//! Nobody waits longer than that but those who wait for a flush.
//!
//! A turn that fails is rolled back, and those who wait for its flush learn why. Its writes are kept in
//! order, and the next turn begins with them: so what was remembered is in order for ever, and a
//! caller need not repeat it. Until then look-ups fail too, for they would miss those writes.
//!
//! It must never answer a flush before the commit, or write in another order than it was told.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    Asked, Command, Remembered,
    ledger::{Ledger, Stream},
    lock::FileLock,
    rows::{self, Change, Write},
    syncer::Syncer,
    tables::{Added, Tables},
};
use crate::state::{Clock, Decision, Facts, StateError, StateStats, reply::Answer, window::Window};

/// How long a turn takes in commands. It delays only what waits for a flush (offsets are committed
/// every few seconds); of two SETs in one commit some dirty the same pages, and a sync is one.
const LINGER: Duration = Duration::from_millis(50);
/// The same when somebody waits: a decision without acceptance keeps its lane until it is flushed.
const HURRY: Duration = Duration::from_millis(1);
/// A turn ends when it has so many writes.
const MAX_WRITES: usize = 1024;
/// After a failure the file is left alone for so long; commands are refused meanwhile.
const SICK_PAUSE: Duration = Duration::from_millis(100);
/// Expired jtis are deleted so many at a time (about 1 ms), between turns.
const SWEEP_ROWS: i64 = 1000;
/// The pause between two such steps when no command comes.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);
/// How often a thread without commands looks for expired jtis.
const IDLE: Duration = Duration::from_secs(60);

/// What the thread works by.
pub(super) struct Terms {
    pub(super) window: Window,
    pub(super) clock: Clock,
    pub(super) stats: Arc<Mutex<StateStats>>,
}

/// The whole life of the thread. `loaded` learns whether the file could be read.
pub(super) fn run(
    connection: Connection,
    lock: FileLock,
    syncer: Syncer,
    terms: Terms,
    commands: &Receiver<Command>,
    loaded: &Sender<Result<(), StateError>>,
) {
    let closed = work(&connection, syncer, terms, commands, loaded);
    // The file is free for the next one before anybody hears that it is closed.
    drop(connection);
    drop(lock);
    if let Some((answer, outcome)) = closed {
        reply(answer, outcome);
    }
}

/// Returns whoever closed the state, and what to tell them.
fn work(
    connection: &Connection,
    syncer: Syncer,
    terms: Terms,
    commands: &Receiver<Command>,
    loaded: &Sender<Result<(), StateError>>,
) -> Option<(Answer<()>, Result<(), StateError>)> {
    let load = Tables::prepare(connection).and_then(|t| Ok((Ledger::load(&t)?, t)));
    let (ledger, tables) = match load {
        Ok(both) => both,
        Err(error) => {
            // Unheard only when the opener is gone.
            drop(loaded.send(Err(error.into())));
            return None;
        }
    };
    loaded.send(Ok(())).ok()?;
    let mut writer = Writer::new(tables, ledger, syncer, terms);
    writer.publish_stats();
    let closing = writer.take_turns(commands);
    let outcome = writer.finish();
    closing.map(|answer| (answer, outcome))
}

struct Writer<'c> {
    tables: Tables<'c>,
    ledger: Ledger,
    syncer: Syncer,
    terms: Terms,
    /// Not committed, in order. Between turns it is empty, unless the last turn failed.
    writes: Vec<Change>,
    /// The rows that this turn added, to be taken off the counts when it fails.
    added: Vec<Added>,
    /// Who waits for this turn's flush.
    waiting: Vec<Answer<()>>,
    /// Facts found, not yet told.
    found: Vec<(Answer<Facts>, Result<Facts, StateError>)>,
    /// Why the last turn failed, and when the next may try.
    sick: Option<(StateError, Instant)>,
}

/// What a command means for the turn.
enum Go {
    On,
    Hurry,
    Close(Answer<()>),
}

impl<'c> Writer<'c> {
    fn new(tables: Tables<'c>, ledger: Ledger, syncer: Syncer, terms: Terms) -> Self {
        Self {
            tables,
            ledger,
            syncer,
            terms,
            writes: Vec::new(),
            added: Vec::new(),
            waiting: Vec::new(),
            found: Vec::new(),
            sick: None,
        }
    }

    /// Until somebody closes, whom it returns, or nobody is left who could ask.
    fn take_turns(&mut self, commands: &Receiver<Command>) -> Option<Answer<()>> {
        let mut pause = IDLE;
        loop {
            match commands.recv_timeout(pause) {
                Ok(first) => {
                    if let Some(closing) = self.turn(first, commands) {
                        return Some(closing);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
            pause = if self.sweep() { SWEEP_PAUSE } else { IDLE };
        }
    }

    /// Returns whoever closes the state; then this was the last turn.
    fn turn(&mut self, first: Command, commands: &Receiver<Command>) -> Option<Answer<()>> {
        let mut closing = None;
        let ended = match self.begin() {
            Ok(()) => self
                .take_commands(first, commands, &mut closing)
                .and_then(|()| self.commit()),
            Err(error) => {
                if let Ok(Go::Close(answer)) = self.carry_out(first, Some(&error)) {
                    closing = Some(answer);
                }
                Err(error)
            }
        };
        if let Err(error) = ended {
            self.fail(&error);
        }
        self.tell();
        self.publish_stats();
        closing
    }

    /// Starts a transaction, with what the last turn could not write.
    fn begin(&mut self) -> Result<(), StateError> {
        if let Some((error, until)) = &self.sick
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        self.tables.begin()?;
        let writes = mem::take(&mut self.writes);
        let applied = writes.iter().try_for_each(|write| self.apply(write));
        self.writes = writes;
        applied
    }

    fn take_commands(
        &mut self,
        first: Command,
        commands: &Receiver<Command>,
        closing: &mut Option<Answer<()>>,
    ) -> Result<(), StateError> {
        let mut until = Instant::now() + LINGER;
        let mut next = Some(first);
        while let Some(command) = next {
            match self.carry_out(command, None)? {
                Go::On => {}
                Go::Hurry => until = until.min(Instant::now() + HURRY),
                Go::Close(answer) => {
                    *closing = Some(answer);
                    break;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.writes.len() >= MAX_WRITES {
                break;
            }
            next = commands.try_recv().ok().or_else(|| {
                self.tell();
                commands.recv_timeout(left).ok()
            });
        }
        self.tell();
        Ok(())
    }

    /// Answers the look-ups so far.
    fn tell(&mut self) {
        for (answer, facts) in self.found.drain(..) {
            reply(answer, facts);
        }
    }

    /// Carries out one command. With `refusing` there is no transaction: what is to be written is
    /// kept, what is to be read is refused.
    fn carry_out(
        &mut self,
        command: Command,
        refusing: Option<&StateError>,
    ) -> Result<Go, StateError> {
        match command {
            Command::LookUp(stream, asked, answer) => {
                let facts =
                    refusing.map_or_else(|| self.look_up(&stream, &asked), |e| Err(e.clone()));
                let failed = facts.as_ref().err().cloned();
                self.found.push((answer, facts));
                return failed.map_or(Ok(Go::On), Err);
            }
            Command::Remember(stream, remembered, answer) => {
                self.waiting.push(answer);
                self.remember(&stream, &remembered, refusing.is_some())?;
                if remembered.decision == Decision::Final {
                    return Ok(Go::Hurry);
                }
            }
            Command::Progress(stream, (topic, partition), next_offset, answer) => {
                let stream = self.stream(&stream);
                let number = stream.partitions.meet(&topic, partition);
                stream.tenure_mut(number).next_offset = Some(next_offset);
                self.waiting.push(answer);
            }
            Command::Assigned(stream, (topic, partition), committed, log_end, answer) => {
                let stream = self.stream(&stream);
                let partitions = &mut stream.partitions;
                let (number, handover) = partitions.assigned(&topic, partition, committed, log_end);
                stream.partition_changed(number);
                reply(answer, Ok(handover));
            }
            Command::Forget(stream, jtis, answer) => {
                self.waiting.push(answer);
                let stream = self.ledger.meet(&stream);
                self.change(Change::Forgotten(stream, jtis), refusing.is_some())?;
                return Ok(Go::Hurry);
            }
            Command::Flush(answer) => {
                self.waiting.push(answer);
                return Ok(Go::Hurry);
            }
            Command::AcceptedUnder(stream, answer) => {
                reply(answer, Ok(self.stream(&stream).row.accepted_under));
            }
            Command::SetAcceptedUnder(stream, fingerprint, answer) => {
                self.stream(&stream).row_mut().accepted_under = Some(fingerprint);
                self.waiting.push(answer);
            }
            Command::OperatorHold(stream, answer) => {
                reply(answer, Ok(self.stream(&stream).row.operator_hold.clone()));
            }
            Command::SetOperatorHold(stream, reason, answer) => {
                self.stream(&stream).row_mut().operator_hold = reason;
                self.waiting.push(answer);
                return Ok(Go::Hurry);
            }
            Command::HeldSince(stream, answer) => {
                reply(answer, Ok(self.stream(&stream).row.held_since));
            }
            Command::SetHeldSince(stream, since_ms, answer) => {
                self.stream(&stream).row_mut().held_since = since_ms;
                self.waiting.push(answer);
            }
            Command::Close(answer) => return Ok(Go::Close(answer)),
        }
        Ok(Go::On)
    }

    fn stream(&mut self, name: &Arc<str>) -> &mut Stream {
        let id = self.ledger.meet(name);
        self.ledger.stream_mut(id)
    }

    fn look_up(&mut self, stream: &Arc<str>, asked: &Asked) -> Result<Facts, StateError> {
        let now = (self.terms.clock)();
        let window = self.terms.window;
        let stream = self.ledger.meet(stream);
        let facts = rows::look_up(&mut self.tables, &self.ledger, stream, asked, (window, now));
        Ok(facts?)
    }

    fn remember(
        &mut self,
        stream: &Arc<str>,
        remembered: &Remembered,
        only_keep: bool,
    ) -> Result<(), StateError> {
        let bucket = self.terms.window.bucket((self.terms.clock)());
        let stream = self.ledger.meet(stream);
        let write = Write::of(&mut self.ledger, stream, remembered, bucket);
        self.change(Change::Decided(write), only_keep)
    }

    fn change(&mut self, write: Change, only_keep: bool) -> Result<(), StateError> {
        let applied = match only_keep {
            true => Ok(()),
            false => self.apply(&write),
        };
        self.writes.push(write);
        applied
    }

    fn apply(&mut self, write: &Change) -> Result<(), StateError> {
        let added = write.apply(&mut self.tables, &self.ledger)?;
        self.ledger.count(&added, 1);
        self.added.push(added);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StateError> {
        self.ledger.write(&mut self.tables)?;
        self.tables.commit()?;
        self.ledger.written();
        self.writes.clear();
        self.added.clear();
        self.sick = None;
        if self.syncer.is_suspect() {
            self.tables.checkpoint()?;
            self.syncer.trust();
        }
        // Before anybody hears that it is durable, so that who was told finds it counted.
        self.publish_stats();
        if !self.waiting.is_empty() {
            self.syncer.after_commit(mem::take(&mut self.waiting));
        }
        Ok(())
    }

    fn fail(&mut self, error: &StateError) {
        self.tables.roll_back();
        for added in mem::take(&mut self.added) {
            self.ledger.count(&added, -1);
        }
        for answer in mem::take(&mut self.waiting) {
            reply(answer, Err(error.clone()));
        }
        let now = Instant::now();
        if self.sick.as_ref().is_none_or(|(_, until)| *until <= now) {
            self.sick = Some((error.clone(), now + SICK_PAUSE));
            let mut stats = self
                .terms
                .stats
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            stats.failed_flushes += 1;
        }
    }

    /// Deletes some expired jtis; says whether there may be more. In a transaction of its own: when
    /// it fails, so will the next turn, and say it; nobody needs to hear of this one.
    fn sweep(&mut self) -> bool {
        let now = (self.terms.clock)();
        let Some((stream, start)) = self.ledger.expired(self.terms.window, now) else {
            return false;
        };
        if self.sick.is_some() {
            return false;
        }
        let swept = self.tables.begin().and_then(|()| {
            let deleted = self.tables.sweep(stream, start, SWEEP_ROWS)?;
            let is_empty = deleted < SWEEP_ROWS;
            if is_empty {
                self.tables.drop_bucket(stream, start)?;
            }
            self.tables.commit()?;
            Ok((deleted, is_empty))
        });
        let Ok((deleted, is_empty)) = swept else {
            self.tables.roll_back();
            return false;
        };
        self.ledger
            .stream_mut(stream)
            .swept(start, deleted, is_empty);
        self.publish_stats();
        true
    }

    fn publish_stats(&self) {
        let counts = self.ledger.stats();
        let mut stats = self
            .terms
            .stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        stats.jtis = counts.jtis;
        stats.levels = counts.levels;
        stats.marks = counts.marks;
    }

    /// The end: what was remembered is tried once more, whoever waits for a sync is answered, and
    /// the log goes into the database. That only saves the next start the reading of it, unless a
    /// sync failed.
    fn finish(mut self) -> Result<(), StateError> {
        self.sick = None;
        let written = self.begin().and_then(|()| self.commit());
        if let Err(error) = &written {
            self.fail(error);
        }
        let suspect = self.syncer.end();
        let copied = self.tables.checkpoint();
        if suspect {
            copied?;
        }
        written
    }
}

/// Nobody is there to hear it when the caller dropped its reply.
fn reply<T>(answer: Answer<T>, result: Result<T, StateError>) {
    drop(answer.send(result));
}
