//! nftables expressions: the small steps that rules are made of, encoded as
//! linux/netfilter/nf_tables.h says (attribute numbers are its `NFTA_*`).
//!
//! All registers used are `NFT_REG_1` (16 bytes) and, where a step needs two
//! values, `NFT_REG_2`. Attributes are big-endian; values compared with meta,
//! ct and fib results are in host order, as the kernel keeps them.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{ExpressionAttribute, Expressions, ListAttribute};

/// One step of a rule.
pub(super) type Expr = ListAttribute<ExpressionAttribute>;

const REG_1: u32 = 1;
const REG_2: u32 = 2;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proto {
    V4 = 2,
    V6 = 10,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Drop = 0,
    Accept = 1,
    Return = -5,
}

/// Conntrack states as `ct state` shows them (`NF_CT_STATE_*`), combinable.
pub(super) const CT_INVALID: u32 = 1;
pub(super) const CT_ESTABLISHED: u32 = 2;
pub(super) const CT_NEW: u32 = 8;
/// `IPS_SRC_NAT`: the connection was masqueraded when it was forwarded.
pub(super) const CT_STATUS_SNAT: u32 = 1 << 4;

/// TCP flags (RFC 9293).
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// `IPPROTO_TCP` and `IPPROTO_UDP`.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

fn expr(name: &str, attributes: Vec<DefaultNla>) -> Expr {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes,
    }
    .into()
}

fn be32(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// A nested attribute that holds one other.
fn nested(kind: u16, inner_kind: u16, inner: &[u8]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, raw(inner_kind, inner))
}

