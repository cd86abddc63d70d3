//! Private directories, atomic writes, bounded reads.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use guywire_transport::durable::{sync_parent, write_new};

/// Longest file that [`read`] takes, in bytes.
pub const MAX_FILE: u64 = 64 << 10;

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}", path = path.display())]
pub struct FileError {
    /// `read`, `write` and the like.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }

    /// Whether it failed because there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Makes a directory of mode 0700 and its parents, if they are not there. One that exists is left as it is: it may be
/// somebody's `/tmp`, and every file in it is private by itself.
///
/// # Errors
/// The system refused.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::new("create the directory", path))
}

/// Writes a file of mode 0600, replacing one that exists: whole, or not at all, also when the power fails.
///
/// # Errors
/// The system refused; the old file is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(
        ".{}.{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let beside = path.with_file_name(name);
    let result = write_new(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| sync_parent(path));
    if result.is_err() {
        // Nothing more can be done about a leftover; readers skip names with a leading dot.
        let _ = fs::remove_file(&beside);
    }
    result.map_err(FileError::new("write", path))
}

/// Removes a file for good; that it is not there is fine.
///
/// # Errors
/// The system refused.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path).and_then(|()| sync_parent(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Reads a file of at most [`MAX_FILE`] bytes as text.
///
/// # Errors
/// It is missing, unreadable, longer, or no UTF-8.
pub fn read(path: &Path) -> Result<String, FileError> {
    let mut text = String::new();
    let file = File::open(path).map_err(FileError::new("read", path))?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(FileError::new("read", path))?;
    if text.len() as u64 > MAX_FILE {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            format!("longer than {MAX_FILE} bytes"),
        );
        return Err(FileError::new("read", path)(error));
    }
    Ok(text)
}

/// The files of a directory whose names end in `.json`, sorted; none when the directory is missing.
///
/// # Errors
/// The directory cannot be read.
pub fn json_files(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::new("list", directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::new("list", directory))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
