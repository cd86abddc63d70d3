//! What a supervisor tells about itself and its worker. Kept as a snapshot, so that nobody waits for anybody.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::history::History;
use super::journal::Journal;
use crate::store::seconds_since_1970;
use crate::worker::{
    Ejection, LinkSetup, PathStatus, SchedulerReport, TracedDecision, WorkerStatus,
};

/// Incidents that are kept in memory.
const INCIDENTS: usize = 32;
/// Decisions of schedulers that are kept for who follows them.
const DECISIONS: usize = 4096;

/// The answer to `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `router` or `server`.
    pub role: String,
    /// The router's name; `server` on a server.
    pub name: String,
    /// Version of the supervisor.
    pub version: String,
    /// What it is doing.
    pub state: State,
    /// The supervisor's process id.
    pub supervisor_pid: u32,
    /// The worker, while one runs.
    pub worker: Option<WorkerProcess>,
    /// Workers started by this supervisor.
    pub generation: u32,
    /// Workers that died.
    pub restarts: u32,
    /// Seconds since the supervisor started.
    pub uptime_secs: u64,
    /// Where the server listens, or where the router connects to.
    pub addresses: Vec<SocketAddr>,
    /// The links (router).
    pub links: Vec<LinkSetup>,
    /// Names of the routers that may connect (server).
    pub routers: Vec<String>,
    /// The paths of all sessions.
    pub paths: Vec<PathStatus>,
    /// Flows alive.
    pub flows: u64,
    /// Flows opened since the worker started.
    pub flows_opened: u64,
    /// Flows reset since the worker started.
    pub flows_reset: u64,
    /// The scheduler of all traffic that belongs to no class.
    pub scheduler: String,
    /// Names of the classes of traffic by their numbers; 0, all other traffic, has an empty one (router).
    #[serde(default)]
    pub classes: Vec<String>,
    /// The schedulers in use, by session and class.
    #[serde(default)]
    pub schedulers: Vec<SchedulerReport>,
    /// Bytes in the worker's buffers.
    pub memory_bytes: u64,
    /// Bytes of flows that were sent more than once, in the sessions of the moment.
    pub repeated_bytes: u64,
    /// How often this end held a path stale, in the sessions of the moment.
    #[serde(default)]
    pub alarms: u64,
    /// What a person should know of, newest last.
    pub incidents: Vec<Incident>,
}

/// The worker that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerProcess {
    /// Its process id.
    pub pid: u32,
    /// Milliseconds since it reported its figures; `None` before its first report.
    pub report_age_ms: Option<u64>,
}

/// What a supervisor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A worker was started and is not ready yet.
    Starting,
    /// The worker is ready.
    Running,
    /// The worker died; the next one starts soon, connections wait.
    Restarting,
    /// Workers die again and again: the listeners are closed, and a router fails open or closed as configured.
    CrashLoop,
    /// Everything is being removed.
    Stopping,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::CrashLoop => "crash loop",
            Self::Stopping => "stopping",
        })
    }
}

/// Something a person should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Seconds since 1970.
    pub at: u64,
    /// A word for machines.
    pub kind: String,
    /// A sentence for people.
    pub text: String,
    /// What is known of an ejected scheduler. Not in `GET /status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Box<Ejection>>,
}

/// The time, by the system's clock, in seconds since 1970.
pub(super) fn now() -> u64 {
    seconds_since_1970(SystemTime::now())
}

/// The snapshot, shared between the supervisor, which writes, and the control socket, which reads.
#[derive(Debug, Clone)]
pub(super) struct Board {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    status: Status,
    started: Instant,
    reported: Option<Instant>,
    journal: Journal,
    history: History,
    decisions: VecDeque<TracedDecision>,
    /// Decisions that were kept once and are not any more.
    forgotten: u64,
}

