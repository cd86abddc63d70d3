//! The server's worker: flows become connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use guywire_control::worker::{
    AuthorisedRouter, FromWorker, SecretText, ServerSetup, ToWorker, WorkerStatus,
};
use guywire_flow::{Destination, FlowReason, Incident};
use guywire_net::tcp;
use guywire_transport::enrol::limit::LimiterSettings;
use guywire_transport::enrol::{Candidate, Enrolled, Refusal};
use guywire_transport::flow::FlowHandle;
use guywire_transport::hello::Families;
use guywire_transport::key::{PrivateKey, PublicKey};
use guywire_transport::relay;
use guywire_transport::server::{Server, ServerConfig, ServerNews};
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{AcceptReason, Authorised, AuthorisedSet, ServerTls};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::follow::Follower;
use super::guests::Guests;
use super::pages::Pages;
use super::policy::Policy;
use super::{Descriptors, Inbox, Outbox, STATUS_EVERY, descriptor, dns, schedulers};

/// A destination has so long to answer.
const CONNECT_BOUND: Duration = Duration::from_secs(15);
/// The supervisor has so long to decide on an invitation.
const REDEEM_BOUND: Duration = Duration::from_secs(3);
/// Refusals are logged as counts, this often.
const REFUSALS_EVERY: Duration = Duration::from_secs(10);
/// The machine's own addresses are looked up this often.
const ADDRESSES_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn serve(
    setup: ServerSetup,
    fds: Vec<OwnedFd>,
    outbox: Outbox,
    inbox: &mut Inbox,
) -> anyhow::Result<()> {
    let mut fds = Descriptors::new(setup.fds.clone(), fds)?;
    let listeners = fds.listeners(&[descriptor::LISTEN])?;
    let guests = Guests::new(setup.budget);
    let mut members = Members::new(&setup, guests.clone())?;
    let (server, mut news) = Server::new(config(&setup, &members)?);
    let invitations = Invitations::new(outbox.clone());
    for listener in listeners {
        let invitations = invitations.clone();
        let enrol = move |peer, candidate| invitations.clone().decide(peer, candidate);
        tokio::spawn(server.clone().listen(listener, enrol));
    }
    let policy = Arc::new(Policy::new(setup.allow, setup.allow_ports));
    let resolvers: Arc<[SocketAddr]> = setup.dns.into();
    policy.set_own(own_addresses().await);
    outbox.send(FromWorker::Ready);

    let mut status = tokio::time::interval(STATUS_EVERY);
    let mut addresses = tokio::time::interval(ADDRESSES_EVERY);
    let mut pages = Pages::default();
    let mut refusals = Refusals::default();
    let mut refused = tokio::time::interval(REFUSALS_EVERY);
    let mut follower = Follower::default();
    loop {
        tokio::select! {
            (message, _) = inbox.next() => match message {
                ToWorker::Routers(routers) => {
                    members.set_routers(&routers)?;
                    server.retain(|key| members.names.contains_key(key));
                }
                ToWorker::Redeemed { request, result } => invitations.answer(request, result),
                ToWorker::Quarantine(schedulers) => guests.set_quarantine(schedulers),
                ToWorker::Trace => follower.begin(),
                ToWorker::Stop => break,
                other => tracing::warn!(?other, "not for a server's worker"),
            },
            Some(news) = news.recv() => match news {
                ServerNews::Open { flow, to } => {
                    tokio::spawn(connect(flow, to, policy.clone(), resolvers.clone()));
                }
                ServerNews::Choice { router, session, choice } => {
                    guests.choose(router, &session, choice);
                }
                ServerNews::ObjectPiece { router, piece } => guests.take_piece(router, &piece),
                ServerNews::Ejected { router, incident } => {
                    guests.quarantine(&incident.scheduler);
                    eject_alike(&server, &incident);
                    let ejection = schedulers::ejection(&members.name(&router), *incident);
                    outbox.send(FromWorker::Ejected(Box::new(ejection)));
                }
                ServerNews::Refused(error) => refusals.count(&error),
            },
            () = follower.due() => {
                let sessions = server.sessions();
                let named = sessions.iter().map(|report| (members.name(&report.router), &report.session));
                follower.tell(&outbox, named);
            }
            _ = status.tick() => {
                let status = snapshot(&server, &members);
                pages.follow(&status);
                outbox.send(FromWorker::Status(status));
            }
            _ = addresses.tick() => policy.set_own(own_addresses().await),
            _ = refused.tick() => refusals.log(),
        }
    }
    server.close();
    Ok(())
}

