//! What a router knows of its links: devices, addresses and routes as the kernel has them now, and the policy tables
//! that let a socket bound to a device leave by it.

use std::net::{IpAddr, SocketAddr};

use guywire_net::route::{
    Address, DefaultHops, Device, LinkTable, Netlink, NetlinkError, TproxyPolicy,
};
use ipnet::IpNet;

use crate::config::LinkConfig;
use crate::worker::LinkSetup;

/// The firewall mark of captured packets.
pub(super) const MARK: u32 = 0x4757;
/// The routing table that delivers captured packets to this host; those of the links follow it.
const TABLE: u32 = 21_900;
/// Priority of the rules for captured packets; those of the links follow it. Before the main table (32766), and before
/// rules of other programs in the usual thousands, since they are narrower.
const PRIORITY: u32 = 190;

/// Most addresses of a link that its worker is told of.
const MAX_ADDRESSES: usize = 64;

/// How captured packets are delivered.
pub(super) const TPROXY: TproxyPolicy = TproxyPolicy {
    mark: MARK,
    table: TABLE,
    priority: PRIORITY,
};

/// A link as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Surveyed {
    pub(super) setup: LinkSetup,
    hops: DefaultHops,
}

/// Looks at all configured links. `server` are the server's addresses: on a network of a link they need no router.
pub(super) async fn survey(
    netlink: &Netlink,
    links: &[LinkConfig],
    server: &[SocketAddr],
) -> Result<Vec<Surveyed>, NetlinkError> {
    let devices = netlink.links().await?;
    let addresses = netlink.addresses().await?;
    let mut surveyed = Vec::with_capacity(links.len());
    for link in links {
        let device = devices.iter().find(|device| device.name == link.device);
        let hops = match netlink.default_hops(&link.device).await {
            Err(NetlinkError::NoDevice(_)) => DefaultHops::default(),
            hops => hops?,
        };
        surveyed.push(look_at(link, device, &addresses, hops, server));
    }
    Ok(surveyed)
}

fn look_at(
    link: &LinkConfig,
    device: Option<&Device>,
    addresses: &[Address],
    hops: DefaultHops,
    server: &[SocketAddr],
) -> Surveyed {
    let own: Vec<IpNet> = addresses
        .iter()
        .filter(|address| device.is_some_and(|device| device.index == address.device))
        .filter(|address| !address.local_only && !address.tentative)
        .map(|address| address.net)
        .collect();
    let reaches = |address: &IpNet| {
        let hop = match address {
            IpNet::V4(_) => &hops.v4,
            IpNet::V6(_) => &hops.v6,
        };
        let beside = |server: &SocketAddr| {
            server.is_ipv4() == address.addr().is_ipv4()
                && own.iter().any(|net| net.contains(&server.ip()))
        };
        hop.is_some() || server.iter().any(beside)
    };
    let mut reaching: Vec<IpAddr> = own
        .iter()
        .filter(|net| reaches(net))
        .map(IpNet::addr)
        .collect();
    reaching.sort();
    reaching.truncate(MAX_ADDRESSES);
    let setup = LinkSetup {
        id: link.id,
        name: link.name.clone(),
        device: link.device.clone(),
        priority: link.priority,
        cost: link.cost,
        congestion: link.congestion.clone(),
        metered: link.metered,
        present: device.is_some_and(Device::usable),
        addresses: reaching,
    };
    Surveyed { setup, hops }
}

/// Brings the policy tables in line with the links. One link's failure does not keep the others from theirs.
pub(super) async fn apply_tables(
    netlink: &Netlink,
    links: &[Surveyed],
) -> Result<(), NetlinkError> {
    let mut result = Ok(());
    for link in links {
        let table = TABLE + u32::from(link.setup.id);
        let applied = if link.hops == DefaultHops::default() {
            netlink.remove_link_table(table).await
        } else {
            let priority = PRIORITY + 1;
            let device = link.setup.device.clone();
            netlink
                .set_link_table(&LinkTable {
                    device,
                    table,
                    priority,
                    hops: link.hops.clone(),
                })
                .await
        };
        // Gone between the survey and now: the change is announced and looked at again.
        if let Err(error) = applied
            && !matches!(error, NetlinkError::NoDevice(_))
        {
            result = Err(error);
        }
    }
    result
}

