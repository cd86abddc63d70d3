//! One supervisor for each run directory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held as long as the supervisor lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

/// Why the run directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another supervisor has it.
    #[error(
        "{path} is held by process {holder}: guywire {role} runs already; stop it, or choose another directory with --run",
        path = path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as it wrote itself.
        holder: String,
        /// `router` or `server`.
        role: &'static str,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock {path}: {source}; choose another directory with --run", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl RunLock {
    /// Takes the lock of a role in a run directory that exists.
    pub(super) fn take(run_dir: &Path, role: &'static str) -> Result<Self, LockError> {
        let path = run_dir.join(format!("{role}.lock"));
        let fail = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                return Err(LockError::Held {
                    path,
                    holder: holder.trim().to_owned(),
                    role,
                });
            }
            result => result.map_err(|error| fail(error.into()))?,
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn the_second_one_hears_who_was_first() {
        let dir = TempDir::new("lock");
        let first = RunLock::take(dir.path(), "router").unwrap();
        let error = RunLock::take(dir.path(), "router").unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        RunLock::take(dir.path(), "server").expect("another role");
        drop(first);
        RunLock::take(dir.path(), "router").expect("it is free again");
    }
}
