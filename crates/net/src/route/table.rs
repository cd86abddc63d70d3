//! Routes: list, add, remove, in any table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Family, Netlink, NetlinkError};

/// The table that ordinary routes live in (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Delivers it to this host, whatever its destination is.
    Local,
    /// Answers that the destination is unreachable.
    Unreachable,
    /// Drops it.
    Blackhole,
    /// Anything else that the kernel lists (broadcast, multicast, throw, ...); cannot be added here.
    Other,
}

/// A way out: a gateway, or a device alone where none is needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The next router; it may be of the other family.
    pub gateway: Option<IpAddr>,
    /// Index of the device, 0 to let the kernel find it by the gateway.
    pub device: u32,
    /// The gateway is reachable on the device although no address says so.
    pub onlink: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// Which table it is in; [`MAIN_TABLE`] for ordinary ones.
    pub table: u32,
    /// Priority among routes to one destination, smaller wins; 0 lets the
    /// kernel choose (0 for IPv4, 1024 for IPv6).
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The ways out, more than one for a multipath route, none for kinds that need none.
    pub hops: Vec<Hop>,
    /// Source address it prefers.
    pub source: Option<IpAddr>,
    /// Who added it (`rtm_protocol`): 2 the kernel, 3 an administrator,
    /// [`super::PROTOCOL`] Guywire.
    pub protocol: u8,
}

/// The default routes of a device, in whatever table they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultHops {
    /// For IPv4.
    pub v4: Option<Hop>,
    /// For IPv6.
    pub v6: Option<Hop>,
}

impl Route {
    /// A route in the main table over one hop, as an administrator would add it.
    #[must_use]
    pub fn via(destination: IpNet, hop: Hop, metric: u32) -> Self {
        Self {
            destination,
            table: MAIN_TABLE,
            metric,
            kind: RouteKind::Unicast,
            hops: vec![hop],
            source: None,
            protocol: u8::from(RouteProtocol::Static),
        }
    }

    /// The family of its destination.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.destination.addr())
    }

    fn from_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let unspecified: IpAddr = match header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut destination = unspecified;
        let mut route = Self {
            destination: IpNet::from(unspecified),
            table: u32::from(header.table),
            metric: 0,
            kind: kind_of(header.kind),
            hops: Vec::new(),
            source: None,
            protocol: u8::from(header.protocol),
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip_of(address)?,
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Priority(metric) => route.metric = *metric,
                RouteAttribute::PrefSource(address) => route.source = ip_of(address),
                RouteAttribute::MultiPath(hops) => {
                    route.hops = hops.iter().map(hop_of_next_hop).collect();
                }
                _ => {}
            }
        }
        let hop = hop_of(
            &message.attributes,
            header.flags.contains(RouteFlags::Onlink),
        );
        if route.hops.is_empty() && (hop.device != 0 || hop.gateway.is_some()) {
            route.hops.push(hop);
        }
        route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
        Some(route)
    }

    fn to_message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = self.family().netlink();
        header.destination_prefix_length = self.destination.prefix_len();
        header.protocol = RouteProtocol::from(self.protocol);
        header.kind = match self.kind {
            RouteKind::Unicast | RouteKind::Other => RouteType::Unicast,
            RouteKind::Local => RouteType::Local,
            RouteKind::Unreachable => RouteType::Unreachable,
            RouteKind::Blackhole => RouteType::BlackHole,
        };
        header.scope = self.scope();
        if let Ok(table) = u8::try_from(self.table) {
            header.table = table;
        }
        let mut attributes = vec![RouteAttribute::Table(self.table)];
        if self.destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(self.destination.addr().into()));
        }
        if self.metric != 0 {
            attributes.push(RouteAttribute::Priority(self.metric));
        }
        if let Some(source) = self.source {
            attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        match self.hops.as_slice() {
            [] => {}
            [hop] => {
                attributes.extend(hop_attributes(hop, self.family()));
                if hop.device != 0 {
                    attributes.push(RouteAttribute::Oif(hop.device));
                }
                if hop.onlink {
                    header.flags = RouteFlags::Onlink;
                }
            }
            hops => attributes.push(RouteAttribute::MultiPath(
                hops.iter()
                    .map(|hop| next_hop_of(hop, self.family()))
                    .collect(),
            )),
        }
        message.attributes = attributes;
        message
    }

    /// IPv4 wants to know how far away the hop is; IPv6 ignores it.
    fn scope(&self) -> RouteScope {
        match self.kind {
            RouteKind::Local => RouteScope::Host,
            RouteKind::Unicast
                if self.family() == Family::V4
                    && !self.hops.is_empty()
                    && self.hops.iter().all(|hop| hop.gateway.is_none()) =>
            {
                RouteScope::Link
            }
            _ => RouteScope::Universe,
        }
    }
}

