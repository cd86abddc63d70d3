//! The router's worker: captured connections become flows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use guywire_control::worker::{
    FromWorker, LinkSetup, Priority, RouterSetup, SchedulerReport, ToWorker, WorkerStatus,
};
use guywire_flow::Destination;
use guywire_flow::record::Fate;
use guywire_net::tcp;
use guywire_transport::flow::Outcome;
use guywire_transport::hello::{Families, LinkAttributes, LinkName};
use guywire_transport::key::PrivateKey;
use guywire_transport::relay;
use guywire_transport::router::{ClassReport, DialReason, Link, Router, RouterConfig, RouterNews};
use guywire_transport::session::SessionHandle;
use guywire_transport::tls::ClientTls;
use tokio::net::{TcpListener, TcpStream};

use super::classes::Classes;
use super::follow::Follower;
use super::pages::Pages;
use super::peaks::Peaks;
use super::refused::Refused;
use super::{Descriptors, Inbox, Outbox, STATUS_EVERY, descriptor, dns, schedulers};

/// How the server's session is called in status.
pub(super) const SERVER: &str = "server";
/// A failure of a link that goes on is told again after this.
const TOLD_FOR: Duration = Duration::from_secs(600);

pub(super) async fn serve(
    setup: RouterSetup,
    fds: Vec<OwnedFd>,
    outbox: Outbox,
    inbox: &mut Inbox,
) -> anyhow::Result<()> {
    let mut fds = Descriptors::new(setup.fds.clone(), fds)?;
    let (router, mut news) = Router::start(config(&setup)?);
    router.set_links(links(&setup.links)?);
    let refused = Shared::default();
    let listeners = fds.listeners(&[descriptor::TPROXY4, descriptor::TPROXY6])?;
    let classes = Classes::new(&listeners);
    for listener in listeners {
        let capture = Capture {
            router: router.clone(),
            refused: refused.clone(),
            classes: classes.clone(),
        };
        tokio::spawn(capture.serve(listener));
    }
    for listener in fds.listeners(&[descriptor::DNS_TCP4, descriptor::DNS_TCP6])? {
        tokio::spawn(dns::relay_tcp(listener, router.clone()));
    }
    for socket in fds.udp_sockets(&[descriptor::DNS_UDP4, descriptor::DNS_UDP6])? {
        tokio::spawn(dns::relay_udp(socket, router.clone()));
    }
    // Held open so that the capture table lives as long as this worker does.
    let _capture = fds.take(&[descriptor::CAPTURE]);
    outbox.send(FromWorker::Ready);

    let mut status = tokio::time::interval(STATUS_EVERY);
    let mut totals = Totals::default();
    let mut pages = Pages::default();
    let mut told = Told::default();
    let mut follower = Follower::default();
    loop {
        tokio::select! {
            (message, fds) = inbox.next() => match message {
                ToWorker::Links(setups) => router.set_links(links(&setups)?),
                ToWorker::Schedulers(chosen) => {
                    classes.set(chosen.classes.clone());
                    let (chosen, problems) = schedulers::of_setup(&chosen, fds, setup.budget);
                    router.set_schedulers(chosen);
                    for text in problems {
                        let kind = "scheduler-unfit".to_owned();
                        outbox.send(FromWorker::Incident { kind, text });
                    }
                }
                ToWorker::Trace => follower.begin(),
                ToWorker::Stop => break,
                other => tracing::warn!(?other, "not for a router's worker"),
            },
            Some(news) = news.recv() => told.tell(&outbox, news),
            () = follower.due() => {
                follower.tell(&outbox, [(SERVER.to_owned(), &router.session())].into_iter());
            }
            _ = status.tick() => {
                let status = totals.snapshot(&router);
                pages.follow(&status);
                outbox.send(FromWorker::Status(status));
            }
        }
    }
    router.session().close(guywire_flow::SessionReason::Drain);
    Ok(())
}

fn config(setup: &RouterSetup) -> anyhow::Result<RouterConfig> {
    let key = PrivateKey::from_pkcs8(&setup.private_key.0).context("the router's private key")?;
    let server = setup
        .server
        .public_key
        .parse()
        .context("the server's public key")?;
    let tag_key = setup
        .server
        .tag_key
        .0
        .parse()
        .context("the server's tag key")?;
    Ok(RouterConfig {
        endpoint: super::endpoint(&setup.identity)?,
        tls: ClientTls::new(&key, server, tag_key)?,
        servers: setup.server.addresses.clone(),
        memory: setup.session_memory,
        max_flows: setup.max_flows,
        limits: schedulers::limits(setup.budget),
    })
}

fn links(setups: &[LinkSetup]) -> anyhow::Result<Vec<Link>> {
    let link = |setup: &LinkSetup| {
        Ok(Link {
            path: setup.id,
            attributes: LinkAttributes {
                name: LinkName::new(&setup.name).context("the name of a link")?,
                backup: setup.priority == Priority::Backup,
                metered: setup.metered,
                cost: setup.cost,
            },
            device: setup.device.clone(),
            congestion: setup.congestion.clone(),
            present: setup.present,
            addresses: setup.addresses.clone(),
        })
    };
    setups.iter().map(link).collect()
}

fn scheduler_reports(router: &Router, session: &SessionHandle) -> Vec<SchedulerReport> {
    let decided = |class| session.with(|session, _| session.decisions(class).0);
    let reports = router.schedulers();
    let report = |report: &ClassReport| schedulers::report(SERVER, report, decided(report.class));
    reports.iter().map(report).collect()
}

