//! Hearing of changes: devices, addresses and routes, as the kernel announces them.
//!
//! Memory is bounded by the socket's buffer. A listener that falls behind
//! loses announcements and is told so ([`Change::Lost`]): it then lists anew,
//! which is what most do on any change anyway.

use std::io;
use std::os::fd::AsFd;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rtnetlink::MulticastGroup;
use tokio::runtime::Handle as Runtime;

use super::NetlinkError;
use super::address::Address;
use super::device::Device;
use crate::namespace::run_in_netns;

/// Something that changed in the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A device came or changed (its state, its carrier, its name).
    Device(Device),
    /// A device is gone.
    DeviceGone(Device),
    /// An address came or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route came, changed or went; list them for which.
    Route,
    /// Announcements were lost: list everything anew.
    Lost,
}

/// The changes of one network namespace, from the moment of [`Changes::watch`] on.
pub struct Changes {
    socket: TokioSocket,
    /// Changes of the datagram read last, in reverse order.
    pending: Vec<Change>,
}

impl Changes {
    /// Starts to listen in the calling thread's network namespace, inside a
    /// tokio runtime. To miss nothing, watch first and list afterwards.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn watch() -> Result<Self, NetlinkError> {
        Self::open().map_err(NetlinkError::Open)
    }

    /// As [`Changes::watch`], for another network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn watch_in_netns(netns: impl AsFd) -> Result<Self, NetlinkError> {
        let runtime = Runtime::current();
        run_in_netns(netns, || {
            let _inside = runtime.enter();
            Self::watch()
        })
        .map_err(NetlinkError::Open)?
    }

    fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0))?;
        for group in [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ] {
            inner.add_membership(group as u32)?;
        }
        Ok(Self {
            socket,
            pending: Vec::new(),
        })
    }

    /// Waits for the next change. Cancelling it loses nothing.
    ///
    /// # Errors
    /// What reading the socket says; losses are no error but [`Change::Lost`].
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.pending.pop() {
                return Ok(change);
            }
            match self.socket.recv_from_full().await {
                Ok((datagram, _)) => {
                    self.pending = changes_of(&datagram);
                    self.pending.reverse();
                }
                Err(error) if is_overrun(&error) => {
                    self.drain()?;
                    return Ok(Change::Lost);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Changes {
    /// Empties the socket after an overrun: until it is empty the kernel
    /// drops announcements without another error (`NETLINK_S_CONGESTED` in
    /// net/netlink/af_netlink.c), so what is listed earlier would be stale.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            match self.socket.socket_ref().recv_from_full() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_overrun(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Reads the messages of one datagram; what cannot be read counts as lost.
fn changes_of(datagram: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
            changes.push(Change::Lost);
            break;
        };
        let length = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(length.max(4)..).unwrap_or_default();
        let NetlinkPayload::InnerMessage(inner) = message.payload else {
            continue;
        };
        changes.extend(match inner {
            RouteNetlinkMessage::NewLink(link) => Some(Change::Device(Device::from_message(&link))),
            RouteNetlinkMessage::DelLink(link) => {
                Some(Change::DeviceGone(Device::from_message(&link)))
            }
            RouteNetlinkMessage::NewAddress(address) => {
                Address::from_message(&address).map(Change::Address)
            }
            RouteNetlinkMessage::DelAddress(address) => {
                Address::from_message(&address).map(Change::AddressGone)
            }
            RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => {
                Some(Change::Route)
            }
            _ => None,
        });
    }
    changes
}