/// An attribute as bytes: length, kind, value, padding to four.
fn raw(kind: u16, value: &[u8]) -> Vec<u8> {
    // Values are registers, names and verdicts: a few dozen bytes.
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(value.len() + 7);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn meta(key: u32, register: u32) -> Expr {
    expr("meta", vec![be32(1, register), be32(2, key)])
}

fn compare(op: u32, value: &[u8]) -> Expr {
    expr(
        "cmp",
        vec![be32(1, REG_1), be32(2, op), nested(3, 1, value)],
    )
}

fn equal(value: &[u8]) -> Expr {
    compare(0, value)
}

fn unequal(value: &[u8]) -> Expr {
    compare(1, value)
}

fn masked(mask: &[u8]) -> Expr {
    let length = u32::try_from(mask.len()).unwrap_or(0);
    expr(
        "bitwise",
        vec![
            be32(1, REG_1),
            be32(2, REG_1),
            be32(3, length),
            nested(4, 1, mask),
            nested(5, 1, &vec![0; mask.len()]),
        ],
    )
}

fn payload(base: u32, offset: u32, length: u32) -> Expr {
    expr(
        "payload",
        vec![
            be32(1, REG_1),
            be32(2, base),
            be32(3, offset),
            be32(4, length),
        ],
    )
}

fn lookup(set: &str) -> Expr {
    let mut name = set.as_bytes().to_vec();
    name.push(0);
    expr("lookup", vec![DefaultNla::new(1, name), be32(2, REG_1)])
}

fn load(register: u32, value: &[u8]) -> Expr {
    expr("immediate", vec![be32(1, register), nested(2, 1, value)])
}

/// `iifname @set`.
pub(super) fn came_by(set: &str) -> Vec<Expr> {
    vec![meta(6, REG_1), lookup(set)]
}

/// `oifname @set`.
pub(super) fn leaves_by(set: &str) -> Vec<Expr> {
    vec![meta(7, REG_1), lookup(set)]
}

/// `meta l4proto ..`.
pub(super) fn transport(protocol: u8) -> Vec<Expr> {
    vec![meta(16, REG_1), equal(&[protocol])]
}

/// `meta nfproto ..`.
pub(super) fn family(proto: Proto) -> Vec<Expr> {
    vec![meta(15, REG_1), equal(&[proto as u8])]
}

/// `ip daddr @set` or `ip6 daddr @set`, with the family's own check.
pub(super) fn destination_in(proto: Proto, set: &str) -> Vec<Expr> {
    let (offset, length) = match proto {
        Proto::V4 => (16, 4),
        Proto::V6 => (24, 16),
    };
    let mut steps = family(proto);
    steps.push(payload(1, offset, length));
    steps.push(lookup(set));
    steps
}

/// `th dport ..`.
pub(super) fn destination_port(port: u16) -> Vec<Expr> {
    vec![payload(2, 2, 2), equal(&port.to_be_bytes())]
}

/// `tcp flags & mask == value`.
pub(super) fn tcp_flags(mask: u8, value: u8) -> Vec<Expr> {
    vec![payload(2, 13, 1), masked(&[mask]), equal(&[value])]
}

/// `tcp flags & mask != value`.
pub(super) fn tcp_flags_not(mask: u8, value: u8) -> Vec<Expr> {
    vec![payload(2, 13, 1), masked(&[mask]), unequal(&[value])]
}

/// `ct state ..`, any of the given.
pub(super) fn ct_state(any_of: u32) -> Vec<Expr> {
    ct_bits(0, any_of)
}

/// `ct status ..`, any of the given.
pub(super) fn ct_status(any_of: u32) -> Vec<Expr> {
    ct_bits(2, any_of)
}

/// `ct status & .. == 0`, none of the given.
pub(super) fn ct_status_without(none_of: u32) -> Vec<Expr> {
    let [load, mask] = ct_masked(2, none_of);
    vec![load, mask, equal(&[0; 4])]
}

fn ct_bits(key: u32, any_of: u32) -> Vec<Expr> {
    let [load, mask] = ct_masked(key, any_of);
    vec![load, mask, unequal(&[0; 4])]
}

fn ct_masked(key: u32, mask: u32) -> [Expr; 2] {
    [
        expr("ct", vec![be32(1, REG_1), be32(2, key)]),
        masked(&mask.to_ne_bytes()),
    ]
}

/// `fib daddr type local`.
pub(super) fn destination_is_local() -> Vec<Expr> {
    const RTN_LOCAL: u32 = 2;
    // NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
    let fib = expr("fib", vec![be32(1, REG_1), be32(2, 3), be32(3, 2)]);
    vec![fib, equal(&RTN_LOCAL.to_ne_bytes())]
}

/// `fib daddr oifname @set`: the route to the destination leaves by one of these devices.
pub(super) fn destination_behind(set: &str) -> Vec<Expr> {
    // NFT_FIB_RESULT_OIFNAME, NFTA_FIB_F_DADDR
    let fib = expr("fib", vec![be32(1, REG_1), be32(2, 2), be32(3, 2)]);
    vec![fib, lookup(set)]
}

/// `socket transparent 1`.
pub(super) fn socket_is_transparent() -> Vec<Expr> {
    let socket = expr("socket", vec![be32(1, 0), be32(2, REG_1)]);
    vec![socket, equal(&[1])]
}

/// `meta mark set ..`.
pub(super) fn set_mark(mark: u32) -> Vec<Expr> {
    let store = expr("meta", vec![be32(2, 3), be32(3, REG_1)]);
    vec![load(REG_1, &mark.to_ne_bytes()), store]
}

/// `tproxy ip to address:port`; ends the rule when nobody listens there.
pub(super) fn tproxy(proto: Proto, address: &[u8], port: u16) -> Vec<Expr> {
    let to = expr(
        "tproxy",
        vec![be32(1, proto as u32), be32(2, REG_1), be32(3, REG_2)],
    );
    vec![load(REG_1, address), load(REG_2, &port.to_be_bytes()), to]
}

/// `counter`.
pub(super) fn counter() -> Vec<Expr> {
    vec![expr("counter", vec![])]
}

/// `masquerade`.
pub(super) fn masquerade() -> Vec<Expr> {
    vec![expr("masq", vec![])]
}

/// `reject with tcp reset`.
pub(super) fn reject_with_reset() -> Vec<Expr> {
    vec![expr(
        "reject",
        vec![be32(1, 1), DefaultNla::new(2, vec![0])],
    )]
}

/// `reject with icmpx port-unreachable`.
pub(super) fn reject_port_unreachable() -> Vec<Expr> {
    vec![expr(
        "reject",
        vec![be32(1, 2), DefaultNla::new(2, vec![1])],
    )]
}

/// `accept`, `drop`, `return`.
pub(super) fn verdict(verdict: Verdict) -> Vec<Expr> {
    let code = raw(1, &(verdict as i32).to_be_bytes());
    let data = nested(2, 2 | NLA_F_NESTED, &code);
    vec![expr("immediate", vec![be32(1, 0), data])]
}