impl Board {
    pub(super) fn new(role: &str, name: &str, journal: Journal) -> Self {
        let status = Status {
            role: role.into(),
            name: name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            state: State::Starting,
            supervisor_pid: std::process::id(),
            worker: None,
            generation: 0,
            restarts: 0,
            uptime_secs: 0,
            addresses: vec![],
            links: vec![],
            routers: vec![],
            paths: vec![],
            flows: 0,
            flows_opened: 0,
            flows_reset: 0,
            scheduler: String::new(),
            classes: vec![],
            schedulers: vec![],
            memory_bytes: 0,
            repeated_bytes: 0,
            alarms: 0,
            incidents: vec![],
        };
        Self {
            inner: Arc::new(Mutex::new(Inner {
                status,
                started: Instant::now(),
                reported: None,
                journal,
                history: History::default(),
                decisions: VecDeque::new(),
                forgotten: 0,
            })),
        }
    }

    /// The status now.
    pub(super) fn read(&self) -> Status {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = inner.status.clone();
        status.uptime_secs = inner.started.elapsed().as_secs();
        if let Some(worker) = &mut status.worker {
            let age = inner.reported.map(|at| at.elapsed().as_millis());
            worker.report_age_ms = age.map(|age| u64::try_from(age).unwrap_or(u64::MAX));
        }
        status
    }

    /// Changes the status; `change` must not block.
    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(
            &mut self
                .inner
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .status,
        );
    }

    /// Takes over what the worker reports.
    pub(super) fn report(&self, report: WorkerStatus) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.reported = Some(Instant::now());
        let status = &mut inner.status;
        status.paths = report.paths;
        status.flows = report.flows;
        status.flows_opened = report.flows_opened;
        status.flows_reset = report.flows_reset;
        let rest = report.schedulers.iter().find(|report| report.class == 0);
        status.scheduler = rest.map_or_else(String::new, |rest| rest.here.name.clone());
        status.schedulers = report.schedulers;
        status.memory_bytes = report.memory_bytes;
        status.repeated_bytes = report.repeated_bytes;
        status.alarms = report.alarms;
        let Inner {
            history, status, ..
        } = &mut *inner;
        history.note(now(), status);
    }

    /// The worker is gone, and so is all that it reported.
    pub(super) fn forget_worker(&self, state: State) {
        self.report(WorkerStatus::default());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.reported = None;
        inner.status.state = state;
        inner.status.worker = None;
    }

    /// Keeps an incident and logs it.
    pub(super) fn incident(&self, kind: &str, text: &str) {
        self.keep(kind, text, None);
    }

    /// Keeps what is known of an ejected scheduler, and logs it.
    pub(super) fn ejection(&self, ejection: Ejection) {
        let Ejection {
            scheduler,
            session,
            reason,
            text,
            ..
        } = &ejection;
        let told = format!(
            "the scheduler {scheduler} was ejected from the session with {session} ({reason}: {text}); its flows go on with `default`"
        );
        self.keep("scheduler-ejected", &told, Some(ejection));
    }

    /// What passed between two times, in words; times in seconds since 1970.
    pub(super) fn tell_history(&self, between: Range<u64>) -> Option<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.history.tell(between)
    }

    fn keep(&self, kind: &str, text: &str, ejection: Option<Ejection>) {
        tracing::warn!(kind, "{text}");
        let at = now();
        let incident = Incident {
            at,
            kind: kind.into(),
            text: text.into(),
            ejection: None,
        };
        self.update(|status| {
            if status.incidents.len() == INCIDENTS {
                status.incidents.remove(0);
            }
            status.incidents.push(incident.clone());
        });
        let ejection = ejection.map(Box::new);
        self.journal().keep(Incident {
            ejection,
            ..incident
        });
    }

    /// Where incidents are kept.
    pub(super) fn journal(&self) -> Journal {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.journal.clone()
    }

    /// Keeps decisions for who follows them.
    pub(super) fn add_decisions(&self, decisions: Vec<TracedDecision>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.decisions.extend(decisions);
        let surplus = inner.decisions.len().saturating_sub(DECISIONS);
        inner.decisions.drain(..surplus);
        inner.forgotten += surplus as u64;
    }

    /// The decisions from number `from` on, and the number of the next one.
    pub(super) fn decisions(&self, from: u64) -> (u64, Vec<TracedDecision>) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let next = inner.forgotten + inner.decisions.len() as u64;
        let skipped = from.saturating_sub(inner.forgotten);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        (
            next,
            inner.decisions.iter().skip(skipped).cloned().collect(),
        )
    }
}