/// The addresses of some devices on which DNS can be answered, and whether some are not usable yet.
pub(super) async fn own_addresses(
    netlink: &Netlink,
    names: &[String],
) -> Result<(Vec<IpAddr>, bool), NetlinkError> {
    let devices = netlink.links().await?;
    let indexes: Vec<u32> = devices
        .iter()
        .filter(|device| names.contains(&device.name))
        .map(|device| device.index)
        .collect();
    let addresses = netlink.addresses().await?;
    let own = addresses
        .iter()
        .filter(|address| indexes.contains(&address.device) && !address.local_only);
    let unsettled = own.clone().any(|address| address.tentative);
    let mut usable: Vec<IpAddr> = own
        .filter(|address| !address.tentative)
        .map(|address| address.net.addr())
        .collect();
    usable.sort();
    usable.dedup();
    Ok((usable, unsettled))
}

#[cfg(test)]
mod tests {
    use guywire_net::route::Hop;

    use super::*;
    use crate::worker::Priority;

    fn link() -> LinkConfig {
        LinkConfig {
            id: 3,
            name: "fibre".into(),
            device: "eth1".into(),
            priority: Priority::Normal,
            cost: 0,
            congestion: None,
            metered: false,
        }
    }

    fn device() -> Device {
        Device {
            index: 7,
            name: "eth1".into(),
            up: true,
            carrier: true,
            loopback: false,
            point_to_point: false,
            mtu: 1500,
            hardware_address: vec![],
        }
    }

    fn address(net: &str) -> Address {
        Address {
            device: 7,
            net: net.parse().unwrap(),
            local_only: false,
            tentative: false,
        }
    }

    fn hop() -> Option<Hop> {
        Some(Hop {
            gateway: None,
            device: 7,
            onlink: false,
        })
    }

    #[track_caller]
    fn seen(
        device: Option<Device>,
        addresses: &[Address],
        hops: DefaultHops,
    ) -> (bool, bool, bool) {
        let server = ["198.51.100.10:443".parse().unwrap()];
        let setup = look_at(&link(), device.as_ref(), addresses, hops, &server).setup;
        let has = |v4| {
            setup
                .addresses
                .iter()
                .any(|address| address.is_ipv4() == v4)
        };
        (setup.present, has(true), has(false))
    }

    #[test]
    fn a_family_needs_an_address_and_a_way() {
        let both = DefaultHops {
            v4: hop(),
            v6: hop(),
        };
        let addresses = [address("10.0.1.2/24"), address("2001:db8::2/64")];
        assert_eq!(
            seen(Some(device()), &addresses, both.clone()),
            (true, true, true)
        );
        assert_eq!(
            seen(Some(device()), &addresses[..1], both.clone()),
            (true, true, false)
        );
        assert_eq!(
            seen(
                Some(device()),
                &addresses,
                DefaultHops {
                    v4: None,
                    v6: hop()
                }
            ),
            (true, false, true)
        );
        assert_eq!(seen(None, &addresses, both.clone()), (false, false, false));
        let down = Device {
            carrier: false,
            ..device()
        };
        assert!(!seen(Some(down), &addresses, both).0);
    }

    #[test]
    fn a_server_on_the_links_own_network_needs_no_router() {
        let none = DefaultHops::default;
        assert_eq!(
            seen(Some(device()), &[address("198.51.100.1/24")], none()),
            (true, true, false)
        );
        assert_eq!(
            seen(Some(device()), &[address("198.51.101.1/24")], none()),
            (true, false, false)
        );
    }

    #[test]
    fn addresses_that_cannot_be_a_source_do_not_count() {
        let hops = || DefaultHops {
            v4: hop(),
            v6: hop(),
        };
        for unusable in [
            Address {
                local_only: true,
                ..address("fe80::1/64")
            },
            Address {
                tentative: true,
                ..address("2001:db8::2/64")
            },
            Address {
                device: 8,
                ..address("2001:db8::2/64")
            },
        ] {
            assert_eq!(
                seen(Some(device()), &[unusable], hops()),
                (true, false, false)
            );
        }
    }
}
