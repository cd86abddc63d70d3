//! The rules of both tables, in the order in which packets meet them.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_netfilter::nftables::{InetHookNumber, TableFlags};

use super::batch::{Batch, HookAt, KeyType};
use super::expr::{
    ACK, CT_ESTABLISHED, CT_INVALID, CT_NEW, CT_STATUS_SNAT, Expr, FIN, Proto, RST, SYN, TCP, UDP,
    Verdict, came_by, counter, ct_state, ct_status, ct_status_without, destination_behind,
    destination_in, destination_is_local, destination_port, family, leaves_by, masquerade,
    reject_port_unreachable, reject_with_reset, set_mark, socket_is_transparent, tcp_flags,
    tcp_flags_not, tproxy, transport, verdict,
};
use super::{CAPTURE_TABLE, CaptureRules, NAT_TABLE, NatRules};

/// Before routing, after conntrack: mangle.
const CAPTURE: HookAt = HookAt {
    kind: "filter",
    hook: InetHookNumber::PreRouting,
    priority: -150,
};
/// Where packets are filtered on their way through.
const FORWARD: HookAt = HookAt {
    kind: "filter",
    hook: InetHookNumber::Forward,
    priority: 0,
};
/// Where source addresses are translated: srcnat.
const POSTROUTING: HookAt = HookAt {
    kind: "nat",
    hook: InetHookNumber::PostRouting,
    priority: 100,
};

/// Destinations of IPv4 that are nobody's on the public internet
/// (RFC 6890 and its successors). Documentation prefixes are not among them:
/// nobody loses by it, and laboratories use them as public.
const PRIVATE4: [Ipv4Net; 9] = [
    net4(0, 0, 0, 8),
    net4(10, 0, 0, 8),
    net4(100, 64, 0, 10),
    net4(127, 0, 0, 8),
    net4(169, 254, 0, 16),
    net4(172, 16, 0, 12),
    net4(192, 0, 0, 24),
    net4(192, 168, 0, 16),
    net4(224, 0, 0, 3),
];

/// The same for IPv6: ::/8 (unspecified, loopback, mapped and translated
/// IPv4), unique local, link-local, site-local, multicast.
const PRIVATE6: [Ipv6Net; 4] = [
    net6(0, 8),
    net6(0xfc00, 7),
    net6(0xfe80, 9),
    net6(0xff00, 8),
];

const fn net4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn net6(first: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), prefix)
}

fn private() -> Vec<IpNet> {
    PRIVATE4
        .into_iter()
        .map(IpNet::from)
        .chain(PRIVATE6.into_iter().map(IpNet::from))
        .collect()
}

/// The capture table, owned by the socket that commits it.
pub(super) fn capture(rules: &CaptureRules) -> Batch {
    let mut batch = Batch::replacing(CAPTURE_TABLE, TableFlags::Owner);
    batch.device_set("lan", &rules.lan);
    batch.network_set("private4", KeyType::Ipv4, &private());
    batch.network_set("private6", KeyType::Ipv6, &private());
    batch.network_set("bypass4", KeyType::Ipv4, &rules.bypass);
    batch.network_set("bypass6", KeyType::Ipv6, &rules.bypass);
    capture_chain(&mut batch, rules);
    if rules.reject_quic {
        quic_chain(&mut batch);
    }
    batch
}

/// The sets of destinations that are left alone.
const LEFT_ALONE: [(Proto, &str); 4] = [
    (Proto::V4, "private4"),
    (Proto::V4, "bypass4"),
    (Proto::V6, "private6"),
    (Proto::V6, "bypass6"),
];

/// Rules that leave a packet alone return; the last two take what is left.
fn capture_chain(batch: &mut Batch, rules: &CaptureRules) {
    batch.chain(CAPTURE_CHAIN, CAPTURE);
    keep_known_connections(batch, rules.mark);
    leave_alone(batch);
    bring_to_listeners(batch, rules);
}

const CAPTURE_CHAIN: &str = "capture";

fn lan_tcp() -> Vec<Expr> {
    [came_by("lan"), transport(TCP)].concat()
}

/// Connections stay what they were when they began, whatever the rules say now.
fn keep_known_connections(batch: &mut Batch, mark: u32) {
    batch.rule(
        CAPTURE_CHAIN,
        "connections that were forwarded before go on so",
        &[
            lan_tcp(),
            ct_status(CT_STATUS_SNAT),
            verdict(Verdict::Return),
        ],
    );
    // A SYN goes on to tproxy, which lets it take the place of a socket in
    // TIME_WAIT; everything else saves the lookups below.
    batch.rule(
        CAPTURE_CHAIN,
        "packets of captured connections",
        &[
            lan_tcp(),
            tcp_flags_not(SYN | ACK, SYN),
            socket_is_transparent(),
            set_mark(mark),
            verdict(Verdict::Accept),
        ],
    );
}

