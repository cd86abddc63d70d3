//! The router's worker: captured connections become flows.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use guywire_control::worker::{
    FromWorker, LinkSetup, Priority, RouterSetup, ToWorker, WorkerStatus,
};
use guywire_flow::Destination;
use guywire_net::tcp;
use guywire_transport::hello::{Families, LinkAttributes, LinkName};
use guywire_transport::key::PrivateKey;
use guywire_transport::relay;
use guywire_transport::router::{Link, Router, RouterConfig, RouterNews};
use guywire_transport::tls::ClientTls;
use tokio::net::{TcpListener, TcpStream};

use super::{Descriptors, Inbox, Outbox, STATUS_EVERY, descriptor, dns};

/// How the server's session is called in status.
const SERVER: &str = "server";

pub(super) async fn serve(
    setup: RouterSetup,
    fds: Vec<OwnedFd>,
    outbox: Outbox,
    inbox: &mut Inbox,
) -> anyhow::Result<()> {
    let mut fds = Descriptors::new(setup.fds.clone(), fds)?;
    let (router, mut news) = Router::start(config(&setup)?);
    router.set_links(links(&setup.links)?);
    for listener in fds.listeners(&[descriptor::TPROXY4, descriptor::TPROXY6])? {
        tokio::spawn(capture(listener, router.clone()));
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
    loop {
        tokio::select! {
            message = inbox.next() => match message {
                ToWorker::Links(setups) => router.set_links(links(&setups)?),
                ToWorker::Stop => break,
                other => tracing::warn!(?other, "not for a router's worker"),
            },
            Some(news) = news.recv() => tell(&outbox, news),
            _ = status.tick() => {
                outbox.send(FromWorker::Status(totals.snapshot(&router)));
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
        scheduler: super::scheduler(&setup.scheduler)?,
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
            families: Families {
                v4: setup.v4,
                v6: setup.v6,
            },
        })
    };
    setups.iter().map(link).collect()
}

fn tell(outbox: &Outbox, news: RouterNews) {
    match news {
        RouterNews::DialFailed { link, text } => {
            tracing::warn!(link, "{text}");
        }
        RouterNews::Superseded => {
            let text = "another router with this key has taken over; this one has stopped. \
                        Give each router a key of its own: `guywire server invite NAME`, then `guywire router join LINE`"
                .to_owned();
            let kind = "superseded".to_owned();
            outbox.send(FromWorker::Incident { kind, text });
        }
    }
}

/// Accepts captured connections; their local address is where the client wanted to go.
async fn capture(listener: TcpListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((local, _client)) => {
                if let Err(error) = tcp::set_reset_on_close(&local, true) {
                    tracing::warn!(%error, "a captured connection");
                    continue;
                }
                if let Ok(wanted) = local.local_addr() {
                    open(&router, local, wanted);
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
fn open(router: &Router, local: TcpStream, wanted: SocketAddr) {
    let lacks = |families: Families| match wanted {
        SocketAddr::V4(_) => !families.v4,
        SocketAddr::V6(_) => !families.v6,
    };
    if router.server_families().is_some_and(lacks) {
        return;
    }
    // Small records must not wait for more: the client did not either.
    let _ = local.set_nodelay(true);
    match router.session().open(Destination::Address(wanted)) {
        Ok(flow) => {
            tokio::spawn(relay(local, flow));
        }
        Err(reason) => tracing::debug!(%wanted, %reason, "no flow"),
    }
}

/// Counts of sessions that are over.
#[derive(Default)]
struct Totals {
    opened: u64,
    reset: u64,
    /// The session counted last, and its counts.
    current: Option<(guywire_transport::session::SessionHandle, u64, u64)>,
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
            scheduler: session.with(|session, _| session.scheduler().to_owned()),
            ..WorkerStatus::default()
        };
        let link = |path| {
            router
                .link_name(path)
                .unwrap_or_else(|| format!("path {path}"))
        };
        super::report_session(&mut status, SERVER, &session, link);
        self.current = Some((session, status.flows_opened, status.flows_reset));
        status.flows_opened += self.opened;
        status.flows_reset += self.reset;
        status
    }
}
