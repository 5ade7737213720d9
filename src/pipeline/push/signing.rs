//! Step *sign*: the bytes that every attempt under one key sends, also when whoever has the key is not there or refuses.

use std::future::Future;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::journey::Draft;
use super::super::outage::{Outage, Waiting};
use super::super::skips::Stop;
use super::super::stream::{FIRST_RETRY, MAX_RETRY, Stream};
use super::Signed;
use crate::delivery::hold::HoldReason;
use crate::signing::{SignError, SignedSet, VaultFault};

/// What keeps SETs from being signed elsewhere. The moment's fault holds nothing: each SET waits in its lane.
pub(in crate::pipeline) struct SignerOutage {
    silent: Outage,
    refuses: Outage,
    /// It signs again: nobody needs to wait longer.
    back: Notify,
}

impl SignerOutage {
    pub(in crate::pipeline) fn new() -> Self {
        let refuses =
            "the signer refuses to sign, or has told no keys yet; the stream is held until it does";
        Self {
            silent: Outage::new(
                None,
                "the signer does not sign now; SETs wait and are tried again",
                "the signer signs again",
            ),
            refuses: Outage::new(
                Some(HoldReason::ExternalSigner),
                refuses,
                "the signer refuses no more",
            ),
            back: Notify::new(),
        }
    }

    /// A signature came.
    fn worked(&self, stream: &str) {
        for outage in [&self.silent, &self.refuses] {
            outage.worked(stream, None);
        }
        self.back.notify_waiters();
    }

    fn of(&self, fault: VaultFault) -> &Outage {
        if fault.is_set_up() {
            &self.refuses
        } else {
            &self.silent
        }
    }
}

impl Stream {
    /// The signed bytes: those of the attempt before, unless their key is no longer published, or it was held since and
    /// keys were reloaded. The latter is for all that waited and not for the probe only: each of the others would be
    /// refused for the old key, and hold the stream again. [`None`]: it has expired while nobody signed.
    pub(super) async fn sign(
        &self,
        draft: &Draft,
        token: &[u8],
        signed: &mut Option<Signed>,
    ) -> Result<Option<Bytes>, Stop> {
        let keys = &self.parts.keys;
        if let Some(before) = signed
            && keys.publishes(&before.set.kid)
            && (before.generation == keys.generation() || !before.was_held)
        {
            return Ok(Some(before.set.compact.clone()));
        }
        let mut wait = FIRST_RETRY;
        // Which fault it waits out, and what holds the stream meanwhile.
        let mut waiting: Option<(VaultFault, Waiting<'_>)> = None;
        loop {
            let generation = keys.generation();
            let back = self.signer.back.notified();
            match self.wait(draft, self.sign_once(token)).await? {
                Ok(set) => {
                    drop(waiting);
                    self.signer.worked(self.id());
                    return Ok(Some(self.note_signed(set, generation, signed)));
                }
                Err(SignError::Vault(fault)) => {
                    waiting = Some(self.signer_failed(fault, waiting));
                }
                Err(error) => {
                    // The signer is ours: without it nothing can ever leave, so the desk ends the process.
                    let _ = self.broken.set(format!("signing failed: {error}"));
                    return Err(Stop::LetGo);
                }
            }
            // At least so long: others may be signed while this one is not.
            self.wait(draft, sleep(FIRST_RETRY)).await?;
            let either = first_of(sleep(wait.saturating_sub(FIRST_RETRY)), back);
            self.wait(draft, either).await?;
            wait = (wait * 2).min(MAX_RETRY);
            if self.is_expired(draft) {
                return Ok(None);
            }
        }
    }

    async fn sign_once(&self, token: &[u8]) -> Result<SignedSet, SignError> {
        let keys = &self.parts.keys;
        let key = match keys.active(self.parts.algorithm) {
            Some(key) => key,
            // Before the first answer of whoever has them.
            None if !keys.is_known() => return Err(SignError::Vault(VaultFault::KeysUnknown)),
            None => return Err(SignError::NoKey),
        };
        self.parts.signer.sign(key, token.to_vec()).await
    }

    fn note_signed(&self, set: SignedSet, generation: u64, signed: &mut Option<Signed>) -> Bytes {
        let metrics = &self.parts.metrics;
        metrics.signed.inc();
        metrics.sign_seconds.observe(set.signing.as_secs_f64());
        let body = set.compact.clone();
        *signed = Some(Signed {
            set,
            generation,
            was_held: false,
        });
        body
    }

    fn signer_failed<'a>(
        &'a self,
        fault: VaultFault,
        before: Option<(VaultFault, Waiting<'a>)>,
    ) -> (VaultFault, Waiting<'a>) {
        // A hold goes on while its fault does; another kind of fault begins or ends it.
        let before = before
            .filter(|(before, _)| before.is_set_up() == fault.is_set_up())
            .map(|(_, waiting)| waiting);
        let outage = self.signer.of(fault);
        let waiting = outage.failed(self.id(), &self.passage, before, &fault);
        (fault, waiting)
    }
}

async fn first_of(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}