fn config(setup: &ServerSetup, members: &Members) -> anyhow::Result<ServerConfig> {
    let key = PrivateKey::from_pkcs8(&setup.private_key.0).context("the server's private key")?;
    Ok(ServerConfig {
        endpoint: super::endpoint(&setup.identity)?,
        tls: ServerTls::new(&key, members.authorised.clone(), LimiterSettings::default())?,
        memory: setup.session_memory,
        max_flows: setup.max_flows,
        families: reachable_families(),
        limits: schedulers::limits(setup.budget),
    })
}

/// The families that this machine has a route to the internet for. Connecting a UDP socket sends
/// nothing; it only asks the routing table.
fn reachable_families() -> Families {
    let routed = |from: &str, to: &str| UdpSocket::bind(from).is_ok_and(|s| s.connect(to).is_ok());
    Families {
        v4: routed("0.0.0.0:0", "1.0.0.1:53"),
        v6: routed("[::]:0", "[2000::1]:53"),
    }
}

async fn own_addresses() -> Vec<IpAddr> {
    let addresses = async {
        let netlink = guywire_net::route::Netlink::new()?;
        netlink.addresses().await
    };
    match addresses.await {
        Ok(addresses) => addresses.iter().map(|address| address.net.addr()).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses");
            Vec::new()
        }
    }
}

/// The routers that may connect.
struct Members {
    authorised: Authorised,
    tag_keys: Vec<TagKey>,
    names: HashMap<PublicKey, String>,
    /// Names of those that may send schedulers.
    objects_from: Vec<String>,
    guests: Guests,
}

impl Members {
    fn new(setup: &ServerSetup, guests: Guests) -> anyhow::Result<Members> {
        let tag_keys = setup
            .tag_keys
            .iter()
            .map(|key| key.0.parse().context("a tag key"));
        let mut members = Members {
            authorised: Authorised::new(AuthorisedSet::default()),
            tag_keys: tag_keys.collect::<anyhow::Result<_>>()?,
            names: HashMap::new(),
            objects_from: setup.objects_from.clone(),
            guests,
        };
        members.set_routers(&setup.routers)?;
        Ok(members)
    }

    fn set_routers(&mut self, routers: &[AuthorisedRouter]) -> anyhow::Result<()> {
        let named = |router: &AuthorisedRouter| {
            let key = router
                .public_key
                .parse()
                .with_context(|| format!("the public key of router {}", router.name))?;
            Ok((key, router.name.clone()))
        };
        self.names = routers.iter().map(named).collect::<anyhow::Result<_>>()?;
        self.authorised.replace(AuthorisedSet {
            routers: self.names.keys().copied().collect(),
            tag_keys: self.tag_keys.clone(),
        });
        let trusted = self
            .names
            .iter()
            .filter(|(_, name)| self.objects_from.contains(name));
        let trusted = trusted.map(|(&key, _)| key).collect();
        self.guests
            .set_routers(|key| self.names.contains_key(key), trusted);
        Ok(())
    }

    /// A router's name.
    fn name(&self, router: &PublicKey) -> String {
        self.names.get(router).cloned().unwrap_or_default()
    }
}

/// Other sessions do not find out by themselves.
fn eject_alike(server: &Server, incident: &Incident) {
    for report in server.sessions() {
        report.session.with(|session, now| {
            session.eject_alike(now, &incident.scheduler, &incident.offence);
        });
    }
}

/// Invitations that the supervisor is asked to decide on.
#[derive(Clone)]
struct Invitations {
    outbox: Outbox,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Result<Enrolled, Refusal>>>,
}

