//! Sees that files were written, replaced, or that a symbolic link on their way leads elsewhere, as it does when
//! Kubernetes updates a mounted Secret. It asks instead of being told: inotify tells nothing about such links nor about
//! network file systems, and to ask about a handful of files costs microseconds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often to look.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looks {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// Files, and how they looked last.
#[derive(Debug)]
pub(super) struct Watch {
    /// Those that are always watched.
    fixed: Vec<PathBuf>,
    files: Vec<PathBuf>,
    seen: Vec<Option<Looks>>,
}

impl Watch {
    /// Of the `fixed` files and these `others`, as they look now.
    pub(super) fn of(fixed: Vec<PathBuf>, others: Vec<PathBuf>) -> Self {
        let files = [fixed.as_slice(), others.as_slice()].concat();
        let seen = look(&files);
        Self { fixed, files, seen }
    }

    /// Whether one of them looks otherwise than when this was asked last. Blocking, for a moment.
    pub(super) fn changed(&mut self) -> bool {
        let now = look(&self.files);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    /// Watches `others` from now on beside the fixed files. True: some of them were not watched when they were read, so
    /// what they hold now may be something else. Blocking, for a moment.
    pub(super) fn follow(&mut self, others: &[PathBuf]) -> bool {
        if self.files[self.fixed.len()..] == *others {
            return false;
        }
        let before = std::mem::take(&mut self.files);
        let looks = std::mem::take(&mut self.seen);
        let known = |file: &PathBuf| before.iter().position(|other| other == file);
        self.files = [self.fixed.as_slice(), others].concat();
        let mut is_new = false;
        for file in &self.files {
            // Those that were watched already keep their looks: what changed since they were asked is still to be told.
            let look = match known(file) {
                Some(at) => looks[at],
                None => {
                    is_new = true;
                    look(std::slice::from_ref(file))[0]
                }
            };
            self.seen.push(look);
        }
        is_new
    }
}

/// A watch that a blocking thread has for a moment.
pub(super) fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is not there looks like nothing.
fn look(files: &[PathBuf]) -> Vec<Option<Looks>> {
    let each = files.iter().map(|file| {
        let found = fs::metadata(file).ok()?;
        Some(Looks {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_written_replaced_or_linked_elsewhere_is_seen_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("plain"), "a").expect("a file");
        // As Kubernetes mounts a Secret: key.pem -> ..data/key.pem, ..data -> ..one
        for version in ["..one", "..two"] {
            fs::create_dir(at(version)).expect("a folder");
            fs::write(at(version).join("key.pem"), "same").expect("a file");
        }
        symlink("..one", at("..data")).expect("a link");
        symlink("..data/key.pem", at("key.pem")).expect("a link");
        let others = || vec![at("key.pem"), at("absent")];
        let mut watch = Watch::of(vec![at("plain")], others());
        let mut changed = || watch.changed();
        assert!(!changed());

        fs::write(at("plain"), "longer").expect("a file");
        assert!(changed());
        assert!(!changed(), "it is told once");

        symlink("..two", at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("in place");
        assert!(changed());

        fs::write(at("absent"), "").expect("a file");
        assert!(changed());
        fs::remove_file(at("absent")).expect("our own");
        assert!(changed());
        assert!(!changed());
    }

    #[test]
    fn a_file_that_was_read_before_it_was_watched_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            fs::write(at(name), "").expect("a file");
        }
        let mut watch = Watch::of(vec![at("a")], vec![at("b")]);
        assert!(!watch.follow(&[at("b")]));
        fs::write(at("b"), "longer").expect("a file");
        assert!(watch.follow(&[at("c"), at("b")]), "c is new");
        assert!(watch.changed(), "what changed before is not forgotten");
        assert!(!watch.follow(&[at("c")]) && !watch.changed());
        fs::write(at("c"), "longer").expect("a file");
        assert!(watch.changed());
    }
}
