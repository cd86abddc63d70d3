//! Starting a lab: from the command to a keeper that is process 1 of its own
//! process namespace.
//!
//! Three processes of this executable take part. The *command* (`lab up`)
//! makes the lab's directory and starts the *launcher*; the launcher moves
//! into fresh namespaces and starts the *keeper* ([`crate::keeper`]) as their
//! first process, then waits for its end and removes the directory. Each dies
//! with its parent (the launcher of a detached lab does not), and the kernel
//! ends every process of the lab with the keeper. Launcher and keeper hold the
//! lab's lock: it is their standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use guywire_net::namespace::{Kind, map_root, unshare};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::CapabilitySet;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{self, ClientError};
use crate::forbidden::{Forbidden, Limits};
use crate::place::{LabName, Place, PlaceError};
use crate::plan::{Plan, Progress};

/// What the lab shall be.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Its name.
    pub name: LabName,
    /// What it is like, and what happens in it.
    pub plan: Plan,
    /// Whether it ends with this process.
    pub attached: bool,
}

/// Why a lab did not come up, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No directory for it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file of the lab could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
    /// A process of the lab could not be started or spoken to.
    #[error("cannot start the lab's keeper: {0}")]
    Spawn(io::Error),
    /// The keeper says why.
    #[error("the lab did not come up: {0}")]
    Failed(String),
    /// The launcher ended without a word.
    #[error("the lab's launcher was ended while the lab came up")]
    Silent,
    /// The keeper could not be asked to end.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A lab that this process started. If it is attached, dropping it ends it.
#[derive(Debug)]
pub struct RunningLab {
    place: Place,
    launcher: Child,
    attached: bool,
    /// What is not as it should be, in words.
    warning: Option<String>,
}

impl RunningLab {
    /// Starts a lab and waits until it is complete. `step` hears what is
    /// going on, in words.
    ///
    /// An attached lab ends with the calling *thread*: call this on one that
    /// lives as long as the lab should.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing of the lab is left then.
    pub fn up(options: &UpOptions, step: impl FnMut(&str)) -> Result<RunningLab, LaunchError> {
        let (place, lock) = Place::create(&options.name)?;
        let lab =
            write_plan(&place, &options.plan).and_then(|()| start(&place, lock, options.attached));
        let mut lab = match lab {
            Ok(launcher) => RunningLab {
                place,
                launcher,
                attached: options.attached,
                warning: None,
            },
            Err(error) => {
                place.remove()?;
                return Err(error);
            }
        };
        match lab.follow(step) {
            Ok(()) => Ok(lab),
            Err(error) => {
                lab.end();
                Err(error)
            }
        }
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is not as it should be, in words.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Ends an attached lab and waits until nothing is left of it.
    ///
    /// # Errors
    /// What asking the keeper or removing the directory says.
    pub fn down(mut self) -> Result<(), LaunchError> {
        self.end();
        Ok(self.place.remove()?)
    }

    /// Reads the keeper's progress to its end.
    fn follow(&mut self, mut step: impl FnMut(&str)) -> Result<(), LaunchError> {
        let output = self.launcher.stdout.take();
        for line in output
            .into_iter()
            .flat_map(|output| BufReader::new(output).lines())
        {
            let line = line.map_err(LaunchError::Spawn)?;
            match serde_json::from_str(&line) {
                Ok(Progress::Step(text)) => step(&text),
                Ok(Progress::Failed(text)) => return Err(LaunchError::Failed(text)),
                Ok(Progress::Ready(warning)) => {
                    self.warning = warning;
                    return Ok(());
                }
                Err(_) => break,
            }
        }
        Err(LaunchError::Silent)
    }

    /// Ends the lab one way or another.
    fn end(&mut self) {
        if client::end(&self.place).is_err() {
            // It cannot be asked, so its launcher ends it.
            let _ = kill_process(Pid::from_child(&self.launcher), Signal::TERM);
        }
        let _ = self.launcher.wait();
        let _ = self.place.remove();
    }
}

impl Drop for RunningLab {
    fn drop(&mut self) {
        if self.attached {
            self.end();
        }
    }
}

/// Waits until the user interrupts this process, or the lab ends by itself.
///
/// # Errors
/// When signals cannot be heard, or the lab cannot be waited for.
pub async fn until_interrupted(lab: &mut RunningLab) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut children = signal(SignalKind::child())?;
    loop {
        if lab.launcher.try_wait()?.is_some() {
            return Ok(());
        }
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = children.recv() => {}
        }
    }
}

