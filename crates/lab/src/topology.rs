//! Which nodes a lab has, and every address in it. Pure: a table to read.
//!
//! ```text
//!  client --lan0--lan0-- router --wan1..wanN-- (emulator) --wan1..wanN-- core --server-- server
//!                                                                         core --internet-- internet
//! ```
//! `core` is all the providers at once: it forwards between the links'
//! subnets, the server's and the internet host's, and knows nothing of the LAN.

use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A node of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// A machine in the LAN.
    Client,
    /// The router, on which Guywire runs.
    Router,
    /// The VPS, on which Guywire runs.
    Server,
    /// A web server and name server somewhere in the internet.
    Internet,
    /// The providers in between; not shown to people.
    Core,
}

impl Node {
    /// All nodes.
    pub const ALL: [Node; 5] = [
        Node::Client,
        Node::Router,
        Node::Server,
        Node::Internet,
        Node::Core,
    ];

    /// The nodes that people are told of.
    pub const VISIBLE: [Node; 4] = [Node::Client, Node::Router, Node::Server, Node::Internet];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Node::Client => "client",
            Node::Router => "router",
            Node::Server => "server",
            Node::Internet => "internet",
            Node::Core => "core",
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such node.
#[derive(Debug, thiserror::Error)]
#[error("no node {name:?} in a lab; there are client, router, server and internet")]
pub struct UnknownNode {
    /// What was given.
    name: String,
}

impl FromStr for Node {
    type Err = UnknownNode;

    fn from_str(name: &str) -> Result<Node, UnknownNode> {
        Node::ALL
            .into_iter()
            .find(|node| node.name() == name)
            .ok_or_else(|| UnknownNode { name: name.into() })
    }
}

/// An IPv4 and an IPv6 address with their prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dual {
    /// The IPv4 one.
    pub v4: Ipv4Net,
    /// The IPv6 one.
    pub v6: Ipv6Net,
}

impl Dual {
    const fn new(v4: [u8; 4], prefix4: u8, v6: [u16; 8], prefix6: u8) -> Dual {
        let [a, b, c, d, e, f, g, h] = v6;
        Dual {
            v4: Ipv4Net::new_assert(Ipv4Addr::new(v4[0], v4[1], v4[2], v4[3]), prefix4),
            v6: Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix6),
        }
    }

    /// Both, with prefixes.
    pub fn nets(self) -> [IpNet; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Both, without prefixes.
    pub fn addresses(self) -> [IpAddr; 2] {
        [self.v4.addr().into(), self.v6.addr().into()]
    }
}

/// The client in the LAN.
pub const CLIENT: Dual = Dual::new(
    [192, 168, 77, 2],
    24,
    [0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 2],
    64,
);

/// The router in the LAN: the client's gateway and name server.
pub const ROUTER: Dual = Dual::new(
    [192, 168, 77, 1],
    24,
    [0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1],
    64,
);

/// The server.
pub const SERVER: Dual = Dual::new(
    [198, 51, 100, 10],
    24,
    [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10],
    64,
);

/// The server's gateway.
pub const SERVER_GATEWAY: Dual = Dual::new(
    [198, 51, 100, 254],
    24,
    [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0xfe],
    64,
);

/// The internet host.
pub const INTERNET: Dual = Dual::new([203, 0, 113, 1], 24, [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1], 48);

/// The internet host's gateway.
pub const INTERNET_GATEWAY: Dual = Dual::new(
    [203, 0, 113, 254],
    24,
    [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe],
    48,
);

/// A link of the lab by its number, 1 to [`crate::spec::MAX_LINKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub u8);

impl Link {
    /// The links 1 to `count`.
    pub fn all(count: usize) -> impl Iterator<Item = Link> {
        (1..=u8::try_from(count).unwrap_or(u8::MAX)).map(Link)
    }

    /// Its name, which is the router's and core's device too: `wan1`.
    pub fn name(self) -> String {
        format!("wan{}", self.0)
    }

    /// The emulator's device towards the router.
    pub fn router_end(self) -> String {
        format!("r{}", self.0)
    }

    /// The emulator's device towards core.
    pub fn core_end(self) -> String {
        format!("s{}", self.0)
    }

    /// The router's addresses on the link.
    pub fn router(self) -> Dual {
        self.host(2)
    }

    /// The provider's addresses on the link: the router's gateway.
    pub fn gateway(self) -> Dual {
        self.host(1)
    }

    fn host(self, host: u8) -> Dual {
        let group = 0x100 + u16::from(self.0);
        Dual::new(
            [10, 0, self.0, host],
            24,
            [0x2001, 0xdb8, group, 0, 0, 0, 0, host.into()],
            64,
        )
    }

    /// The internet host's addresses that the router reaches by this link
    /// only, past Guywire.
    pub fn direct(self) -> Dual {
        let group = 0x100 + u16::from(self.0);
        Dual::new(
            [203, 0, 113, 100 + self.0],
            24,
            [0x2001, 0xdb8, 1, 0, 0, 0, 0, group],
            48,
        )
    }

