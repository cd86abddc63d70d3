//! Rules: which table a packet is looked up in.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::device::check_name;
use super::{Netlink, NetlinkError};

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(super) fn netlink(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// A rule: packets that match every given field are looked up in `table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which family it is for.
    pub family: Family,
    /// Rules are asked in this order, smaller first.
    pub priority: u32,
    /// The table that is looked up.
    pub table: u32,
    /// Matches packets with this firewall mark.
    pub mark: Option<u32>,
    /// Matches packets of sockets bound to this device.
    pub out_device: Option<String>,
    /// Matches packets that came by this device.
    pub in_device: Option<String>,
    /// Matches these source addresses.
    pub from: Option<IpNet>,
    /// Matches these destination addresses.
    pub to: Option<IpNet>,
    /// Who added it; see [`super::Route::protocol`].
    pub protocol: u8,
}

impl Rule {
    /// A rule that matches everything, as an administrator would add it.
    #[must_use]
    pub fn all(family: Family, priority: u32, table: u32) -> Self {
        Self {
            family,
            priority,
            table,
            mark: None,
            out_device: None,
            in_device: None,
            from: None,
            to: None,
            protocol: u8::from(RouteProtocol::Static),
        }
    }

    fn from_message(message: &RuleMessage) -> Option<Self> {
        let family = match message.header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        if message.header.action != RuleAction::ToTable {
            return None;
        }
        let mut rule = Self::all(family, 0, u32::from(message.header.table));
        rule.protocol = 0;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::FwMark(mark) => rule.mark = Some(*mark),
                RuleAttribute::Oifname(name) => rule.out_device = Some(name.clone()),
                RuleAttribute::Iifname(name) => rule.in_device = Some(name.clone()),
                RuleAttribute::Source(ip) => {
                    rule.from = IpNet::new(*ip, message.header.src_len).ok();
                }
                RuleAttribute::Destination(ip) => {
                    rule.to = IpNet::new(*ip, message.header.dst_len).ok();
                }
                RuleAttribute::Protocol(protocol) => rule.protocol = u8::from(*protocol),
                _ => {}
            }
        }
        Some(rule)
    }

    fn to_message(&self) -> Result<RuleMessage, NetlinkError> {
        let mut message = RuleMessage::default();
        message.header.family = self.family.netlink();
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.push(RuleAttribute::Table(self.table));
        attributes.push(RuleAttribute::Protocol(RouteProtocol::from(self.protocol)));
        attributes.extend(self.mark.map(RuleAttribute::FwMark));
        for name in [&self.out_device, &self.in_device].into_iter().flatten() {
            check_name(name)?;
        }
        attributes.extend(self.out_device.clone().map(RuleAttribute::Oifname));
        attributes.extend(self.in_device.clone().map(RuleAttribute::Iifname));
        if let Some(net) = self.from {
            message.header.src_len = net.prefix_len();
            message.attributes.push(RuleAttribute::Source(net.addr()));
        }
        if let Some(net) = self.to {
            message.header.dst_len = net.prefix_len();
            message
                .attributes
                .push(RuleAttribute::Destination(net.addr()));
        }
        Ok(message)
    }
}

impl Netlink {
    /// All rules that look up a table, IPv4 and IPv6.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Closed`].
    pub async fn rules(&self) -> Result<Vec<Rule>, NetlinkError> {
        let mut rules = Vec::new();
        for family in [Family::V4, Family::V6] {
            let mut message = RuleMessage::default();
            message.header.family = family.netlink();
            let request = RouteNetlinkMessage::GetRule(message);
            for found in self.dump(request, "rules").await? {
                if let RouteNetlinkMessage::NewRule(rule) = found {
                    rules.extend(Rule::from_message(&rule));
                }
            }
        }
        Ok(rules)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// [`NetlinkError::BadName`]; [`NetlinkError::Refused`] when the very same
    /// rule is there already.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRule(rule.to_message()?);
        self.create(message, || format!("add the rule {rule:?}"))
            .await
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with `ENOENT` when there is none.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRule(rule.to_message()?);
        self.change(message, 0, || format!("remove the rule {rule:?}"))
            .await
    }
}
