//! Keys and signer threads of a configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bridge::StartError;
use crate::clock;
use crate::config::{Config, KeysConfig, MultiBufferUse, SigningSettings};
use crate::metrics::Metrics;
use crate::set::Timestamp;
use crate::signing::vault::{Seen, VaultSetUpError};
use crate::signing::{
    Algorithm, KeyError, KeyRing, KeySource, MultiBuffer, MultiBufferError, RingSource, Signer,
    Vault, VaultFault,
};

/// Where the keys are.
pub(crate) fn ring_source(config: &SigningSettings) -> RingSource {
    match &config.keys {
        KeysConfig::Ring(folder) => RingSource::Folder {
            folder: folder.clone(),
            passphrase_file: config.passphrase_file.clone(),
        },
        KeysConfig::Files(keys) => {
            let each = keys.iter().map(|key| KeySource {
                kid: key.kid.clone(),
                algorithm: key.algorithm,
                life: key.life,
                passphrase_file: config.passphrase_file.clone(),
                ..KeySource::new(&key.file)
            });
            RingSource::Files(each.collect())
        }
        KeysConfig::Vault(_) => RingSource::Told,
    }
}

/// The keys as a command shows them: from files, or as Vault tells them now. Blocking.
///
/// # Errors
/// What of the files is wrong, or why Vault told nothing.
pub(crate) fn shown_ring(config: &SigningSettings) -> Result<KeyRing, ShownFault> {
    let KeysConfig::Vault(vault) = &config.keys else {
        return KeyRing::open(ring_source(config), None).map_err(ShownFault::Files);
    };
    let client = Vault::new(vault.settings.clone(), Box::new(|_| {}));
    let client = client.map_err(|error| ShownFault::System(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ShownFault::System(error.to_string()))?;
    let keys = runtime.block_on(client.ask(config.publish_before_use));
    let ring = KeyRing::told(None, &[]);
    let now = Timestamp::from_secs(clock::epoch_seconds());
    ring.replace(keys.map_err(ShownFault::Vault)?, now)
        .map_err(|fault| ShownFault::Files(vec![fault]))?;
    Ok(ring)
}

/// Why there are no keys to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShownFault {
    /// Of the files, or of the ring as a whole.
    #[error("the keys cannot be used")]
    Files(Vec<KeyError>),
    /// Vault told nothing.
    #[error(transparent)]
    Vault(VaultFault),
    /// Nothing could be asked.
    #[error("{0}")]
    System(String),
}

/// The client of Vault, where the key is there. Asks nothing. Blocking.
pub(in crate::bridge) fn vault(
    config: &SigningSettings,
    metrics: &Metrics,
) -> Result<Option<Arc<Vault>>, VaultSetUpError> {
    let KeysConfig::Vault(vault) = &config.keys else {
        return Ok(None);
    };
    metrics.start_vault();
    let metrics = metrics.clone();
    let observe = Box::new(move |seen: Seen| metrics.vault(seen));
    Vault::new(vault.settings.clone(), observe).map(|vault| Some(Arc::new(vault)))
}

/// The keys of the process; each stream has one that signs by its algorithm. None yet, when Vault has them. Blocking.
pub(in crate::bridge) fn ring(config: &Config) -> Result<KeyRing, Vec<KeyError>> {
    let signing = &config.signing;
    let known_after = signing
        .check_published
        .then_some(signing.publish_before_use);
    let wanted: BTreeSet<Algorithm> = config.streams.iter().map(|s| s.algorithm).collect();
    let wanted = Vec::from_iter(wanted);
    match &signing.keys {
        KeysConfig::Vault(_) => Ok(KeyRing::told(known_after, &wanted)),
        _ => KeyRing::open_for(ring_source(signing), known_after, &wanted),
    }
}

/// The signer threads: Vault's, where it has the key; else eight signatures at once where the configuration wants that and the machine can.
pub(super) fn signer(
    config: &Config,
    keys: &KeyRing,
    vault: Option<Arc<Vault>>,
) -> Result<Signer, StartError> {
    let threads = config.signing.threads.get();
    let started = match vault {
        Some(vault) => Signer::start_vault(threads, vault),
        None => match multi_buffer(config, keys)? {
            Some(backend) => Signer::start_multi_buffer(threads, backend),
            None => Signer::start(threads),
        },
    };
    started.map_err(|error| StartError::System(error.to_string()))
}

/// Loads the multi-buffer library, and puts the key that signs to its trial: some milliseconds that no SET should wait for.
fn multi_buffer(config: &Config, keys: &KeyRing) -> Result<Option<Arc<MultiBuffer>>, StartError> {
    let wanted = config.signing.multi_buffer;
    if wanted == MultiBufferUse::Never {
        return Ok(None);
    }
    let named = config.signing.multi_buffer_library.is_some();
    let required = wanted == MultiBufferUse::Required;
    match MultiBuffer::load(config.signing.multi_buffer_library.as_deref()) {
        Ok(backend) => {
            let active = keys.active(Algorithm::Rs256);
            let admitted = active.is_some_and(|key| backend.admit(&key));
            if required && !admitted {
                let why = "no key signs by RS256, or the library does not take it, gains nothing with it, or failed its trial";
                return Err(StartError::MultiBuffer(why.to_owned()));
            }
            let (library, crossing) = (backend.path().display(), backend.crossing());
            tracing::info!(%library, crossing, "the multi-buffer library makes eight RSA signatures at once; crossing: from so many waiting on");
            Ok(Some(Arc::new(backend)))
        }
        Err(error) if required => Err(StartError::MultiBuffer(error.to_string())),
        // A CPU that cannot is nothing to mend; nor is a missing library that nobody named.
        Err(error) if error != MultiBufferError::Cpu && (named || error.is_unusable()) => {
            tracing::warn!(%error, "signing one at a time: the multi-buffer library is no use");
            Ok(None)
        }
        Err(error) => {
            tracing::info!(%error, "signing one at a time: no multi-buffer library");
            Ok(None)
        }
    }
}
