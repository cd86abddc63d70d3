//! The processes of a lab. The keeper is process 1, so it also inherits and
//! buries those whose parents are gone.
//!
//! All waiting is done in one place: `waitpid` for any child would take the
//! result away from whoever waits for a certain one.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{WaitOptions, WaitStatus, wait};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::protocol::EndedProcess;

/// Most bytes of a command's output that are kept.
const MAX_OUTPUT: u64 = 64 * 1024;

/// The lab's processes.
#[derive(Clone, Default)]
pub(super) struct Children(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    running: HashMap<u32, Running>,
    ended: Vec<EndedProcess>,
}

enum Running {
    /// Lasts as long as the lab.
    Service { role: String, log: String },
    /// Ends soon; somebody waits for how.
    Command(oneshot::Sender<WaitStatus>),
}

/// A command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// It could not be started.
    #[error("cannot start {what}: {reason}")]
    Start { what: String, reason: io::Error },
    /// It failed.
    #[error("{what} failed, {how}: {said}")]
    Failed {
        what: String,
        how: String,
        said: String,
    },
}

impl Children {
    /// Buries children until the keeper ends.
    pub(super) async fn reap(self) -> io::Result<()> {
        let mut deaths = signal(SignalKind::child())?;
        loop {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                self.bury(pid.as_raw_nonzero().get().unsigned_abs(), status);
            }
            deaths.recv().await;
        }
    }

    fn bury(&self, pid: u32, status: WaitStatus) {
        let mut book = self.book();
        match book.running.remove(&pid) {
            None => {}
            Some(Running::Command(waiting)) => drop(waiting.send(status)),
            Some(Running::Service { role, log }) => {
                let how = describe(status);
                eprintln!("{role} ended, {how}");
                book.ended.push(EndedProcess { role, how, log });
            }
        }
    }

    /// Starts a process that lasts, and returns its id and standard output.
    pub(super) fn service(
        &self,
        role: &str,
        log: &str,
        command: &mut Command,
    ) -> io::Result<(u32, Option<std::process::ChildStdout>)> {
        // The lock keeps the reaper from burying the child before it is known.
        let mut book = self.book();
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let running = Running::Service {
            role: role.into(),
            log: log.into(),
        };
        book.running.insert(child.id(), running);
        Ok((child.id(), child.stdout.take()))
    }

    /// Runs a command to its end and returns its standard output.
    pub(super) async fn run(
        &self,
        what: &str,
        command: &mut Command,
    ) -> Result<String, CommandError> {
        let start = |reason| CommandError::Start {
            what: what.into(),
            reason,
        };
        let (done, ended) = oneshot::channel();
        let (output, said) = {
            let mut book = self.book();
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().map_err(start)?;
            book.running.insert(child.id(), Running::Command(done));
            (
                child.stdout.take().map(OwnedFd::from),
                child.stderr.take().map(OwnedFd::from),
            )
        };
        let (output, said) = tokio::join!(read(output), read(said));
        let failed = |how: String| CommandError::Failed {
            what: what.into(),
            how,
            said: said.trim().to_owned(),
        };
        match ended.await {
            Ok(status) if status.exit_status() == Some(0) => Ok(output),
            Ok(status) => Err(failed(describe(status))),
            Err(_) => Err(failed("nobody knows how".into())),
        }
    }

    /// The processes that ended although they should not have.
    pub(super) fn ended(&self) -> Vec<EndedProcess> {
        self.book().ended.clone()
    }

    /// Whether a process that lasts still does.
    pub(super) fn lives(&self, pid: u32) -> bool {
        self.book().running.contains_key(&pid)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a pipe to its end.
async fn read(pipe: Option<OwnedFd>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe.and_then(|pipe| pipe::Receiver::from_owned_fd(pipe).ok()) {
        // What was read before an error is still worth having.
        let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for one line on a child's standard output; whether there was one.
pub(super) fn wait_for_line(output: Option<std::process::ChildStdout>) -> bool {
    let mut byte = [0];
    output.is_some_and(|mut output| output.read_exact(&mut byte).is_ok())
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "how is unknown".into(),
    }
}
