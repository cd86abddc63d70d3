//! A server with two enrolled routers: one for the hostile peer, one for an honest one.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use guywire_flow::{Destination, FlowKind};
use guywire_transport::enrol::Refusal;
use guywire_transport::enrol::limit::LimiterSettings;
use guywire_transport::flow::{FlowHandle, Outcome};
use guywire_transport::hello::{Endpoint, Families, Instance, LinkAttributes, LinkName};
use guywire_transport::key::PrivateKey;
use guywire_transport::router::{Link, Router, RouterConfig, RouterNews};
use guywire_transport::server::{Server, ServerConfig, ServerNews};
use guywire_transport::session::SessionHandle;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{Authorised, AuthorisedSet, ClientTls, ServerTls};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;

/// Memory of every session here, in bytes.
pub(crate) const MEMORY: u64 = 8 << 20;
/// Flows of every session here.
pub(crate) const MAX_FLOWS: u32 = 100;
pub(crate) const FAMILIES: Families = Families {
    v4: true,
    v6: false,
};
/// For what should take no time at all.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) tag: TagKey,
    pub(crate) server_key: PrivateKey,
    pub(crate) hostile: PrivateKey,
    honest: PrivateKey,
}

impl House {
    /// Starts the server. Where a flow leads to is a service: `echo`, `hold` (never read), or
    /// `source` (bytes without end); anything else is refused.
    pub(crate) async fn new() -> House {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (hostile, honest) = (
            PrivateKey::generate().unwrap(),
            PrivateKey::generate().unwrap(),
        );
        let server_key = PrivateKey::generate().unwrap();
        let tag = TagKey::generate().unwrap();
        let routers = [&hostile, &honest].map(|key| (key.public_key(), tag.clone()));
        let authorised = Authorised::new(AuthorisedSet::of_routers(routers));
        let address = listener.local_addr().unwrap();
        let (server, mut news) = Server::new(ServerConfig {
            endpoint: Endpoint::only(Instance([1; 16]), 1),
            tls: ServerTls::new(&server_key, authorised, LimiterSettings::default()).unwrap(),
            memory: MEMORY,
            max_flows: MAX_FLOWS,
            families: FAMILIES,
            limits: guywire_sched::guard::Limits::default(),
        });
        tokio::spawn(
            server
                .clone()
                .listen(listener, |_, _| async { Err(Refusal::Unknown) }),
        );
        tokio::spawn(async move {
            while let Some(news) = news.recv().await {
                if let ServerNews::Open { flow, to } = news {
                    tokio::spawn(serve(flow, to));
                }
            }
        });
        House {
            address,
            server,
            tag,
            server_key,
            hostile,
            honest,
        }
    }

    /// The server's end of the hostile peer's sessions, the youngest last.
    pub(crate) fn hostile_sessions(&self) -> Vec<SessionHandle> {
        let sessions = self.server.sessions().into_iter();
        let hostile = sessions.filter(|report| report.router == self.hostile.public_key());
        hostile.map(|report| report.session).collect()
    }

    /// An honest router with one link.
    pub(crate) fn honest_router(&self) -> (Router, UnboundedReceiver<RouterNews>) {
        let tls = ClientTls::new(&self.honest, self.server_key.public_key(), self.tag.clone());
        router(tls.unwrap(), self.address)
    }
}

/// A router with one link, over the loopback device.
pub(crate) fn router(
    tls: ClientTls,
    server: SocketAddr,
) -> (Router, UnboundedReceiver<RouterNews>) {
    let (router, news) = Router::start(RouterConfig {
        endpoint: Endpoint::only(Instance([7; 16]), 1),
        tls,
        servers: vec![server],
        memory: MEMORY,
        max_flows: MAX_FLOWS,
        limits: guywire_sched::guard::Limits::default(),
    });
    router.set_links(vec![Link {
        path: 1,
        attributes: attributes(),
        device: "lo".to_owned(),
        congestion: None,
        present: true,
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
    }]);
    (router, news)
}

pub(crate) fn attributes() -> LinkAttributes {
    LinkAttributes {
        name: LinkName::new("wan").unwrap(),
        backup: false,
        metered: false,
        cost: 0,
    }
}

async fn serve(flow: FlowHandle, to: Destination) {
    let Destination::Service(name) = to else {
        return flow.refuse(guywire_flow::FlowReason::Forbidden);
    };
    if flow.accept().is_err() {
        return;
    }
    match name.as_str() {
        "echo" => drop(echo(&flow).await),
        "source" => while write_all(&flow, &[0; 16_384]).await.is_some() {},
        _ => {}
    }
    flow.ended().await;
}

async fn echo(flow: &FlowHandle) -> Option<()> {
    let mut pieces = Vec::new();
    while flow.read(&mut pieces, 65_536).await.ok()? {
        for piece in pieces.drain(..) {
            flow.consume(piece.len());
            write_all(flow, &piece).await?;
        }
    }
    flow.finish().ok()
}

pub(crate) async fn write_all(flow: &FlowHandle, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        let room = flow.writable().await.ok()?.min(bytes.len());
        flow.write(Bytes::copy_from_slice(&bytes[..room])).ok()?;
        bytes = &bytes[room..];
    }
    Some(())
}

/// Sends `count` bytes there and back over a new flow of an honest router.
pub(crate) async fn round_trip(router: &Router, count: usize) {
    let flow = router
        .session()
        .open(Destination::Service("echo".into()), FlowKind::default())
        .unwrap();
    let sent: Vec<u8> = (0..count).map(|at| (at % 251) as u8).collect();
    let write = async {
        write_all(&flow, &sent).await.unwrap();
        flow.finish().unwrap();
    };
    let read = async {
        let (mut pieces, mut received) = (Vec::new(), Vec::new());
        // Once all was passed on the flow may be complete, and gone: its outcome tells.
        while let Ok(true) = flow.read(&mut pieces, 65_536).await {
            for piece in pieces.drain(..) {
                flow.consume(piece.len());
                received.extend_from_slice(&piece);
            }
        }
        received
    };
    let ((), received) = tokio::join!(write, read);
    assert!(received == sent, "{} of {count} bytes", received.len());
    assert_eq!(flow.ended().await, Outcome::Complete);
}

#[track_caller]
pub(crate) fn bounded<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let done = tokio::time::timeout(BOUND, work).await;
        done.unwrap_or_else(|_| panic!("within {BOUND:?}: {caller}"))
    }
}