/// Ends a lab that any process started.
///
/// # Errors
/// [`PlaceError::NotRunning`], or what ending it says.
pub fn down(name: &LabName) -> Result<(), LaunchError> {
    let place = Place::find(name)?;
    if client::end(&place).is_err() {
        let text = std::fs::read_to_string(place.keeper_pid()).unwrap_or_default();
        let keeper = text.trim().parse().ok().and_then(Pid::from_raw);
        // Its number is not reused: the lock was held a moment ago.
        if let Some(keeper) = keeper {
            let _ = kill_process(keeper, Signal::KILL);
        }
    }
    place.wait_until_gone()?;
    Ok(place.remove()?)
}

fn write_plan(place: &Place, plan: &Plan) -> Result<(), LaunchError> {
    let path = place.plan();
    let text = serde_json::json!(plan).to_string();
    std::fs::write(&path, text).map_err(|reason| LaunchError::Write { path, reason })
}

fn start(place: &Place, lock: File, attached: bool) -> Result<Child, LaunchError> {
    let path = place.logs().join("keeper.log");
    let log = File::create(&path).map_err(|reason| LaunchError::Write { path, reason })?;
    let executable = std::env::current_exe().map_err(LaunchError::Spawn)?;
    let mut command = Command::new(executable);
    command
        .args(["lab", "keeper"])
        .args(attached.then_some("--attached"))
        .arg(place.directory())
        .stdin(lock)
        .stdout(Stdio::piped())
        .stderr(log);
    command.spawn().map_err(LaunchError::Spawn)
}

/// The launcher's main: moves into fresh namespaces, starts the keeper, waits
/// for its end or for being told to end it, and removes the directory. Its
/// process must have one thread only.
///
/// # Errors
/// In words; they are reported to the command as well.
pub fn launcher(directory: &Path, attached: bool) -> Result<()> {
    // Away from the terminal: Ctrl-C is for the command, which ends the lab.
    rustix::process::setsid()?;
    if attached {
        set_parent_process_death_signal(Some(Signal::TERM))?;
    }
    let place = Place::of_directory(directory)?;
    let attend = || {
        enter_namespaces()?;
        // One thread still: nobody in these namespaces may start a second one
        // before there is a keeper.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(attend(&place))
    };
    let outcome: Result<()> = attend();
    if let Err(error) = &outcome {
        report(&Progress::Failed(format!("{error:#}")));
    }
    place.remove()?;
    outcome
}

/// Starts the keeper and stays until it is gone.
async fn attend(place: &Place) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut keeper = tokio::process::Command::new(std::env::current_exe()?)
        .args(["lab", "keeper", "--first"])
        .arg(place.directory())
        .spawn()
        .context("cannot start the keeper")?;
    let pid = keeper.id().context("the keeper has a number")?;
    std::fs::write(place.keeper_pid(), format!("{pid}\n"))?;
    let status = tokio::select! {
        status = keeper.wait() => status?,
        _ = terminate.recv() => return Ok(keeper.kill().await?),
    };
    if !status.success() {
        let log = std::fs::read_to_string(place.logs().join("keeper.log")).unwrap_or_default();
        bail!("the keeper ended, {status}: {}", log.trim());
    }
    Ok(())
}

/// Says to the command how far the lab got.
pub(crate) fn report(progress: &Progress) {
    use std::io::Write;
    let line = serde_json::json!(progress).to_string() + "\n";
    // The command may have gone; the log has errors too.
    let _ = io::stdout().write_all(line.as_bytes());
}

/// Sees to it that this process is killed when the parent's thread ends.
///
/// # Errors
/// What the kernel says.
pub(crate) fn die_with_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)
}

fn enter_namespaces() -> Result<(), Forbidden> {
    let refused = |action| {
        move |reason| Forbidden {
            action,
            reason,
            limits: Limits::read(),
        }
    };
    if !may_make_namespaces() {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        unshare(&[Kind::User]).map_err(refused("make a user namespace"))?;
        map_root(uid, gid).map_err(refused("map this user into its user namespace"))?;
    }
    unshare(&[Kind::Mount, Kind::Net, Kind::Pid])
        .map_err(refused("make mount, network and process namespaces"))
}

/// Whether this process needs no user namespace for the rest.
fn may_make_namespaces() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|have| have.effective.contains(needed))
}
