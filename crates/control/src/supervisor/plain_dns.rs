//! Answers the LAN's DNS while a router fails open: with the worker, the way to the server's resolvers is gone, and
//! without names the plain routing that is left would be of little use.
//!
//! Each question goes to a resolver of the router itself, as the system's routes say. Nothing is parsed and little is
//! kept, for this runs in the supervisor.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use guywire_net::listen::DnsSockets;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::dns;

/// So many questions by UDP are under way at once, per address.
const QUESTIONS: usize = 64;
/// So many connections are open at once, per address.
const CONNECTIONS: usize = 16;
/// A connection is given up after this.
const CONNECTION_BOUND: Duration = Duration::from_secs(10);

/// The sockets of a router's name service, by address.
pub(super) type Sockets = Vec<(IpAddr, DnsSockets)>;

/// Runs until it is dropped or ended.
#[derive(Debug)]
pub(super) struct PlainDns {
    sockets: Sockets,
    _tasks: JoinSet<()>,
}

impl PlainDns {
    /// Starts answering. What is asked of the router itself is not passed on to it again.
    pub(super) fn start(sockets: Sockets, resolvers: &[SocketAddr]) -> io::Result<Self> {
        let others = resolvers.iter().copied().filter(|resolver| {
            let own = |(address, _): &(IpAddr, DnsSockets)| *address == resolver.ip();
            !sockets.iter().any(own)
        });
        let resolvers: Arc<[SocketAddr]> = others.collect();
        if resolvers.is_empty() {
            return Err(io::Error::other("/etc/resolv.conf names no other resolver"));
        }
        let mut tasks = JoinSet::new();
        for (_, DnsSockets { udp, tcp }) in &sockets {
            let udp = UdpSocket::from_std(udp.try_clone()?)?;
            let asked = resolvers.clone();
            let ask = move |question: Vec<u8>| {
                let asked = asked.clone();
                async move { dns::resolve(&question, &asked).await }
            };
            tasks.spawn(dns::answer_udp(udp, QUESTIONS, ask));
            let tcp = TcpListener::from_std(tcp.try_clone()?)?;
            tasks.spawn(relay_tcp(tcp, resolvers.clone()));
        }
        Ok(Self {
            sockets,
            _tasks: tasks,
        })
    }

    /// Stops answering, and hands the sockets back for a worker.
    pub(super) fn end(self) -> Sockets {
        self.sockets
    }
}

/// Relays connections to a resolver.
async fn relay_tcp(listener: TcpListener, resolvers: Arc<[SocketAddr]>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(turn) = turns.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((asker, _)) => {
                let resolvers = resolvers.clone();
                connections.spawn(async move {
                    let relayed = relay(asker, &resolvers);
                    let _ = tokio::time::timeout(CONNECTION_BOUND, relayed).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for dns");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(mut asker: TcpStream, resolvers: &[SocketAddr]) -> io::Result<()> {
    for resolver in resolvers {
        let connected = tokio::time::timeout(dns::RESOLVER_BOUND, TcpStream::connect(resolver));
        if let Ok(Ok(mut stream)) = connected.await {
            copy_bidirectional(&mut asker, &mut stream).await?;
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use guywire_net::listen::dns_sockets;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A socket pair of a name service on one of the loopback addresses.
    fn service(host: u8) -> (SocketAddr, Sockets) {
        let address = Ipv4Addr::new(127, 0, 0, host);
        let sockets = dns_sockets((address, 0).into()).unwrap();
        let bound = sockets.udp.local_addr().unwrap();
        (bound, vec![(address.into(), sockets)])
    }

    #[tokio::test]
    async fn questions_by_udp_and_tcp_reach_a_resolver_until_it_ends() {
        let (resolver, mut far) = service(3);
        let (_, DnsSockets { udp, tcp }) = far.remove(0);
        // All but the id, which may be anything.
        let upper = |mut question: Vec<u8>| async move {
            question[2..].make_ascii_uppercase();
            Some(question)
        };
        let udp = UdpSocket::from_std(udp).unwrap();
        tokio::spawn(dns::answer_udp(udp, 1, upper));
        let far = TcpListener::from_std(tcp).unwrap();

        let (own, sockets) = service(2);
        let plain = PlainDns::start(sockets, &[own, resolver]).unwrap();
        let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        asker.send_to(b"a question of 12 bytes", own).await.unwrap();
        let mut answer = [0; 64];
        let (length, from) = asker.recv_from(&mut answer).await.unwrap();
        assert_eq!(from, own);
        // The id comes back as it was, or it would be another question's answer.
        assert_eq!(&answer[..length], b"a QUESTION OF 12 BYTES");

        let mut asker = TcpStream::connect(own).await.unwrap();
        asker.write_all(b"over tcp").await.unwrap();
        let (mut end, _) = far.accept().await.unwrap();
        let mut question = [0; 8];
        end.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"over tcp");

        let sockets = plain.end();
        assert_eq!(sockets.len(), 1);
        assert_eq!(asker.read(&mut question).await.unwrap_or(0), 0, "given up");
    }

    #[tokio::test]
    async fn nobody_asks_itself() {
        let (own, sockets) = service(4);
        assert!(PlainDns::start(sockets, &[own]).is_err());
    }
}
