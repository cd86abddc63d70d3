//! The router's listening sockets: transparent ones for captured connections,
//! and those of its name service.
//!
//! The supervisor makes them (a transparent socket needs CAP_NET_ADMIN) and
//! passes them to the worker, which needs no privilege to use them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::route::Family;

/// Connections that may wait to be accepted; the kernel caps it at
/// `net.core.somaxconn`. Large, because they wait while a worker restarts.
const BACKLOG: i32 = 4096;

/// Makes the listener for captured connections of one family: on the loopback
/// address, so that nothing from outside reaches it but what the capture
/// rules bring. `port` 0 lets the kernel choose. On an accepted connection
/// `local_addr()` is the original destination and `peer_addr()` the client;
/// a local process that connects to the listener itself shows the listener's
/// own address there and must be turned away.
///
/// # Errors
/// `PermissionDenied` without CAP_NET_ADMIN or CAP_NET_RAW; what `bind` says.
pub fn tproxy_listener(family: Family, port: u16) -> io::Result<TcpListener> {
    let address: SocketAddr = match family {
        Family::V4 => (Ipv4Addr::LOCALHOST, port).into(),
        Family::V6 => (Ipv6Addr::LOCALHOST, port).into(),
    };
    let socket = stream_socket(address)?;
    match family {
        Family::V4 => socket.set_ip_transparent_v4(true)?,
        Family::V6 => socket.set_ip_transparent_v6(true)?,
    }
    listen(socket, address)
}

/// The two sockets of a name service on one address.
#[derive(Debug)]
pub struct DnsSockets {
    /// For queries in one datagram.
    pub udp: UdpSocket,
    /// For queries over TCP.
    pub tcp: TcpListener,
}

/// Makes the sockets of a name service, on the router's address in the LAN.
///
/// # Errors
/// `AddrInUse` when another name server has the port; `AddrNotAvailable` when
/// this host lacks the address; `PermissionDenied` for ports below 1024.
pub fn dns_sockets(address: SocketAddr) -> io::Result<DnsSockets> {
    let udp = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        udp.set_only_v6(true)?;
    }
    udp.set_nonblocking(true)?;
    udp.bind(&address.into())?;
    let udp = UdpSocket::from(udp);
    // With port 0 (tests) both must agree on the one that UDP got.
    let address = udp.local_addr()?;
    let tcp = listen(stream_socket(address)?, address)?;
    Ok(DnsSockets { udp, tcp })
}

/// Makes an ordinary TCP listener, such as the server's. An IPv6 wildcard
/// address takes IPv4 as well where `dual` says so.
///
/// # Errors
/// What `bind` says.
pub fn tcp_listener(address: SocketAddr, dual: bool) -> io::Result<TcpListener> {
    let socket = stream_socket(address)?;
    if address.is_ipv6() && dual {
        socket.set_only_v6(false)?;
    }
    listen(socket, address)
}

/// A non-blocking, close-on-exec TCP socket whose address can be taken over
/// from connections of an earlier process.
fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn dns_has_both_transports_on_one_port() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let sockets = dns_sockets(address.parse().unwrap()).unwrap();
            let udp = sockets.udp.local_addr().unwrap();
            assert_eq!(udp, sockets.tcp.local_addr().unwrap());
            TcpStream::connect(udp).unwrap();
            assert!(dns_sockets(udp).is_err(), "the port is taken");
        }
    }

    #[test]
    fn an_ipv6_listener_takes_ipv4_when_told_to() {
        let both = tcp_listener("[::]:0".parse().unwrap(), true).unwrap();
        let port = both.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        let one = tcp_listener("[::1]:0".parse().unwrap(), false).unwrap();
        let port = one.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn a_transparent_listener_is_on_loopback_only() {
        for family in [Family::V4, Family::V6] {
            match tproxy_listener(family, 0) {
                Ok(listener) => assert!(listener.local_addr().unwrap().ip().is_loopback()),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    eprintln!("skipped: transparent sockets need CAP_NET_ADMIN");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
