//! The router's listening sockets: for captured connections and for the LAN's DNS.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use guywire_net::listen::{DnsSockets, dns_sockets, tproxy_listener};
use guywire_net::route::{Family, Netlink};

use super::SupervisorError;
use super::adopt::Adoptee;
use super::links::own_addresses;
use super::plain_dns::Sockets;
use crate::config::RouterConfig;
use crate::worker::descriptor;

/// How long duplicate address detection may take until an IPv6 address of the LAN can be listened on; the kernel needs
/// one to two seconds.
const SETTLING: Duration = Duration::from_secs(3);
const DNS_PORT: u16 = 53;

/// Everything a router listens on.
#[derive(Debug)]
pub(super) struct Listeners {
    tproxy4: TcpListener,
    /// `None` where the kernel has no IPv6.
    tproxy6: Option<TcpListener>,
    dns: Sockets,
}

impl Listeners {
    /// Opens all of them, except those for DNS where they are there already.
    pub(super) async fn open(
        config: &RouterConfig,
        netlink: &Netlink,
        dns: Option<Sockets>,
    ) -> Result<Self, SupervisorError> {
        let tproxy4 = tproxy_listener(Family::V4, 0).map_err(SupervisorError::Transparent)?;
        let tproxy6 = match tproxy_listener(Family::V6, 0) {
            Err(error) if lacks_ipv6(&error) => None,
            listener => Some(listener.map_err(SupervisorError::Transparent)?),
        };
        let dns = match dns {
            Some(dns) => dns,
            None => open_dns(config, netlink).await?,
        };
        Ok(Self {
            tproxy4,
            tproxy6,
            dns,
        })
    }

    /// Takes back those that a worker hands over; `None` where they are not those that the configuration wants.
    pub(super) fn take_back(config: &RouterConfig, adoptee: &mut Adoptee) -> Option<Self> {
        let mut first = |name| adoptee.take(name).into_iter().map(TcpListener::from).next();
        let tproxy4 = first(descriptor::TPROXY4)?;
        let tproxy6 = first(descriptor::TPROXY6);
        let mut dns = Vec::new();
        for (udp, tcp) in [
            (descriptor::DNS_UDP4, descriptor::DNS_TCP4),
            (descriptor::DNS_UDP6, descriptor::DNS_TCP6),
        ] {
            let pairs = adoptee.take(udp).into_iter().zip(adoptee.take(tcp));
            for (udp, tcp) in pairs {
                let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
                dns.push((udp.local_addr().ok()?.ip(), DnsSockets { udp, tcp }));
            }
        }
        let answered = |address: &IpAddr| dns.iter().any(|(other, _)| other == address);
        let fits = match &config.dns_addresses {
            _ if !config.dns => dns.is_empty(),
            Some(wanted) => wanted.len() == dns.len() && wanted.iter().all(answered),
            // Whatever addresses the LAN's devices had.
            None => true,
        };
        fits.then_some(Self {
            tproxy4,
            tproxy6,
            dns,
        })
    }

    /// Closes the listeners for captured connections, and leaves those for DNS.
    pub(super) fn into_dns(self) -> Sockets {
        self.dns
    }

    /// Port of the listener for captured IPv4 connections.
    pub(super) fn port4(&self) -> u16 {
        port(&self.tproxy4)
    }

    /// Port of the listener for captured IPv6 connections; where there is none, one on which nobody listens for IPv6.
    pub(super) fn port6(&self) -> u16 {
        port(self.tproxy6.as_ref().unwrap_or(&self.tproxy4))
    }

    /// Copies of all descriptors for a worker, and their names.
    pub(super) fn descriptors(&self) -> io::Result<(Vec<String>, Vec<OwnedFd>)> {
        let mut fds = vec![(
            descriptor::TPROXY4,
            OwnedFd::from(self.tproxy4.try_clone()?),
        )];
        if let Some(tproxy6) = &self.tproxy6 {
            fds.push((descriptor::TPROXY6, tproxy6.try_clone()?.into()));
        }
        for (address, sockets) in &self.dns {
            let (udp, tcp) = match address {
                IpAddr::V4(_) => (descriptor::DNS_UDP4, descriptor::DNS_TCP4),
                IpAddr::V6(_) => (descriptor::DNS_UDP6, descriptor::DNS_TCP6),
            };
            fds.push((udp, sockets.udp.try_clone()?.into()));
            fds.push((tcp, sockets.tcp.try_clone()?.into()));
        }
        Ok(fds
            .into_iter()
            .map(|(name, fd)| (name.to_owned(), fd))
            .unzip())
    }
}

async fn open_dns(config: &RouterConfig, netlink: &Netlink) -> Result<Sockets, SupervisorError> {
    let mut dns = Vec::new();
    if !config.dns {
        return Ok(dns);
    }
    for address in dns_addresses(config, netlink).await? {
        let socket = SocketAddr::new(address, DNS_PORT);
        let listen = |source| SupervisorError::Dns {
            address: socket,
            source,
        };
        dns.push((address, dns_sockets(socket).map_err(listen)?));
    }
    if dns.is_empty() {
        tracing::warn!(
            "the LAN's devices have no address, so no DNS is answered until the next start"
        );
    }
    Ok(dns)
}

/// Where DNS is answered: as configured, or on all addresses of the LAN's devices. Waits a little for addresses that
/// cannot be used yet. The number of descriptors in a message bounds that of addresses.
async fn dns_addresses(
    config: &RouterConfig,
    netlink: &Netlink,
) -> Result<Vec<IpAddr>, SupervisorError> {
    if let Some(addresses) = &config.dns_addresses {
        return Ok(addresses.clone());
    }
    let deadline = tokio::time::Instant::now() + SETTLING;
    loop {
        let (mut addresses, unsettled) = own_addresses(netlink, &config.lan).await?;
        if !unsettled || tokio::time::Instant::now() >= deadline {
            if addresses.len() > MAX_DNS {
                tracing::warn!(
                    "DNS is answered on {MAX_DNS} of the LAN's {} addresses only",
                    addresses.len()
                );
                addresses.truncate(MAX_DNS);
            }
            return Ok(addresses);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Most addresses on which DNS is answered: two descriptors each, beside the four others.
const MAX_DNS: usize = 12;

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacking = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(|errno| errno.raw_os_error());
    error
        .raw_os_error()
        .is_some_and(|code| lacking.contains(&code))
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}
