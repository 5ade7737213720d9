//! Where the library is looked for.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use thiserror::Error;

use super::engine::Engine;
use super::{MultiBuffer, NEVER};

/// The library's file name.
const NAME: &str = "libcrypto_mb.so";

/// Why the multi-buffer backend cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MultiBufferError {
    /// The CPU lacks the instructions.
    #[error("this CPU has no AVX512-IFMA")]
    Cpu,
    /// No file at the configured path, nor at any of the usual places.
    #[error("there is no {NAME}: looked for {}", .looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotFound {
        /// The places.
        looked: Vec<PathBuf>,
    },
    /// There is one, but it is not what it should be.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// In the dynamic linker's words, or ours.
        reason: String,
    },
}

impl MultiBufferError {
    /// There is a library, and it is no use.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        matches!(self, Self::Unusable { .. })
    }
}

impl MultiBuffer {
    /// Opens the library: at `path` when that is given, else beside this program, in `../lib` from there, or where the system's dynamic linker looks.
    ///
    /// # Errors
    /// [`MultiBufferError`]. The first file that exists must be good: no other one is tried in its place.
    pub fn load(path: Option<&Path>) -> Result<Self, MultiBufferError> {
        if !Self::cpu_is_able() {
            return Err(MultiBufferError::Cpu);
        }
        let open = |path: PathBuf| match Engine::open(&path) {
            Ok(engine) => Ok(Self {
                engine,
                path,
                crossing: AtomicUsize::new(NEVER),
                signed: AtomicU64::new(0),
                mismatches: AtomicU64::new(0),
            }),
            Err(reason) => Err(MultiBufferError::Unusable { path, reason }),
        };
        let places = match path {
            Some(path) => vec![path.to_owned()],
            None => beside_program(),
        };
        if let Some(found) = places.iter().find(|place| place.exists()) {
            return open(found.clone());
        }
        // A bare name is the dynamic linker's to find.
        match path {
            None => open(PathBuf::from(NAME)).map_err(|_| MultiBufferError::NotFound {
                looked: [&places[..], &[PathBuf::from(NAME)]].concat(),
            }),
            Some(_) => Err(MultiBufferError::NotFound { looked: places }),
        }
    }

    /// Whether the CPU has every instruction that the library's AVX-512 code uses (`MBX_AVX512_GENERAL_ISA`).
    #[must_use]
    pub fn cpu_is_able() -> bool {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("bmi2");
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }
}

/// `bin/setbridge` finds `bin/libcrypto_mb.so` and `lib/libcrypto_mb.so`.
fn beside_program() -> Vec<PathBuf> {
    let program = env::current_exe().ok();
    let folder = program.as_deref().and_then(Path::parent);
    let places = folder.map(|folder| [folder.join(NAME), folder.join("../lib").join(NAME)]);
    places.into_iter().flatten().collect()
}
