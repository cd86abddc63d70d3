//! Who may run: one supervisor for each run directory, and one router for each network namespace, whose rules and
//! routes it would otherwise take from another one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held as long as the supervisor lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

/// Held as long as the router lives. An abstract socket name belongs to a network namespace, as rules and routes do, and
/// the kernel lets go of it when the process ends.
#[derive(Debug)]
pub(super) struct NamespaceLock {
    _listener: UnixListener,
}

/// The abstract name that a router holds.
const ROUTER_NAME: &[u8] = b"guywire-router";

/// Why the run directory or the network namespace cannot be had.
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
    /// Another router has the network namespace.
    #[error("process {holder} runs a guywire router in this network namespace; stop it first")]
    Namespace {
        /// The process, or 0 if it is not visible from here.
        holder: i32,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock {path}: {source}; choose another directory with --run", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
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

impl NamespaceLock {
    /// Takes the calling thread's network namespace.
    pub(super) fn take() -> Result<Self, LockError> {
        let fail = |source| LockError::Io {
            path: PathBuf::from("@guywire-router"),
            source,
        };
        let name = SocketAddr::from_abstract_name(ROUTER_NAME).map_err(fail)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self {
                _listener: listener,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let credentials = UnixStream::connect_addr(&name)
                    .ok()
                    .and_then(|stream| rustix::net::sockopt::socket_peercred(stream).ok());
                let holder = credentials.map_or(0, |peer| peer.pid.as_raw_nonzero().get());
                Err(LockError::Namespace { holder })
            }
            Err(error) => Err(fail(error)),
        }
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