impl Netlink {
    /// All routes of all tables, IPv4 and IPv6; cached ones are left out.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Closed`].
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [Family::V4, Family::V6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family.netlink();
            let request = RouteNetlinkMessage::GetRoute(message);
            for found in self.dump(request, "routes").await? {
                if let RouteNetlinkMessage::NewRoute(route) = found
                    && !route.header.flags.contains(RouteFlags::Cloned)
                {
                    routes.extend(Route::from_message(&route));
                }
            }
        }
        Ok(routes)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], among others when it is there already.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(route.to_message());
        let action = || {
            format!(
                "add the route to {} in table {}",
                route.destination, route.table
            )
        };
        self.create(message, action).await
    }

    /// Removes a route; destination, table, metric, hops and protocol must match.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with `ESRCH` when there is none.
    pub async fn remove_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRoute(route.to_message());
        self.change(message, 0, || {
            format!(
                "remove the route to {} from table {}",
                route.destination, route.table
            )
        })
        .await
    }

    /// The default routes by which a device reaches the world, whichever
    /// table they are in; among several the one of the main table, then that
    /// of the smallest metric.
    ///
    /// # Errors
    /// [`NetlinkError::NoDevice`], or as [`Netlink::routes`].
    pub async fn default_hops(&self, device: &str) -> Result<DefaultHops, NetlinkError> {
        let index = self.link(device).await?.index;
        let mut routes = self.routes().await?;
        routes.retain(|route| {
            route.destination.prefix_len() == 0
                && route.kind == RouteKind::Unicast
                && route.protocol != super::PROTOCOL
        });
        routes.sort_by_key(|route| (route.table != MAIN_TABLE, route.metric));
        let first = |family| {
            routes
                .iter()
                .filter(|route| route.family() == family)
                .flat_map(|route| &route.hops)
                .find(|hop| hop.device == index)
                .cloned()
        };
        Ok(DefaultHops {
            v4: first(Family::V4),
            v6: first(Family::V6),
        })
    }
}

fn kind_of(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::BlackHole => RouteKind::Blackhole,
        _ => RouteKind::Other,
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn hop_of(attributes: &[RouteAttribute], onlink: bool) -> Hop {
    let mut hop = Hop {
        gateway: None,
        device: 0,
        onlink,
    };
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => hop.gateway = ip_of(address),
            RouteAttribute::Via(RouteVia::Inet(ip)) => hop.gateway = Some((*ip).into()),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => hop.gateway = Some((*ip).into()),
            RouteAttribute::Oif(index) => hop.device = *index,
            _ => {}
        }
    }
    hop
}

fn hop_of_next_hop(next: &RouteNextHop) -> Hop {
    Hop {
        device: next.interface_index,
        ..hop_of(
            &next.attributes,
            next.flags.contains(RouteNextHopFlags::Onlink),
        )
    }
}

fn hop_attributes(hop: &Hop, family: Family) -> Option<RouteAttribute> {
    hop.gateway.map(|gateway| match (family, gateway) {
        (Family::V4, IpAddr::V6(ip)) => RouteAttribute::Via(RouteVia::Inet6(ip)),
        _ => RouteAttribute::Gateway(gateway.into()),
    })
}

fn next_hop_of(hop: &Hop, family: Family) -> RouteNextHop {
    let mut next = RouteNextHop::default();
    next.interface_index = hop.device;
    if hop.onlink {
        next.flags = RouteNextHopFlags::Onlink;
    }
    next.attributes.extend(hop_attributes(hop, family));
    next
}