/// What never is captured.
fn leave_alone(batch: &mut Batch) {
    for (proto, set) in LEFT_ALONE {
        batch.rule(
            CAPTURE_CHAIN,
            "destinations that are left alone",
            &[
                lan_tcp(),
                destination_in(proto, set),
                verdict(Verdict::Return),
            ],
        );
    }
    batch.rule(
        CAPTURE_CHAIN,
        "this host itself",
        &[lan_tcp(), destination_is_local(), verdict(Verdict::Return)],
    );
    batch.rule(
        CAPTURE_CHAIN,
        "one LAN to another",
        &[
            lan_tcp(),
            destination_behind("lan"),
            verdict(Verdict::Return),
        ],
    );
}

/// What is left goes to the listeners.
fn bring_to_listeners(batch: &mut Batch, rules: &CaptureRules) {
    // The mark comes after tproxy, which ends the rule when nobody listens:
    // the other order would mark packets into a black hole.
    let (v4, v6) = (Ipv4Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets());
    for (proto, address, port) in [
        (Proto::V4, v4.as_slice(), rules.port4),
        (Proto::V6, v6.as_slice(), rules.port6),
    ] {
        batch.rule(
            CAPTURE_CHAIN,
            "to the listener, if there is one",
            &[
                lan_tcp(),
                family(proto),
                tproxy(proto, address, port),
                set_mark(rules.mark),
                verdict(Verdict::Accept),
            ],
        );
    }
}

/// UDP 443 that would be forwarded is refused, so that browsers take TCP.
fn quic_chain(batch: &mut Batch) {
    const CHAIN: &str = "quic";
    let quic = || [came_by("lan"), transport(UDP), destination_port(443)].concat();
    batch.chain(CHAIN, FORWARD);
    for (proto, set) in LEFT_ALONE {
        batch.rule(
            CHAIN,
            "destinations that are left alone",
            &[quic(), destination_in(proto, set), verdict(Verdict::Return)],
        );
    }
    batch.rule(
        CHAIN,
        "browsers shall take TCP",
        &[quic(), counter(), reject_port_unreachable()],
    );
}

/// The table for what is not captured.
pub(super) fn nat(rules: &NatRules) -> Batch {
    let mut batch = Batch::replacing(NAT_TABLE, TableFlags::empty());
    batch.device_set("lan", &rules.lan);
    batch.device_set("wan", &rules.wan);
    forward_chain(&mut batch, rules.closed);
    batch.chain("masquerade", POSTROUTING);
    batch.rule(
        "masquerade",
        "what leaves uncaptured",
        &[came_by("lan"), leaves_by("wan"), masquerade()],
    );
    batch
}

/// Packets of captured connections that lost their socket must not leave by a
/// link: the far end has never heard of them, and they would carry the LAN's
/// addresses. Conntrack tells them from those of forwarded connections: these
/// began with a SYN that was masqueraded. Of the others conntrack either saw
/// no beginning at all (it calls them new; or invalid, with
/// nf_conntrack_tcp_loose=0 or when they close), or it saw them being
/// captured, and no address was translated.
fn forward_chain(batch: &mut Batch, closed: bool) {
    const CHAIN: &str = "forward";
    let out = || [came_by("lan"), leaves_by("wan")].concat();
    batch.chain(CHAIN, FORWARD);
    if closed {
        batch.rule(
            CHAIN,
            "closed: nothing of the LAN leaves by a link",
            &[out(), counter(), verdict(Verdict::Drop)],
        );
    }
    batch.rule(
        CHAIN,
        "reset what is in the middle of a connection nobody knows",
        &[
            out(),
            transport(TCP),
            ct_state(CT_NEW),
            tcp_flags_not(SYN | ACK | FIN | RST, SYN),
            counter(),
            reject_with_reset(),
        ],
    );
    batch.rule(
        CHAIN,
        "reset what was captured once",
        &[
            out(),
            transport(TCP),
            ct_state(CT_ESTABLISHED),
            ct_status_without(CT_STATUS_SNAT),
            counter(),
            reject_with_reset(),
        ],
    );
    batch.rule(
        CHAIN,
        "reset the end of a connection nobody knows",
        &[
            out(),
            transport(TCP),
            ct_state(CT_INVALID),
            tcp_flags(FIN | RST, FIN),
            counter(),
            reject_with_reset(),
        ],
    );
    batch.rule(
        CHAIN,
        "what conntrack cannot place would leave with the LAN's address",
        &[
            out(),
            ct_state(CT_INVALID),
            counter(),
            verdict(Verdict::Drop),
        ],
    );
}
