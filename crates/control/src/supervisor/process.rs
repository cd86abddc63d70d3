//! Worker processes: one is started, is found again after a crash of its supervisor, and is ended.
//!
//! A worker leaves a record in the run directory (process id, start time, boot), by which the next supervisor watches
//! or ends it, or `guywire router clean` ends it, and nobody else.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::store::{FileError, files};
use crate::worker::WORKER_FD_ENV;

/// Tells the allocator (mimalloc) to keep what was freed for 10 s before the kernel gets it back. After its usual
/// 10 ms a worker at gigabits a second spends 4 % of its time on getting cleared pages for memory that it had just now.
const KEEP_FREED: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10000");

/// Tells the C library (glibc on x86) not to copy by `rep movsb`. Where the destination lies 1 to 63 bytes behind the
/// source, modulo 4096, that takes an AMD EPYC 6 us for 16 kB instead of 0.4, by vectors 0.5 wherever they lie; and
/// what TLS copies lies anywhere.
const COPY_BY_VECTORS: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_movsb_threshold=1000000000",
);

/// How long a killed process may take to be gone; only one stuck in the kernel takes any time at all.
const KILL_WAIT: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRecord {
    pid: u32,
    /// Clock ticks between boot and its start (field 22 of /proc/PID/stat).
    start: u64,
    /// The kernel's boot id.
    boot: String,
}

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No process, no socket pair.
    #[error("cannot start the data worker: {0}")]
    Spawn(#[from] io::Error),
    /// Its record could not be written.
    #[error(transparent)]
    Record(#[from] FileError),
}

/// The command that starts a worker.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    program: PathBuf,
    arguments: Vec<String>,
}

impl WorkerCommand {
    /// `guywire worker`, by the executable of this very process, even if its file was replaced since.
    #[must_use]
    pub fn own() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            arguments: vec!["worker".into()],
        }
    }

    /// Another program, which must speak the channel on its standard input.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    /// Starts it with its end of the channel, in a process group of its own: a Ctrl-C at the supervisor's terminal is
    /// the supervisor's to handle. It is not killed when the handle is dropped.
    pub(super) fn spawn(&self, channel: OwnedFd, record: &Path) -> Result<Child, SpawnError> {
        let child = Command::new(&self.program)
            .arg0("guywire")
            .args(&self.arguments)
            .env(WORKER_FD_ENV, "0")
            .env(KEEP_FREED.0, KEEP_FREED.1)
            .env(COPY_BY_VECTORS.0, COPY_BY_VECTORS.1)
            .stdin(Stdio::from(channel))
            .process_group(0)
            .spawn()?;
        if let Some(process) = child.id().and_then(ProcessRecord::of) {
            files::write(
                record,
                serde_json::to_string(&process)
                    .unwrap_or_default()
                    .as_bytes(),
            )?;
        }
        Ok(child)
    }
}

impl ProcessRecord {
    fn of(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            start: start_time(pid)?,
            boot: boot_id(),
        })
    }

    /// A descriptor of exactly this process; `None` once it has ended.
    fn open(&self) -> Option<OwnedFd> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Only now is it certain that the descriptor is of the recorded process, and it stays so.
        (self.boot == boot_id() && start_time(self.pid) == Some(self.start)).then_some(pidfd)
    }
}

/// A worker's process, as its supervisor watches it.
#[derive(Debug)]
pub(super) enum Process {
    /// Started by this supervisor.
    Child(Child),
    /// Started by an earlier one.
    Adopted(Adopted),
}

/// A process that is somebody else's child.
#[derive(Debug)]
pub(super) struct Adopted {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    /// Turns true at its end.
    ended: watch::Receiver<bool>,
}

impl Adopted {
    /// The process that a record names, if it still lives. A thread waits for its end: there is one such process at
    /// most, and a runtime that waits for descriptors of any kind would need unsafe code.
    pub(super) fn find(record: &Path) -> Option<Self> {
        let text = files::read(record).ok()?;
        let process: ProcessRecord = serde_json::from_str(&text).ok()?;
        let pidfd = Arc::new(process.open()?);
        let (end, ended) = watch::channel(false);
        let watched = pidfd.clone();
        let wait = move || {
            let mut wait = [PollFd::new(&*watched, PollFlags::IN)];
            while matches!(
                rustix::event::poll(&mut wait, None),
                Ok(0) | Err(rustix::io::Errno::INTR)
            ) {}
            end.send_replace(true);
        };
        std::thread::Builder::new()
            .name("adopted-worker".into())
            .spawn(wait)
            .ok()?;
        let pid = process.pid;
        Some(Self { pid, pidfd, ended })
    }
}