impl Invitations {
    fn new(outbox: Outbox) -> Invitations {
        Invitations {
            outbox,
            waiting: Arc::default(),
        }
    }

    async fn decide(self, peer: SocketAddr, candidate: Candidate) -> Result<Enrolled, Refusal> {
        let (answer, decided) = oneshot::channel();
        let request = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.next += 1;
            let request = waiting.next;
            waiting.answers.insert(request, answer);
            request
        };
        self.outbox.send(FromWorker::Redeem {
            request,
            secret: SecretText(candidate.request.secret.to_string()),
            public_key: candidate.key.to_string(),
            peer: peer.to_string(),
        });
        let decision = tokio::time::timeout(REDEEM_BOUND, decided).await;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.answers.remove(&request);
        match decision {
            Ok(Ok(decision)) => decision,
            _ => Err(Refusal::Busy),
        }
    }

    fn answer(&self, request: u64, result: Result<guywire_control::worker::Enrolled, String>) {
        let decision = match result {
            Ok(enrolled) => match (enrolled.name.parse(), enrolled.tag_key.0.parse()) {
                (Ok(name), Ok(tag_key)) => Ok(Enrolled { name, tag_key }),
                _ => Err(Refusal::Busy),
            },
            Err(text) => Err(text.parse().unwrap_or(Refusal::Busy)),
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = waiting.answers.remove(&request) {
            // Who asked may have given up.
            let _ = answer.send(decision);
        }
    }
}

/// Connections that were refused, counted by reason: strangers come in floods.
#[derive(Default)]
struct Refusals(HashMap<AcceptReason, (u64, String)>);

impl Refusals {
    fn count(&mut self, error: &guywire_transport::tls::AcceptError) {
        let (count, last) = self.0.entry(error.reason()).or_default();
        *count += 1;
        *last = error.to_string();
    }

    fn log(&mut self) {
        for (reason, (count, last)) in self.0.drain() {
            tracing::warn!(
                count,
                reason = reason.label(),
                last,
                "connections were refused"
            );
        }
    }
}

/// Connects a flow to where it leads.
async fn connect(
    flow: FlowHandle,
    to: Destination,
    policy: Arc<Policy>,
    resolvers: Arc<[SocketAddr]>,
) {
    let address = match to {
        Destination::Address(address) => address,
        Destination::Service(name) if name == dns::SERVICE => {
            return dns::serve(flow, &resolvers).await;
        }
        Destination::Service(_) => return flow.refuse(FlowReason::NoService),
    };
    if let Err(denied) = policy.check(address) {
        tracing::debug!(%address, %denied, "refused");
        return flow.refuse(FlowReason::Forbidden);
    }
    let connected = tokio::select! {
        connected = tokio::time::timeout(CONNECT_BOUND, dial(address)) => connected,
        _ = flow.ended() => return,
    };
    match connected {
        Ok(Ok(stream)) => {
            if flow.accept().is_ok() {
                relay(stream, flow).await;
            }
        }
        Ok(Err(error)) => flow.refuse(reason_of(&error)),
        Err(_) => flow.refuse(FlowReason::TimedOut),
    }
}

async fn dial(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    tcp::set_reset_on_close(&socket, true)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn reason_of(error: &std::io::Error) -> FlowReason {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => FlowReason::Refused,
        ErrorKind::TimedOut => FlowReason::TimedOut,
        _ => FlowReason::Unreachable,
    }
}

fn snapshot(server: &Server, members: &Members) -> WorkerStatus {
    let mut status = WorkerStatus {
        pid: std::process::id(),
        ..WorkerStatus::default()
    };
    for report in server.sessions() {
        let name = members.name(&report.router);
        let link = |path| {
            let named = report.links.get(&path).cloned();
            named.unwrap_or_else(|| format!("path {path}"))
        };
        super::report_session(&mut status, &name, &report.session, link);
        status
            .schedulers
            .extend(schedulers::reports(&name, &report.session));
    }
    status
}
