//! The routes and rules of Guywire itself.
//!
//! Two kinds: packets that the capture rules marked are delivered to this
//! host, and sockets bound to a link's device find that link's gateway even
//! where the main table would not send them there. All carry [`PROTOCOL`], by
//! which clean-up knows them; nothing else is ever touched.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{DefaultHops, Family, Hop, MAIN_TABLE, Netlink, NetlinkError, Route, RouteKind, Rule};

/// `rtm_protocol` of Guywire's routes and rules: a number that iproute2's
/// list gives to nobody.
pub const PROTOCOL: u8 = 219;

/// How marked packets are delivered to the transparent listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TproxyPolicy {
    /// The firewall mark that the capture rules set.
    pub mark: u32,
    /// A table of Guywire's own.
    pub table: u32,
    /// Priority of the rules; must be before 32766, the main table's.
    pub priority: u32,
}

/// How sockets bound to one link's device are routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTable {
    /// The link's device.
    pub device: String,
    /// A table of Guywire's own, one per link.
    pub table: u32,
    /// Priority of the rules.
    pub priority: u32,
    /// Its default routes; a family without one gets no rule and falls
    /// through to the main table.
    pub hops: DefaultHops,
}

const EVERYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

impl Netlink {
    /// Adds what delivers marked packets to this host, IPv4 and IPv6. What
    /// is there already stays, so it can be repeated.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub async fn add_tproxy_policy(&self, policy: TproxyPolicy) -> Result<(), NetlinkError> {
        let loopback = self.link("lo").await?.index;
        for everywhere in EVERYWHERE {
            let route = Route {
                destination: everywhere,
                table: policy.table,
                metric: 0,
                kind: RouteKind::Local,
                hops: vec![Hop {
                    gateway: None,
                    device: loopback,
                    onlink: false,
                }],
                source: None,
                protocol: PROTOCOL,
            };
            unless_there(self.add_route(&route).await)?;
            let rule = Rule {
                mark: Some(policy.mark),
                protocol: PROTOCOL,
                ..Rule::all(route.family(), policy.priority, policy.table)
            };
            unless_there(self.add_rule(&rule).await)?;
        }
        Ok(())
    }

    /// Makes a link's own table and the rules that lead to it, replacing what
    /// the table had of ours: the device's neighbourhood as the main table
    /// knows it, and its default routes.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], [`NetlinkError::Refused`].
    pub async fn set_link_table(&self, link: &LinkTable) -> Result<(), NetlinkError> {
        let index = self.link(&link.device).await?.index;
        let wanted = self.link_routes(link, index).await?;
        let present = self.our_routes(link.table).await?;
        for route in present.iter().filter(|route| !wanted.contains(route)) {
            unless_gone(self.remove_route(route).await)?;
        }
        for route in wanted.iter().filter(|route| !present.contains(route)) {
            unless_there(self.add_route(route).await)?;
        }
        for family in [Family::V4, Family::V6] {
            let rule = Rule {
                out_device: Some(link.device.clone()),
                protocol: PROTOCOL,
                ..Rule::all(family, link.priority, link.table)
            };
            let reached = wanted
                .iter()
                .any(|route| route.family() == family && route.destination.prefix_len() == 0);
            if reached {
                unless_there(self.add_rule(&rule).await)?;
            } else {
                unless_gone(self.remove_rule(&rule).await)?;
            }
        }
        Ok(())
    }

    /// Removes a link's table and the rules that lead to it; the device may be gone.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub async fn remove_link_table(&self, table: u32) -> Result<(), NetlinkError> {
        for rule in self.rules().await? {
            if rule.protocol == PROTOCOL && rule.table == table {
                unless_gone(self.remove_rule(&rule).await)?;
            }
        }
        for route in self.our_routes(table).await? {
            unless_gone(self.remove_route(&route).await)?;
        }
        Ok(())
    }

    /// Removes every route and rule that carries [`PROTOCOL`], also those a
    /// crash left behind, and says in words what it removed.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub async fn remove_ours(&self) -> Result<Vec<String>, NetlinkError> {
        let mut removed = Vec::new();
        for rule in self.rules().await? {
            if rule.protocol == PROTOCOL {
                unless_gone(self.remove_rule(&rule).await)?;
                removed.push(format!("rule to table {}", rule.table));
            }
        }
        for route in self.routes().await? {
            if route.protocol == PROTOCOL {
                unless_gone(self.remove_route(&route).await)?;
                removed.push(format!(
                    "route to {} in table {}",
                    route.destination, route.table
                ));
            }
        }
        Ok(removed)
    }

    pub(super) async fn our_routes(&self, table: u32) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = self.routes().await?;
        routes.retain(|route| route.protocol == PROTOCOL && route.table == table);
        Ok(routes)
    }

    /// What belongs into a link's table, in the form in which it is listed.
    async fn link_routes(&self, link: &LinkTable, index: u32) -> Result<Vec<Route>, NetlinkError> {
        let mut wanted = Vec::new();
        for (everywhere, hop) in EVERYWHERE.into_iter().zip([&link.hops.v4, &link.hops.v6]) {
            let Some(hop) = hop else { continue };
            let hop = Hop {
                gateway: hop.gateway,
                device: index,
                // The gateway may lie outside of the device's prefix (a /32
                // from a carrier), and this table must not ask others.
                onlink: hop.gateway.is_some(),
            };
            wanted.push(ours(everywhere, link.table, hop, None));
        }
        for route in self.routes().await? {
            let direct = route.table == MAIN_TABLE
                && route.kind == RouteKind::Unicast
                && route.destination.prefix_len() > 0
                && matches!(route.hops.as_slice(),
                    [hop] if hop.device == index && hop.gateway.is_none());
            if direct {
                let hop = Hop {
                    gateway: None,
                    device: index,
                    onlink: false,
                };
                let copy = ours(route.destination, link.table, hop, route.source);
                // Two routes of different metric lead to one place: one copy will do.
                if !wanted.contains(&copy) {
                    wanted.push(copy);
                }
            }
        }
        Ok(wanted)
    }
}

fn ours(destination: IpNet, table: u32, hop: Hop, source: Option<std::net::IpAddr>) -> Route {
    let family = Family::of(destination.addr());
    Route {
        destination,
        table,
        // What the kernel makes of "no metric", so that lists compare equal.
        metric: if family == Family::V6 { 1024 } else { 0 },
        kind: RouteKind::Unicast,
        hops: vec![hop],
        source,
        protocol: PROTOCOL,
    }
}

fn unless_there(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn unless_gone(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is(libc::ESRCH) || error.is(libc::ENOENT) || error.is(libc::ENODEV) => {
            Ok(())
        }
        other => other,
    }
}
