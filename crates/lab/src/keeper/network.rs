//! Cables, addresses and routes of the nodes: [`crate::topology`] made real.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use guywire_net::namespace::{current_netns, run_in_netns, write_sysctl};
use guywire_net::route::{Hop, Netlink, NetlinkError, Route};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::topology::{
    CLIENT, Dual, INTERNET, INTERNET_GATEWAY, Node, ROUTER, SERVER, SERVER_GATEWAY,
};

/// Everything of the family of `address`.
pub(super) fn everywhere(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

/// Metric of the default routes that have no rival.
const METRIC: u32 = 100;

/// Why the lab's network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    /// A request to the kernel failed.
    #[error("node {node}: {reason}")]
    Node { node: Node, reason: NetlinkError },
    /// One about devices between the nodes.
    #[error(transparent)]
    Between(#[from] NetlinkError),
    /// A namespace or a setting.
    #[error("{place}: {reason}")]
    System { place: String, reason: io::Error },
}

/// A node's network namespace and a handle to it.
pub(super) struct Site {
    pub(super) netns: OwnedFd,
    pub(super) netlink: Netlink,
    node: Node,
}

/// The keeper's own namespace, where the emulator's devices are, and the nodes'.
pub(super) struct Network {
    pub(super) own: Netlink,
    own_netns: OwnedFd,
    sites: BTreeMap<Node, Site>,
    /// Whether this kernel has IPv6 at all.
    ipv6: bool,
}

impl Network {
    /// Takes the nodes' namespaces and prepares every one of them.
    pub(super) async fn new(namespaces: Vec<(Node, OwnedFd)>) -> Result<Network, NetworkError> {
        let ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        let system = |reason| NetworkError::System {
            place: "the keeper's network".into(),
            reason,
        };
        // The emulator's devices are wires, not hosts.
        if ipv6 {
            write_sysctl("net.ipv6.conf.default.disable_ipv6", "1").map_err(system)?;
        }
        let mut network = Network {
            own: Netlink::new()?,
            own_netns: current_netns().map_err(system)?,
            sites: BTreeMap::new(),
            ipv6,
        };
        for (node, netns) in namespaces {
            let netlink = Netlink::in_netns(&netns)?;
            let site = Site {
                netns,
                netlink,
                node,
            };
            site.inside(|| set_up_host(node, ipv6))??;
            site.netlink
                .set_up("lo", true)
                .await
                .map_err(site.failed())?;
            network.sites.insert(node, site);
        }
        Ok(network)
    }

    /// A node's namespace.
    pub(super) fn site(&self, node: Node) -> &Site {
        // `new` was given every node; a missing one is a mistake of the keeper.
        &self.sites[&node]
    }

    /// Joins the nodes that are joined whatever the links are.
    pub(super) async fn join_nodes(&self) -> Result<(), NetworkError> {
        self.cable((Node::Client, "lan0"), (Node::Router, "lan0"))
            .await?;
        self.cable((Node::Core, "server"), (Node::Server, "eth0"))
            .await?;
        self.cable((Node::Core, "internet"), (Node::Internet, "eth0"))
            .await?;
        let addresses = [
            (Node::Client, "lan0", CLIENT),
            (Node::Router, "lan0", ROUTER),
            (Node::Core, "server", SERVER_GATEWAY),
            (Node::Server, "eth0", SERVER),
            (Node::Core, "internet", INTERNET_GATEWAY),
            (Node::Internet, "eth0", INTERNET),
        ];
        for (node, device, addresses) in addresses {
            self.address(node, device, addresses).await?;
        }
        let gateways = [
            (Node::Client, "lan0", ROUTER),
            (Node::Server, "eth0", SERVER_GATEWAY),
            (Node::Internet, "eth0", INTERNET_GATEWAY),
        ];
        for (node, device, gateway) in gateways {
            self.default_routes(node, device, &gateway.addresses(), METRIC, None)
                .await?;
        }
        Ok(())
    }

    /// Joins two nodes by a pair of devices and switches them on.
    pub(super) async fn cable(
        &self,
        near: (Node, &str),
        far: (Node, &str),
    ) -> Result<(), NetworkError> {
        let (near_site, far_site) = (self.site(near.0), self.site(far.0));
        self.own
            .add_veth_between((near.1, &near_site.netns), (far.1, &far_site.netns))
            .await?;
        near_site.switch_on(near.1).await?;
        far_site.switch_on(far.1).await
    }

    /// Joins a node with a device of the keeper's own namespace.
    pub(super) async fn cable_home(
        &self,
        near: (Node, &str),
        end: &str,
    ) -> Result<(), NetworkError> {
        let site = self.site(near.0);
        self.own
            .add_veth_between((near.1, &site.netns), (end, &self.own_netns))
            .await?;
        self.own.set_up(end, true).await?;
        site.switch_on(near.1).await
    }

    /// Gives a device both addresses.
    pub(super) async fn address(
        &self,
        node: Node,
        device: &str,
        addresses: Dual,
    ) -> Result<(), NetworkError> {
        for net in addresses.nets() {
            self.add_address(node, device, net).await?;
        }
        Ok(())
    }

    /// Gives a device an address.
    pub(super) async fn add_address(
        &self,
        node: Node,
        device: &str,
        net: IpNet,
    ) -> Result<(), NetworkError> {
        if self.knows(net.addr()) {
            let site = self.site(node);
            site.netlink
                .add_address(device, net)
                .await
                .map_err(site.failed())?;
        }
        Ok(())
    }

    /// Adds default routes over `gateways`, in the main table or another one.
    pub(super) async fn default_routes(
        &self,
        node: Node,
        device: &str,
        gateways: &[IpAddr],
        metric: u32,
        table: Option<u32>,
    ) -> Result<(), NetworkError> {
        let site = self.site(node);
        let device = site
            .netlink
            .link(device)
            .await
            .map_err(site.failed())?
            .index;
        for &gateway in gateways.iter().filter(|gateway| self.knows(**gateway)) {
            let hop = Hop {
                gateway: Some(gateway),
                device,
                onlink: false,
            };
            let mut route = Route::via(everywhere(gateway), hop, metric);
            route.table = table.unwrap_or(route.table);
            site.netlink
                .add_route(&route)
                .await
                .map_err(site.failed())?;
        }
        Ok(())
    }

    /// The addresses of every node, except those that only its own devices know.
    pub(super) async fn addresses(&self) -> BTreeMap<Node, Vec<IpNet>> {
        let mut found = BTreeMap::new();
        for (node, site) in &self.sites {
            // A node that cannot be asked has none to show.
            let addresses = site.netlink.addresses().await.unwrap_or_default();
            let public = addresses.into_iter().filter(|address| !address.local_only);
            found.insert(*node, public.map(|address| address.net).collect());
        }
        found
    }

    /// Whether this kernel can have such an address.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.ipv6 || address.is_ipv4()
    }
}

