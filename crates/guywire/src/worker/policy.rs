//! Where a server may connect to.
//!
//! A router's users are strangers to the server's own network: loopback, private ranges, the server's own
//! addresses, IPv4 in IPv6's clothes and the port of mail are refused unless the configuration allows them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use ipnet::IpNet;
use thiserror::Error;

/// Refused ranges and what they are (IANA special-purpose registries, RFC 6890).
const REFUSED: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("2002::/16", "6to4"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// Ports that are refused whatever the address.
const REFUSED_PORTS: &[u16] = &[25];

/// Why a destination is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Denied {
    #[error("port {0} is refused; `policy.allow_ports` allows it")]
    Port(u16),
    #[error("{ip} is refused ({what}); `policy.allow` allows it")]
    Range { ip: IpAddr, what: &'static str },
    #[error("{0} is an address of this server; `policy.allow` allows it")]
    Own(IpAddr),
}

/// The policy of a server.
pub(super) struct Policy {
    refused: Vec<(IpNet, &'static str)>,
    allow: Vec<IpNet>,
    allow_ports: Vec<u16>,
    own: RwLock<HashSet<IpAddr>>,
}

impl Policy {
    pub(super) fn new(allow: Vec<IpNet>, allow_ports: Vec<u16>) -> Policy {
        let parse = |&(net, what): &(&str, &'static str)| {
            (net.parse().expect("the table holds networks"), what)
        };
        Policy {
            refused: REFUSED.iter().map(parse).collect(),
            allow,
            allow_ports,
            own: RwLock::default(),
        }
    }

    /// The machine's own addresses, as they are now.
    pub(super) fn set_own(&self, addresses: Vec<IpAddr>) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        *own = addresses.into_iter().collect();
    }

    pub(super) fn check(&self, to: SocketAddr) -> Result<(), Denied> {
        let (ip, port) = (to.ip(), to.port());
        if REFUSED_PORTS.contains(&port) && !self.allow_ports.contains(&port) {
            return Err(Denied::Port(port));
        }
        if self.allow.iter().any(|net| net.contains(&ip)) {
            return Ok(());
        }
        if let Some(&(_, what)) = self.refused.iter().find(|(net, _)| net.contains(&ip)) {
            return Err(Denied::Range { ip, what });
        }
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        if own.contains(&ip) {
            return Err(Denied::Own(ip));
        }
        debug_assert!(!is_mapped(ip));
        Ok(())
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if Ipv6Addr::to_ipv4_mapped(&v6).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_destinations() {
        let policy = Policy::new(vec!["192.168.7.0/24".parse().unwrap()], vec![]);
        policy.set_own(vec!["198.51.100.10".parse().unwrap()]);
        let table = [
            ("203.0.113.1:80", true),
            ("[2001:db8:1::1]:443", true),
            ("203.0.113.1:25", false),
            ("198.51.100.10:443", false),
            ("127.0.0.1:80", false),
            ("10.1.2.3:80", false),
            ("192.168.7.9:80", true),
            ("192.168.8.9:80", false),
            ("100.64.0.1:80", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("[64:ff9b::7f00:1]:80", false),
            ("[fd00::1]:80", false),
            ("[fe80::1]:80", false),
        ];
        for (to, allowed) in table {
            assert_eq!(policy.check(to.parse().unwrap()).is_ok(), allowed, "{to}");
        }
    }

    #[test]
    fn a_port_is_allowed_by_name() {
        let policy = Policy::new(vec![], vec![25]);
        assert_eq!(policy.check("203.0.113.1:25".parse().unwrap()), Ok(()));
    }
}