impl Process {
    /// Its id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Child(child) => child.id(),
            Self::Adopted(adopted) => Some(adopted.pid),
        }
    }

    /// Kills it, without waiting.
    pub(super) fn kill(&mut self) {
        let killed = match self {
            Self::Child(child) => child.start_kill(),
            Self::Adopted(adopted) => {
                pidfd_send_signal(&*adopted.pidfd, Signal::KILL).map_err(io::Error::from)
            }
        };
        if let Err(error) = killed {
            tracing::error!("cannot kill the data worker: {error}");
        }
    }

    /// Waits for its end and tells how that was. Cancel-safe.
    pub(super) async fn wait(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("unknown exit status: {error}"),
            },
            Self::Adopted(adopted) => {
                // How it ended, only its parent is told.
                let _ = adopted.ended.wait_for(|ended| *ended).await;
                "unknown exit status: an earlier supervisor had started it".to_owned()
            }
        }
    }

    /// Waits for it to end by itself, and kills it when it takes longer than `patience`.
    pub(super) async fn wait_or_kill(&mut self, patience: Duration) {
        if tokio::time::timeout(patience, self.wait()).await.is_err() {
            tracing::warn!("the data worker does not stop; it is killed");
            self.kill();
            self.wait().await;
        }
    }
}

/// Ends the worker that a record names, if it is still that process, and removes the record. Says which one it ended.
///
/// # Errors
/// The record cannot be read or removed, or the process does not go away.
pub(super) fn end_leftover(record: &Path) -> Result<Option<u32>, FileError> {
    let text = match files::read(record) {
        Err(error) if error.is_missing() => return Ok(None),
        text => text?,
    };
    let fail = |source| FileError {
        action: "end the worker of",
        path: record.to_owned(),
        source,
    };
    let ended = match serde_json::from_str::<ProcessRecord>(&text) {
        Ok(process) if kill(&process).map_err(fail)? => Some(process.pid),
        _ => None,
    };
    files::remove(record)?;
    Ok(ended)
}

/// Kills a process and waits until it is gone; false if it was not there.
fn kill(process: &ProcessRecord) -> io::Result<bool> {
    let Some(pidfd) = process.open() else {
        return Ok(false);
    };
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        result => result?,
    }
    let mut wait = [PollFd::new(&pidfd, PollFlags::IN)];
    if rustix::event::poll(&mut wait, Some(&KILL_WAIT))? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("process {} does not end", process.pid),
        ));
    }
    Ok(true)
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; the last parenthesis ends it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie has ended, whoever forgot to collect it.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn sleeper(record: &Path) -> Child {
        let (_, fd) = crate::worker::pair().unwrap();
        WorkerCommand::of("sleep", &["60"])
            .spawn(fd, record)
            .unwrap()
    }

    #[tokio::test]
    async fn a_leftover_is_ended_once() {
        let dir = TempDir::new("process-leftover");
        let record = dir.path().join("router.worker");
        let mut child = sleeper(&record);
        assert_eq!(end_leftover(&record).unwrap(), child.id());
        assert!(!child.wait().await.unwrap().success());
        assert_eq!(end_leftover(&record).unwrap(), None);
    }

    #[tokio::test]
    async fn one_that_another_started_is_watched_and_killed() {
        let dir = TempDir::new("process-adopted");
        let record = dir.path().join("router.worker");
        let mut child = sleeper(&record);
        let mut adopted = Process::Adopted(Adopted::find(&record).expect("it lives"));
        assert_eq!(adopted.id(), child.id());
        let early = tokio::time::timeout(Duration::from_millis(50), adopted.wait()).await;
        assert!(early.is_err(), "{early:?}");
        adopted.wait_or_kill(Duration::ZERO).await;
        assert!(!child.wait().await.unwrap().success());
        assert!(Adopted::find(&record).is_none());
    }

    #[tokio::test]
    async fn a_later_process_of_the_same_id_is_spared() {
        let dir = TempDir::new("process-reused");
        let record = dir.path().join("router.worker");
        let mut child = sleeper(&record);
        let text = std::fs::read_to_string(&record).unwrap();
        let mut other: ProcessRecord = serde_json::from_str(&text).unwrap();
        other.start += 1;
        std::fs::write(&record, serde_json::to_string(&other).unwrap()).unwrap();
        assert_eq!(end_leftover(&record).unwrap(), None);
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        assert!(!record.exists());
        child.kill().await.unwrap();
    }

    #[test]
    fn a_damaged_record_is_removed() {
        let dir = TempDir::new("process-damaged");
        let record = dir.path().join("router.worker");
        std::fs::write(&record, "{\"pid\": -1}").unwrap();
        assert_eq!(end_leftover(&record).unwrap(), None);
        assert!(!record.exists());
    }
}
