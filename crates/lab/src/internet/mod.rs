//! The lab's internet host: a web server whose bodies can be checked, and the
//! name server of the zone `lab.test`.

pub mod body;
pub mod content;
pub mod dns;
pub mod http;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use self::content::Content;

/// Port of the web server, on every address, IPv4 and IPv6.
const HTTP_PORT: u16 = 80;

/// Port of the web server for clients that use the kernel's MPTCP; only where
/// the kernel has it.
const MPTCP_PORT: u16 = 8080;

/// Port of the name server, on the addresses it is given.
const DNS_PORT: u16 = 53;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Why the internet host could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum InternetError {
    /// A socket could not be had.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where it should have been.
        address: SocketAddr,
        /// What the kernel said.
        reason: io::Error,
    },
    /// A host name that DNS does not allow.
    #[error("cannot make the zone: {0}")]
    Zone(#[from] hickory_proto::ProtoError),
    /// The name server ended.
    #[error("the name server ended: {0}")]
    Dns(hickory_server::net::NetError),
}

/// Runs both servers until the name server fails, which it does not.
///
/// `dns` are the addresses on which names are served (single addresses, so
/// that UDP answers come from where the question went), `hosts` the zone's
/// names with their addresses. `ready` is called when every socket listens.
///
/// # Errors
/// See [`InternetError`].
pub async fn run(
    dns: &[IpAddr],
    hosts: &[(String, Vec<IpAddr>)],
    ready: impl FnOnce(),
) -> Result<(), InternetError> {
    let any = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, HTTP_PORT, 0, 0));
    let web = listen(any, Protocol::TCP)?;
    let rival = listen(SocketAddr::new(any.ip(), MPTCP_PORT), Protocol::MPTCP);
    let mut sockets = Vec::new();
    let mut listeners = Vec::new();
    for &address in dns {
        let address = SocketAddr::new(address, DNS_PORT);
        let failed = |reason| InternetError::Listen { address, reason };
        sockets.push(UdpSocket::bind(address).await.map_err(failed)?);
        listeners.push(listen(address, Protocol::TCP)?);
    }
    let mut names = dns::server(hosts, sockets, listeners)?;
    ready();
    let content = Arc::new(Content::new());
    tokio::spawn(http::serve(web, content.clone()));
    if let Ok(rival) = rival {
        tokio::spawn(http::serve(rival, content));
    }
    names.block_until_done().await.map_err(InternetError::Dns)
}

/// A listener whose queue holds a burst of connections; the unspecified IPv6
/// address serves IPv4 too.
fn listen(address: SocketAddr, protocol: Protocol) -> Result<TcpListener, InternetError> {
    let failed = |reason| InternetError::Listen { address, reason };
    let open = || {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(protocol))?;
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(failed)
}
