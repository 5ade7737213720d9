//! Keys and signer threads of a configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bridge::StartError;
use crate::clock;
use crate::config::{Config, KeysConfig, MultiBufferUse, RingConfig, RingName};
use crate::metrics::Metrics;
use crate::signing::vault::{Seen, VaultSetUpError};
use crate::signing::{
    Algorithm, KeyError, KeyRing, KeySource, MultiBuffer, MultiBufferError, RingSource, Signer,
    Vault, VaultFault,
};

/// Where the keys are.
pub(crate) fn ring_source(config: &RingConfig) -> RingSource {
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
pub(crate) fn shown_ring(config: &RingConfig) -> Result<KeyRing, ShownFault> {
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
    let now = clock::now();
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

/// One ring, and who signs by its keys.
pub(in crate::bridge) struct OpenRing {
    pub(in crate::bridge) name: RingName,
    pub(in crate::bridge) keys: Arc<KeyRing>,
    /// Who has the keys, if it is not this process.
    pub(in crate::bridge) vault: Option<Arc<Vault>>,
    pub(in crate::bridge) signer: Arc<Signer>,
}

/// All rings of a configuration. Blocking.
pub(super) fn open(config: &Config, metrics: &Metrics) -> Result<Vec<OpenRing>, StartError> {
    let keys = rings(config).map_err(|faults| {
        let faults = faults.into_iter().map(|(_, fault)| fault);
        StartError::Keys(faults.collect())
    })?;
    let keys: Vec<Arc<KeyRing>> = keys.into_iter().map(Arc::new).collect();
    // One set of threads for all keys in files: a batch may be of several keys.
    let mut of_files: Option<Arc<Signer>> = None;
    let mut open = Vec::new();
    for (ring, own) in config.rings.iter().zip(&keys) {
        let vault = vault(ring, metrics).map_err(StartError::Vault)?;
        let threads = config.signing.threads_for(&ring.keys).get();
        let signer = match (&vault, &of_files) {
            (Some(vault), _) => {
                let started = Signer::start_vault(threads, Arc::clone(vault));
                Arc::new(started.map_err(|error| StartError::System(error.to_string()))?)
            }
            (None, Some(signer)) => Arc::clone(signer),
            (None, None) => {
                let signer = Arc::new(file_signer(config, threads, &keys)?);
                Arc::clone(of_files.insert(signer))
            }
        };
        open.push(OpenRing {
            name: ring.name.clone(),
            keys: Arc::clone(own),
            vault,
            signer,
        });
    }
    Ok(open)
}

/// The client of Vault, where the key is there. Asks nothing. Blocking.
fn vault(config: &RingConfig, metrics: &Metrics) -> Result<Option<Arc<Vault>>, VaultSetUpError> {
    let KeysConfig::Vault(vault) = &config.keys else {
        return Ok(None);
    };
    metrics.start_vault();
    let metrics = metrics.clone();
    let observe = Box::new(move |seen: Seen| metrics.vault(seen));
    Vault::new(vault.settings.clone(), observe).map(|vault| Some(Arc::new(vault)))
}

/// The rings of the process, in the order of the configuration; in each is a key for every stream of it. Those in Vault
/// have none yet. Every fault with the place of its ring. Blocking.
pub(in crate::bridge) fn rings(config: &Config) -> Result<Vec<KeyRing>, Vec<(usize, KeyError)>> {
    let (mut rings, mut faults) = (Vec::new(), Vec::new());
    for (at, own) in config.rings.iter().enumerate() {
        match ring(config, own) {
            Ok(ring) => rings.push(ring),
            Err(errors) => faults.extend(errors.into_iter().map(|error| (at, error))),
        }
    }
    if faults.is_empty() {
        faults.extend(in_two(config, &rings));
    }
    if faults.is_empty() {
        Ok(rings)
    } else {
        Err(faults)
    }
}

fn ring(config: &Config, own: &RingConfig) -> Result<KeyRing, Vec<KeyError>> {
    let known_after = own.check_published.then_some(own.publish_before_use);
    let streams = config.streams_of(&own.name);
    let wanted: BTreeSet<Algorithm> = streams.map(|stream| stream.algorithm).collect();
    let wanted = Vec::from_iter(wanted);
    match &own.keys {
        KeysConfig::Vault(_) => Ok(KeyRing::told(known_after, &wanted)),
        _ => KeyRing::open_for(ring_source(own), known_after, &wanted),
    }
}

/// Keys that are in an earlier ring too, under whatever name: rings are there to keep keys apart.
fn in_two(config: &Config, rings: &[KeyRing]) -> Vec<(usize, KeyError)> {
    let mut found = Vec::new();
    for (at, ring) in rings.iter().enumerate() {
        for (key, _, _) in ring.keys() {
            let public = key.public();
            let has = |other: &KeyRing| {
                let mut keys = other.keys().into_iter();
                keys.any(|(key, _, _)| key.public().is_key_of(public))
            };
            if let Some(first) = rings[..at].iter().position(has) {
                let fault = KeyError::InTwoRings {
                    kid: key.kid().to_string(),
                    first: config.rings[first].place(),
                    second: config.rings[at].place(),
                };
                found.push((at, fault));
            }
        }
    }
    found
}

/// The signer threads for keys in files: eight signatures at once where the configuration wants that and the machine can.
fn file_signer(
    config: &Config,
    threads: usize,
    rings: &[Arc<KeyRing>],
) -> Result<Signer, StartError> {
    let started = match multi_buffer(config, rings)? {
        Some(backend) => Signer::start_multi_buffer(threads, backend),
        None => Signer::start(threads),
    };
    started.map_err(|error| StartError::System(error.to_string()))
}

/// Loads the multi-buffer library, and puts the keys that sign to their trial: some milliseconds that no SET should wait for.
fn multi_buffer(
    config: &Config,
    rings: &[Arc<KeyRing>],
) -> Result<Option<Arc<MultiBuffer>>, StartError> {
    let wanted = config.signing.multi_buffer;
    if wanted == MultiBufferUse::Never {
        return Ok(None);
    }
    let named = config.signing.multi_buffer_library.is_some();
    let required = wanted == MultiBufferUse::Required;
    match MultiBuffer::load(config.signing.multi_buffer_library.as_deref()) {
        Ok(backend) => {
            let active = rings
                .iter()
                .filter_map(|ring| ring.active(Algorithm::Rs256));
            let admitted: Vec<bool> = active.map(|key| backend.admit(&key)).collect();
            if required && (admitted.is_empty() || admitted.contains(&false)) {
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
