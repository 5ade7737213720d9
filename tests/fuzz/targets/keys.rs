//! A key file's bytes → a key that signs, or an error that repeats nothing of the file.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use setbridge::signing::{Algorithm, KeySource};

/// In memory where there is such a folder. One process, one file.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("setbridge-fuzz-key-{}", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("a file");
    let loaded = KeySource::new(&*FILE).load();
    std::fs::remove_file(&*FILE).expect("our own file");
    match loaded {
        Ok(key) => {
            let curve = matches!(key.algorithm(), Algorithm::Es256 | Algorithm::EdDsa);
            assert!((curve && key.bits() == 256) || (2048..=8192).contains(&key.bits()));
            let kid = key.kid().as_str();
            assert!(!kid.is_empty() && kid.len() <= 256);
            // A key that is taken can sign; what it signs verifies, or aws-lc would not give it out.
            key.sign(b"{}").expect("a key that was checked signs");
        }
        Err(error) => assert!(error.to_string().contains("setbridge-fuzz-key")),
    }
});
