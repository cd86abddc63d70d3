//! The data worker: the process that moves data for a router or a server.
//!
//! It is started by its supervisor, holds no privilege to change the network, and is given every listening
//! socket. It outlives nobody's patience: when it dies, its connections are reset and the supervisor starts
//! another.
//!
//! | module | what it does |
//! |---|---|
//! | `supervisor` | what is said to the supervisor, and to the next one when it was killed |
//! | `router` | captured connections become flows |
//! | `server` | flows become connections |
//! | `classes` | which class a connection belongs to |
//! | `schedulers` | schedulers as messages name them and as sessions use them |
//! | `guests` | schedulers that routers choose at a server |
//! | `follow` | decisions of schedulers, for who wants to see them |
//! | `pages` | huge pages for who moves much |
//! | `refused` | destinations that were refused a moment ago |
//! | `dns` | the LAN's questions, relayed over flows; `service:dns` at the server |
//! | `policy` | where a server may connect to |

mod classes;
mod dns;
mod follow;
mod guests;
mod pages;
mod peaks;
mod policy;
mod refused;
mod router;
mod schedulers;
mod server;
mod supervisor;

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, bail};
use guywire_control::worker::{ToWorker, WorkerEnd, WorkerStatus, descriptor};
use guywire_flow::PathReport;
use guywire_transport::hello::Endpoint;
use guywire_transport::session::SessionHandle;

use supervisor::{Estate, Inbox, Outbox};

/// The most threads that move data.
const MAX_THREADS: usize = 4;
/// How often the supervisor gets a snapshot.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How long a worker that stops waits for its last words to be sent.
const FAREWELL: Duration = Duration::from_millis(300);

/// Runs as the worker of the supervisor that started this process, until it says stop.
///
/// # Errors
/// When it was not started by a supervisor, or its setup cannot be used.
pub(crate) fn run() -> anyhow::Result<()> {
    raise_descriptor_limit();
    let threads = threads();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the worker's runtime")?;
    let outcome = runtime.block_on(serve());
    // Connections that are left are reset by their sockets' own settings.
    runtime.shutdown_timeout(FAREWELL);
    outcome
}

/// One thread for two cores, at most [`MAX_THREADS`]: a second one on two cores took 13 % more CPU time for waking
/// each other and carried no more, for the kernel needs the other core to move the packets.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).clamp(1, MAX_THREADS)
}

/// Every flow takes a descriptor: as many as the system allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn serve() -> anyhow::Result<()> {
    let (sender, mut receiver) = WorkerEnd::from_env()?.into_split();
    let Some((start, fds)) = receiver.recv().await? else {
        bail!("the supervisor closed the channel before it said what to be");
    };
    let estate = Estate::copy(&start, &fds)?;
    let (outbox, mut inbox) = supervisor::connect(sender, receiver, estate)?;
    match start {
        ToWorker::StartRouter(setup) => router::serve(setup, fds, outbox, &mut inbox).await,
        ToWorker::StartServer(setup) => server::serve(setup, fds, outbox, &mut inbox).await,
        other => bail!("the supervisor's first message is not a setup: {other:?}"),
    }?;
    tokio::time::sleep(FAREWELL).await;
    Ok(())
}

/// The descriptors that came with a setup, by name.
struct Descriptors(Vec<(String, OwnedFd)>);

impl Descriptors {
    fn new(names: Vec<String>, fds: Vec<OwnedFd>) -> anyhow::Result<Descriptors> {
        if names.len() != fds.len() {
            bail!(
                "the setup names {} descriptors, {} came",
                names.len(),
                fds.len()
            );
        }
        Ok(Descriptors(names.into_iter().zip(fds).collect()))
    }

    /// Takes all of these names.
    fn take(&mut self, names: &[&str]) -> Vec<OwnedFd> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| names.contains(&name.as_str()));
        self.0 = left;
        taken.into_iter().map(|(_, fd)| fd).collect()
    }

    fn listeners(&mut self, names: &[&str]) -> anyhow::Result<Vec<tokio::net::TcpListener>> {
        self.take(names)
            .into_iter()
            .map(|fd| {
                let listener = std::net::TcpListener::from(fd);
                listener.set_nonblocking(true)?;
                Ok(tokio::net::TcpListener::from_std(listener)?)
            })
            .collect()
    }

    fn udp_sockets(&mut self, names: &[&str]) -> anyhow::Result<Vec<tokio::net::UdpSocket>> {
        self.take(names)
            .into_iter()
            .map(|fd| {
                let socket = std::net::UdpSocket::from(fd);
                socket.set_nonblocking(true)?;
                Ok(tokio::net::UdpSocket::from_std(socket)?)
            })
            .collect()
    }
}

fn endpoint(identity: &guywire_control::worker::Identity) -> anyhow::Result<Endpoint> {
    Ok(Endpoint {
        instance: identity
            .instance
            .parse()
            .context("the supervisor's instance")?,
        generation: identity.generation,
        oldest: identity.oldest,
    })
}

/// Adds a session to a snapshot: the other end's name, and the links' names by path.
fn report_session(
    status: &mut WorkerStatus,
    name: &str,
    session: &SessionHandle,
    link: impl Fn(u8) -> String,
) {
    use guywire_control::worker::{PathState, PathStatus};
    let counts = session.counts();
    status.flows += counts.flows;
    status.flows_opened += counts.opened;
    status.flows_reset += counts.reset;
    status.memory_bytes += counts.held;
    status.repeated_bytes += counts.repeated;
    status.alarms += counts.alarms;
    let path = |report: PathReport| PathStatus {
        session: name.to_owned(),
        link: link(report.path),
        state: match report.state {
            guywire_flow::PathState::Up => PathState::Up,
            guywire_flow::PathState::Stale => PathState::Stale,
            guywire_flow::PathState::Down => PathState::Down,
            guywire_flow::PathState::Withdrawn => PathState::Withdrawn,
        },
        srtt_us: u64::try_from(report.srtt.as_micros()).unwrap_or(u64::MAX),
        min_rtt_us: u64::try_from(report.min_rtt.as_micros()).unwrap_or(u64::MAX),
        rate_bps: report.rate.saturating_mul(8),
        most_sent_bps: 0,
        most_received_bps: 0,
        repeated_ppm: repeated_ppm(&report),
        subflows: u32::try_from(report.subflows).unwrap_or(u32::MAX),
        sent_bytes: report.sent,
        received_bytes: report.received,
    };
    status.paths.extend(session.paths().into_iter().map(path));
}

/// Of a million segments, those that were sent again.
fn repeated_ppm(report: &PathReport) -> u32 {
    let all = report.delivered.saturating_add(report.repeated).max(1);
    let share = report.repeated as f64 / all as f64;
    (share * 1e6) as u32
}
