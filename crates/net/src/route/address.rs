//! Addresses of devices.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError};

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the device that has it.
    pub device: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// Usable only on the device's own segment (link or host scope).
    pub local_only: bool,
    /// Duplicate address detection has not ended; it cannot be a source yet.
    pub tentative: bool,
}

impl Address {
    pub(super) fn from_message(message: &AddressMessage) -> Option<Self> {
        let (mut address, mut local) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        // On point-to-point devices `Address` is the peer's.
        let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
        Some(Self {
            device: message.header.index,
            net,
            local_only: !matches!(
                message.header.scope,
                AddressScope::Universe | AddressScope::Site
            ),
            tentative: flags.contains(AddressFlags::Tentative),
        })
    }
}

impl Netlink {
    /// All addresses of all devices of the namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Closed`].
    pub async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let found = self.dump(request, "addresses").await?;
        Ok(found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => Address::from_message(address),
                _ => None,
            })
            .collect())
    }

    /// Gives a device an address. An IPv6 address is usable at once: it skips
    /// duplicate address detection.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`]; [`NetlinkError::Refused`] when it has it already.
    pub async fn add_address(&self, device: &str, net: IpNet) -> Result<(), NetlinkError> {
        let index = self.link(device).await?.index;
        let message = address_message(index, net);
        self.create(RouteNetlinkMessage::NewAddress(message), || {
            format!("add address {net} to device {device}")
        })
        .await
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`]; [`NetlinkError::Refused`] when it has no such address.
    pub async fn remove_address(&self, device: &str, net: IpNet) -> Result<(), NetlinkError> {
        let index = self.link(device).await?.index;
        let message = address_message(index, net);
        self.change(RouteNetlinkMessage::DelAddress(message), 0, || {
            format!("remove address {net} from device {device}")
        })
        .await
    }
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    let ip = net.addr();
    match ip {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            if let (IpAddr::V4(broadcast), true) = (net.broadcast(), net.prefix_len() < 31) {
                message
                    .attributes
                    .push(AddressAttribute::Broadcast(broadcast));
            }
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    message
}
