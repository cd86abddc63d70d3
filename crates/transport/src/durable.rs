//! Files that are private from the start and survive a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a new file of mode 0600 down to the disk. `path` is a name that only this process uses, to be
/// renamed or linked to the one that is meant; what a killed process of the same id left there goes.
///
/// # Errors
/// The system refused.
pub fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Brings the entry of `path` in its directory down to the disk.
///
/// # Errors
/// The system refused.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