    /// The name of those addresses: `direct1`.
    pub fn direct_name(self) -> String {
        format!("direct{}", self.0)
    }

    /// The router's table in which the direct addresses' route is.
    pub fn direct_table(self) -> u32 {
        1_000 + u32::from(self.0)
    }

    /// The metric of the router's default routes by this link.
    pub fn metric(self) -> u32 {
        100 + u32::from(self.0)
    }
}

/// The first address of a subnet, where a provider's gateway sits; `None` if
/// the subnet has no room for it beside `address`.
pub fn gateway_of(address: IpNet) -> Option<IpAddr> {
    let first = match address.network() {
        IpAddr::V4(network) => IpAddr::V4(Ipv4Addr::from_bits(network.to_bits().checked_add(1)?)),
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from_bits(network.to_bits().checked_add(1)?)),
    };
    (address.contains(&first) && first != address.addr()).then_some(first)
}

/// The names every node's /etc/hosts has, with their addresses; the client's
/// has the direct ones too.
fn names(node: Node, links: usize) -> Vec<(String, Dual)> {
    let mut names = vec![
        ("client".to_owned(), CLIENT),
        ("router".to_owned(), ROUTER),
        ("server".to_owned(), SERVER),
        ("internet".to_owned(), INTERNET),
    ];
    if node == Node::Client {
        names.extend(Link::all(links).map(|link| (link.direct_name(), link.direct())));
    }
    names
}

/// A node's /etc/hosts.
pub fn hosts_file(node: Node, links: usize) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for (name, addresses) in names(node, links) {
        for address in addresses.addresses() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address} {name}");
        }
    }
    text
}

/// A node's /etc/resolv.conf: the client asks its router, all others the
/// internet host. IPv4 alone, so that a lab without IPv6 resolves too.
pub fn resolv_conf(node: Node) -> String {
    let server = match node {
        Node::Client => ROUTER.v4.addr(),
        _ => INTERNET.v4.addr(),
    };
    format!("nameserver {server}\nsearch lab.test\noptions timeout:2 attempts:3\n")
}

/// Every address of the internet host.
pub fn internet_addresses(links: usize) -> Vec<IpAddr> {
    let direct = Link::all(links).map(Link::direct);
    std::iter::once(INTERNET)
        .chain(direct)
        .flat_map(Dual::addresses)
        .collect()
}

/// The names of the zone `lab.test`, without the zone's own, and their addresses.
pub fn zone(links: usize) -> Vec<(String, Vec<IpAddr>)> {
    let fixed = [
        ("internet", INTERNET),
        ("www", INTERNET),
        ("server", SERVER),
    ];
    let fixed = fixed.map(|(name, addresses)| (name.to_owned(), addresses));
    let direct = Link::all(links).map(|link| (link.direct_name(), link.direct()));
    fixed
        .into_iter()
        .chain(direct)
        .map(|(name, addresses)| (name, addresses.addresses().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_their_own_subnets() {
        let link = Link(3);
        assert_eq!(
            link.router().nets().map(|net| net.to_string()),
            ["10.0.3.2/24", "2001:db8:103::2/64"]
        );
        assert_eq!(
            link.gateway().addresses().map(|ip| ip.to_string()),
            ["10.0.3.1", "2001:db8:103::1"]
        );
        assert_eq!(
            link.direct().addresses().map(|ip| ip.to_string()),
            ["203.0.113.103", "2001:db8:1::103"]
        );
        assert_eq!((link.name(), link.direct_table()), ("wan3".into(), 1_003));
    }

    #[test]
    fn gateways_are_first_in_their_subnet() {
        let rows = [
            ("10.9.0.77/24", Some("10.9.0.1")),
            ("10.9.0.1/24", None),
            ("10.9.0.2/32", None),
            ("2001:db8:9::77/64", Some("2001:db8:9::1")),
        ];
        for (address, gateway) in rows {
            let found = gateway_of(address.parse().expect(address));
            assert_eq!(
                found.map(|ip| ip.to_string()).as_deref(),
                gateway,
                "{address}"
            );
        }
    }

    #[test]
    fn only_the_client_knows_the_direct_names() {
        assert!(hosts_file(Node::Client, 2).contains("203.0.113.102 direct2\n"));
        assert!(!hosts_file(Node::Router, 2).contains("direct"));
        assert!(hosts_file(Node::Server, 2).contains("2001:db8:1::1 internet\n"));
        assert!(resolv_conf(Node::Client).starts_with("nameserver 192.168.77.1\n"));
    }

    #[test]
    fn unknown_nodes_are_told_the_known_ones() {
        let error = "clint".parse::<Node>().unwrap_err().to_string();
        assert!(
            error.contains("client, router, server and internet"),
            "{error}"
        );
    }
}
