//! A server with one enrolled router, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use guywire_transport::dial::{DialOptions, dial};
use guywire_transport::enrol::limit::LimiterSettings;
use guywire_transport::hello::{
    Endpoint, Families, Instance, LinkAttributes, LinkName, RouterHello, ServerHello, VERSIONS,
};
use guywire_transport::key::PrivateKey;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{
    AcceptError, AcceptLimits, Accepted, Authorised, AuthorisedSet, ClientTls, ConnectError,
    ServerTls, TlsStream, accept, connect,
};
use tokio::net::{TcpListener, TcpStream};

/// For what should take no time at all.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) authorised: Authorised,
    pub(crate) limits: AcceptLimits,
    pub(crate) router: PrivateKey,
    pub(crate) server: PrivateKey,
    pub(crate) tag_key: TagKey,
    listener: TcpListener,
    client_tls: ClientTls,
    server_tls: ServerTls,
}

impl House {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let router = PrivateKey::generate().unwrap();
        let server = PrivateKey::generate().unwrap();
        let tag_key = TagKey::generate().unwrap();
        let set = AuthorisedSet::of_routers([(router.public_key(), tag_key.clone())]);
        let authorised = Authorised::new(set);
        Self {
            address: listener.local_addr().unwrap(),
            limits: AcceptLimits::default(),
            client_tls: ClientTls::new(&router, server.public_key(), tag_key.clone()).unwrap(),
            server_tls: ServerTls::new(&server, authorised.clone(), LimiterSettings::default())
                .unwrap(),
            authorised,
            router,
            server,
            tag_key,
            listener,
        }
    }

    /// A TCP connection to the server.
    pub(crate) async fn dial(&self) -> TcpStream {
        let dialled = dial(self.address, &DialOptions::default(), BOUND).await;
        dialled.unwrap().stream
    }

    /// The enrolled router connects.
    pub(crate) async fn connect(&self, generation: u32) -> Result<TlsStream, ConnectError> {
        self.connect_with(&self.client_tls, generation).await
    }

    pub(crate) async fn connect_with(
        &self,
        tls: &ClientTls,
        generation: u32,
    ) -> Result<TlsStream, ConnectError> {
        connect(self.dial().await, tls, generation, BOUND).await
    }

    /// The server accepts the next connection.
    pub(crate) async fn accept(&self) -> Result<Accepted, AcceptError> {
        let (stream, peer) = self.listener.accept().await.unwrap();
        accept(stream, peer, &self.server_tls, &self.limits).await
    }
}

fn endpoint(byte: u8) -> Endpoint {
    Endpoint {
        instance: Instance([byte; 16]),
        generation: 2,
        oldest: 1,
    }
}

pub(crate) fn server_hello() -> ServerHello {
    ServerHello {
        versions: VERSIONS,
        endpoint: endpoint(1),
        max_flows: 1000,
        session_credit: 1 << 24,
        families: Families {
            v4: true,
            v6: false,
        },
    }
}

pub(crate) fn router_hello() -> RouterHello {
    RouterHello {
        version: 1,
        endpoint: endpoint(2),
        path: 3,
        link: LinkAttributes {
            name: LinkName::new("wan3").unwrap(),
            backup: true,
            metered: false,
            cost: 5,
        },
    }
}
