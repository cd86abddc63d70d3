//! What the supervisors of router and server have in common: one for each run directory, leftovers ended, a worker
//! kept, a control socket, a way to be stopped.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use guywire_transport::enrol::HostPort;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::adopt::{self, Adoptee, Door};
use super::journal::Journal;
use super::keeper::{Event, Keeper};
use super::lock::{LockError, NamespaceLock, RunLock};
use super::process::{self, WorkerCommand};
use super::schedulers::{Class, EndedTrial, Schedulers};
use super::socket::{Access, ControlSocket, socket_path};
use super::status::{self, Board, State, WorkerProcess};
use super::{ROUTER_ROLE, SupervisorError, record_path};
use crate::store::{ServerStore, files};
use crate::worker::{Ejection, FromWorker, ToWorker};

/// Where the kernel looks last when memory runs out (-1000 to 1000): without its supervisor a router is lost.
const OOM_SCORE: &str = "-500";

/// How long a supervisor that was told to stop may take: its worker's patience, and a second for the rules.
const STOPPING: Duration = Duration::from_secs(3);

/// Something the supervisor's loop has to act on.
#[derive(Debug)]
pub(super) enum Happening {
    /// From or about the worker.
    Worker(Event),
    /// Other schedulers are to be used, or not any more.
    Schedulers,
    /// Somebody wants it to end.
    Stop(&'static str),
}

/// What a frame is opened for.
pub(super) struct Endpoint<'a> {
    pub(super) role: &'static str,
    /// For status.
    pub(super) name: &'a str,
    pub(super) run_dir: &'a Path,
    pub(super) state_dir: &'a Path,
    /// The classes of a router's traffic, class 0 first.
    pub(super) classes: Vec<Class>,
    /// A server's store and public addresses.
    pub(super) inviting: Option<(ServerStore, Vec<HostPort>)>,
}

/// Common parts of a supervisor.
pub(super) struct Frame {
    pub(super) board: Board,
    pub(super) keeper: Keeper,
    pub(super) schedulers: Arc<Schedulers>,
    /// How the next supervisor finds the worker if this one is killed.
    door: Door,
    access: Arc<Access>,
    terminate: Signal,
    interrupt: Signal,
    _socket: ControlSocket,
}

/// A run directory that is ours alone: the first step of a supervisor, held until its last.
pub(super) struct Claim {
    run_dir: PathBuf,
    role: &'static str,
    _lock: RunLock,
    /// A router's hold on its network namespace.
    _namespace: Option<NamespaceLock>,
}

impl Claim {
    /// Takes the lock of the run directory, and a router that of the network namespace too. Waits a little for a
    /// supervisor that is just stopping.
    pub(super) async fn take(run_dir: &Path, role: &'static str) -> Result<Self, SupervisorError> {
        files::private_dir(run_dir)?;
        let deadline = Instant::now() + STOPPING;
        let _lock = patiently(deadline, || RunLock::take(run_dir, role)).await?;
        let _namespace = match role {
            ROUTER_ROLE => Some(patiently(deadline, NamespaceLock::take).await?),
            _ => None,
        };
        // Only root may; what cannot be helped is no reason not to start.
        if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
            tracing::debug!("cannot set oom_score_adj: {error}");
        }
        Ok(Self {
            run_dir: run_dir.to_owned(),
            role,
            _lock,
            _namespace,
        })
    }

    /// The worker of a supervisor that was killed, if it lives and hands over.
    pub(super) async fn find_worker(&self) -> Option<Adoptee> {
        adopt::find(&self.run_dir, self.role).await
    }

    /// Ends the worker that a killed supervisor left behind, and says which it was: it holds the listeners, and the
    /// capture table cannot be replaced while it lives.
    pub(super) fn end_worker(&self) -> Result<Option<u32>, SupervisorError> {
        let ended = process::end_leftover(&record_path(&self.run_dir, self.role))?;
        if let Some(pid) = ended {
            tracing::warn!(
                pid,
                "ended the data worker that an earlier supervisor left behind"
            );
        }
        Ok(ended)
    }
}

