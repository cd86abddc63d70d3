//! Devices: list, make, move, configure.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::{Netlink, NetlinkError};

/// A network device, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's number for it, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Switched on by the administrator.
    pub up: bool,
    /// The other end is there (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// A loopback device.
    pub loopback: bool,
    /// Point to point: routes over it need no gateway.
    pub point_to_point: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Hardware address, empty where there is none.
    pub hardware_address: Vec<u8>,
}

impl Device {
    /// Whether packets can leave by it.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.up && self.carrier
    }

    pub(super) fn from_message(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut device = Self {
            index: message.header.index,
            name: String::new(),
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            point_to_point: flags.contains(LinkFlags::Pointopoint),
            mtu: 0,
            hardware_address: Vec::new(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
                LinkAttribute::Address(bytes) => device.hardware_address.clone_from(bytes),
                _ => {}
            }
        }
        device
    }
}

impl Netlink {
    /// All devices of the namespace, by index.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Closed`].
    pub async fn links(&self) -> Result<Vec<Device>, NetlinkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut devices: Vec<Device> = self
            .dump(request, "devices")
            .await?
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(Device::from_message(link)),
                _ => None,
            })
            .collect();
        devices.sort_by_key(|device| device.index);
        Ok(devices)
    }

    /// The device of that name.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`] when there is none, else as [`Netlink::links`].
    pub async fn link(&self, name: &str) -> Result<Device, NetlinkError> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let missing = || NetlinkError::NoDevice(name.to_owned());
        match self
            .exchange(RouteNetlinkMessage::GetLink(message), 0)
            .await
        {
            Ok((found, _)) => found
                .iter()
                .find_map(|message| match message {
                    RouteNetlinkMessage::NewLink(link) => Some(Device::from_message(link)),
                    _ => None,
                })
                .ok_or_else(missing),
            Err(failure) => match failure.into_error(format!("look up device {name}")) {
                error if error.is(libc::ENODEV) => Err(missing()),
                error => Err(error),
            },
        }
    }

    /// Switches a device on or off.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn set_up(&self, name: &str, up: bool) -> Result<(), NetlinkError> {
        let mut message = self.link_message(name).await?;
        message.header.change_mask = LinkFlags::Up;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        let state = if up { "up" } else { "down" };
        self.change(RouteNetlinkMessage::SetLink(message), 0, || {
            format!("set device {name} {state}")
        })
        .await
    }

    /// Sets the largest packet size of a device, in bytes.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), NetlinkError> {
        self.set(name, LinkAttribute::Mtu(mtu), || {
            format!("set the MTU of device {name} to {mtu}")
        })
        .await
    }

    /// Sets the length of a device's transmit queue, in packets.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn set_tx_queue_len(&self, name: &str, packets: u32) -> Result<(), NetlinkError> {
        self.set(name, LinkAttribute::TxQueueLen(packets), || {
            format!("set the queue of device {name} to {packets} packets")
        })
        .await
    }

    /// Gives a device another name.
    ///
    /// # Errors
    /// [`NetlinkError::BadName`], [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<(), NetlinkError> {
        check_name(new_name)?;
        self.set(name, LinkAttribute::IfName(new_name.to_owned()), || {
            format!("rename device {name} to {new_name}")
        })
        .await
    }

    /// Moves a device into another network namespace. It arrives switched
    /// off and without addresses.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn move_to_netns(&self, name: &str, netns: impl AsFd) -> Result<(), NetlinkError> {
        let target = LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd());
        self.set(name, target, || {
            format!("move device {name} to another network namespace")
        })
        .await
    }

    /// Makes a pair of connected devices in this namespace, both switched off.
    ///
    /// # Errors
    /// [`NetlinkError::BadName`]; [`NetlinkError::Refused`] when a name is taken.
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<(), NetlinkError> {
        self.add_veth_messages(named(name)?, named(peer)?, name, peer)
            .await
    }

    /// Makes a pair of connected devices, each end born in a namespace of its
    /// own (so that their names clash with nothing here), both switched off.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub async fn add_veth_between(
        &self,
        (name, netns): (&str, impl AsFd),
        (peer, peer_netns): (&str, impl AsFd),
    ) -> Result<(), NetlinkError> {
        let mut near = named(name)?;
        near.attributes
            .push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
        let mut far = named(peer)?;
        far.attributes
            .push(LinkAttribute::NetNsFd(peer_netns.as_fd().as_raw_fd()));
        self.add_veth_messages(near, far, name, peer).await
    }

    async fn add_veth_messages(
        &self,
        mut near: LinkMessage,
        far: LinkMessage,
        name: &str,
        peer: &str,
    ) -> Result<(), NetlinkError> {
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(near), || {
            format!("make the veth pair {name}, {peer}")
        })
        .await
    }

    /// Deletes a device; its veth peer goes with it.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn delete_link(&self, name: &str) -> Result<(), NetlinkError> {
        let message = self.link_message(name).await?;
        self.change(RouteNetlinkMessage::DelLink(message), 0, || {
            format!("delete device {name}")
        })
        .await
    }

    async fn set(
        &self,
        name: &str,
        attribute: LinkAttribute,
        action: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        let mut message = self.link_message(name).await?;
        message.attributes.push(attribute);
        self.change(RouteNetlinkMessage::SetLink(message), 0, action)
            .await
    }

    async fn link_message(&self, name: &str) -> Result<LinkMessage, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = self.link(name).await?.index;
        Ok(message)
    }
}

fn named(name: &str) -> Result<LinkMessage, NetlinkError> {
    check_name(name)?;
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    Ok(message)
}

/// The kernel's rules for device names (`dev_valid_name`).
pub(super) fn check_name(name: &str) -> Result<(), NetlinkError> {
    let plain = |c: char| !(c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    if (1..=15).contains(&name.len()) && name != "." && name != ".." && name.chars().all(plain) {
        Ok(())
    } else {
        Err(NetlinkError::BadName(name.to_owned()))
    }
}
