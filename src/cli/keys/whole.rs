//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::KeysError;

/// The file appears whole or not at all: written beside its place, synced, then put in place. A file
/// that appeared there meanwhile is replaced only if `replace`.
pub(super) fn write_whole(
    file: &Path,
    content: &[u8],
    mode: u32,
    replace: bool,
) -> Result<(), KeysError> {
    let fault = |source: io::Error| match source.kind() {
        ErrorKind::AlreadyExists if !replace => KeysError::Exists(file.to_owned()),
        _ => KeysError::Write {
            path: file.to_owned(),
            source,
        },
    };
    let Some(name) = file.file_name() else {
        return Err(fault(io::Error::from(ErrorKind::IsADirectory)));
    };
    let mut draft_name = OsString::from(".");
    draft_name.push(name);
    draft_name.push(format!(".{}.new", std::process::id()));
    let draft = file.with_file_name(draft_name);
    let written = write_new(&draft, content, mode).and_then(|()| {
        if replace {
            fs::rename(&draft, file)
        } else {
            fs::hard_link(&draft, file)
        }
    });
    // After a rename it is gone already; in all other cases it must not stay.
    let _ = fs::remove_file(&draft);
    // The names, too, must outlast a loss of power: one that a manifest is to tell comes before the manifest.
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = written.and_then(|()| File::open(folder)?.sync_all());
    synced.map_err(fault)
}

/// Creates `file` with `mode`; never opens one that is there.
fn write_new(file: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut to: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)?;
    to.write_all(content)?;
    to.sync_all()
}