impl Site {
    /// Runs something in the node's network namespace.
    pub(super) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, NetworkError> {
        run_in_netns(&self.netns, work).map_err(|reason| NetworkError::System {
            place: format!("node {}", self.node),
            reason,
        })
    }

    /// Says which node an error is about.
    pub(super) fn failed(&self) -> impl FnOnce(NetlinkError) -> NetworkError + use<> {
        let node = self.node;
        move |reason| NetworkError::Node { node, reason }
    }

    async fn switch_on(&self, device: &str) -> Result<(), NetworkError> {
        self.netlink
            .set_up(device, true)
            .await
            .map_err(self.failed())
    }
}

/// The kernel settings of a node; run inside it, before it has devices.
fn set_up_host(node: Node, ipv6: bool) -> Result<(), NetworkError> {
    let set = |name: &str, value: &str| {
        write_sysctl(name, value).map_err(|reason| NetworkError::System {
            place: format!("node {node}"),
            reason,
        })
    };
    let forwards = if matches!(node, Node::Router | Node::Core) {
        "1"
    } else {
        "0"
    };
    set("net.ipv4.ip_forward", forwards)?;
    // Several default routes: answers may come back by another device.
    set("net.ipv4.conf.all.rp_filter", "0")?;
    set("net.ipv4.conf.default.rp_filter", "0")?;
    // One measurement must not colour the next.
    set("net.ipv4.tcp_no_metrics_save", "1")?;
    // Not every kernel has or allows it; the measuring client says what is in use.
    let _ = write_sysctl("net.ipv4.tcp_congestion_control", "bbr");
    if !ipv6 {
        return Ok(());
    }
    for scope in ["all", "default"] {
        // Containers often switch IPv6 off for namespaces to come.
        set(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "0")?;
        set(&format!("net.ipv6.conf.{scope}.accept_ra"), "0")?;
        // Addresses must serve at once, and outlast a pulled cable.
        set(&format!("net.ipv6.conf.{scope}.accept_dad"), "0")?;
        set(&format!("net.ipv6.conf.{scope}.keep_addr_on_down"), "1")?;
        set(&format!("net.ipv6.conf.{scope}.forwarding"), forwards)?;
    }
    Ok(())
}
