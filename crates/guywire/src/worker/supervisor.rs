//! What a worker says to its supervisor and hears from it, and how it goes on when that one is killed: it waits for
//! the next one at the listener that it was given for this, hands over copies of all its descriptors, and obeys it
//! from then on.
//!
//! Nobody in the worker ever waits for a supervisor: what has no room in the queue is dropped.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::Context as _;
use guywire_control::worker::{
    FromWorker, Message as _, Receiver, Sender, ToWorker, WorkerEnd, descriptor,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Messages that may wait for a supervisor to read them; at two a second, half a minute's.
const QUEUE: usize = 64;

/// What the worker was started with, and copies of the descriptors: what the next supervisor will need.
pub(super) struct Estate {
    start: ToWorker,
    fds: Vec<OwnedFd>,
}

impl Estate {
    pub(super) fn copy(start: &ToWorker, fds: &[OwnedFd]) -> std::io::Result<Estate> {
        Ok(Estate {
            start: start.clone(),
            fds: copies(fds)?,
        })
    }

    /// The listener at which the next supervisor comes, if one was given.
    fn door(&self) -> anyhow::Result<Option<UnixListener>> {
        let mut named = self.start.descriptors().iter().zip(&self.fds);
        let Some((_, fd)) = named.find(|(name, _)| *name == descriptor::ADOPTION) else {
            return Ok(None);
        };
        let listener = std::os::unix::net::UnixListener::from(fd.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(Some(UnixListener::from_std(listener)?))
    }
}

fn copies(fds: &[OwnedFd]) -> std::io::Result<Vec<OwnedFd>> {
    fds.iter().map(OwnedFd::try_clone).collect()
}

/// Both directions of a worker's talk with its supervisors, the first one's channel given.
pub(super) fn connect(
    sender: Sender<FromWorker>,
    receiver: Receiver<ToWorker>,
    estate: Estate,
) -> anyhow::Result<(Outbox, Inbox)> {
    let door = estate
        .door()
        .context("the listener for the next supervisor")?;
    let (messages, queue) = mpsc::channel(QUEUE);
    let (heirs, coming) = mpsc::channel(1);
    tokio::spawn(write(Some(sender), queue, coming));
    let inbox = Inbox {
        receiver: Some(receiver),
        door,
        estate,
        heirs,
    };
    Ok((Outbox(messages), inbox))
}

/// What the worker says to its supervisor, whoever that is at the moment.
#[derive(Clone)]
pub(super) struct Outbox(mpsc::Sender<FromWorker>);

impl Outbox {
    /// Says it, or drops it where nobody listens.
    pub(super) fn send(&self, message: FromWorker) {
        if let Err(error) = self.0.try_send(message) {
            tracing::debug!(%error, "the supervisor is not told");
        }
    }
}

/// The next supervisor's channel, and what it is told first.
struct Heir {
    sender: Sender<FromWorker>,
    handover: FromWorker,
    fds: Vec<OwnedFd>,
}

/// One task writes, so that nobody who has something to say waits for the supervisor.
async fn write(
    mut sender: Option<Sender<FromWorker>>,
    mut queue: mpsc::Receiver<FromWorker>,
    mut heirs: mpsc::Receiver<Heir>,
) {
    loop {
        tokio::select! {
            // Nothing is said to the next supervisor before the handover, and nothing to one that is gone.
            biased;
            Some(heir) = heirs.recv() => sender = hand_over(heir).await,
            message = queue.recv() => {
                let Some(message) = message else { return };
                if let Some(channel) = &mut sender {
                    let said = tokio::select! {
                        said = channel.send(&message, &[]) => said.is_ok(),
                        // A supervisor that was stopped, did not read, and was then killed.
                        Some(heir) = heirs.recv() => {
                            sender = hand_over(heir).await;
                            continue;
                        }
                    };
                    if !said {
                        sender = None;
                    }
                }
            }
        }
    }
}

async fn hand_over(mut heir: Heir) -> Option<Sender<FromWorker>> {
    let fds: Vec<_> = heir.fds.iter().map(|fd| fd.as_fd()).collect();
    match heir.sender.send(&heir.handover, &fds).await {
        Ok(()) => Some(heir.sender),
        Err(error) => {
            tracing::warn!(%error, "a supervisor came and went");
            None
        }
    }
}

/// What the supervisor says to its worker.
pub(super) struct Inbox {
    /// `None` while there is no supervisor.
    receiver: Option<Receiver<ToWorker>>,
    door: Option<UnixListener>,
    estate: Estate,
    heirs: mpsc::Sender<Heir>,
}

impl Inbox {
    /// The next message and its descriptors. Without a supervisor, the first of the next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> (ToWorker, Vec<OwnedFd>) {
        loop {
            if let Some(receiver) = &mut self.receiver {
                match receiver.recv().await {
                    Ok(Some(message)) => return message,
                    Ok(None) => {
                        tracing::warn!("the supervisor is gone; the worker goes on without it");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the supervisor cannot be understood; the worker goes on without it");
                    }
                }
                self.receiver = None;
            }
            self.await_heir().await;
        }
    }

    /// Waits for the next supervisor. The door's bound on connections that wait is the kernel's.
    async fn await_heir(&mut self) {
        let Some(door) = &self.door else {
            return std::future::pending().await;
        };
        match door.accept().await {
            Ok((stream, _)) => match self.admit(stream) {
                Ok(receiver) => {
                    tracing::info!("another supervisor takes this worker over");
                    self.receiver = Some(receiver);
                }
                Err(error) => tracing::warn!("a supervisor is not obeyed: {error:#}"),
            },
            Err(error) => {
                // Out of descriptors, most likely: those in use come back.
                tracing::warn!(%error, "cannot accept another supervisor");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Obeys root and this worker's own user, nobody else.
    fn admit(&self, stream: UnixStream) -> anyhow::Result<Receiver<ToWorker>> {
        let uid = stream.peer_cred()?.uid();
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            anyhow::bail!("it is user {uid}");
        }
        let (sender, receiver) = WorkerEnd::from_std(stream.into_std()?)?.into_split();
        let heir = Heir {
            sender,
            handover: FromWorker::Handover(Box::new(self.estate.start.clone())),
            fds: copies(&self.estate.fds)?,
        };
        self.heirs
            .try_send(heir)
            .map_err(|_| anyhow::anyhow!("another one is just taking over"))?;
        Ok(receiver)
    }
}