/// Failures of links that the supervisor was told of lately: what goes on is one incident, not many.
#[derive(Default)]
struct Told(HashMap<(String, DialReason), Instant>);

impl Told {
    fn tell(&mut self, outbox: &Outbox, news: RouterNews) {
        let (kind, text) = match news {
            RouterNews::Ejected(incident) => {
                let ejection = Box::new(schedulers::ejection(SERVER, *incident));
                return outbox.send(FromWorker::Ejected(ejection));
            }
            RouterNews::ChoiceResult { scheduler, result } => match result.fate {
                Fate::InUse | Fate::Wanted => return,
                Fate::Refused => {
                    let (id, text) = (schedulers::id(&scheduler), result.text);
                    let told = format!(
                        "the server does not use the scheduler {id} for what it sends, but `default`: {text}"
                    );
                    ("scheduler-refused", told)
                }
                Fate::Ejected(reason) => {
                    let ejection = schedulers::at_the_server(&scheduler, reason, &result.text);
                    return outbox.send(FromWorker::Ejected(Box::new(ejection)));
                }
            },
            RouterNews::DialFailed { link, reason, text } => {
                tracing::warn!(link, "{text}");
                if !self.is_news(Instant::now(), &link, reason) {
                    return;
                }
                ("link-failed", format!("link {link}: {text}"))
            }
            RouterNews::Superseded => (
                "superseded",
                "another router with this key has taken over; this one has stopped. \
                 Give each router a key of its own: `guywire server invite NAME`, then `guywire router join LINE`"
                    .to_owned(),
            ),
        };
        let kind = kind.to_owned();
        outbox.send(FromWorker::Incident { kind, text });
    }

    fn is_news(&mut self, now: Instant, link: &str, reason: DialReason) -> bool {
        self.0
            .retain(|_, told| now.saturating_duration_since(*told) < TOLD_FOR);
        let failure = (link.to_owned(), reason);
        let known = self.0.contains_key(&failure);
        self.0.entry(failure).or_insert(now);
        !known
    }
}

/// The destinations that fail fast, for all tasks.
type Shared = Arc<Mutex<Refused>>;

fn lock(refused: &Shared) -> MutexGuard<'_, Refused> {
    refused.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes captured connections; their local address is where the client wanted to go.
#[derive(Clone)]
struct Capture {
    router: Router,
    refused: Shared,
    classes: Classes,
}

impl Capture {
    async fn serve(self, listener: TcpListener) {
        let own = listener.local_addr().ok();
        loop {
            match listener.accept().await {
                Ok((local, client)) => {
                    if let Err(error) = tcp::set_reset_on_close(&local, true) {
                        tracing::warn!(%error, "a captured connection");
                        continue;
                    }
                    match local.local_addr() {
                        // A program of this machine connected to the listener itself: nothing was captured.
                        Ok(wanted) if Some(wanted) == own => {
                            tracing::debug!(%client, "not a captured connection");
                        }
                        Ok(wanted) => self.open(local, client, wanted),
                        Err(error) => tracing::debug!(%error, "a captured connection"),
                    }
                }
                Err(error) => {
                    // Out of descriptors, most likely: those in use come back.
                    tracing::warn!(%error, "cannot accept a captured connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Opens a flow for a captured connection. Where that cannot be, dropping the connection resets it.
    fn open(&self, local: TcpStream, client: SocketAddr, wanted: SocketAddr) {
        let lacks = |families: Families| match wanted {
            SocketAddr::V4(_) => !families.v4,
            SocketAddr::V6(_) => !families.v6,
        };
        if self.router.server_families().is_some_and(lacks)
            || lock(&self.refused).holds(Instant::now(), &wanted)
        {
            return;
        }
        // Small records must not wait for more: the client did not either.
        let _ = local.set_nodelay(true);
        let kind = self.classes.of(&local, client, wanted);
        let to = Destination::Address(wanted);
        match self.router.session().open(to, kind) {
            Ok(flow) => {
                let refused = self.refused.clone();
                tokio::spawn(async move {
                    if let Outcome::Reset(reason) = relay(local, flow).await {
                        lock(&refused).handle_reset(Instant::now(), wanted, reason);
                    }
                });
            }
            Err(reason) => tracing::debug!(%wanted, %reason, "no flow"),
        }
    }
}

/// Counts of sessions that are over.
#[derive(Default)]
struct Totals {
    opened: u64,
    reset: u64,
    /// The session counted last, and its counts.
    current: Option<(SessionHandle, u64, u64)>,
    peaks: Peaks,
}

impl Totals {
    fn snapshot(&mut self, router: &Router) -> WorkerStatus {
        let session = router.session();
        if let Some((current, opened, reset)) = self.current.take()
            && !current.is_same(&session)
        {
            self.opened += opened;
            self.reset += reset;
        }
        let mut status = WorkerStatus {
            pid: std::process::id(),
            schedulers: scheduler_reports(router, &session),
            ..WorkerStatus::default()
        };
        let link = |path| {
            router
                .link_name(path)
                .unwrap_or_else(|| format!("path {path}"))
        };
        super::report_session(&mut status, SERVER, &session, link);
        self.peaks.note(Instant::now(), &mut status.paths);
        self.current = Some((session, status.flows_opened, status.flows_reset));
        status.flows_opened += self.opened;
        status.flows_reset += self.reset;
        status
    }
}
