//! Running a program of the machine inside a node.
//!
//! `lab exec` moves itself into the lab's namespaces and starts the program as
//! its child; only a process with one thread may do so, and it must not get a
//! second one before the child is started.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};

use guywire_net::namespace::{Kind, enter};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{self, ClientError};
use crate::launch::die_with_parent;
use crate::place::Place;
use crate::processes;
use crate::protocol::Request;
use crate::topology::Node;

/// Why a program does not run in a node.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The keeper does not say where the node is.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node's process is not to be seen.
    #[error(
        "cannot find node {node} of lab {lab}; run this where the lab was started, outside of other containers"
    )]
    Hidden {
        /// The node.
        node: Node,
        /// The lab.
        lab: String,
    },
    /// A namespace cannot be entered.
    #[error("cannot enter node {node}: {reason}; run this as the user who started the lab")]
    Namespace {
        /// The node.
        node: Node,
        /// What the kernel said.
        reason: io::Error,
    },
    /// The program cannot be started or waited for.
    #[error("cannot start a program in node {node}: {reason}")]
    Start {
        /// The node.
        node: Node,
        /// What the kernel said.
        reason: io::Error,
    },
}

/// Runs a program in a node with this process's terminal, input and output,
/// and returns its status: its own, or 128 and the signal that ended it. The
/// process must have one thread only; afterwards it is inside the node.
///
/// # Errors
/// See [`EnterError`]. A program that does not exist is status 127.
pub fn exec(place: &Place, node: Node, program: &[OsString]) -> Result<u8, EnterError> {
    let holder = holder(place, node)?;
    let start = |reason| EnterError::Start { node, reason };
    let executable = std::env::current_exe().map_err(start)?;
    let directory = std::env::current_dir().ok();
    enter_all(&holder).map_err(|reason| EnterError::Namespace { node, reason })?;
    // Entering a mount namespace leads to its root.
    if let Some(directory) = directory {
        let _ = std::env::set_current_dir(directory);
    }
    let mut command = tokio::process::Command::new(executable);
    command
        .args(["lab", "enter", "--tied", "--"])
        .args(program)
        .env("PATH", search_path(place));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(start)?;
    let status = runtime.block_on(attend(command)).map_err(start)?;
    Ok(code_of(status))
}

/// PATH of every program in a node: this executable first.
pub(crate) fn search_path(place: &Place) -> OsString {
    let mut path = place.bin().into_os_string();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

fn holder(place: &Place, node: Node) -> Result<OwnedFd, EnterError> {
    let inner: u32 = client::ask(place, &Request::Holder(node))?;
    let hidden = || EnterError::Hidden {
        node,
        lab: place.name().to_string(),
    };
    let outer = *processes::by_inner_id(place)
        .get(&inner)
        .ok_or_else(hidden)?;
    let pid = i32::try_from(outer)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(hidden)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| EnterError::Namespace {
        node,
        reason: error.into(),
    })
}

/// Enters every namespace of the node; the user namespace of a root lab is
/// the one we are in.
fn enter_all(holder: &OwnedFd) -> io::Result<()> {
    match enter(holder.as_fd(), Kind::User) {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
        _ => {}
    }
    for kind in [Kind::Pid, Kind::Net, Kind::Mount] {
        enter(holder.as_fd(), kind)?;
    }
    Ok(())
}

/// Starts the program and stays by its side: what the terminal sends reaches
/// it anyway, what is sent to this process alone is passed on.
async fn attend(mut command: tokio::process::Command) -> io::Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = command.spawn()?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let from_terminal = io::stdin().is_terminal();
    loop {
        let passed_on = tokio::select! {
            status = child.wait() => return status,
            _ = interrupt.recv() => (!from_terminal).then_some(Signal::INT),
            _ = quit.recv() => (!from_terminal).then_some(Signal::QUIT),
            _ = terminate.recv() => Some(Signal::TERM),
            _ = hangup.recv() => Some(Signal::HUP),
        };
        if let Some((pid, signal)) = pid.zip(passed_on) {
            // It may have ended in this moment.
            let _ = kill_process(pid, signal);
        }
    }
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Becomes `program`, which dies with the parent if it is `tied`, in the
/// namespaces of process `holder` if one is given. Returns only to say why
/// not, as an exit status with words.
pub fn become_program(holder: Option<u32>, tied: bool, program: &[OsString]) -> (u8, String) {
    if let Err(error) = into_place(holder, tied) {
        return (125, format!("cannot enter the node: {error}"));
    }
    let Some((name, arguments)) = program.split_first() else {
        return (125, "no program given".into());
    };
    let error = Command::new(name).args(arguments).exec();
    let code = if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    (
        code,
        format!("cannot run {}: {error}", Path::new(name).display()),
    )
}

fn into_place(holder: Option<u32>, tied: bool) -> io::Result<()> {
    if tied {
        die_with_parent()?;
    }
    let Some(holder) = holder else { return Ok(()) };
    let pid = i32::try_from(holder)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let holder = pidfd_open(pid, PidfdFlags::empty())?;
    enter(holder.as_fd(), Kind::Net)?;
    enter(holder.as_fd(), Kind::Mount)
}

/// The arguments with which this executable becomes `program` in the node
/// that process `holder` of the same process namespace holds.
pub(crate) fn enter_arguments<S: AsRef<OsStr>>(holder: u32, program: &[S]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["lab", "enter", "--holder"].map(OsString::from).into();
    arguments.push(holder.to_string().into());
    arguments.push("--".into());
    arguments.extend(program.iter().map(|word| word.as_ref().to_owned()));
    arguments
}
