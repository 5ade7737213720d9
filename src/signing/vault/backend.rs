//! Signer threads whose signatures come from Vault. A thread waits for its call, the async runtime does the waiting for
//! the network, and nobody waits for a batch to fill.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::answers::Signed;
use super::{Vault, VaultFault};
use crate::signing::backend::{Backend, Meter, finish};
use crate::signing::key::SigningKey;
use crate::signing::signer::{Job, SignError};

/// Digests in one call at most. Vault signs them one after the other: 64 RSA-2048 signatures are 50 to 100 ms.
const BATCH: usize = 64;

/// The threads' side of a [`Vault`].
pub(in crate::signing) struct VaultBackend {
    vault: Arc<Vault>,
    runtime: Handle,
    /// The signer ends: nobody waits for what is on the wire.
    stop: CancellationToken,
}

impl VaultBackend {
    pub(in crate::signing) fn new(vault: Arc<Vault>, runtime: Handle) -> Self {
        Self {
            vault,
            runtime,
            stop: CancellationToken::new(),
        }
    }

    /// One call, for digests of one key.
    fn call(&self, version: u32, digests: &[[u8; 32]]) -> Result<Vec<Signed>, SignError> {
        let call = self.vault.sign(version, digests);
        let called = self.runtime.block_on(self.stop.run_until_cancelled(call));
        called.ok_or(SignError::Stopped)?.map_err(SignError::Vault)
    }

    /// Signs and answers jobs of one key.
    fn sign_for_one_key(&self, batch: &mut Vec<Job>, meter: &Meter) {
        let Some(first) = batch.first() else {
            return;
        };
        let inputs: Vec<Vec<u8>> = batch.iter().map(Job::signing_input).collect();
        let started = Instant::now();
        let signed = match first.key().vault_version() {
            Some(version) => {
                let digests: Vec<[u8; 32]> = inputs.iter().map(|input| sha256(input)).collect();
                self.call(version, &digests)
            }
            // A key of ours: nobody gives this backend one.
            None => Err(SignError::Crypto),
        };
        let took = started.elapsed();
        let signed: Vec<(Result<Vec<u8>, SignError>, Duration)> = match signed {
            Ok(signed) => meter.measure(batch.len(), || {
                let each = batch.iter().zip(&inputs).zip(signed);
                each.map(|((job, input), signed)| (checked(job.key(), input, signed), took))
                    .collect()
            }),
            Err(fault) => batch.iter().map(|_| (Err(fault), took)).collect(),
        };
        for (signed, _) in &signed {
            if let Err(SignError::Vault(fault)) = signed {
                self.vault.failed(*fault);
            }
        }
        finish(batch, inputs, signed);
    }
}

impl Backend for VaultBackend {
    /// A fair share: Vault works on several calls at once, but on the digests of one in turn.
    fn share(&self, waiting: usize, threads: usize) -> usize {
        waiting.div_ceil(threads).clamp(1, BATCH)
    }

    fn sign(&self, batch: &mut Vec<Job>, meter: &Meter) {
        batch.retain(|job| !job.is_abandoned());
        // One version but while it changes.
        while let Some(first) = batch.first() {
            let kid = first.key().kid().clone();
            let (mut of_one, others) = batch.drain(..).partition(|job| *job.key().kid() == kid);
            *batch = others;
            self.sign_for_one_key(&mut of_one, meter);
        }
    }

    fn stop(&self) {
        self.stop.cancel();
    }
}

/// Only what the public key confirms.
fn checked(key: &SigningKey, input: &[u8], signed: Signed) -> Result<Vec<u8>, SignError> {
    let signature = signed.map_err(SignError::Vault)?;
    if key.confirms(input, &signature) {
        Ok(signature)
    } else {
        Err(SignError::Vault(VaultFault::WrongSignature))
    }
}

fn sha256(input: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, input);
    std::array::from_fn(|at| digest.as_ref()[at])
}
