//! A worker outlives its supervisor, and the next one takes it over: this room finds it and gets back what it holds.
//!
//! The supervisor makes a Unix listener in the run directory and gives the worker a copy. While its supervisor lives,
//! the worker does not look at it. When that is gone, the worker accepts the next one there (its own user or root
//! only), and says first what it was started with ([`FromWorker::Handover`]), with copies of all its descriptors.
//! Whether that fits the configuration of now is for the roles to judge; a worker that does not fit is ended.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

use super::process::Adopted;
use super::record_path;
use crate::store::{FileError, files};
use crate::worker::{
    ChannelError, FromWorker, Identity, SupervisorChannel, ToWorker, WorkerChannel, descriptor,
};

/// How long a worker may take to hand over; one that is stopped never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// A worker that an earlier supervisor left behind, and all that it has to give.
#[derive(Debug)]
pub(super) struct Adoptee {
    pub(super) process: Adopted,
    pub(super) channel: SupervisorChannel,
    pub(super) identity: Identity,
    /// What it was started with.
    pub(super) start: ToWorker,
    /// Its descriptors, by name.
    pub(super) fds: Vec<(String, OwnedFd)>,
}

impl Adoptee {
    /// Takes the descriptors of a name.
    pub(super) fn take(&mut self, name: &str) -> Vec<OwnedFd> {
        let (taken, left) = std::mem::take(&mut self.fds)
            .into_iter()
            .partition(|(other, _)| other == name);
        self.fds = left;
        taken.into_iter().map(|(_, fd)| fd).collect()
    }

    /// The addresses of the sockets of a name.
    pub(super) fn addresses(&self, name: &str) -> Vec<SocketAddr> {
        let sockets = self.fds.iter().filter(|(other, _)| other == name);
        let address = |(_, fd): &(String, OwnedFd)| rustix::net::getsockname(fd).ok();
        sockets
            .filter_map(|socket| SocketAddr::try_from(address(socket)?).ok())
            .collect()
    }
}

/// Says so when a worker is not what the configuration of now wants; such a one is ended.
pub(super) fn note_fit(fits: bool) -> bool {
    if !fits {
        tracing::warn!(
            "the configuration has changed since the data worker was started; it is replaced, and its flows are reset"
        );
    }
    fits
}

/// Why a worker cannot be taken over.
#[derive(Debug, thiserror::Error)]
enum HandoverError {
    #[error("it cannot be reached: {0}")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("it does not hand over within {PATIENCE:?}")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("it closed the connection")]
    Closed,
    #[error("it says something else than what it was started with")]
    Other,
}

/// Finds the worker of a supervisor that was killed, if it lives and hands over.
pub(super) async fn find(run_dir: &Path, role: &str) -> Option<Adoptee> {
    let process = Adopted::find(&record_path(run_dir, role))?;
    match tokio::time::timeout(PATIENCE, ask(&door_path(run_dir, role))).await {
        Ok(Ok((channel, start, fds))) => {
            let identity = match &start {
                ToWorker::StartRouter(setup) => setup.identity.clone(),
                ToWorker::StartServer(setup) => setup.identity.clone(),
                _ => return None,
            };
            Some(Adoptee {
                process,
                channel,
                identity,
                start,
                fds,
            })
        }
        Ok(Err(error)) => note(&error),
        Err(late) => note(&late.into()),
    }
}

fn note(error: &HandoverError) -> Option<Adoptee> {
    tracing::warn!("the data worker of an earlier supervisor cannot be taken over: {error}");
    None
}

type Handed = (SupervisorChannel, ToWorker, Vec<(String, OwnedFd)>);

async fn ask(door: &Path) -> Result<Handed, HandoverError> {
    let stream = UnixStream::connect(door).await?.into_std()?;
    let mut channel: SupervisorChannel = WorkerChannel::from_std(stream)?;
    match channel.recv().await? {
        None => Err(HandoverError::Closed),
        Some((FromWorker::Handover(start), fds)) => {
            let (ToWorker::StartRouter(_) | ToWorker::StartServer(_)) = *start else {
                return Err(HandoverError::Other);
            };
            let names = crate::worker::Message::descriptors(&*start).to_vec();
            Ok((channel, *start, names.into_iter().zip(fds).collect()))
        }
        Some(_) => Err(HandoverError::Other),
    }
}

/// The listener by which the next supervisor finds the worker. The supervisor keeps it for the workers to come, and
/// never accepts on it.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    listener: OwnedFd,
}

impl Door {
    /// Opens it. The caller holds the lock of the run directory, so a file in its place is a leftover.
    pub(super) fn open(run_dir: &Path, role: &str) -> Result<Self, FileError> {
        let path = door_path(run_dir, role);
        let fail = |source| FileError {
            action: "open the socket",
            path: path.clone(),
            source,
        };
        files::remove(&path)?;
        let listener = UnixListener::bind(&path).map_err(fail)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let listener = listener.into();
        Ok(Self { path, listener })
    }

    /// Goes on with the one that a worker handed over; a new one where it had none.
    pub(super) fn reopen(
        run_dir: &Path,
        role: &str,
        fds: &mut Vec<(String, OwnedFd)>,
    ) -> Result<Self, FileError> {
        let at = fds
            .iter()
            .position(|(name, _)| name == descriptor::ADOPTION);
        match at {
            Some(at) => Ok(Self {
                path: door_path(run_dir, role),
                listener: fds.remove(at).1,
            }),
            None => Self::open(run_dir, role),
        }
    }

    /// A copy for a worker.
    pub(super) fn descriptor(&self) -> io::Result<(String, OwnedFd)> {
        Ok((descriptor::ADOPTION.to_owned(), self.listener.try_clone()?))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The supervisor ends in order, or gives up on the worker: none is left that could be found by it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where a role's worker is found by the next supervisor.
pub(super) fn door_path(run_dir: &Path, role: &str) -> PathBuf {
    run_dir.join(format!("{role}.worker.sock"))
}
