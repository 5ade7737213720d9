//! The rules of one stream together with who waits for them: what an acceptance or a refusal means for the others.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::delivery::chance;
use crate::delivery::guard::{Guard, Ruling};
use crate::delivery::hold::{Gate, HoldReason};
use crate::delivery::receiver_fault::Acceptances;
use crate::set::SubjectKey;

use super::reasons::Reasons;
use super::{Next, Pass};

pub(super) struct Waiter {
    tell: oneshot::Sender<Pass>,
    /// The refusal guard has it; an open gate is not enough.
    guarded: bool,
}

pub(super) struct Rules {
    pub(super) gate: Gate<u64>,
    pub(super) guard: Guard<SubjectKey, u64>,
    pub(super) acceptances: Acceptances<SubjectKey>,
    pub(super) waiters: HashMap<u64, Waiter>,
    /// Refused during a hold of the guard, and pushed once more since.
    pub(super) retried: HashSet<u64>,
    /// How many hold the stream, by reason.
    pub(super) holders: HashMap<HoldReason, usize>,
    /// Since when the gate is shut.
    pub(super) shut_since: Option<Instant>,
    /// What the world is told.
    pub(super) reasons: Reasons,
}

impl Rules {
    pub(super) fn new(
        gate: Gate<u64>,
        guard: Guard<SubjectKey, u64>,
        acceptances: Acceptances<SubjectKey>,
        reasons: Reasons,
    ) -> Self {
        Self {
            gate,
            guard,
            acceptances,
            waiters: HashMap::new(),
            retried: HashSet::new(),
            holders: HashMap::new(),
            shut_since: None,
            reasons,
        }
    }

    pub(super) fn accepted(&mut self, id: u64, subject: SubjectKey) -> Next {
        self.acceptances.accepted(&subject);
        let suspect = self.guard.is_held();
        for refused in self.guard.accepted(&id, &subject) {
            // Refused while the set-up was suspect, so that says nothing about the SET yet: once more. The second
            // time it is judged as any other, or a bad one would hold the stream again and again.
            if suspect && self.retried.insert(refused) {
                if let Some(waiter) = self.waiters.get_mut(&refused) {
                    waiter.guarded = false;
                }
                self.gate.enter(&refused);
                continue;
            }
            self.gate.leave(&refused);
            self.tell(refused, Pass::DeadLetter);
        }
        if self.gate.is_open() && !self.waiters.is_empty() {
            self.open_up();
        }
        Next::Accepted
    }

    /// `suspicious`: the answer may as well be the set-up's fault, so it is no proof against the record.
    pub(super) fn refused(
        &mut self,
        id: u64,
        subject: SubjectKey,
        suspicious: bool,
        probe: bool,
        now: Instant,
    ) -> Next {
        let mut released = Vec::new();
        let ruling = self
            .guard
            .refused(id, &subject, suspicious, now, &mut released);
        for other in released {
            self.tell(other, Pass::DeadLetter);
        }
        match ruling {
            Ruling::Release => Next::DeadLetter,
            Ruling::Wait => {
                // A probe that the guard only keeps has proved the set-up good: the hold was waiting for that.
                let probed = self
                    .gate
                    .reasons()
                    .map(|(reason, _)| reason)
                    .find(|r| r.is_probed());
                if probe
                    && let Some(reason) = probed
                    && self.gate.lift(reason)
                {
                    self.open_up();
                }
                Next::Wait(self.wait(id, true))
            }
            Ruling::Hold(reason) => {
                self.gate.hold(reason, now, chance::uniform());
                self.gate.enter(&id);
                Next::Wait(self.wait(id, true))
            }
        }
    }

    pub(super) fn wait(&mut self, id: u64, guarded: bool) -> oneshot::Receiver<Pass> {
        let (tell, told) = oneshot::channel();
        self.waiters.insert(id, Waiter { tell, guarded });
        told
    }

    pub(super) fn tell(&mut self, id: u64, pass: Pass) -> bool {
        self.waiters
            .remove(&id)
            .is_some_and(|waiter| waiter.tell.send(pass).is_ok())
    }

    /// The gate has opened: everybody goes but those whom the guard still keeps.
    pub(super) fn open_up(&mut self) {
        let (kept, free): (HashMap<_, _>, HashMap<_, _>) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|(_, waiter)| waiter.guarded);
        self.waiters = kept;
        for waiter in free.into_values() {
            // A SET that went away meanwhile has been forgotten already.
            let _ = waiter.tell.send(Pass::Free);
        }
    }

    pub(super) fn forget(&mut self, id: u64) {
        self.gate.leave(&id);
        self.guard.withdraw(&id);
        self.waiters.remove(&id);
        self.retried.remove(&id);
    }
}