/// Tries until nobody else has the lock or the deadline is over.
async fn patiently<T>(
    deadline: Instant,
    take: impl Fn() -> Result<T, LockError>,
) -> Result<T, LockError> {
    loop {
        match take() {
            Err(LockError::Held { .. } | LockError::Namespace { .. })
                if Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

impl Frame {
    /// Opens the control socket. The worker is due at once, or, with `adoptee`, running; what it handed over and is not
    /// the frame's stays in `adoptee.fds`.
    pub(super) fn open(
        Endpoint {
            role,
            name,
            run_dir,
            state_dir,
            classes,
            inviting,
        }: Endpoint<'_>,
        worker: WorkerCommand,
        adoptee: Option<Adoptee>,
    ) -> Result<Self, SupervisorError> {
        let names = classes.iter().map(|class| class.name.clone()).collect();
        let schedulers = Arc::new(Schedulers::open(state_dir, classes)?);
        let board = Board::new(role, name, Journal::open(state_dir));
        board.update(|status| status.classes = names);
        let access = Arc::new(Access {
            board: board.clone(),
            stop: Notify::new(),
            inviting,
            schedulers: schedulers.clone(),
            schedulers_changed: Notify::new(),
            trace: Notify::new(),
        });
        let socket = ControlSocket::open(socket_path(run_dir, role), access.clone())?;
        let handler = |kind| signal(kind).map_err(SupervisorError::Signals);
        let (terminate, interrupt) = (
            handler(SignalKind::terminate())?,
            handler(SignalKind::interrupt())?,
        );
        let record = record_path(run_dir, role);
        let (door, keeper) = match adoptee {
            None => (
                Door::open(run_dir, role)?,
                Keeper::new(worker, record, instance()?),
            ),
            Some(mut adoptee) => (
                Door::reopen(run_dir, role, &mut adoptee.fds)?,
                Keeper::adopt(worker, record, adoptee),
            ),
        };
        let frame = Self {
            board,
            keeper,
            schedulers,
            door,
            access,
            terminate,
            interrupt,
            _socket: socket,
        };
        frame.publish_worker();
        if frame.keeper.pid().is_some() {
            frame.note_adoption();
        }
        Ok(frame)
    }

    fn publish_worker(&self) {
        let (pid, generation) = (self.keeper.pid(), self.keeper.generation());
        self.board.update(|status| {
            status.state = State::Starting;
            status.worker = pid.map(|pid| WorkerProcess {
                pid,
                report_age_ms: None,
            });
            status.generation = generation;
        });
    }

    /// A worker that hands over is ready.
    fn note_adoption(&self) {
        self.board.update(|status| status.state = State::Running);
        self.board.incident(
            "supervisor-died",
            "the supervisor before this one ended without stopping; its data worker goes on, and so do its flows",
        );
    }

    /// Adds what every worker gets to the descriptors of its role.
    pub(super) fn add_descriptors(
        &self,
        names: &mut Vec<String>,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(), SupervisorError> {
        let (name, fd) = self
            .door
            .descriptor()
            .map_err(SupervisorError::Descriptors)?;
        names.push(name);
        fds.push(fd);
        Ok(())
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Happening::Stop("SIGTERM"),
                _ = self.interrupt.recv() => return Happening::Stop("SIGINT"),
                () = self.access.stop.notified() => return Happening::Stop("a request on the control socket"),
                () = self.access.schedulers_changed.notified() => return Happening::Schedulers,
                () = self.access.trace.notified() => self.keeper.send(ToWorker::Trace),
                event = self.keeper.next() => return Happening::Worker(event),
            }
        }
    }

    /// Starts a worker; a failure comes back as its death.
    pub(super) fn start(&mut self, message: ToWorker, fds: Vec<OwnedFd>) -> Option<Event> {
        let failed = self.keeper.start(message, fds);
        self.publish_worker();
        failed
    }

    /// Notes what both roles note alike; what is left is for the role.
    pub(super) fn note(&mut self, message: FromWorker) -> Option<FromWorker> {
        match message {
            FromWorker::Ready => {
                tracing::info!("data worker ready");
                self.board.update(|status| status.state = State::Running);
            }
            FromWorker::Status(report) => self.board.report(report),
            FromWorker::Incident { kind, text } => self.board.incident(&kind, &text),
            FromWorker::Decisions(decisions) => self.board.add_decisions(decisions),
            FromWorker::Ejected(ejection) => self.note_ejection(*ejection),
            other @ (FromWorker::Redeem { .. } | FromWorker::Handover(_)) => return Some(other),
        }
        None
    }

    /// Puts a scheduler that was ejected into quarantine. The worker uses it no more already, so it may take the time
    /// that the disk takes.
    fn note_ejection(&self, ejection: Ejection) {
        let access = self.access.clone();
        self.board.ejection(ejection.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = access.schedulers.quarantine(&ejection) {
                tracing::error!(%error, "the quarantine is forgotten when the supervisor ends");
            }
            access.schedulers_changed.notify_one();
        });
    }

    /// Goes back from trials that are over, and tells how they went. The worker is told of it as of any other choice.
    pub(super) fn end_trials(&self) {
        let access = self.access.clone();
        tokio::task::spawn_blocking(move || {
            match access.schedulers.end_trials(status::now()) {
                Ok(ended) => ended
                    .iter()
                    .for_each(|trial| tell_trial(&access.board, trial)),
                Err(error) => {
                    tracing::error!(%error, "the end of a trial is forgotten when the supervisor ends")
                }
            }
            access.schedulers_changed.notify_one();
        });
    }

    /// Notes a death.
    pub(super) fn note_death(&mut self, how: &str, crash_loop: bool, hung: bool) {
        let state = if crash_loop {
            State::CrashLoop
        } else {
            State::Restarting
        };
        self.board.forget_worker(state);
        self.board.update(|status| status.restarts += 1);
        let (kind, next) = if crash_loop {
            (
                "crash-loop",
                "it died too often: the listeners are closed for a while",
            )
        } else if hung {
            ("worker-hung", "the next one is started")
        } else {
            ("worker-died", "the next one is started")
        };
        self.board
            .incident(kind, &format!("the data worker ended ({how}); {next}"));
    }

    /// Stops the worker.
    pub(super) async fn stop(&mut self, why: &str) {
        tracing::info!("stopping: {why}");
        self.board.update(|status| status.state = State::Stopping);
        self.keeper.stop().await;
    }
}

/// Keeps what came of a trial, beside what was before it for as long.
fn tell_trial(board: &Board, trial: &EndedTrial) {
    let EndedTrial {
        class,
        scheduler,
        again,
        began,
        ended,
    } = trial;
    let time = ended.saturating_sub(*began);
    let told = |between| {
        let told = board.tell_history(between);
        told.unwrap_or_else(|| "too little is known".to_owned())
    };
    let (during, before) = (
        told(*began..*ended),
        told(began.saturating_sub(time)..*began),
    );
    board.incident(
        "scheduler-trial",
        &format!(
            "the trial of {scheduler} for {class} is over, {again} schedules it again. With {scheduler}: {during}. \
             For as long before: {before}. People may have asked for other things meanwhile: look at more than one trial"
        ),
    );
}

/// 32 hexadecimal digits that no other start of a supervisor has.
fn instance() -> Result<String, SupervisorError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SupervisorError::Random)?;
    Ok(HEXLOWER.encode(&bytes))
}
